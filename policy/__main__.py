"""A CrossGuard pack: the rules of `infra/rules/`, which the program runs itself, for any program's stream pipelines.

Pulumi runs it in this directory, in a virtual environment of its own.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

sys.path.insert(0, str(Path(__file__).parent.parent))  # Pulumi puts this directory on the path, and not the project's

from infra import rules
from infra.rules.view import UNKNOWN, ResourceView


def plain(value: Any) -> Any:
    """Plain Python of an input: an Unknown for what raises when it is looked at, whole numbers as int."""
    match value:
        case float():
            return int(value) if value.is_integer() else value
        case Mapping():
            return {key: _known(value, key) for key in cast("Mapping[str, Any]", value)}
        case Sequence() if not isinstance(value, str):
            return [_known(value, index) for index in range(len(cast("Sequence[Any]", value)))]
        case _:
            return value


def _known(container: Any, key: Any) -> Any:
    try:
        return plain(container[key])
    except UnknownValueError:
        return UNKNOWN


def resource(found: PolicyResource | ResourceValidationArgs) -> ResourceView:
    """A resource as the rules see it."""
    parent = found.parent if isinstance(found, PolicyResource) else None
    links = found.property_dependencies if isinstance(found, PolicyResource) else {}
    return ResourceView(
        found.resource_type,
        found.name,
        plain(found.props),
        found.urn,
        {name: [each.urn for each in targets] for name, targets in links.items()},
        parent.urn if parent else "",
    )


def level(rule: rules.Rule | rules.StackRule) -> EnforcementLevel:
    """How the pack enforces a rule unless its configuration says otherwise."""
    return EnforcementLevel.ADVISORY if rule.level is rules.Level.ADVICE else EnforcementLevel.MANDATORY


def of_one(rule: rules.Rule) -> Policy:
    """The policy of a rule for one resource."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type in rule.types:
            for message in rule.check(resource(args)):
                report(message, args.urn)

    return ResourceValidationPolicy(rule.name, rule.about, validate, level(rule))


def of_all(rule: rules.StackRule) -> Policy:
    """The policy of a rule that compares resources."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for found, message in rule.check([resource(each) for each in args.resources]):
            report(message, found.urn)

    return StackValidationPolicy(rule.name, rule.about, validate, level(rule))


if __name__ == "__main__":
    ones = [of_one(rule) for rule in rules.RULES if not rule.by_facts]
    PolicyPack("table-stream", ones + [of_all(rule) for rule in rules.STACK_RULES if not rule.by_facts])
