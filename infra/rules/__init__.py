"""The rules: plain functions that find combinations of resources which are unsafe or cannot work.

The program checks its own resources by these rules, and the policy pack checks those of any program. The rules use the
standard library only.
"""

from collections.abc import Iterable, Iterator, Sequence

from infra.rules import access, consumers, functions, mappings, names, tables
from infra.rules.rule import RULES, STACK_RULES, Level, Rule, StackRule
from infra.rules.view import ResourceView

__all__ = ["RULES", "STACK_RULES", "Finding", "Level", "Rule", "StackRule", "findings", "resource_findings"]

MODULES = (access, consumers, functions, mappings, names, tables)
"""The modules that contain the rules. The import of a module registers its rules."""


Finding = tuple[Level, ResourceView, str]
"""A level, the resource to change, and a message that begins with the resource's name."""


def resource_findings(resources: Iterable[ResourceView]) -> Iterator[Finding]:
    """Yield the findings of the rules about one resource, for each of these resources."""
    for resource in resources:
        for rule in RULES:
            if resource.type in rule.types:
                for message in rule.check(resource):
                    yield rule.level, resource, f"{resource.name}: {message}"


def findings(resources: Sequence[ResourceView]) -> Iterator[Finding]:
    """Yield the findings of all rules about these resources."""
    yield from resource_findings(resources)
    for rule in STACK_RULES:
        for resource, message in rule.check(resources):
            yield rule.level, resource, message
