"""A request's way to a service and back, with all that can go wrong on it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.dynamodb import client_error
from tests.property.function.lambda_environment import LambdaEnvironment
from tests.property.history.faults import Span, is_during

LOST, REFUSED, THROTTLED, ANSWER_LOST, PARTLY = "lost", "refused", "throttled", "answer lost", "done in part"
FATES = (LOST, REFUSED, THROTTLED, ANSWER_LOST, ANSWER_LOST, PARTLY)


class LostError(Exception):
    """botocore's ReadTimeoutError, as far as it matters: nobody knows whether the request was carried out."""


class ClientConfig(NamedTuple):
    """How a client talks to its service."""

    read_timeout_seconds: float
    attempts: int


LEDGER_CLIENT = ClientConfig(read_timeout_seconds=1.0, attempts=2)
"""The ledger's own client (the contract's time-outs)."""
HANDLER_CLIENTS = ClientConfig(read_timeout_seconds=3.5, attempts=2)
"""Other clients, whose attempts end within a handler's time."""


class Request(NamedTuple):
    """One request; `act` does at the service what is asked for, `partly` only some of it."""

    name: str
    act: Callable[[], Any]
    down: Span | None
    throttled: Span | None = None
    partly: Callable[[], Any] | None = None


def send(environment: LambdaEnvironment, config: ClientConfig, request: Request) -> Any:
    """The answer, as boto3's client gives it: with the SDK's own repeats, each of which may be carried out."""
    journal, name = environment.journal, request.name
    error: Exception = LostError(name)
    for attempt in range(config.attempts):
        if attempt:
            journal.incidents["repeat by the SDK"] += 1
            environment.spend(environment.rng.uniform(0, 1))
        _travel(environment)
        environment.may_crash(f"before {name}")
        fate = _fate(environment, request)
        if fate in (LOST, REFUSED, THROTTLED):
            journal.incidents[f"{name}: {fate}"] += 1
            environment.spend(config.read_timeout_seconds if fate == LOST else 0.005)
            code = "ProvisionedThroughputExceededException" if fate == THROTTLED else "InternalServerError"
            error = LostError(name) if fate == LOST else client_error(code, name)
            continue
        answer = _carried_out(request, in_part=fate == PARTLY)
        environment.may_crash(f"after {name}")
        if fate == ANSWER_LOST:
            journal.incidents[f"{name}: {fate}"] += 1
            environment.spend(config.read_timeout_seconds)
            error = LostError(name)
            continue
        _travel(environment)
        if fate == PARTLY and request.partly:
            journal.incidents[f"{name}: {fate}"] += 1
        if isinstance(answer, ClientError):
            raise answer
        return answer
    journal.incidents[f"{name}: failed"] += 1
    raise error


def _carried_out(request: Request, *, in_part: bool) -> Any:
    act = request.partly if in_part and request.partly else request.act
    try:
        return act()
    except ClientError as refusal:  # an answer like another: it may be lost, and the SDK does not repeat it
        return refusal


def _travel(environment: LambdaEnvironment) -> None:
    if environment.faults.stores.laggy and environment.clock.now < environment.faults.quiet_at:
        environment.spend(environment.rng.uniform(0.001, 0.8))
    else:
        environment.spend(0.004)


def _fate(environment: LambdaEnvironment, request: Request) -> str | None:
    now, faults, rng = environment.clock.now, environment.faults, environment.rng
    if is_during(request.down, now):
        return LOST if rng.random() < 0.5 else REFUSED
    if is_during(request.throttled, now) and rng.random() < 0.7:
        return THROTTLED
    if faults.stores.flaky and now < faults.quiet_at and rng.random() < faults.stores.flaky:
        return rng.choice(FATES)
    return None
