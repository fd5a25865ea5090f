"""The types of rules, and the registered rules."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from infra.rules.view import ResourceView


class Level(Enum):
    """The consequence of a finding."""

    REFUSED = "cannot work, or is always a mistake: an error everywhere"
    UNSAFE = "may lose data, or give access to it: an error if the resource is protected, a warning elsewhere"
    ADVICE = "a warning everywhere"


Check = Callable[[ResourceView], Iterator[str]]
"""Yields, for each mistake in one resource, a message that names the consequence and the remedy."""

StackCheck = Callable[[Sequence[ResourceView]], Iterator[tuple[ResourceView, str]]]
"""Yields, for each mistake in all resources together, the resource to change and a message that names this resource."""


@dataclass(frozen=True)
class Rule:
    """A rule about one resource. `about` is its description: the first line of its function's docstring."""

    name: str
    about: str
    level: Level
    types: frozenset[str]
    check: Check
    program_only: bool = False  # needs inputs that only this program describes; not in the policy pack


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
