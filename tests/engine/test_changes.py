"""Changes of a deployed program that must not lose records, each by the real engine; docs/runbook.md says how.

Deletion and creation follow each other within milliseconds here; on AWS a mapping is gone or made after up to a minute,
and a stream is another one after several. What holds at any speed is shown: what is replaced and what stays, and that
what is written meanwhile is processed.
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
    """Writes an item every few milliseconds, as somebody does who knows nothing of deployments."""

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
        """The items whose changes have been logged when everything is at rest."""
        self.aws.settle()
        return [entry["dynamodb"]["Keys"]["id"]["S"] for entry in self.aws.log_entries(self.group, "change")]

    def missing(self) -> set[str]:
        """What has been written and not processed."""
        return set(self.written) - set(self.processed())


def deployed(project: Projects, aws: LocalAws, program: str = PROGRAM) -> tuple[Project, Writer]:
    made = project(program=program)
    made.up()
    writer = Writer(aws, made.outputs())
    writer.write()
    assert writer.missing() == set()
    return made, writer


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_another_position_replaces_the_mapping_which_skips_or_repeats(project: Projects, aws: LocalAws) -> None:
    made, writer = deployed(project, aws)
    made.configure("tuning.change-log.enabled", "false")
    made.up()
    writer.write()
    made.configure("tuning.change-log.enabled", "true")
    made.configure("tuning.change-log.startingPosition", "LATEST")
    made.up()
    writer.write()
    assert writer.missing() == {"1"}

    before = made.ids()
    made.configure("tuning.change-log.startingPosition", "TRIM_HORIZON")
    assert made.preview() == {"change-log-orders": "replace"}
    with writer.busy():
        made.up()
    assert changed(before, made.ids()) == {"change-log-orders"}
    assert writer.missing() == set()
    assert writer.processed().count("0") == 2


def test_another_source_replaces_the_mapping_which_reads_that_from_its_beginning(
    project: Projects, aws: LocalAws
) -> None:
    for name in ("engine-one", "engine-two"):
        aws.client("dynamodb").create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )
    program = PROGRAM.replace(
        'StreamTable("orders", key="id", protect=settings.protect, confirmed_drained=confirmed.get("orders"))',
        'StreamTable.existing("orders", table_name="engine-one")',
    )
    made, writer = deployed(project, aws, program)
    before = made.ids()
    aws.write("engine-two", {"id": "written before"})
    made.edit("__main__.py", "engine-one", "engine-two")
    assert made.preview() == {"change-log-orders": "replace", "change-log-policy": "update"}
    made.up()
    assert changed(before, made.ids()) == {"change-log-orders"}
    writer.table, writer.written = "engine-two", ["written before"]
    writer.write()
    assert writer.missing() == set()


def renamed(project: Projects, aws: LocalAws, argument: str) -> tuple[Project, Writer, dict[str, str]]:
    """A program whose consumer and table are about to be renamed: `argument` says so of the consumer."""
    made, writer = deployed(project, aws)
    before = made.ids()
    (made.directory / "handler" / "change_log.py").rename(made.directory / "handler" / "journal.py")
    made.edit("__main__.py", CONSUMER, CONSUMER.replace("change-log", "journal"))
    made.edit("__main__.py", '"journal",', f'"journal", {argument},')
    made.edit("__main__.py", '"orders",', '"sales", opts=pulumi.ResourceOptions(aliases=[pulumi.Alias("orders")]),')
    names = {name: name.replace("change-log", "journal").replace("orders", "sales") for name in before}
    return made, writer, {names[name]: identity for name, identity in before.items()}


def test_aliases_of_a_consumer_and_a_table_reach_their_children_and_the_mapping_between(
    project: Projects, aws: LocalAws
) -> None:
    alias = 'opts=pulumi.ResourceOptions(aliases=[pulumi.Alias("change-log")])'
    made, writer, expected = renamed(project, aws, alias)
    assert made.preview() == {"journal-function": "update", "journal-policy": "update"}
    with writer.busy():
        made.up()
    assert made.ids() == expected
    assert writer.missing() == set()


def test_a_former_name_does_so_too_and_keeps_what_stands_in_the_ledger(project: Projects, aws: LocalAws) -> None:
    made, writer, expected = renamed(project, aws, 'former_name="change-log"')
    assert made.preview() == {"journal-function": "update"}  # its rights are to the same items as before
    with writer.busy():
        made.up()
    assert made.ids() == expected
    function = aws.client("lambda").get_function_configuration(FunctionName=expected["journal-function"])
    variables = function["Environment"]["Variables"]
    assert (variables["POWERTOOLS_SERVICE_NAME"], variables["LEDGER_NAME"]) == ("journal", "change-log")
    assert writer.missing() == set()


def test_a_consumer_that_is_disabled_is_not_invoked_for_retries_either(project: Projects, aws: LocalAws) -> None:
    made, _ = deployed(project, aws)
    before = made.ids()
    made.configure("tuning.change-log.enabled", "false")
    assert made.preview() == {"change-log-orders": "update", "change-log-retry": "update"}
    made.up()
    assert made.ids() == before
    [schedule] = (each for urn, each in made.resources().items() if urn.endswith("::change-log-retry"))
    assert schedule["outputs"]["state"] == "DISABLED"


def test_what_is_protected_is_neither_replaced_nor_removed_and_what_is_removed_can_come_back(
    project: Projects, aws: LocalAws
) -> None:
    made = project(program=PROGRAM)
    made.configure("protect", "true")
    made.up()
    writer, before = Writer(aws, made.outputs()), made.ids()
    urns = {urn.rpartition("::")[2]: urn for urn in made.resources()}
    made.edit("__main__.py", *OTHER_VIEW)
    made.confirm(made.refused("preview"))
    assert "unable to replace resource" in made.refused("preview")
    made.run("state", "unprotect", urns["change-log-orders"], "--yes")
    made.up()
    assert changed(before, made.ids()) == {"change-log-orders"}
    assert made.resources()[urns["change-log-orders"]]["protect"]

    made.edit("__main__.py", CONSUMER, "")
    assert "cannot be deleted" in made.refused("up", "--yes", "--skip-preview")
    made.run("state", "unprotect", *(urns[name] for name in CHILDREN | {"change-log"}), "--yes")
    made.up()
    assert changed(before, made.ids()) == CHILDREN
    writer.write()
    assert "cannot be deleted" in made.refused("destroy", "--yes", "--skip-preview")

    made.edit("__main__.py", SETUP.replace(*OTHER_VIEW), PROGRAM.replace(*OTHER_VIEW))
    made.configure("protect", "false")
    made.up()
    writer.group = made.outputs()["group"]
    assert writer.missing() == set()


def test_another_architecture_is_an_update_of_the_function_alone(project: Projects, aws: LocalAws) -> None:
    """Built for another interpreter, the archive holds other wheels; all but the pure parts of them do without here."""
    made, writer = deployed(project, aws)
    before = made.ids()
    made.configure("target", "arm64")
    with writer.busy():
        made.up()
    assert made.ids() == before
    function = aws.client("lambda").get_function_configuration(FunctionName=before["change-log-function"])
    assert function["Architectures"] == ["arm64"]
    assert writer.missing() == set()


def test_another_view_type_is_refused_until_the_old_stream_is_said_to_be_drained(
    project: Projects, aws: LocalAws
) -> None:
    made, writer = deployed(project, aws)
    before, streams = made.ids(), [stream_of(made)]
    made.edit("__main__.py", *OTHER_VIEW)
    for command in (["preview"], ["up", "--yes", "--skip-preview"]):
        told = made.refused(*command)
        assert "orders: view type KEYS_ONLY in place of NEW_AND_OLD_IMAGES ends the stream and begins another" in told
    assert made.ids() == before
    assert stream_of(made) == streams[0]

    made.confirm(told)
    assert made.preview() == {"orders-table": "update", "change-log-orders": "replace"}
    made.up()
    streams.append(stream_of(made))
    assert changed(before, made.ids()) == {"change-log-orders"}
    assert streams[0] != streams[1]
    writer.write()
    assert writer.missing() == set()

    made.edit("__main__.py", "KEYS_ONLY", "NEW_IMAGE")
    assert streams[1] in made.refused("preview")  # what was said of one stream is said of no other


def test_a_saved_plan_leaves_a_view_type_half_changed_and_a_plain_update_ends_it(
    project: Projects, aws: LocalAws
) -> None:
    made, writer = deployed(project, aws)
    made.edit("__main__.py", *OTHER_VIEW)
    made.confirm(made.refused("preview"))
    before, old = made.ids(), stream_of(made)
    made.preview("--save-plan", "plan.json")
    assert "resource violates plan" in made.refused("up", "--yes", "--skip-preview", "--plan", "plan.json")
    assert stream_of(made) != old
    assert made.ids() == before  # the mapping still reads the stream that has ended
    writer.write()
    assert writer.missing() == {"1"}
    made.up()
    assert changed(before, made.ids()) == {"change-log-orders"}
    assert writer.missing() == set()


def stream_of(project: Project) -> str:
    [stream] = (
        each["outputs"]["streamArn"] for urn, each in project.resources().items() if urn.endswith("orders-table")
    )
    return stream
