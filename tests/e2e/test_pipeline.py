"""The whole program in the emulator: changes of its tables have their effects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as resources

from handler.stream.failures import read_failure
from sandbox.program.deploy import Deployment
from tests.local import LocalAws, declare_table, zip_module


def test_the_mirror_follows_every_change_and_ends_equal(aws: LocalAws, pipeline: Deployment):
    tables = pipeline.outputs["tables"]
    orders = [
        {"customer_id": f"e2e-{number % 3}", "order_id": str(number % 20), "version": number, "exact": 10**30 + number}
        for number in range(150)
    ]
    aws.write(tables["orders"]["name"], *orders)
    aws.remove(tables["orders"]["name"], customer_id="e2e-0", order_id="0")
    aws.wait_until_idle()

    def content(name: str) -> dict[tuple[str, str], dict[str, Any]]:
        items = (item for item in aws.items(tables[name]["name"]) if item["customer_id"].startswith("e2e-"))
        return {
            (item["customer_id"], item["order_id"]): {key: item[key] for key in ("version", "exact") if key in item}
            for item in items
        }

    source, mirror = content("orders"), content("orders-mirror")
    tombstone = mirror.pop(("e2e-0", "0"))
    assert mirror == source
    assert len(source) == 59
    assert tombstone == {}


def test_each_new_user_gets_one_mail_and_a_change_that_cannot_succeed_is_parked(aws: LocalAws, pipeline: Deployment):
    users = [{"id": f"e2e-{number}", "email": f"e2e-{number}@example.com", "name": "N"} for number in range(5)]
    odd = {"id": "e2e-odd", "email": "e2e-odd@example.com", "language": "xx"}
    aws.write(pipeline.outputs["tables"]["users"]["name"], *users, odd, {**users[0], "name": "renamed"})
    aws.wait_until_idle()
    mails = [mail for mail in aws.mails() if mail["To"][0].startswith("e2e-")]
    assert sorted(mail["To"][0] for mail in mails) == [user["email"] for user in users]
    assert {mail["Source"] for mail in mails} == {"hello@example.com"}

    stores = pipeline.outputs["stores"]
    kept = {key: body for key, body in aws.objects(stores["failures"]["bucket"]).items() if b"e2e-odd" in body}
    [(key, body)] = kept.items()
    assert key.startswith(f"engine/welcome-email/{pipeline.outputs['tables']['users']['name']}/")
    [record] = read_failure(body).records
    assert record["dynamodb"]["NewImage"] == {name: {"S": value} for name, value in odd.items()}
    parked = aws.log_entries(pipeline.outputs["consumers"]["welcome-email"]["logGroup"], "change parked")
    assert [entry["keys"] for entry in parked].count({"id": "e2e-odd"}) == 1


def test_every_change_of_both_tables_is_logged(aws: LocalAws, pipeline: Deployment):
    tables, consumer = pipeline.outputs["tables"], pipeline.outputs["consumers"]["change-log"]
    aws.write(tables["users"]["name"], {"id": "logged"})
    aws.write(tables["orders"]["name"], {"customer_id": "logged", "order_id": "1"})
    aws.remove(tables["users"]["name"], id="logged")
    aws.wait_until_idle()
    entries = aws.log_entries(consumer["logGroup"], "change")
    own = [entry for entry in entries if "logged" in json.dumps(entry)]
    logged = [(entry["event_name"], list(entry["dynamodb"]["Keys"])) for entry in own]
    assert sorted(logged) == [("INSERT", ["customer_id", "order_id"]), ("INSERT", ["id"]), ("REMOVE", ["id"])]


def test_the_records_of_a_crashing_function_go_to_the_destination_whole(
    aws: LocalAws, deployed: Callable[..., Deployment], tmp_path: Path
):
    """The function does not use handler.stream. It crashes each time, and the mapping writes the records to S3."""
    (tmp_path / "code.zip").write_bytes(zip_module("import os\ndef handler(event, context): os._exit(1)\n"))

    def program() -> None:
        table = declare_table("crash", stream_enabled=True, stream_view_type="NEW_IMAGE")
        bucket = resources.s3.Bucket("crash", force_destroy=True)
        function = resources.lambda_.Function(
            "crash",
            role=resources.iam.Role("crash", assume_role_policy='{"Version": "2012-10-17", "Statement": []}').arn,
            code=pulumi.FileArchive(str(tmp_path / "code.zip")),
            handler="m.handler",
            runtime="python3.11",
        )
        mapping = resources.lambda_.EventSourceMapping(
            "crash",
            event_source_arn=table.stream_arn,
            function_name=function.arn,
            starting_position="TRIM_HORIZON",
            maximum_retry_attempts=1,
            destination_config={"on_failure": {"destination_arn": bucket.arn}},
        )
        pulumi.export("names", [table.name, bucket.bucket, function.name, mapping.uuid])

    table, bucket, function, mapping = deployed(program, config={}).outputs["names"]
    aws.write(table, {"id": "a"}, {"id": "b"})
    aws.wait_until_idle()
    written = aws.objects(bucket)
    assert all(key.startswith(f"aws/lambda/{mapping}/shardId-") for key in written)
    failures = [read_failure(body) for body in written.values()]
    lost = [record["dynamodb"]["NewImage"]["id"]["S"] for failure in failures for record in failure.records]
    assert sorted(lost) == ["a", "b"]
    assert {failure.condition for failure in failures} == {"RetryAttemptsExhausted"}
    assert len(aws.invocations(function)) == 2 * len(written)


def test_destroying_the_program_leaves_nothing(aws: LocalAws):
    def inventory() -> dict[str, list[str]]:
        listed = {
            "tables": aws.client("dynamodb").list_tables()["TableNames"],
            "streams": [each["StreamArn"] for each in aws.client("dynamodbstreams").list_streams()["Streams"]],
            "functions": [each["FunctionName"] for each in aws.client("lambda").list_functions()["Functions"]],
            "mappings": [
                each["UUID"] for each in aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
            ],
            "roles": [each["RoleName"] for each in aws.client("iam").list_roles()["Roles"]],
            "schedules": [each["Name"] for each in aws.client("scheduler").list_schedules()["Schedules"]],
            "buckets": [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]],
            "groups": [each["logGroupName"] for each in aws.client("logs").describe_log_groups()["logGroups"]],
        }
        return {kind: sorted(names) for kind, names in listed.items()}

    before = inventory()
    deployment = aws.deploy()
    during = inventory()
    counts = {kind: len(names) - len(before[kind]) for kind, names in during.items()}
    tables = {"tables": 4, "streams": 3, "buckets": 1}
    assert counts == {**tables, "functions": 3, "mappings": 4, "roles": 6, "schedules": 3, "groups": 3}
    last = {"id": "last", "email": "last@example.com", "language": "xx"}
    aws.write(deployment.outputs["tables"]["users"]["name"], last)
    aws.wait_until_idle()
    created = list(deployment.resources)
    deployment.destroy()
    assert inventory() == before
    assert [each.registration.name for each in created if each.resource_type.read(each.id) is not None] == []
