"""What is put to the proof: the engine, with its locks on simulated time."""

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
    """Metrics are not what is proven here, and would take a third of the time."""

    def __init__(self, **_: Any) -> None: ...

    def add_metric(self, **_: Any) -> None: ...

    def flush_metrics(self) -> None: ...


SIMULATED = substitute(
    (batch_run, "threading", threads), (turn, "threading", threads), (telemetry, "EphemeralMetrics", _NoMetrics)
)
"""What the engine has in a history in place of its own: locks on simulated time, and no metrics."""


@dataclass(frozen=True)
class EngineParts:
    """What a Lambda environment is made of."""

    function: Function
    settings: Environment
    claim: bool
    client: Callable[[str], Any]
    executor: Executor
    clock: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True)
class Subject:
    """Something that processes batches, and what it may raise instead of answering."""

    name: str
    build: Callable[[EngineParts], EntryPoint]
    raises: tuple[type[Exception], ...] = ()
    effects: Callable[[Any], Any] = lambda client: client
    """What a fenced handler is given for its client."""
    substitution: Substitution = contextlib.nullcontext
    """What its mistake replaces in the engine, while a history lasts."""


def engine(parts: EngineParts) -> Engine:
    """The engine with its stores."""
    settings = replace(parts.settings, ledger_table=LEDGER, failure_bucket=BUCKET, powertools_service_name=CONSUMER)
    return assembled(parts, settings)


def assembled(parts: EngineParts, settings: Environment) -> Engine:
    """The engine with these settings."""
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
