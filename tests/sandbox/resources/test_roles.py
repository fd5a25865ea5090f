"""Roles and their policies, created, changed and limited as by the AWS plugin."""

import json
from typing import Any

import pytest

from sandbox.resources.resource_type import ResourceError
from tests.local import LocalAws
from tests.sandbox.resource_factory import ACCOUNT, ANYONE, POLICY, ResourceFactory

FOR_VPC = "arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
OTHER = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def inline(aws: LocalAws, role: str) -> set[str]:
    return set(aws.client("iam").list_role_policies(RoleName=role)["PolicyNames"])


def attached(aws: LocalAws, role: str) -> set[str]:
    actual = aws.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    return {each["PolicyArn"] for each in actual}


def test_a_role_and_its_policy(factory: ResourceFactory, aws: LocalAws):
    resource_type, name, old = factory.create("Role", assumeRolePolicy=ANYONE, description="old")
    policy, identity, _ = factory.create("RolePolicy", role=name, policy=POLICY)
    resource_type.update(name, old, {**old, "description": "new"})
    changed = {"role": name, "name": identity.split(":")[1], "policy": POLICY.replace("one", "two")}
    policy.update(identity, {}, changed)
    assert aws.client("iam").get_role(RoleName=name)["Role"]["Description"] == "new"
    actual = aws.client("iam").get_role_policy(RoleName=name, PolicyName=changed["name"])
    assert [statement["Sid"] for statement in actual["PolicyDocument"]["Statement"]] == ["two"]


def test_policies_that_a_role_lists_are_exclusive(factory: ResourceFactory, aws: LocalAws):
    properties: dict[str, Any] = {
        "inlinePolicies": [{"name": "one", "policy": POLICY}, {"name": "two", "policy": POLICY}],
        "managedPolicyArns": [FOR_VPC],
        "permissionsBoundary": OTHER,
    }
    resource_type, name, old = factory.create("Role", assumeRolePolicy=json.loads(ANYONE), **properties)
    assert (inline(aws, name), attached(aws, name)) == ({"one", "two"}, {FOR_VPC})

    def boundary() -> str | None:
        role = aws.client("iam").get_role(RoleName=name)["Role"]
        return role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")

    assert boundary() == OTHER
    less = {**old, "inlinePolicies": properties["inlinePolicies"][1:], "managedPolicyArns": [OTHER]}
    less.pop("permissionsBoundary")
    resource_type.update(name, old, less)
    assert (inline(aws, name), attached(aws, name), boundary()) == ({"two"}, {OTHER}, None)


def test_force_detach_removes_unknown_policies(factory: ResourceFactory, aws: LocalAws):
    _, name, _ = factory.create("Role", assumeRolePolicy=ANYONE, forceDetachPolicies=True)
    aws.client("iam").put_role_policy(RoleName=name, PolicyName="by-hand", PolicyDocument=POLICY)
    aws.client("iam").attach_role_policy(RoleName=name, PolicyArn=OTHER)


def test_a_policy_and_its_attachment(factory: ResourceFactory, aws: LocalAws):
    _, role, _ = factory.create("Role", assumeRolePolicy=ANYONE)
    resource_type, arn, old = factory.create("Policy", policy=POLICY, description="d", path="/team/")
    assert resource_type.read(arn) == {"arn": arn, "policyId": resource_type.describe(arn)["Policy"]["PolicyId"]}
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/team/{old['name']}"
    attachment, identity, _ = factory.create("RolePolicyAttachment", role=role, policyArn=arn)
    assert identity == f"{role}/{arn}"
    assert attached(aws, role) == {arn}
    for number in range(6):  # IAM keeps five versions
        resource_type.update(arn, old, {**old, "policy": POLICY.replace("one", f"v{number}")})
    version = resource_type.describe(arn)["Policy"]["DefaultVersionId"]
    actual = aws.client("iam").get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert [statement["Sid"] for statement in actual["Statement"]] == ["v5"]
    aws.client("iam").detach_role_policy(RoleName=role, PolicyArn=arn)
    assert attachment.read(identity) is None


def test_exclusive_inline_policies(factory: ResourceFactory, aws: LocalAws):
    _, role, _ = factory.create("Role", assumeRolePolicy=ANYONE)
    names = [factory.create("RolePolicy", name=name, role=role, policy=POLICY)[2]["name"] for name in ("b", "a")]
    aws.client("iam").put_role_policy(RoleName=role, PolicyName="by-hand", PolicyDocument=POLICY)
    exclusive = factory.type_named("RolePoliciesExclusive")
    inputs = exclusive.check("only", {"roleName": role, "policyNames": names})
    identity = exclusive.create(inputs)
    assert (identity, inline(aws, role)) == (role, {"a", "b"})
    aws.client("iam").put_role_policy(RoleName=role, PolicyName="again", PolicyDocument=POLICY)
    assert exclusive.read(identity) == {"policyNames": ["a", "again", "b"]}
    exclusive.update(identity, inputs, {**inputs, "policyNames": ["a"]})
    assert inline(aws, role) == {"a"}
    exclusive.delete(identity, inputs)
    assert inline(aws, role) == {"a"}
    with pytest.raises(ResourceError, match=rf"^{role} has no inline policy absent, missing: take policyNames"):
        exclusive.create({**inputs, "policyNames": ["a", "missing", "absent"]})


def test_exclusive_attachments(factory: ResourceFactory, aws: LocalAws):
    _, role, _ = factory.create("Role", assumeRolePolicy=ANYONE, forceDetachPolicies=True)
    aws.client("iam").attach_role_policy(RoleName=role, PolicyArn=OTHER)
    exclusive = factory.type_named("RolePolicyAttachmentsExclusive")
    inputs = exclusive.check("only", {"roleName": role, "policyArns": [FOR_VPC]})
    identity = exclusive.create(inputs)
    assert (identity, attached(aws, role), exclusive.read(identity)) == (role, {FOR_VPC}, {"policyArns": [FOR_VPC]})
    exclusive.update(identity, inputs, {**inputs, "policyArns": []})
    assert attached(aws, role) == set()
    exclusive.delete(identity, inputs)
    assert exclusive.read("nobody") is None
