"""R5: role, function, table and mapping; several functions on one stream, and one function on several."""

from collections.abc import Callable

import pulumi

from infra.grants import write_to
from infra.table import StreamTable
from sandbox.program.deploy import Deployment
from tests.infra.programs import bare_consumer
from tests.local import LocalAws
from tests.program.recording import MAPPING, ROLE, record

HOST = {"target": "host"}


def program() -> None:
    """Two tables; one function reads both, a second function reads one of them too."""
    items, others, copy = (StreamTable(name, key="id") for name in ("items", "others", "copy"))
    change_log = bare_consumer(items.changes(), others.changes(), name="change-log")
    mirror = bare_consumer(items.changes(), environment={"MIRROR_TABLE": write_to(copy, "PutItem")})
    pulumi.export("tables", {each.name: each.outputs for each in (items, others, copy)})
    pulumi.export("consumers", {each.name: each.outputs for each in (change_log, mirror)})


def test_the_role_is_lambdas_and_the_mapping_reads_batches_of_100_from_the_beginning() -> None:
    recorder = record(program)
    assert '"Service": "lambda.amazonaws.com"' in recorder.one(ROLE, "change-log-role").inputs["assumeRolePolicy"]
    mapping = recorder.one(MAPPING, "change-log-items").inputs
    assert (mapping["batchSize"], mapping["startingPosition"]) == (100, "TRIM_HORIZON")


def test_an_item_added_updated_and_deleted_is_three_lines_in_the_log(
    aws: LocalAws, deployed: Callable[..., Deployment]
) -> None:
    outputs = deployed(program, config=HOST).outputs
    table = outputs["tables"]["items"]["name"]
    aws.write(table, {"id": "1", "n": 1}, {"id": "1", "n": 2})
    aws.remove(table, id="1")
    aws.write(outputs["tables"]["others"]["name"], {"id": "2"})
    aws.wait_until_idle()
    entries = aws.log_entries(outputs["consumers"]["change-log"]["logGroup"], "change")
    of_items = [entry["event_name"] for entry in entries if entry["dynamodb"]["Keys"] == {"id": {"S": "1"}}]
    assert of_items == ["INSERT", "MODIFY", "REMOVE"]
    assert len(entries) == 4, "the same function reads the other stream too"
    (tombstone,) = aws.items(outputs["tables"]["copy"]["name"])
    assert tombstone["id"] == "1", "and another function reads the same stream"


def test_the_mappings_are_listed_with_their_last_result_all_in_one_account_and_region(
    aws: LocalAws, deployed: Callable[..., Deployment]
) -> None:
    outputs = deployed(program, config=HOST).outputs
    change_log, items = outputs["consumers"]["change-log"], outputs["tables"]["items"]
    listed = aws.client("lambda").list_event_source_mappings(FunctionName=change_log["function"])["EventSourceMappings"]
    assert {each["UUID"] for each in listed} == set(change_log["mappings"].values())

    mapping = change_log["mappings"]["items"]
    assert aws.sandbox.poller.last_processing_result(mapping) == "No records processed"
    aws.write(items["name"], {"id": "1"})
    aws.wait_until_idle()
    assert aws.sandbox.poller.last_processing_result(mapping) == "OK"
    regions_and_accounts = {tuple(arn.split(":")[3:5]) for arn in (items["streamArn"], change_log["functionArn"])}
    assert len(regions_and_accounts) == 1
