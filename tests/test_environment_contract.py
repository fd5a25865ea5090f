"""The facts that infra/ and handler/ share without an import: environment variables, the record age, the fence."""

import ast
import json
from dataclasses import fields

import pytest

from handler.stream.effects import EXPIRY, VERSION
from handler.stream.engine.batch_run import RECORD_AGE_SECONDS
from handler.stream.entry import REQUEST
from handler.stream.environment import Environment
from infra import engine
from infra.internal.consumer_args import ENGINE_VARIABLES
from infra.rules import consumers
from sandbox import ROOT
from tests.consumers.project import SAMPLE
from tests.program.recording import FUNCTION, record_program

MODULES = ("change_log", "mirror", "welcome_email")
"""The sample program's consumers."""
BY_THE_SANDBOX = {"MINUTE_SECONDS"}
"""Variables that only the sandbox sets: a short minute, so that a user need not wait as long as on AWS."""
ENGINE = {field.name.upper() for field in fields(Environment)} - BY_THE_SANDBOX
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_IDEMPOTENCY_DISABLED"}


def read_by(source: str) -> set[str]:
    """Return the names in `os.environ["NAME"]` and `os.environ.get("NAME")`."""
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
def variables() -> dict[str, set[str]]:
    """Return the variables of each function of the sample program by its module, with tracing."""
    tracing = json.dumps({each.replace("_", "-"): {"tracing": True} for each in MODULES})
    functions = record_program(SAMPLE, "local", tuning=tracing).of_type(FUNCTION)
    return {each.inputs["handler"].split(".")[1]: set(each.inputs["environment"]["variables"]) for each in functions}


@pytest.mark.parametrize("module", MODULES)
def test_a_function_has_exactly_the_variables_that_it_reads(module: str, variables: dict[str, set[str]]) -> None:
    source = (SAMPLE / "handler" / f"{module}.py").read_text(encoding="utf-8")
    assert variables[module] == ENGINE | read_by(source)


def test_the_engine_reads_its_environment_in_one_place() -> None:
    """Powertools names its own variables; the modules that use Powertools may read them."""
    elsewhere = {
        path.name: names
        for path in (ROOT / "handler" / "stream").rglob("*.py")
        if path.name != "environment.py" and (names := read_by(path.read_text(encoding="utf-8")) - POWERTOOLS)
    }
    assert elsewhere == {}


def test_both_sides_know_the_same_record_age() -> None:
    assert RECORD_AGE_SECONDS == engine.RECORD_AGE_SECONDS


def test_both_sides_know_the_attributes_of_the_fence() -> None:
    assert (consumers.VERSION, consumers.EXPIRY) == (VERSION, EXPIRY)


def test_a_program_can_set_no_variable_of_the_engine() -> None:
    assert ENGINE_VARIABLES == ENGINE


def test_the_schedule_sends_the_request_that_the_engine_answers() -> None:
    assert engine.RETRY == {REQUEST: "retry"}
