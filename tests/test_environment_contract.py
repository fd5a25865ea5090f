"""What infra/ and handler/ each know of the other without importing it: variables, name by name, and the record age."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from handler.stream.effects import EXPIRY, VERSION
from handler.stream.engine.batch_run import RECORD_AGE_SECONDS
from handler.stream.entry import REQUEST
from handler.stream.environment import Environment
from infra import engine
from infra.internal.consumer_args import ENGINE_VARIABLES
from infra.rules import consumers
from sandbox import ROOT
from sandbox.program.in_process import run, stack_config
from tests.program.recording import FUNCTION, Recorder

HANDLER = Path(__file__).parent.parent / "handler"
BY_THE_SANDBOX = {"MINUTE_SECONDS"}
"""What the sandbox alone gives to a function, so that nobody waits there as long as on AWS."""
ENGINE = {field.name.upper() for field in fields(Environment)} - BY_THE_SANDBOX
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_IDEMPOTENCY_DISABLED"}


def read_by(source: str) -> set[str]:
    """Names that `os.environ["NAME"]` and `os.environ.get("NAME")` ask for."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                names.add(name)
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                names.add(name)
            case _:
                pass
    return names


@pytest.fixture(scope="module")
def given() -> dict[str, set[str]]:
    """Variables of each function of the program, tracing switched on."""
    tracing = '{"change-log": {"tracing": true}, "mirror": {"tracing": true}, "welcome-email": {"tracing": true}}'
    recorder = Recorder()
    run(ROOT, stack="local", config=stack_config("local") | {"tuning": tracing}, backend=recorder)
    return {
        registration.inputs["handler"].split(".")[1]: set(registration.inputs["environment"]["variables"])
        for (kind, _), registration in recorder.registered.items()
        if kind == FUNCTION
    }


@pytest.mark.parametrize("module", sorted(path.stem for path in HANDLER.glob("[!_]*.py")))
def test_a_function_is_given_exactly_what_it_reads(module: str, given: dict[str, set[str]]) -> None:
    assert given[module] == ENGINE | read_by((HANDLER / f"{module}.py").read_text())


def test_the_engine_reads_its_environment_in_one_place() -> None:
    """Variables of Powertools are its own to name, and may be looked at where it is used."""
    elsewhere = {
        path.name: found
        for path in (HANDLER / "stream").glob("*.py")
        if path.name != "environment.py" and (found := read_by(path.read_text()) - POWERTOOLS)
    }
    assert elsewhere == {}


def test_both_sides_know_the_same_record_age() -> None:
    assert RECORD_AGE_SECONDS == engine.RECORD_AGE_SECONDS


def test_both_sides_know_the_fence_s_attributes() -> None:
    assert (consumers.VERSION, consumers.EXPIRY) == (VERSION, EXPIRY)


def test_no_variable_of_the_engine_can_be_given_by_a_program() -> None:
    assert ENGINE_VARIABLES == ENGINE


def test_the_schedule_asks_what_the_engine_answers() -> None:
    assert engine.RETRY == {REQUEST: "retry"}
