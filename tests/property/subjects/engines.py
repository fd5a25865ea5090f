"""The subjects of simulations: the engine, with its locks on virtual time."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from handler.stream import telemetry
from handler.stream.engine import batch_run
from handler.stream.engine.batch import Function
from handler.stream.engine.workers import Executor
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.held_items import turn
from tests.property.function import threads
from tests.property.function.lambda_environment import EntryPoint
from tests.property.function.names import BUCKET, CONSUMER, LEDGER
from tests.property.subjects.substitution import Substitution, substitute


class _NoMetrics:
    """Drops metrics, which would take a third of the time; the tests of handler/ check them."""

    def __init__(self, **_: Any) -> None: ...

    def add_metric(self, **_: Any) -> None: ...

    def flush_metrics(self) -> None: ...


SIMULATED = substitute(
    (batch_run, "threading", threads), (turn, "threading", threads), (telemetry, "EphemeralMetrics", _NoMetrics)
)
"""Locks on virtual time, and no metrics: what every history substitutes in the engine."""


@dataclass(frozen=True)
class EngineParts:
    """The arguments of an environment's engine."""

    function: Function
    settings: Environment
    claim: bool
    client: Callable[[str], Any]
    executor: Executor
    clock: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True)
class Subject:
    """A program that processes batches, and the errors that it may raise."""

    name: str
    build: Callable[[EngineParts], EntryPoint]
    raises: tuple[type[Exception], ...] = ()
    effects: Callable[[Any], Any] = lambda client: client
    """Wraps the client of fenced handlers."""
    substitution: Substitution = contextlib.nullcontext
    """The substitution that makes the engine a mutant during a history."""


def engine(parts: EngineParts) -> Engine:
    """Return the engine with its stores."""
    settings = replace(parts.settings, ledger_table=LEDGER, failure_bucket=BUCKET, powertools_service_name=CONSUMER)
    return assembled(parts, settings)


def assembled(parts: EngineParts, settings: Environment) -> Engine:
    """Return the engine with these settings."""
    return Engine(
        parts.function,
        settings,
        claim=parts.claim and bool(settings.ledger_table),
        client=parts.client,
        executor=parts.executor,
        clock=parts.clock,
        sleep=parts.sleep,
    )


ENGINE = Subject("engine", engine)
