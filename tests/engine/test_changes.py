"""Changes of a deployed program that must not lose records, with the Pulumi CLI, as docs/runbook.md describes them.

Here, a deletion and a creation take milliseconds; on AWS, a mapping takes up to a minute and a stream several. The
tests show properties that hold at any speed: the replaced resources, and that changes written meanwhile are processed.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.engine.project import Project
from tests.local import LocalAws

pytestmark = pytest.mark.timeout(400)

Projects = Callable[..., Project]

SETUP = """
import pulumi

from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import Settings
from infra.stores import Stores
from infra.table import StreamTable

settings = Settings.load()
package = build(settings.target)
confirmed = settings.confirmed_drained
orders = StreamTable("orders", key="id", protect=settings.protect, confirmed_drained=confirmed.get("orders"))
stores = Stores("stores", retention_in_days=30)
pulumi.export("table", orders.table_name)
"""
CONSUMER = """
log = StreamConsumer(
    "change-log",
    reads=[orders.changes()],
    environment={},
    stores=stores,
    tuning=settings.tuning("change-log"),
    package=package,
)
pulumi.export("group", log.log_group.name)
"""
PROGRAM = SETUP + CONSUMER
OTHER_VIEW = ('key="id"', 'key="id", view_type="KEYS_ONLY"')
ROLES = [f"{role}{part}" for role in ("role", "retry-role") for part in ("", "-policies", "-attachments")]
OF_RETRIES = ("invocations", "helpers", "retry", "retry-policy")
CHILDREN = {f"change-log-{part}" for part in ("logs", "policy", "function", "orders", *ROLES, *OF_RETRIES)}


class Writer:
    """Writes an item every few milliseconds, also during deployments."""

    def __init__(self, aws: LocalAws, outputs: dict[str, Any]) -> None:
        self.aws, self.table, self.group = aws, outputs["table"], outputs["group"]
        self.written: list[str] = []

    def write(self) -> None:
        name = f"{len(self.written)}"
        self.aws.write(self.table, {"id": name})
        self.written.append(name)

    @contextmanager
    def busy(self) -> Generator[None]:
        done = threading.Event()

        def write() -> None:
            while not done.wait(0.02):
                self.write()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def processed(self) -> list[str]:
        """Wait until the sandbox is idle, and return the items whose changes are logged."""
        self.aws.wait_until_idle()
        return [entry["dynamodb"]["Keys"]["id"]["S"] for entry in self.aws.log_entries(self.group, "change")]

    def missing(self) -> set[str]:
        """Return the items that are written and not processed."""
        return set(self.written) - set(self.processed())


def deployed(new_project: Projects, aws: LocalAws, program: str = PROGRAM) -> tuple[Project, Writer]:
    project = new_project(program=program)
    project.up()
    writer = Writer(aws, project.outputs())
    writer.write()
    assert writer.missing() == set()
    return project, writer


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_another_position_replaces_the_mapping_which_skips_or_repeats(new_project: Projects, aws: LocalAws) -> None:
    project, writer = deployed(new_project, aws)
    project.configure("tuning.change-log.enabled", "false")
    project.up()
    writer.write()
    project.configure("tuning.change-log.enabled", "true")
    project.configure("tuning.change-log.startingPosition", "LATEST")
    project.up()
    writer.write()
    assert writer.missing() == {"1"}

    before = project.ids()
    project.configure("tuning.change-log.startingPosition", "TRIM_HORIZON")
    assert project.preview() == {"change-log-orders": "replace"}
    with writer.busy():
        project.up()
    assert changed(before, project.ids()) == {"change-log-orders"}
    assert writer.missing() == set()
    assert writer.processed().count("0") == 2


def test_another_source_replaces_the_mapping_which_reads_that_from_its_beginning(
    new_project: Projects, aws: LocalAws
) -> None:
    for name in ("engine-one", "engine-two"):
        aws.create_table(name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    program = PROGRAM.replace(
        'StreamTable("orders", key="id", protect=settings.protect, confirmed_drained=confirmed.get("orders"))',
        'StreamTable.existing("orders", table_name="engine-one")',
    )
    project, writer = deployed(new_project, aws, program)
    before = project.ids()
    aws.write("engine-two", {"id": "written before"})
    project.edit("__main__.py", "engine-one", "engine-two")
    assert project.preview() == {"change-log-orders": "replace", "change-log-policy": "update"}
    project.up()
    assert changed(before, project.ids()) == {"change-log-orders"}
    writer.table, writer.written = "engine-two", ["written before"]
    writer.write()
    assert writer.missing() == set()


def renamed(new_project: Projects, aws: LocalAws, argument: str) -> tuple[Project, Writer, dict[str, str]]:
    """Rename the consumer (with `argument`) and the table of a deployed program; also return the ids by new name."""
    project, writer = deployed(new_project, aws)
    before = project.ids()
    (project.directory / "handler" / "change_log.py").rename(project.directory / "handler" / "journal.py")
    project.edit("__main__.py", CONSUMER, CONSUMER.replace("change-log", "journal"))
    project.edit("__main__.py", '"journal",', f'"journal", {argument},')
    project.edit("__main__.py", '"orders",', '"sales", opts=pulumi.ResourceOptions(aliases=[pulumi.Alias("orders")]),')
    names = {name: name.replace("change-log", "journal").replace("orders", "sales") for name in before}
    return project, writer, {names[name]: identity for name, identity in before.items()}


def test_aliases_of_a_consumer_and_a_table_reach_their_children_and_the_mapping_between(
    new_project: Projects, aws: LocalAws
) -> None:
    alias = 'opts=pulumi.ResourceOptions(aliases=[pulumi.Alias("change-log")])'
    project, writer, expected = renamed(new_project, aws, alias)
    assert project.preview() == {"journal-function": "update", "journal-policy": "update"}
    with writer.busy():
        project.up()
    assert project.ids() == expected
    assert writer.missing() == set()


def test_a_former_name_keeps_the_children_and_the_rows_of_the_ledger(new_project: Projects, aws: LocalAws) -> None:
    project, writer, expected = renamed(new_project, aws, 'former_name="change-log"')
    assert project.preview() == {"journal-function": "update"}  # its permissions cover the same items as before
    with writer.busy():
        project.up()
    assert project.ids() == expected
    function = aws.client("lambda").get_function_configuration(FunctionName=expected["journal-function"])
    variables = function["Environment"]["Variables"]
    assert (variables["POWERTOOLS_SERVICE_NAME"], variables["LEDGER_NAME"]) == ("journal", "change-log")
    assert writer.missing() == set()


def test_a_consumer_that_is_disabled_is_not_invoked_for_retries_either(new_project: Projects, aws: LocalAws) -> None:
    project, _ = deployed(new_project, aws)
    before = project.ids()
    project.configure("tuning.change-log.enabled", "false")
    assert project.preview() == {"change-log-orders": "update", "change-log-retry": "update"}
    project.up()
    assert project.ids() == before
    [schedule] = (each for urn, each in project.resources().items() if urn.endswith("::change-log-retry"))
    assert schedule["outputs"]["state"] == "DISABLED"


def test_protected_resources_are_not_replaced_or_deleted_and_a_deleted_consumer_can_return(
    new_project: Projects, aws: LocalAws
) -> None:
    project = new_project(program=PROGRAM)
    project.configure("protect", "true")
    project.up()
    writer, before = Writer(aws, project.outputs()), project.ids()
    urns = {urn.rpartition("::")[2]: urn for urn in project.resources()}
    project.edit("__main__.py", *OTHER_VIEW)
    project.confirm(project.expect_failure("preview"))
    assert "unable to replace resource" in project.expect_failure("preview")
    project.run("state", "unprotect", urns["change-log-orders"], "--yes")
    project.up()
    assert changed(before, project.ids()) == {"change-log-orders"}
    assert project.resources()[urns["change-log-orders"]]["protect"]

    project.edit("__main__.py", CONSUMER, "")
    assert "cannot be deleted" in project.expect_failure("up", "--yes", "--skip-preview")
    project.run("state", "unprotect", *(urns[name] for name in CHILDREN | {"change-log"}), "--yes")
    project.up()
    assert changed(before, project.ids()) == CHILDREN
    writer.write()
    assert "cannot be deleted" in project.expect_failure("destroy", "--yes", "--skip-preview")

    project.edit("__main__.py", SETUP.replace(*OTHER_VIEW), PROGRAM.replace(*OTHER_VIEW))
    project.configure("protect", "false")
    project.up()
    writer.group = project.outputs()["group"]
    assert writer.missing() == set()


def test_another_architecture_is_an_update_of_the_function_alone(new_project: Projects, aws: LocalAws) -> None:
    """The archive contains wheels for another interpreter; here, the pure Python parts suffice."""
    project, writer = deployed(new_project, aws)
    before = project.ids()
    project.configure("target", "arm64")
    with writer.busy():
        project.up()
    assert project.ids() == before
    function = aws.client("lambda").get_function_configuration(FunctionName=before["change-log-function"])
    assert function["Architectures"] == ["arm64"]
    assert writer.missing() == set()


def test_another_view_type_is_an_error_until_the_old_stream_is_confirmed_drained(
    new_project: Projects, aws: LocalAws
) -> None:
    project, writer = deployed(new_project, aws)
    before, streams = project.ids(), [stream_of(project)]
    project.edit("__main__.py", *OTHER_VIEW)
    for command in (["preview"], ["up", "--yes", "--skip-preview"]):
        output = project.expect_failure(*command)
        assert "orders: view type KEYS_ONLY in place of NEW_AND_OLD_IMAGES ends the stream and starts another" in output
    assert project.ids() == before
    assert stream_of(project) == streams[0]

    project.confirm(output)
    assert project.preview() == {"orders-table": "update", "change-log-orders": "replace"}
    project.up()
    streams.append(stream_of(project))
    assert changed(before, project.ids()) == {"change-log-orders"}
    assert streams[0] != streams[1]
    writer.write()
    assert writer.missing() == set()

    project.edit("__main__.py", "KEYS_ONLY", "NEW_IMAGE")
    assert streams[1] in project.expect_failure("preview")  # a confirmation is valid for one stream only


def test_a_saved_plan_changes_a_view_type_in_part_and_an_update_completes_it(
    new_project: Projects, aws: LocalAws
) -> None:
    project, writer = deployed(new_project, aws)
    project.edit("__main__.py", *OTHER_VIEW)
    project.confirm(project.expect_failure("preview"))
    before, old = project.ids(), stream_of(project)
    project.preview("--save-plan", "plan.json")
    assert "resource violates plan" in project.expect_failure("up", "--yes", "--skip-preview", "--plan", "plan.json")
    assert stream_of(project) != old
    assert project.ids() == before  # the mapping still reads the stream that has ended
    writer.write()
    assert writer.missing() == {"1"}
    project.up()
    assert changed(before, project.ids()) == {"change-log-orders"}
    assert writer.missing() == set()


def stream_of(project: Project) -> str:
    [stream] = (
        each["outputs"]["streamArn"] for urn, each in project.resources().items() if urn.endswith("orders-table")
    )
    return stream
