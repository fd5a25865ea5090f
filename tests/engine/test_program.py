"""The whole program in the hands of the real engine, from its installation to its end."""

import hashlib
import json
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from sandbox.program.deploy import Deployment
from sandbox.program.in_process import STACK_TYPE, Registration, run, stack_config
from sandbox.program.values import Archive
from sandbox.resources.catalog import TYPES, resource
from tests.consumers.project import SAMPLE
from tests.engine.project import Project
from tests.local import LocalAws

pytestmark = pytest.mark.timeout(300)

FUNCTIONS = {f"{consumer}-function" for consumer in ("change-log", "mirror", "welcome-email")}


@pytest.fixture(scope="module")
def engine(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    """The program as stack `local`, deployed once."""
    made = Project(tmp_path_factory.mktemp("engine"), provider)
    made.up()
    yield made
    made.destroy()


@dataclass
class Registered(Deployment):
    """A deployment that keeps what was registered and what came of it, by URN."""

    seen: dict[str, tuple[Registration, dict[str, Any]]] = field(
        default_factory=dict[str, tuple[Registration, dict[str, Any]]]
    )

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        identity, outputs = super().register(registration)
        self.seen[registration.urn] = registration, outputs
        return identity, outputs

    def checked(self, registration: Registration) -> dict[str, Any]:
        """Inputs as the state has them: with a name and the defaults."""
        if not registration.custom:
            return registration.inputs
        kind = resource(registration.type, registration.name, self.aws)
        return kind.check(registration.name, registration.inputs)


@pytest.fixture(scope="module")
def registered(aws: LocalAws) -> Generator[Registered]:
    """The same program, deployed without the engine."""
    made = Registered(aws.sandbox.aws)
    run(SAMPLE, stack="local", config=stack_config("local", SAMPLE), backend=made)
    yield made
    made.destroy()


def test_an_installation_is_complete_and_a_preview_knows_every_resource(
    provider: str, tmp_path: Path, registered: Registered
) -> None:
    made = Project(tmp_path, provider)
    (made.directory / ".venv").unlink()
    made.run("install", "--no-plugins")  # AWS's own plugin is nowhere on this machine
    names = {each.name for each, _ in registered.seen.values()}
    assert made.preview() == dict.fromkeys(names | {"table-stream-local"}, "create")


def test_both_views_of_the_program_agree(engine: Project, registered: Registered) -> None:
    """In type, name, parent, inputs and outputs; a component's outputs are not recorded without the engine."""
    seen = {
        urn: (each["type"], reduced(each.get("inputs", {})), reduced(each.get("outputs", {}) if each["custom"] else {}))
        for urn, each in engine.resources().items()
        if each["type"] not in (STACK_TYPE, "pulumi:providers:aws")
    }
    assert seen == {
        urn: (each.type, reduced(registered.checked(each)), reduced(outputs))
        for urn, (each, outputs) in registered.seen.items()
    }


RANDOM = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "uuid"),
    (r"-[0-9a-f]{7}(?![0-9a-f])", "-0a1b2c3"),
    (r"/stream/[0-9T:.-]+", "/stream/label"),
    (r"AROA[A-Z0-9]+", "AROA"),
)
"""What AWS, or the name of a resource, is given at random."""


def reduced(value: Any) -> Any:
    """`value` without what differs from one deployment to the next, and archives as the hash of what they hold."""
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
    aws.settle()
    mirrored = [
        {name: item[name] for name in orders[0]}
        for item in aws.items(tables["orders-mirror"]["name"])
        if item["customer_id"] == "engine"
    ]
    assert sorted(mirrored, key=lambda item: item["version"]) == orders
    assert [mail["To"] for mail in aws.mails() if mail["To"] == ["engine@example.com"]] == [["engine@example.com"]]


def test_nothing_is_changed_without_a_change_and_what_is_gone_comes_back(engine: Project, aws: LocalAws) -> None:
    engine.run("preview", "--expect-no-changes")
    function = engine.ids()["mirror-function"]
    aws.client("lambda").delete_function_event_invoke_config(FunctionName=function)  # nobody but the program makes it
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
    aws.settle()
    [entry] = aws.log_entries(outputs["consumers"]["change-log"]["logGroup"], "changed")
    assert entry["dynamodb"]["Keys"] == {"id": {"S": "engine-code"}}


def test_the_end_leaves_nothing(engine: Project, registered: Registered, aws: LocalAws) -> None:
    resources = engine.resources().values()
    engine.destroy()
    assert engine.resources() == {}
    made = [(each["type"], each["id"]) for each in resources if each["type"] in TYPES]
    assert len(made) == len(registered.made)
    assert [identity for kind, identity in made if TYPES[kind](aws.sandbox.aws).read(identity) is not None] == []
