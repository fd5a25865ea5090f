"""The whole program with the Pulumi CLI, from its installation to its destruction."""

import hashlib
import json
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from sandbox.program.deploy import Deployment
from sandbox.program.in_process import STACK_TYPE, Program, Registration, run
from sandbox.resources.assets import Archive
from sandbox.resources.catalog import TYPES, resource
from tests.consumers.project import SAMPLE
from tests.engine.project import Project
from tests.local import LocalAws

pytestmark = pytest.mark.timeout(300)

FUNCTIONS = {f"{consumer}-function" for consumer in ("change-log", "mirror", "welcome-email")}


@pytest.fixture(scope="module")
def engine(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    """The program as stack `local`, deployed once with the Pulumi CLI."""
    project = Project(tmp_path_factory.mktemp("engine"), provider)
    project.up()
    yield project
    project.destroy()


@dataclass
class RecordedDeployment(Deployment):
    """A deployment that records the registrations and their outputs by URN."""

    registrations: dict[str, tuple[Registration, dict[str, Any]]] = field(
        default_factory=dict[str, tuple[Registration, dict[str, Any]]]
    )

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        identity, outputs = super().register(registration)
        self.registrations[registration.urn] = registration, outputs
        return identity, outputs

    def checked_inputs(self, registration: Registration) -> dict[str, Any]:
        """Return inputs as in the state, with a name and the defaults."""
        if not registration.custom:
            return registration.inputs
        kind = resource(registration.type, registration.name, self.aws)
        return kind.check(registration.name, registration.inputs)


@pytest.fixture(scope="module")
def registered(aws: LocalAws) -> Generator[RecordedDeployment]:
    """The same program, deployed without the Pulumi CLI."""
    deployment = RecordedDeployment(aws.sandbox.aws)
    run(Program(SAMPLE), deployment)
    yield deployment
    deployment.destroy()


def test_an_installation_is_complete_and_a_preview_knows_every_resource(
    provider: str, tmp_path: Path, registered: RecordedDeployment
) -> None:
    project = Project(tmp_path, provider)
    (project.directory / ".venv").unlink()
    project.run("install", "--no-plugins")  # the AWS plugin is not on this machine
    names = {each.name for each, _ in registered.registrations.values()}
    assert project.preview() == dict.fromkeys(names | {"table-stream-local"}, "create")


def test_the_program_is_the_same_with_the_cli_and_without(engine: Project, registered: RecordedDeployment) -> None:
    """Compares type, name, parent, inputs and outputs; without the CLI, components have no recorded outputs."""
    seen = {
        urn: (each["type"], reduced(each.get("inputs", {})), reduced(each.get("outputs", {}) if each["custom"] else {}))
        for urn, each in engine.resources().items()
        if each["type"] not in (STACK_TYPE, "pulumi:providers:aws")
    }
    assert seen == {
        urn: (each.type, reduced(registered.checked_inputs(each)), reduced(outputs))
        for urn, (each, outputs) in registered.registrations.items()
    }


RANDOM = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "uuid"),
    (r"-[0-9a-f]{7}(?![0-9a-f])", "-0a1b2c3"),
    (r"/stream/[0-9T:.-]+", "/stream/label"),
    (r"AROA[A-Z0-9]+", "AROA"),
)
"""Random parts of ids and names."""


def reduced(value: Any) -> Any:
    """Return `value` without the random parts, and with archives as the hash of their content."""
    text = json.dumps(_hashed(value))
    for pattern, stand_in in RANDOM:
        text = re.sub(pattern, stand_in, text)
    return json.loads(text)


def _hashed(value: Any) -> Any:
    match value:
        case Archive(path=path):
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        case {"hash": str(digest), "path": str()}:
            return digest
        case dict():
            return {key: _hashed(item) for key, item in cast("dict[str, Any]", value).items()}
        case _:
            return value


def test_what_is_written_after_an_update_is_processed(engine: Project, aws: LocalAws) -> None:
    tables = engine.outputs()["tables"]
    orders = [{"customer_id": "engine", "order_id": str(number), "version": number} for number in range(20)]
    aws.write(tables["orders"]["name"], *orders)
    aws.write(tables["users"]["name"], {"id": "engine", "email": "engine@example.com", "name": "E"})
    aws.wait_until_idle()
    mirrored = [
        {name: item[name] for name in orders[0]}
        for item in aws.items(tables["orders-mirror"]["name"])
        if item["customer_id"] == "engine"
    ]
    assert sorted(mirrored, key=lambda item: item["version"]) == orders
    assert [mail["To"] for mail in aws.mails() if mail["To"] == ["engine@example.com"]] == [["engine@example.com"]]


def test_an_unchanged_program_changes_nothing_and_a_deleted_resource_returns(engine: Project, aws: LocalAws) -> None:
    engine.run("preview", "--expect-no-changes")
    function = engine.ids()["mirror-function"]
    aws.client("lambda").delete_function_event_invoke_config(FunctionName=function)  # only the program creates it
    engine.run("refresh", "--yes", "--skip-preview")
    assert "mirror-invocations" not in engine.ids()
    engine.up()
    assert "mirror-invocations" in engine.ids()
    engine.run("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_a_size_is_changed_in_place(engine: Project, aws: LocalAws) -> None:
    before = engine.ids()
    engine.configure("tuning.mirror.batchSize", "500")
    assert engine.preview() == {"mirror-orders": "update"}
    engine.up()
    assert engine.ids() == before
    mapping = aws.client("lambda").get_event_source_mapping(UUID=before["mirror-orders"])
    assert mapping["BatchSize"] == 500


def test_new_code_is_an_update_of_the_functions_alone(engine: Project, aws: LocalAws) -> None:
    before, outputs = engine.ids(), engine.outputs()
    engine.edit("handler/change_log.py", 'logger.info("change"', 'logger.info("changed"')
    assert engine.preview() == dict.fromkeys(FUNCTIONS, "update")
    engine.up()
    assert engine.ids() == before
    aws.write(outputs["tables"]["users"]["name"], {"id": "engine-code"})
    aws.wait_until_idle()
    [entry] = aws.log_entries(outputs["consumers"]["change-log"]["logGroup"], "changed")
    assert entry["dynamodb"]["Keys"] == {"id": {"S": "engine-code"}}


def test_destroy_leaves_nothing(engine: Project, registered: RecordedDeployment, aws: LocalAws) -> None:
    resources = engine.resources().values()
    engine.destroy()
    assert engine.resources() == {}
    identities = [(each["type"], each["id"]) for each in resources if each["type"] in TYPES]
    assert len(identities) == len(registered.resources)
    assert [identity for kind, identity in identities if TYPES[kind](aws.sandbox.aws).read(identity) is not None] == []
