"""The functions of AWS's provider that the sandbox answers; a look at a table is in test_tables."""

import json
from typing import Any

import pulumi_aws as resources
import pytest

from sandbox.deploy import Deployment
from sandbox.lookups import answer
from sandbox.program import run
from sandbox.resource import Aws, ResourceError
from tests.local import REGION, LocalAws
from tests.sandbox.making import ACCOUNT, Mappings, nowhere


def test_where_and_who(aws: LocalAws):
    here = aws.sandbox.aws
    assert answer("aws:index/getRegion:getRegion", {}, here)["region"] == REGION
    assert answer("aws:index/getCallerIdentity:getCallerIdentity", {}, here)["accountId"] == ACCOUNT


@pytest.mark.parametrize(
    ("region", "partition", "suffix", "reverse"),
    [
        ("eu-west-1", "aws", "amazonaws.com", "com.amazonaws"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn", "cn.com.amazonaws"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com", "com.amazonaws"),
    ],
)
def test_the_partition_of_a_region(region: str, partition: str, suffix: str, reverse: str):
    found = answer("aws:index/getPartition:getPartition", {}, Aws(lambda service: None, region, Mappings()))
    expected = {"id": partition, "partition": partition, "dnsSuffix": suffix, "reverseDnsPrefix": reverse}
    assert found == expected


def document(aws: LocalAws, **given: Any) -> Any:
    """A policy document as the program gets it."""
    seen: list[str] = []

    def program() -> None:
        seen.append(resources.iam.get_policy_document(**given).json)

    run(program, stack="local", config={}, backend=Deployment(aws.sandbox.aws))
    return json.loads(seen[0])


def test_a_policy_document_of_statements(aws: LocalAws):
    statements: list[Any] = [
        {
            "sid": "Publish",
            "actions": ["sns:Publish"],
            "resources": ["arn:1", "arn:2"],
            "principals": [{"type": "Service", "identifiers": ["events.amazonaws.com"]}],
            "conditions": [{"test": "ArnLike", "variable": "aws:SourceArn", "values": ["arn:rule"]}],
        },
        resources.iam.GetPolicyDocumentStatementArgs(
            effect="Deny",
            not_actions=["sns:*"],
            principals=[resources.iam.GetPolicyDocumentStatementPrincipalArgs(type="*", identifiers=["*"])],
        ),
    ]
    assert document(aws, statements=statements, policy_id="p") == {
        "Version": "2012-10-17",
        "Id": "p",
        "Statement": [
            {
                "Sid": "Publish",
                "Effect": "Allow",
                "Action": "sns:Publish",
                "Resource": ["arn:1", "arn:2"],
                "Principal": {"Service": "events.amazonaws.com"},
                "Condition": {"ArnLike": {"aws:SourceArn": "arn:rule"}},
            },
            {"Effect": "Deny", "NotAction": "sns:*", "Principal": "*"},
        ],
    }


def test_a_policy_document_over_others_and_under_others(aws: LocalAws):
    def text(*statements: dict[str, str]) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})

    source = json.dumps({"Statement": {"Sid": "source", "Effect": "Allow"}})
    override = text({"Sid": "own", "Effect": "Deny"})
    found = document(
        aws,
        statements=[{"sid": "own", "actions": ["s3:*"], "resources": ["*"]}, {"sid": "kept", "actions": ["sqs:*"]}],
        source_policy_documents=[source],
        override_policy_documents=[override],
    )
    told = [(statement["Sid"], statement["Effect"]) for statement in found["Statement"]]
    assert told == [("source", "Allow"), ("kept", "Allow"), ("own", "Deny")]


def test_an_unknown_function_is_named():
    with pytest.raises(ResourceError, match=r"^the sandbox does not know the function aws:ec2/getAmi:getAmi$"):
        answer("aws:ec2/getAmi:getAmi", {}, nowhere())
