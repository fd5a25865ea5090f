"""A table and a consumer of it, as the tests declare them, and what becomes of a program."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pytest

from infra.archive import build
from infra.consumer import Environment, StreamConsumer
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable, ViewType
from sandbox.program import in_process
from tests.consumers.project import SAMPLE
from tests.program.recording import FUNCTION, MAPPING, RecordingBackend, record, stream_arn, table_arn

Program = Callable[[bool], object]
"""Registers resources, protected or not."""

StackFile = Mapping[str, Any]

ON_CALL = '{"pageTo": "on-call@example.com"}'
"""The key `alarms` of a stack file, which names whom alarms tell. A protected stack needs it."""

PROD_USERS: dict[str, Any] = {
    "name": "prod-users",
    "arn": table_arn("users"),
    "hashKey": "id",
    "rangeKey": "n",
    "attributes": [{"name": "id", "type": "S"}, {"name": "n", "type": "N"}, {"name": "indexed", "type": "S"}],
    "streamEnabled": True,
    "streamViewType": "KEYS_ONLY",
    "streamArn": stream_arn("users"),
}
"""A table that exists already, as `aws.dynamodb.get_table` returns it."""


def table(protect: bool, name: str = "orders", view_type: ViewType = "NEW_AND_OLD_IMAGES") -> StreamTable:
    return StreamTable(name, key="id", view_type=view_type, protect=protect)


def users(name: str = "users", **options: Any) -> StreamTable:
    return StreamTable(name, key="id", **options)


def stores() -> Stores:
    return Stores("stores", retention_in_days=30)


def consumer(
    *reads: Changes, name: str = "mirror", environment: Environment | None = None, **options: Any
) -> StreamConsumer:
    options = {"tuning": Tuning(), "package": build("host", SAMPLE)} | options
    if "stores" not in options:
        options["stores"] = stores()
    return StreamConsumer(name, reads=reads, environment=environment or {}, **options)


def bare_consumer(*reads: Changes, stores: Stores | None = None, **options: Any) -> StreamConsumer:
    """A consumer without stores, unless the options contain them."""
    return consumer(*reads, stores=stores, **options)


def refusal(program: Callable[[], object], tables: Mapping[str, Any] | None = None, *, preview: bool = False) -> str:
    """Return the message with which a program is refused, or an empty one."""
    try:
        record(program, tables=tables, preview=preview)
    except pulumi.RunError as error:
        return str(error)
    return ""


def mapping(recorder: RecordingBackend) -> Any:
    """Return the inputs of the mapping between `mirror` and `users`."""
    return recorder.one(MAPPING, "mirror-users").inputs


def variables(recorder: RecordingBackend) -> Any:
    """Return the environment variables of `mirror`."""
    return recorder.one(FUNCTION, "mirror-function").inputs["environment"]["variables"]


def outcome(
    program: StackFile | Program, caplog: pytest.LogCaptureFixture, *, protect: bool
) -> tuple[list[str], list[str]]:
    """Preview a program, or the whole program with keys in its stack file; return the errors and the warnings."""
    caplog.clear()
    errors: list[str] = []
    try:
        if callable(program):
            record(lambda: program(protect), preview=True)
        else:
            texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in program.items()}
            config = {"target": "host", "protect": json.dumps(protect), "alarms": ON_CALL} | texts
            namespaced = {f"table-stream:{key}": text for key, text in config.items()}
            program_run = in_process.Program(SAMPLE, stack="test", config=namespaced)
            in_process.run(program_run, RecordingBackend(preview=True), preview=True)
    except pulumi.RunError as error:
        errors = str(error).splitlines()
        if errors[0].startswith("the configuration of stack test has"):
            title, *errors = errors
            assert title == f"the configuration of stack test has {len(errors)} error{'s' if len(errors) > 1 else ''}:"
    return [line.strip() for line in errors], [each.message for each in caplog.records]
