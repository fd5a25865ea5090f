"""A request's way to a service and back, with all that can go wrong on it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.dynamodb import client_error
from tests.property.function.place import Place
from tests.property.history.faults import Span, within

LOST, REFUSED, THROTTLED, ANSWER_LOST, PARTLY = "lost", "refused", "throttled", "answer lost", "done in part"
FATES = (LOST, REFUSED, THROTTLED, ANSWER_LOST, ANSWER_LOST, PARTLY)


class LostError(Exception):
    """botocore's ReadTimeoutError, as far as it matters: nobody knows whether the request was carried out."""


class Line(NamedTuple):
    """How a client talks to its service."""

    read_timeout: float
    attempts: int


LEDGER = Line(read_timeout=1.0, attempts=2)
"""The ledger's own client (the contract's time-outs)."""
HANDLERS = Line(read_timeout=3.5, attempts=2)
"""Other clients, whose attempts end within a handler's time."""


class Request(NamedTuple):
    """One request; `act` does at the service what is asked for, `partly` only some of it."""

    name: str
    act: Callable[[], Any]
    down: Span | None
    throttled: Span | None = None
    partly: Callable[[], Any] | None = None


def send(place: Place, line: Line, request: Request) -> Any:
    """The answer, as boto3's client gives it: with the SDK's own repeats, each of which may be carried out."""
    facts, name = place.facts, request.name
    error: Exception = LostError(name)
    for attempt in range(line.attempts):
        if attempt:
            facts.met["repeat by the SDK"] += 1
            place.spend(place.rng.uniform(0, 1))
        _travel(place)
        place.may_die(f"before {name}")
        fate = _fate(place, request)
        if fate in (LOST, REFUSED, THROTTLED):
            facts.met[f"{name}: {fate}"] += 1
            place.spend(line.read_timeout if fate == LOST else 0.005)
            code = "ProvisionedThroughputExceededException" if fate == THROTTLED else "InternalServerError"
            error = LostError(name) if fate == LOST else client_error(code, name)
            continue
        answer = _carried_out(request, in_part=fate == PARTLY)
        place.may_die(f"after {name}")
        if fate == ANSWER_LOST:
            facts.met[f"{name}: {fate}"] += 1
            place.spend(line.read_timeout)
            error = LostError(name)
            continue
        _travel(place)
        if fate == PARTLY and request.partly:
            facts.met[f"{name}: {fate}"] += 1
        if isinstance(answer, ClientError):
            raise answer
        return answer
    facts.met[f"{name}: failed"] += 1
    raise error


def _carried_out(request: Request, *, in_part: bool) -> Any:
    act = request.partly if in_part and request.partly else request.act
    try:
        return act()
    except ClientError as refusal:  # an answer like another: it may be lost, and the SDK does not repeat it
        return refusal


def _travel(place: Place) -> None:
    if place.faults.stores.laggy and place.kernel.now < place.faults.quiet_at:
        place.spend(place.rng.uniform(0.001, 0.8))
    else:
        place.spend(0.004)


def _fate(place: Place, request: Request) -> str | None:
    now, faults, rng = place.kernel.now, place.faults, place.rng
    if within(request.down, now):
        return LOST if rng.random() < 0.5 else REFUSED
    if within(request.throttled, now) and rng.random() < 0.7:
        return THROTTLED
    if faults.stores.flaky and now < faults.quiet_at and rng.random() < faults.stores.flaky:
        return rng.choice(FATES)
    return None
