"""IAM roles and policies. The emulator enforces them only if AUTH is set."""

# ruff: noqa: ARG002, D102 -- ResourceType documents the methods of every type, and fixes their arguments

from typing import Any, ClassVar

from sandbox.resources.resource_type import Inputs, ResourceError, ResourceType, parse_properties


class Role(ResourceType):
    """A role. If `inlinePolicies` or `managedPolicyArns` is set, other policies of that kind are removed."""

    type, service, id_argument = "aws:iam/role:Role", "iam", "RoleName"
    create_call, describe_call, delete_call = "create_role", "get_role", "delete_role"
    replacement_properties = frozenset({"name", "path"})
    properties = parse_properties(
        """name=RoleName assumeRolePolicy=AssumeRolePolicyDocument description maxSessionDuration path
        permissionsBoundary inlinePolicies= managedPolicyArns= forceDetachPolicies="""
    )
    outputs: ClassVar = {"arn": "Role.Arn", "uniqueId": "Role.RoleId"}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        self._set_policies(identity, inputs)
        return identity

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.client.update_assume_role_policy(RoleName=identity, PolicyDocument=new["assumeRolePolicy"])
        fixed = {"assumeRolePolicy", "path", "permissionsBoundary"}
        self.client.update_role(**self.request({name: value for name, value in new.items() if name not in fixed}))
        if boundary := new.get("permissionsBoundary"):
            self.client.put_role_permissions_boundary(RoleName=identity, PermissionsBoundary=boundary)
        elif "permissionsBoundary" in old:
            self.client.delete_role_permissions_boundary(RoleName=identity)
        self._set_policies(identity, new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        every = inputs.get("forceDetachPolicies", False)
        if self.read(identity):
            if every or "managedPolicyArns" in inputs:
                _attach_exactly(self.client, identity, [])
            if every or "inlinePolicies" in inputs:
                _delete_other_policies(self.client, identity, [])
        super().delete(identity, inputs)

    def _set_policies(self, identity: str, inputs: Inputs) -> None:
        if (arns := inputs.get("managedPolicyArns")) is not None:
            _attach_exactly(self.client, identity, arns)
        if (inline := inputs.get("inlinePolicies")) is not None:
            policies = {each["name"]: each["policy"] for each in inline if each}
            for name, policy in policies.items():
                self.client.put_role_policy(RoleName=identity, PolicyName=name, PolicyDocument=policy)
            _delete_other_policies(self.client, identity, policies)


class RolePolicy(ResourceType):
    """An inline policy of a role."""

    type, service = "aws:iam/rolePolicy:RolePolicy", "iam"
    create_call, describe_call, delete_call = "put_role_policy", "get_role_policy", "delete_role_policy"
    id_format = "{role}:{name}"
    replacement_properties = frozenset({"name", "role"})
    properties = parse_properties("name=PolicyName role=RoleName policy=PolicyDocument")

    def id_arguments(self, identity: str) -> Inputs:
        role, _, name = identity.partition(":")
        return {"RoleName": role, "PolicyName": name}


class RolePoliciesExclusive(ResourceType):
    """The exclusive list of a role's inline policies: others are deleted. Its id is the role."""

    type, service, id_argument = "aws:iam/rolePoliciesExclusive:RolePoliciesExclusive", "iam", "RoleName"
    describe_call = "get_role"
    name_property = None
    replacement_properties = frozenset({"roleName"})
    properties = parse_properties("roleName policyNames=")

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        return outputs if outputs is None else {"policyNames": sorted(_inline_policies(self.client, identity))}

    def create(self, inputs: Inputs) -> str:
        role, names = inputs["roleName"], inputs["policyNames"]
        if missing := sorted(set(names) - _inline_policies(self.client, role)):
            raise ResourceError(
                f"{role} has no inline policy {', '.join(missing)}: take policyNames from the names of the rolePolicy "
                "resources, so that they are created first"
            )
        _delete_other_policies(self.client, role, names)
        return role

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Do nothing: the policies of the role stay."""


class Policy(ResourceType):
    """A managed policy; its id is its ARN."""

    type, service, id_argument = "aws:iam/policy:Policy", "iam", "PolicyArn"
    create_call, describe_call, delete_call = "create_policy", "get_policy", "delete_policy"
    id_format = "{Policy[Arn]}"
    replacement_properties = frozenset({"name", "path", "description"})
    properties = parse_properties(
        "name=PolicyName policy=PolicyDocument path description delayAfterPolicyCreationInMs="
    )
    outputs: ClassVar = {"arn": "Policy.Arn", "policyId": "Policy.PolicyId"}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self._prune(identity)
        self.client.create_policy_version(PolicyArn=identity, PolicyDocument=new["policy"], SetAsDefault=True)

    def delete(self, identity: str, inputs: Inputs) -> None:
        if self.read(identity):
            self._prune(identity)
        super().delete(identity, inputs)

    def _prune(self, identity: str) -> None:
        """Delete all versions but the default: IAM keeps five, and deletes no policy that has other versions."""
        for version in self.client.list_policy_versions(PolicyArn=identity)["Versions"]:
            if not version["IsDefaultVersion"]:
                self.client.delete_policy_version(PolicyArn=identity, VersionId=version["VersionId"])


class RolePolicyAttachment(ResourceType):
    """The attachment of a managed policy to a role."""

    type, service = "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "iam"
    create_call, delete_call = "attach_role_policy", "detach_role_policy"
    name_property, id_format = None, "{role}/{policyArn}"
    replacement_properties = frozenset({"role", "policyArn"})
    properties = parse_properties("role=RoleName policyArn")

    def id_arguments(self, identity: str) -> Inputs:
        role, _, policy = identity.partition("/")
        return {"RoleName": role, "PolicyArn": policy}

    def describe(self, identity: str) -> Inputs:
        at = self.id_arguments(identity)
        return {"Attached": at["PolicyArn"] in _attached_policies(self.client, at["RoleName"])}

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        return outputs if outputs is not None and self.describe(identity)["Attached"] else None


class RolePolicyAttachmentsExclusive(ResourceType):
    """The exclusive list of a role's managed policies: others are detached, missing ones are attached."""

    type, service = "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive", "iam"
    id_argument, describe_call = "RoleName", "get_role"
    name_property = None
    replacement_properties = frozenset({"roleName"})
    properties = parse_properties("roleName policyArns=")

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        return outputs if outputs is None else {"policyArns": sorted(_attached_policies(self.client, identity))}

    def create(self, inputs: Inputs) -> str:
        _attach_exactly(self.client, inputs["roleName"], inputs["policyArns"])
        return inputs["roleName"]

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Do nothing: the policies of the role stay."""


def _attached_policies(iam: Any, role: str) -> set[str]:
    pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=role)
    return {each["PolicyArn"] for page in pages for each in page["AttachedPolicies"]}


def _attach_exactly(iam: Any, role: str, arns: Any) -> None:
    attached = _attached_policies(iam, role)
    for arn in sorted(set(arns) - attached):
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    for arn in sorted(attached - set(arns)):
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)


def _inline_policies(iam: Any, role: str) -> set[str]:
    pages = iam.get_paginator("list_role_policies").paginate(RoleName=role)
    return {name for page in pages for name in page["PolicyNames"]}


def _delete_other_policies(iam: Any, role: str, names: Any) -> None:
    for name in sorted(_inline_policies(iam, role) - set(names)):
        iam.delete_role_policy(RoleName=role, PolicyName=name)
