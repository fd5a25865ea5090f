"""Policies of buckets, queues, topics and tables that are open to everybody."""

from collections.abc import Mapping
from typing import Any

import pytest

from infra.rules.permissions import open_to_everybody
from infra.rules.view import Type, Unknown
from tests.infra.rules.views import allow, beginnings, document, policy, when

OWN = {"StringEquals": {"aws:SourceAccount": "111122223333"}}


def opened(parts: Mapping[str, Any]) -> list[str]:
    return list(open_to_everybody(document({**allow("sqs:SendMessage", "arn:aws:sqs:eu-central-1:1:q"), **parts})))


@pytest.mark.parametrize(
    ("parts", "is_open"),
    [
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, True),
        ({"principal": {"aws": "*"}}, True),
        ({"NotPrincipal": {"AWS": "arn:aws:iam::1:root"}}, True),
        ({"NotPrincipal": {"AWS": "arn:aws:iam::1:root"}, "Condition": OWN}, False),
        ({"Principal": "*", "Effect": "Deny"}, False),
        ({"Principal": {"AWS": "arn:aws:iam::1:root"}}, False),
        ({"Principal": {"Service": "s3.amazonaws.com"}}, False),
        ({"Principal": Unknown()}, False),
        ({"Principal": {"AWS": Unknown()}}, False),
        ({"Principal": "*", "Condition": Unknown()}, False),
        ({"Principal": "*", "Condition": None}, True),
    ],
)
def test_a_policy_that_is_open_to_everybody(parts: dict[str, Any], is_open: bool) -> None:
    assert opened(parts) == is_open * [
        "sqs:SendMessage allowed to everybody: any AWS account can read items or write forged items there; name the "
        "principals, or restrict the callers by aws:SourceAccount, aws:SourceArn or aws:PrincipalOrgID"
    ]


@pytest.mark.parametrize(
    ("condition", "binds"),
    [
        (when("StringEquals", "AWS:SourceAccount", "111122223333"), True),
        (when("StringEquals", "aws:SourceAccount", 111122223333), True),
        (when("StringLike", "aws:SourceAccount", "*"), False),
        (when("StringEquals", "aws:SourceAccount", Unknown()), True),
        (when("StringNotEquals", "aws:SourceAccount", "111122223333"), False),
        (when("StringEqualsIfExists", "aws:SourceAccount", "111122223333"), False),
        (when("ForAllValues:StringEquals", "aws:SourceAccount", "111122223333"), False),
        (when("ArnEquals", "aws:SourceArn", "arn:aws:sns:eu-central-1:1:topic"), True),
        (when("ArnLike", "aws:SourceArn", "arn:aws:sns:*:111122223333:*"), True),
        (when("ArnLike", "aws:SourceArn", "arn:aws:s3:::mine"), True),
        (when("ArnLike", "aws:SourceArn", "*"), False),
        (when("ArnLike", "aws:SourceArn", "arn:*"), False),
        (when("ArnLike", "aws:SourceArn", "arn:aws:s3:::*"), False),
        (when("ArnLike", "aws:SourceArn", "arn:aws:sns:*:*:topic"), False),
        (when("ArnLike", "aws:SourceArn", "arn:aws:sns:eu-central-1:1:topic", "*"), False),
        (when("ArnNotLike", "aws:SourceArn", "arn:aws:sns:eu-central-1:1:topic"), False),
        (when("StringEquals", "aws:SourceOrgID", "o-1"), True),
        (when("StringEquals", "aws:PrincipalOrgID", "o-1"), True),
        (when("ForAnyValue:StringLike", "aws:PrincipalOrgPaths", "o-1/r-1/*"), True),
        (when("StringEquals", "aws:PrincipalAccount", "111122223333"), True),
        (when("ArnLike", "aws:PrincipalArn", "arn:aws:iam::111122223333:role/*"), True),
        (when("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:role/mine"), False),
        (when("StringEquals", "aws:SourceVpce", "vpce-1"), True),
        (when("IpAddress", "aws:SourceIp", "203.0.113.0/24"), True),
        (when("IpAddress", "aws:SourceIp", "0.0.0.0/0"), False),
        (when("IpAddress", "aws:SourceIp", "203.0.113.0/24", "::/0"), False),
        (when("NotIpAddress", "aws:SourceIp", "203.0.113.0/24"), False),
        (when("StringEquals", "s3:DataAccessPointAccount", "111122223333"), True),
        (when("StringEquals", "s3:ResourceAccount", "111122223333"), False),
        (when("StringEquals", "aws:ResourceAccount", "111122223333"), False),
        (when("StringEquals", "aws:PrincipalTag/team", "a"), False),
        (when("StringEquals", "aws:username", "ada"), False),
        (when("Bool", "aws:SecureTransport", "true"), False),
        (when("Bool", "aws:PrincipalIsAWSService", "true"), False),
        ({"Bool": {"aws:SecureTransport": "true"}} | OWN, True),
    ],
)
def test_a_condition_that_binds_the_caller(condition: Any, binds: bool) -> None:
    assert len(opened({"Principal": "*", "Condition": condition})) == (not binds)


def test_a_policy_that_opens_all_but_some_calls() -> None:
    given = document({"Effect": "Allow", "Principal": "*", "NotAction": "sqs:SendMessage", "Resource": "*"})
    assert next(open_to_everybody(given)).startswith("all but sqs:SendMessage allowed to everybody: ")


@pytest.mark.parametrize(
    "kind", [Type.BUCKET_POLICY, Type.QUEUE_POLICY, Type.TOPIC_POLICY, Type.TABLE_POLICY, Type.QUEUE, Type.TOPIC]
)
def test_a_policy_of_a_resource_that_is_open(kind: str) -> None:
    to_everybody = allow("sqs:SendMessage", "arn:aws:sqs:eu-central-1:1:q", Principal="*")
    assert beginnings(policy(kind, to_everybody)) == ["policy: sqs:SendMessage allowed to everybody"]
    assert beginnings(policy(kind, to_everybody | {"Principal": {"AWS": "arn:aws:iam::1:root"}})) == []
