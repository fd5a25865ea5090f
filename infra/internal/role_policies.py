"""The inline policies of a role, which has no other policies."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra.internal.registry import Children
from infra.internal.statements import Statement


@dataclass
class RolePolicies:
    """The inline policies of one role. Their names begin with `name`."""

    name: str
    role: aws.iam.Role
    children: Children
    _policies: list[aws.iam.RolePolicy] = field(default_factory=list[aws.iam.RolePolicy])

    def add(self, name: str, statements: Sequence[pulumi.Input[Statement | None]]) -> aws.iam.RolePolicy:
        """Make a policy of these statements."""
        policy = self.children.make_policy(f"{self.name}-{name}", self.role, statements)
        self._policies.append(policy)
        return policy

    def exclude_others(self, name: str) -> None:
        """Let each update remove all other policies of the role. A preview with refresh shows them first."""
        self.children.make(
            aws.iam.RolePoliciesExclusive,
            f"{self.name}-{name}-policies",
            role_name=self.role.name,
            policy_names=[policy.name for policy in self._policies],
        )
        self.children.make(
            aws.iam.RolePolicyAttachmentsExclusive,
            f"{self.name}-{name}-attachments",
            role_name=self.role.name,
            policy_arns=[],
        )
