"""What a rule is, and the list of all of them; standard library only."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from infra.rules.view import ResourceView


class Level(Enum):
    """What becomes of a finding."""

    REFUSED = "cannot work, or is never wanted: an error everywhere"
    UNSAFE = "legal in AWS and may lose data or open it: an error in a protected stack, a warning elsewhere"
    ADVICE = "a warning everywhere"


Check = Callable[[ResourceView], Iterator[str]]
"""Says of one resource what may happen and how to mend it, for each thing that is wrong with it."""

StackCheck = Callable[[Sequence[ResourceView]], Iterator[tuple[ResourceView, str]]]
"""The same over all resources together, each message with the resource that is to be mended; the message names it."""


@dataclass(frozen=True)
class Rule:
    """A rule by name, with what it is about: the first line of its function's docstring."""

    name: str
    about: str
    level: Level
    types: frozenset[str]
    check: Check
    program_only: bool = (
        False  # needs what only this program's components tell of a consumer, so it is none of the pack's
    )


@dataclass(frozen=True)
class StackRule:
    """A rule that compares resources."""

    name: str
    about: str
    level: Level
    check: StackCheck
    program_only: bool = False


RULES: list[Rule] = []
STACK_RULES: list[StackRule] = []

OfOne = TypeVar("OfOne", bound=Check)


def rule(level: Level, *types: str, program_only: bool = False) -> Callable[[OfOne], OfOne]:
    """Register a rule about each resource of these types."""

    def register(check: OfOne) -> OfOne:
        RULES.append(Rule(*_named(check), level, frozenset(types), check, program_only))
        return check

    return register


def stack_rule(level: Level, *, program_only: bool = False) -> Callable[[StackCheck], StackCheck]:
    """Register a rule that compares resources."""

    def register(check: StackCheck) -> StackCheck:
        STACK_RULES.append(StackRule(*_named(check), level, check, program_only))
        return check

    return register


def _named(check: Callable[..., object]) -> tuple[str, str]:
    return check.__name__.replace("_", "-"), (check.__doc__ or "").splitlines()[0]
