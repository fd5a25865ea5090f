"""A role's policies: within it, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra.internal.registry import Children
from infra.internal.statements import Statement


@dataclass
class RolePolicies:
    """The policies of one role; their names begin with `name`."""

    name: str
    role: aws.iam.Role
    children: Children
    _made: list[aws.iam.RolePolicy] = field(default_factory=list[aws.iam.RolePolicy])

    def add(self, name: str, statements: Sequence[pulumi.Input[Statement | None]]) -> aws.iam.RolePolicy:
        """A policy of these statements."""
        made = self.children.make_policy(f"{self.name}-{name}", self.role, statements)
        self._made.append(made)
        return made

    def exclude_others(self, name: str) -> None:
        """Have whatever else is put into the role, or attached to it, removed by the next update, and seen before."""
        self.children.make(
            aws.iam.RolePoliciesExclusive,
            f"{self.name}-{name}-policies",
            role_name=self.role.name,
            policy_names=[policy.name for policy in self._made],
        )
        self.children.make(
            aws.iam.RolePolicyAttachmentsExclusive,
            f"{self.name}-{name}-attachments",
            role_name=self.role.name,
            policy_arns=[],
        )
