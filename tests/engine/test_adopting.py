"""The program adopts existing resources, in each way of docs/adopting.md, with the Pulumi CLI."""

import json
import re
import shutil
from collections.abc import Callable, Mapping

import pytest

from sandbox import ROOT
from tests.engine.project import Project
from tests.local import LocalAws, zip_module

pytestmark = pytest.mark.timeout(400)

Projects = Callable[..., Project]

IMPORTS = """
import pulumi
import pulumi_aws as aws

from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import Settings
from infra.stores import Stores
from infra.table import StreamTable

settings = Settings.load()
"""
TABLE = """
orders = StreamTable("orders", key="id", protect=settings.protect, table_args={"name": "TABLE"})
"""
CONSUMER = """
log = StreamConsumer(
    "change-log",
    reads=[orders.changes()],
    environment={},
    stores=Stores("stores", retention_in_days=30),
    tuning=settings.tuning("change-log"),
    package=build(settings.target),
    function_args={"name": "FUNCTION"},
)
pulumi.export("group", log.log_group.name)
"""
PLAIN = """
aws.dynamodb.Table(
    "orders",
    name="TABLE",
    attributes=[{"name": "id", "type": "S"}],
    hash_key="id",
    billing_mode="PAY_PER_REQUEST",
)
"""


def program(*parts: str, table: str, function: str = "") -> str:
    return "".join(parts).replace("TABLE", table).replace("FUNCTION", function)


def make_table(aws: LocalAws, name: str, **specification: object) -> str:
    """Create a table with one item outside Pulumi; return the ARN of its stream, if it has one."""
    stream = aws.create_table(name, **specification)
    aws.write(name, {"id": "written before"})
    return stream


def make_function(aws: LocalAws, name: str, stream: str) -> str:
    """Create a function with a disabled mapping outside Pulumi; return the UUID of the mapping."""
    role = aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    code = {"ZipFile": zip_module("def handler(event, context): return None\n")}
    functions = aws.client("lambda")
    functions.create_function(FunctionName=name, Role=role, Handler="m.handler", Runtime="python3.11", Code=code)
    mapping = functions.create_event_source_mapping(
        EventSourceArn=stream, FunctionName=name, StartingPosition="TRIM_HORIZON", Enabled=False
    )
    return mapping["UUID"]


def adopt(project: Project, identities: Mapping[str, str]) -> list[dict[str, object]]:
    """Import the resources with these ids (by name) and their components; return the entries of the import file."""
    file = project.directory / "adopt.json"
    project.run("preview", "--import-file", file.name)
    listed = json.loads(file.read_text())["resources"]
    adopted = [each | {"id": identities[each["name"]]} for each in listed if each["name"] in identities]
    components = {each["parent"] for each in adopted}
    chosen = [each for each in listed if each["name"] in components] + adopted
    assert len(adopted) == len(identities)
    file.write_text(json.dumps({"resources": chosen}))
    project.run("import", "--file", file.name, "--generate-code=false", "--yes")
    return chosen


def documented(uuid: str) -> list[dict[str, object]]:
    """Return the import file of docs/adopting.md, for a mapping."""
    (text,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "adopting.md").read_text(), re.DOTALL)
    return json.loads(text.replace("14e0db71-...", uuid))["resources"]


def urns(project: Project) -> dict[str, str]:
    return {urn.rpartition("::")[2]: urn for urn in project.resources()}


def processed(aws: LocalAws, project: Project) -> set[str]:
    aws.wait_until_idle()
    entries = aws.log_entries(project.outputs()["group"], "change")
    return {entry["dynamodb"]["Keys"]["id"]["S"] for entry in entries}


def test_a_table_its_function_and_their_mapping_are_updated_in_place(new_project: Projects, aws: LocalAws) -> None:
    stream = make_table(
        aws, "orders-2019", StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    )
    identities = {"orders-table": "orders-2019", "change-log-function": "log-orders"}
    identities["change-log-orders"] = uuid = make_function(aws, "log-orders", stream)
    project = new_project(program=program(IMPORTS, TABLE, CONSUMER, table="orders-2019", function="log-orders"))
    project.configure("protect", "true")
    said = adopt(project, identities)
    assert sorted(said, key=str) == sorted(documented(uuid), key=str)
    assert {name: op for name, op in project.preview().items() if op != "create"} == dict.fromkeys(identities, "update")

    project.up()
    assert project.ids().items() >= identities.items()
    assert project.preview() == {}
    aws.write("orders-2019", {"id": "written after"})
    assert processed(aws, project) == {"written before", "written after"}
    mapping = aws.client("lambda").get_event_source_mapping(UUID=uuid)
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    project.configure("protect", "false")
    project.up()


def test_a_replacement_in_a_protected_stack_is_an_error(new_project: Projects, aws: LocalAws) -> None:
    make_table(aws, "adopted-other-key")
    project = new_project(
        program=program(IMPORTS, TABLE, table="adopted-other-key").replace('key="id"', 'key="number"')
    )
    project.configure("protect", "true")
    adopt(project, {"orders-table": "adopted-other-key"})
    assert "unable to replace resource" in project.expect_failure("up", "--yes", "--skip-preview")
    project.run("state", "delete", "--force", "--yes", urns(project)["orders-table"])
    assert len(aws.items("adopted-other-key")) == 1
    project.configure("protect", "false")
    project.run("state", "unprotect", "--all", "--yes")


def test_an_adopted_table_gets_a_stream(new_project: Projects, aws: LocalAws) -> None:
    project = new_project(program=program(IMPORTS, PLAIN, table="adopted-plain"))
    project.up()
    aws.write("adopted-plain", {"id": "written before"})
    project.run("state", "delete", "--yes", urns(project)["orders"])
    project.edit("__main__.py", program(PLAIN, table="adopted-plain"), program(TABLE, table="adopted-plain"))
    adopt(project, {"orders-table": "adopted-plain"})
    assert project.preview() == {"orders-table": "update"}
    project.up()
    assert project.preview() == {}
    described = aws.client("dynamodb").describe_table(TableName="adopted-plain")["Table"]
    assert described["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert len(aws.items("adopted-plain")) == 1


def test_components_move_between_stacks_with_their_resources(new_project: Projects, aws: LocalAws) -> None:
    project = new_project(program=program(IMPORTS, TABLE, CONSUMER, table="moved", function="moved-log"))
    project.up()
    before = project.ids()
    shutil.copy(project.directory / "Pulumi.local.yaml", project.directory / "Pulumi.other.yaml")
    project.run("stack", "init", "other", "--no-select")
    components = [urns(project)[name] for name in ("orders", "stores", "change-log")]
    project.run("state", "move", "--source", "local", "--dest", "other", "--yes", *components)
    assert set(project.ids()) <= {"default_7_51_0"}

    project.run("stack", "select", "other")
    assert project.preview() == {}
    project.up()
    assert {name: identity for name, identity in project.ids().items() if name in before} == before
    aws.write("moved", {"id": "written after"})
    assert processed(aws, project) == {"written after"}
    project.destroy()
    project.run("stack", "select", "local")
