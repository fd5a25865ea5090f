"""Tables from files in the emulator: no stream has their items as changes, and they survive a restart.

Each test makes tables anew as the next sandbox would; the emulator stays the same, so tables get other names.
"""

import json
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.table import StreamTable
from sandbox import SandboxError
from sandbox.program.deploy import Deployment
from sandbox.tables.local import LocalTables, MissingTableError
from sandbox.tables.table_file import read
from tests.local import LocalAws, declare_table, wait_for

TIME = "2026-01-01T00:00:00.000"
DESCRIPTION = {
    "Table": {
        "TableName": "x",
        "TableStatus": "ACTIVE",
        "TableArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/x",
        "ItemCount": 12,
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "day", "AttributeType": "S"},
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "days",
                "IndexStatus": "ACTIVE",
                "KeySchema": [{"AttributeName": "day", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "SSEDescription": {"Status": "ENABLED", "KMSMasterKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/1"},
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        "LatestStreamArn": f"arn:aws:dynamodb:eu-west-1:123456789012:table/x/stream/{TIME}",
    }
}

Start = Callable[..., LocalTables]


@pytest.fixture
def start(aws: LocalAws, tmp_path: Path) -> Generator[Start]:
    """`start(invent=True)`: the tables of a sandbox, until the next one starts."""
    started: list[LocalTables] = []

    def next_one(**options: Any) -> LocalTables:
        stop()
        started.append(LocalTables(aws.client, tmp_path, kept=tmp_path / "kept", **options))
        aws.sandbox.tables = started[-1]
        return started[-1]

    def stop() -> None:
        for each in started:
            each.close()

    yield next_one
    stop()
    aws.sandbox.tables = None


def stream_of(aws: LocalAws, table: str) -> list[Any]:
    """Return the keys in a table's stream, oldest first."""
    arn = aws.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
    streams = aws.client("dynamodbstreams")
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    asked = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    records = streams.get_records(ShardIterator=streams.get_shard_iterator(**asked)["ShardIterator"])["Records"]
    return [record["dynamodb"]["Keys"] for record in records]


def existing(table: str) -> Callable[[], None]:
    def program() -> None:
        found = StreamTable.existing("invoices", table_name=table)
        pulumi.export("keys", dict(found.keys))
        pulumi.export("indexes", found.has_indexes)

    return program


def test_a_described_table_exists_with_its_items_and_no_change(
    aws: LocalAws, start: Start, tmp_path: Path, deployed: Callable[..., Deployment]
) -> None:
    start()
    (tmp_path / "seeded.json").write_text(json.dumps(DESCRIPTION), encoding="utf-8")
    scan = {"Items": [{"id": {"S": "1"}}, {"id": {"S": "2"}, "day": {"S": "Monday"}}]}
    (tmp_path / "seeded.items.json").write_text(json.dumps(scan), encoding="utf-8")
    (tmp_path / "seeded" / "data").mkdir(parents=True)
    (tmp_path / "seeded" / "data" / "a.json").write_text('{"Item": {"id": {"S": "2"}}}', encoding="utf-8")
    (tmp_path / "seeded" / "manifest.md5").write_text("not read", encoding="utf-8")
    outputs = deployed(existing("seeded"), config={}).outputs
    assert outputs == {"keys": {"id": "S"}, "indexes": True}
    assert sorted(item["id"] for item in aws.items("seeded")) == ["1", "2"]
    assert stream_of(aws, "seeded") == []
    aws.write("seeded", {"id": "3"})
    assert stream_of(aws, "seeded") == [{"id": {"S": "3"}}]


def test_a_table_without_a_stream_stays_without_one(aws: LocalAws, start: Start, tmp_path: Path) -> None:
    """As on AWS, where the program's message says how to switch it on."""
    start()
    quiet = {name: value for name, value in DESCRIPTION["Table"].items() if "Stream" not in name}
    (tmp_path / "quiet-seed.json").write_text(json.dumps({"Table": quiet}), encoding="utf-8")
    with pytest.raises(pulumi.RunError, match="table quiet-seed has no stream; switch it on"):
        aws.deploy(existing("quiet-seed"), config={})


def test_a_table_without_a_description_is_an_error_with_both_ways_out(
    aws: LocalAws, start: Start, tmp_path: Path, deployed: Callable[..., Deployment]
) -> None:
    start()
    message = (
        "invoices: table unknown cannot be read: .*the sandbox has no description of it. Either describe it: aws "
        f"dynamodb describe-table --table-name unknown > {re.escape(str(tmp_path))}/unknown.json; or have the sandbox "
        "invent it: python -m sandbox up --invent-tables$"
    )
    with pytest.raises(pulumi.RunError, match=message):
        aws.deploy(existing("unknown"), config={})
    (tmp_path / "unknown.items.json").write_text('{"Item": {"number": {"N": "1"}}}', encoding="utf-8")
    with pytest.raises(pulumi.RunError, match=r"the sandbox has 1 items of it, but not its keys\."):
        aws.deploy(existing("unknown"), config={})
    start(invent=True)
    assert deployed(existing("unknown"), config={}).outputs["keys"] == {"number": "N"}
    assert aws.items("unknown") == [{"number": 1}]


def declare(key: str = "id") -> Callable[[], None]:
    def program() -> None:
        attributes = [{"name": key, "type": "S"}]
        images = {"stream_enabled": True, "stream_view_type": "NEW_IMAGE"}
        pulumi.export("kept", declare_table("kept", hash_key=key, attributes=attributes, **images).name)

    return program


def test_items_come_back_after_a_restart_and_are_no_changes(
    aws: LocalAws, start: Start, tmp_path: Path, deployed: Callable[..., Deployment]
) -> None:
    start()
    first = deployed(declare(), config={}).outputs["kept"]
    aws.write(first, {"id": "1", "data": b"\0"}, {"id": "2"})
    aws.remove(first, id="2")
    start()
    second = deployed(declare(), config={}).outputs["kept"]
    assert second != first
    assert aws.items(second) == [{"id": "1", "data": b"\0"}]
    assert stream_of(aws, second) == []


def test_a_table_that_the_program_names_is_kept_too(
    aws: LocalAws, start: Start, deployed: Callable[..., Deployment]
) -> None:
    start(invent=True)
    deployed(existing("named"), config={})
    aws.write("named", {"id": "1"})
    start()
    aws.client("dynamodb").delete_table(TableName="named")
    deployed(existing("named"), config={})
    assert aws.items("named") == [{"id": "1"}]
    assert stream_of(aws, "named") == []


def test_what_is_written_survives_a_kill(
    aws: LocalAws, start: Start, tmp_path: Path, deployed: Callable[..., Deployment]
) -> None:
    """The file is written while the sandbox runs."""
    start()
    table = deployed(declare(), config={}).outputs["kept"]
    aws.write(table, {"id": "1"})
    file = tmp_path / "kept" / "kept.json.gz"
    wait_for(lambda: file.exists() and read(file).items == [{"id": {"S": "1"}}], "the file")


def test_items_of_other_keys_are_set_aside(
    aws: LocalAws, start: Start, tmp_path: Path, deployed: Callable[..., Deployment], caplog: pytest.LogCaptureFixture
) -> None:
    start()
    aws.write(deployed(declare(), config={}).outputs["kept"], {"id": "1"})
    start()
    assert aws.items(deployed(declare("number"), config={}).outputs["kept"]) == []
    assert (tmp_path / "kept" / "kept.json.old").exists()
    assert "kept has other keys than before: its kept items are in " in caplog.text


def test_two_sandboxes_do_not_keep_the_same_tables(aws: LocalAws, start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(SandboxError, match="another sandbox keeps the tables of this program"):
        LocalTables(aws.client, tmp_path, kept=tmp_path / "kept")


def test_the_message_names_the_folder_as_the_user_sees_it(aws: LocalAws) -> None:
    with pytest.raises(MissingTableError, match=r"--table-name no-such-table > sandbox/seed/no-such-table\.json; or"):
        LocalTables(aws.client).make("no-such-table")
