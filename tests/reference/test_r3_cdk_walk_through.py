"""R3: a table `Users`, a function of 256 MB and 60 s that may read it, a log line an item, and nothing left behind."""

from collections.abc import Callable

import pulumi

from infra.grants import read_from
from infra.settings import Tuning
from infra.table import StreamTable
from sandbox.program.deploy import Deployment
from tests.infra.programs import bare_consumer
from tests.local import LocalAws
from tests.program.recording import FUNCTION, TABLE, record, table_arn

HOST = {"target": "host"}


def program() -> None:
    """The table, and a function that may read it and logs its changes from now on."""
    users = StreamTable("Users", key="id")
    change_log = bare_consumer(
        users.changes(),
        name="change-log",
        environment={"USERS_TABLE": read_from(users)},
        tuning=Tuning(memory_size=256, timeout=60, starting_position="LATEST"),
    )
    pulumi.export("Users", users.outputs)
    pulumi.export("change-log", change_log.outputs)


def test_sizes_key_and_read_grant_are_as_described() -> None:
    recorder = record(program)
    function = recorder.one(FUNCTION, "change-log-function").inputs
    assert (function["memorySize"], function["timeout"]) == (256, 60)
    assert recorder.one(TABLE, "Users-table").inputs["hashKey"] == "id"
    reads = [item for item in recorder.statements("change-log") if item["Resource"] == [table_arn("Users-table")]]
    assert [item["Action"] for item in reads] == [["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"]]


def test_an_item_created_is_a_line_in_the_log_and_destroy_removes_everything(
    aws: LocalAws, deployed: Callable[..., Deployment]
) -> None:
    before = everything(aws)
    deployment = deployed(program, config=HOST)
    aws.wait_until_idle()
    aws.write(deployment.outputs["Users"]["name"], {"id": "7", "name": "Grace"})
    aws.wait_until_idle()
    (entry,) = aws.log_entries(deployment.outputs["change-log"]["logGroup"], "change")
    assert entry["dynamodb"]["NewImage"]["name"] == {"S": "Grace"}
    assert everything(aws) != before

    deployment.destroy()
    assert everything(aws) == before


def everything(aws: LocalAws) -> set[str]:
    """Names of all tables, functions, mappings, roles and log groups that there are."""
    functions = aws.client("lambda")
    return {
        *aws.client("dynamodb").list_tables()["TableNames"],
        *(each["FunctionName"] for each in functions.list_functions()["Functions"]),
        *(each["UUID"] for each in functions.list_event_source_mappings()["EventSourceMappings"]),
        *(each["RoleName"] for each in aws.client("iam").list_roles()["Roles"]),
        *(each["logGroupName"] for each in aws.client("logs").describe_log_groups()["logGroups"]),
    }
