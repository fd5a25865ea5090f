"""R1: one table, one function that logs each change from now on, and no more rights than that takes."""

import zipfile
from collections.abc import Callable

import pulumi

from infra.settings import Tuning
from infra.table import StreamTable
from sandbox.program.deploy import Deployment
from tests.infra.programs import bare_consumer
from tests.local import LocalAws
from tests.program.recording import FUNCTION, MAPPING, POLICY, TABLE, record, stream_arn

HOST = {"target": "host"}


def program() -> None:
    """A table with a string key `Id`, and a function that logs what changes from now on."""
    items = StreamTable("items", key="Id", view_type="NEW_AND_OLD_IMAGES")
    change_log = bare_consumer(items.changes(), name="change-log", tuning=Tuning(starting_position="LATEST"))
    pulumi.export("items", items.outputs)
    pulumi.export("change-log", change_log.outputs)


def test_the_table_and_the_mapping_are_as_described() -> None:
    recorder = record(program)
    table = recorder.one(TABLE, "items-table").inputs
    assert (table["hashKey"], table["attributes"]) == ("Id", [{"name": "Id", "type": "S"}])
    assert (table["billingMode"], table["streamViewType"]) == ("PAY_PER_REQUEST", "NEW_AND_OLD_IMAGES")
    assert recorder.one(MAPPING, "change-log-items").inputs["startingPosition"] == "LATEST"


def test_the_role_has_stream_and_log_rights_and_neither_every_log_nor_table_reads() -> None:
    recorder = record(program)
    statements = recorder.statements("change-log")
    assert {action for statement in statements for action in statement["Action"]} == {
        "dynamodb:DescribeStream",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    (reads,) = (statement for statement in statements if "dynamodb:GetRecords" in statement["Action"])
    assert reads["Resource"] == [stream_arn("items-table")]
    assert [name for kind, name in recorder.registered if kind == POLICY] == ["change-log-policy"]


def test_the_zip_has_no_compiled_python_and_other_code_is_another_hash() -> None:
    function = record(program).one(FUNCTION, "change-log-function").inputs
    with zipfile.ZipFile(function["code"].path) as archive:
        assert "handler/change_log.py" in archive.namelist()
        assert [name for name in archive.namelist() if name.endswith(".pyc")] == []
    assert len(function["codeSha256"]) == 44  # SHA-256 in base64, by which Lambda sees that the code is another


def test_a_replaced_function_stands_before_the_old_one_goes() -> None:
    function = record(program).one(FUNCTION, "change-log-function")
    assert not function.delete_before_replace
    assert "name" not in function.inputs  # Pulumi makes one up, so that two can stand side by side


def test_every_record_from_now_on_is_logged(aws: LocalAws, deployed: Callable[..., Deployment]) -> None:
    outputs = deployed(program, config=HOST).outputs
    aws.wait_until_idle()
    aws.write(outputs["items"]["name"], {"Id": "1", "colour": "red"})
    aws.wait_until_idle()
    (entry,) = aws.log_entries(outputs["change-log"]["logGroup"], "change")
    assert entry["event_id"]
    assert entry["event_name"] == "INSERT"
    assert entry["dynamodb"]["NewImage"] == {"Id": {"S": "1"}, "colour": {"S": "red"}}
