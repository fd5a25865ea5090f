"""Combinations that are unsafe or cannot work, each stated once, as plain functions over resources.

The program runs them over what it registers, the policy pack over any program's resources. Standard library only.
"""

from collections.abc import Iterable, Iterator, Sequence

from infra.rules import access, consumers, functions, mappings, names, tables
from infra.rules.rule import RULES, STACK_RULES, Level, Rule, StackRule
from infra.rules.view import ResourceView

__all__ = ["RULES", "STACK_RULES", "Finding", "Level", "Rule", "StackRule", "findings", "resource_findings"]

MODULES = (access, consumers, functions, mappings, names, tables)
"""Where the rules are. Importing a module registers its rules."""


Finding = tuple[Level, ResourceView, str]
"""A level, the resource that is to be mended, and a message that begins with its name."""


def resource_findings(resources: Iterable[ResourceView]) -> Iterator[Finding]:
    """What the rules about one resource say of each of these."""
    for resource in resources:
        for rule in RULES:
            if resource.type in rule.types:
                for message in rule.check(resource):
                    yield rule.level, resource, f"{resource.name}: {message}"


def findings(resources: Sequence[ResourceView]) -> Iterator[Finding]:
    """What all rules say of these."""
    yield from resource_findings(resources)
    for rule in STACK_RULES:
        for resource, message in rule.check(resources):
            yield rule.level, resource, message
