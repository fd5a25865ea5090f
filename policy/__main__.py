"""A CrossGuard policy pack that checks the stream pipelines of any program by the rules of `infra/rules/`.

Pulumi runs the pack in this directory, in its own virtual environment.
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

sys.path.insert(0, str(Path(__file__).parent.parent))  # Pulumi puts only this directory on the path

from infra import rules
from infra.rules.view import UNKNOWN, ResourceView


def python_value(value: Any) -> Any:
    """Return an input in plain Python: an Unknown for a part that the preview does not know, whole numbers as int."""
    match value:
        case float():
            return int(value) if value.is_integer() else value
        case Mapping():
            return {key: _part_or_unknown(value, key) for key in cast("Mapping[str, Any]", value)}
        case Sequence() if not isinstance(value, str):
            return [_part_or_unknown(value, index) for index in range(len(cast("Sequence[Any]", value)))]
        case _:
            return value


def _part_or_unknown(container: Any, key: Any) -> Any:
    try:
        return python_value(container[key])
    except UnknownValueError:
        return UNKNOWN


def view_of(resource: PolicyResource | ResourceValidationArgs) -> ResourceView:
    """Return the resource as the rules see it."""
    parent = resource.parent if isinstance(resource, PolicyResource) else None
    links = resource.property_dependencies if isinstance(resource, PolicyResource) else {}
    return ResourceView(
        resource.resource_type,
        resource.name,
        python_value(resource.props),
        resource.urn,
        {name: [each.urn for each in targets] for name, targets in links.items()},
        parent.urn if parent else "",
    )


def enforcement_level(rule: rules.Rule | rules.StackRule) -> EnforcementLevel:
    """Return how the pack enforces a rule, unless its configuration changes this."""
    return EnforcementLevel.ADVISORY if rule.level is rules.Level.ADVICE else EnforcementLevel.MANDATORY


def resource_policy(rule: rules.Rule) -> Policy:
    """Return the policy for a rule about one resource."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type in rule.types:
            for message in rule.check(view_of(args)):
                report(message, args.urn)

    return ResourceValidationPolicy(rule.name, rule.about, validate, enforcement_level(rule))


def stack_policy(rule: rules.StackRule) -> Policy:
    """Return the policy for a rule that compares resources."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for resource, message in rule.check([view_of(each) for each in args.resources]):
            report(message, resource.urn)

    return StackValidationPolicy(rule.name, rule.about, validate, enforcement_level(rule))


if __name__ == "__main__":
    ones = [resource_policy(rule) for rule in rules.RULES if not rule.program_only]
    PolicyPack("table-stream", ones + [stack_policy(rule) for rule in rules.STACK_RULES if not rule.program_only])
