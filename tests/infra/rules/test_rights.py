"""The evaluator of rights by itself, on documents as anybody may write them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.internal.statements import everywhere
from infra.rules import permissions
from infra.rules.permissions import (
    TABLE_WRITES,
    managed_too_wide,
    matches,
    may,
    open_to_everybody,
    statements,
    too_wide,
)
from infra.rules.view import Unknown
from tests.infra.rules import service_reference

ARN = "arn:aws:dynamodb:eu-central-1:111122223333:table/items"
URN = "urn:pulumi:dev::shop::aws:dynamodb/table:Table::items"
MADE_OF_IT = Unknown(frozenset({URN, "urn:pulumi:dev::shop::aws:s3/bucket:Bucket::lost"}))
PUT = "dynamodb:PutItem"
OWN = {"StringEquals": {"aws:SourceAccount": "111122223333"}}


def allow(action: Any, resource: Any, **rest: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **rest}


def deny(action: Any, resource: Any, **rest: Any) -> dict[str, Any]:
    return allow(action, resource, **rest) | {"Effect": "Deny"}


def document(*said: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(said)}


def when(operator: str, key: str, *values: Any) -> dict[str, Any]:
    return {operator: {key: values[0] if len(values) == 1 else list(values)}}


# The wildcard matcher


def by_hand(pattern: str, text: str) -> bool:
    """The same as `matches`, by the definition of the two wildcards."""
    match pattern[:1]:
        case "":
            return text == ""
        case "*":
            return any(by_hand(pattern[1:], text[start:]) for start in range(len(text) + 1))
        case first:
            return text != "" and first in ("?", text[0]) and by_hand(pattern[1:], text[1:])


@given(st.text("ab*?[]!-^\\.\n", max_size=7), st.text("ab*[]!-^\\.\n", max_size=8))
def test_a_pattern_has_two_wildcards_and_nothing_else(pattern: str, text: str) -> None:
    assert matches(pattern, text) == by_hand(pattern, text)


@given(st.text(max_size=20))
def test_every_text_matches_itself_and_a_star(text: str) -> None:
    assert matches(text, text)
    assert matches("*", text)


# What a document says


@pytest.mark.parametrize(
    ("given", "effects"),
    [
        (document(allow(PUT, ARN), deny(PUT, ARN)), ["Allow", "Deny"]),
        ({"Statement": allow(PUT, ARN)}, ["Allow"]),
        (json.dumps(document(allow(PUT, ARN))), ["Allow"]),
        (json.dumps({"Statement": deny(PUT, ARN)}), ["Deny"]),
        ({"statement": [{"effect": "Allow", "action": PUT, "resource": ARN}]}, ["Allow"]),
        ({"Statement": [Unknown(), allow(PUT, ARN)]}, ["Allow"]),
        ({"Statement": Unknown()}, []),
        (Unknown(), []),
        (None, []),
        ("", []),
        ("no JSON", []),
        ("[]", []),
        ("3", []),
        ({}, []),
    ],
)
def test_statements_of_a_document(given: Any, effects: list[str]) -> None:
    assert [each["effect"] for each in statements(given)] == effects


# Whether a call is allowed


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ([allow(PUT, ARN)], True),
        ([allow([PUT, "dynamodb:GetItem"], [f"{ARN}/index/*", ARN])], True),
        ([allow("DynamoDB:putitem", ARN)], True),
        ([allow("dynamodb:*", ARN)], True),
        ([allow("dynamodb:P?tItem", ARN)], True),
        ([allow("dynamodb:*Item", ARN)], True),
        ([allow("*", "*")], True),
        ([allow("dynamodb:PartiQLInsert", ARN)], True),
        ([allow("dynamodb:PartiQLUpdate", ARN)], True),
        ([allow("dynamodb:PartiQL*", ARN)], True),
        ([allow("dynamodb:BatchWriteItem", ARN)], True),
        ([allow("dynamodb:PartiQLSelect", ARN)], False),
        ([allow(["dynamodb:GetItem", "dynamodb:Query", "dynamodb:ConditionCheckItem"], ARN)], False),
        ([allow("sqs:*", "*")], False),
        ([], False),
        # resources
        ([allow(PUT, "arn:aws:dynamodb:*:*:table/items")], True),
        ([allow(PUT, "arn:aws:dynamodb:*")], True),
        ([allow(PUT, ARN.replace("items", "it*"))], True),
        ([allow(PUT, ARN.replace("items", "item?"))], True),
        ([allow(PUT, f"{ARN}*")], True),
        ([allow(PUT, ARN.replace("items", "${aws:PrincipalTag/table}"))], True),
        ([allow(PUT, f"{ARN}/index/*")], False),
        ([allow(PUT, f"{ARN}/stream/*")], False),
        ([allow(PUT, f"{ARN}?")], False),
        ([allow(PUT, ARN.upper())], False),
        ([allow(PUT, ARN.replace("items", "[i]tems"))], False),
        ([allow(PUT, f"{ARN}-archive")], False),
        # all but
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": ARN}], True),
        ([{"Effect": "Allow", "NotAction": ["dynamodb:Put*"], "Resource": ARN}], True),  # leaves UpdateItem
        ([{"Effect": "Allow", "NotAction": ["DynamoDB:*"], "Resource": ARN}], False),
        ([{"Effect": "Allow", "NotAction": TABLE_WRITES, "Resource": ARN}], False),
        ([{"Effect": "Allow", "Action": PUT, "NotResource": f"{ARN}-archive"}], True),
        ([{"Effect": "Allow", "Action": PUT, "NotResource": [ARN]}], False),
        ([{"Effect": "Allow", "Action": PUT, "NotResource": "arn:aws:dynamodb:*:*:table/i*"}], False),
        ([{"Effect": "Allow", "NotAction": "iam:*", "NotResource": f"{ARN}-archive"}], True),
        ([{"Effect": "Allow", "Action": PUT}], False),
        # conditions of an Allow are taken for met
        ([allow(PUT, ARN, Condition=when("StringEquals", "aws:PrincipalTag/team", "a"))], True),
        ([allow(PUT, ARN, Condition=when("ForAllValues:StringLike", "dynamodb:LeadingKeys", "x#*"))], True),
        # denials
        ([deny(PUT, ARN)], False),
        ([allow(PUT, ARN), deny(PUT, ARN)], False),
        ([deny("*", "*"), allow("dynamodb:*", ARN)], False),
        ([allow("dynamodb:*", ARN), deny("dynamodb:*Item", ARN)], True),  # leaves PartiQL
        ([allow(PUT, ARN), deny("dynamodb:UpdateItem", ARN)], True),
        ([allow(PUT, ARN), deny(PUT, f"{ARN}-archive")], True),
        ([allow(PUT, ARN), deny(PUT, ARN, Condition=when("Bool", "aws:SecureTransport", "false"))], True),
        ([allow(PUT, ARN), deny(PUT, ARN.replace("items", "${aws:PrincipalTag/table}"))], True),
        ([allow(PUT, ARN), {"Effect": "Deny", "NotAction": "dynamodb:GetItem", "Resource": "*"}], False),
        ([allow(PUT, ARN), {"Effect": "Deny", "NotAction": PUT, "Resource": "*"}], True),
        ([allow(PUT, ARN), {"Effect": "Deny", "Action": "*", "NotResource": f"{ARN}-archive"}], False),
        ([allow(PUT, ARN), {"Effect": "Deny", "Action": "*", "NotResource": ARN}], True),
    ],
)
def test_a_write_that_is_allowed(said: list[Any], allowed: bool, text: bool) -> None:
    given = document(*said)
    assert may(json.dumps(given) if text else given, TABLE_WRITES, ARN) is allowed


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ([allow(PUT, MADE_OF_IT)], True),
        ([allow(PUT, [ARN, MADE_OF_IT])], True),
        ([allow(PUT, "*")], True),
        ([allow("dynamodb:GetItem", MADE_OF_IT)], False),
        ([allow(PUT, Unknown(frozenset({f"{URN}-archive"})))], False),
        ([allow(PUT, Unknown())], False),
        ([allow(PUT, ARN)], False),
        ([allow(MADE_OF_IT, MADE_OF_IT)], False),
        ([allow([Unknown(), PUT], MADE_OF_IT)], True),
        ([{"Effect": "Allow", "Action": PUT, "NotResource": MADE_OF_IT}], False),
        ([{"Effect": MADE_OF_IT, "Action": PUT, "Resource": MADE_OF_IT}], False),
        ([allow(PUT, MADE_OF_IT), deny("*", "*")], False),
        ([allow(PUT, MADE_OF_IT), deny(PUT, MADE_OF_IT)], True),
        ([allow(PUT, MADE_OF_IT), deny(PUT, "*", Condition=Unknown())], True),
        ([MADE_OF_IT], False),
    ],
)
def test_a_write_of_a_table_that_is_not_made_yet(said: list[Any], allowed: bool) -> None:
    assert may(document(*said), TABLE_WRITES, URN) is allowed


def test_a_document_that_is_not_known_allows_nothing() -> None:
    assert not may(MADE_OF_IT, TABLE_WRITES, URN)
    assert not may("no JSON", TABLE_WRITES, ARN)
    assert not may(document(allow("*", "*")), [], ARN)


def test_a_typed_document_of_pulumi_aws_reaches_the_engine_in_either_spelling() -> None:
    typed = {"statement": [{"effect": "Allow", "notAction": "iam:*", "notResource": ["arn:aws:s3:::a"]}]}
    snake = {"statement": [{"effect": "Allow", "not_action": "iam:*", "not_resource": ["arn:aws:s3:::a"]}]}
    assert may(typed, [PUT], ARN)
    assert may(snake, [PUT], ARN)
    assert not may(typed, ["iam:PassRole"], ARN)


# Rights that are too wide


def wide(given: Any) -> list[str]:
    """How each message begins."""
    return [message.partition(": ")[0] for message in too_wide(given)]


@pytest.mark.parametrize(
    "action",
    [
        "comprehend:DetectSentiment",
        "textract:DetectDocumentText",
        "rekognition:DetectFaces",
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "xray:GetSamplingRules",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "kms:ListAliases",
        "dynamodb:ListTables",
        "dynamodb:ListStreams",
        "dynamodb:DescribeLimits",
        "logs:DescribeLogGroups",
        "s3:ListAllMyBuckets",
        "sqs:ListQueues",
        "sns:ListTopics",
        "ecr:GetAuthorizationToken",
        "ses:GetSendQuota",
        "lambda:ListFunctions",
        "secretsmanager:GetRandomPassword",
        "sts:GetCallerIdentity",
        "tag:GetResources",
        "TAG:getresources",
    ],
)
def test_an_action_that_aws_takes_on_all_resources_only(action: str) -> None:
    assert wide(document(allow(action, "*"))) == []


@pytest.mark.parametrize(
    "action",
    [
        # to a phone number, without terminology, lexicon or dataset AWS takes `*` only: accepted by name
        "sns:Publish",
        "translate:TranslateText",
        "polly:SynthesizeSpeech",
        "cloudwatch:PutMetricData",
        # these have a narrower form whatever is called
        "ses:SendEmail",
        "bedrock:InvokeModel",
        "iam:PassRole",
        "ec2:RunInstances",
        "ec2:AttachNetworkInterface",
        "logs:CreateLogGroup",
        "dynamodb:GetRecords",
        "dynamodb:DescribeStream",
        "kms:Decrypt",
        "s3:PutObject",
        "no-such-service:Call",
        "dynamodb:NoSuchCall",
    ],
)
def test_an_action_on_all_resources_is_accepted_by_name(action: str) -> None:
    given = document(allow(["xray:PutTraceSegments", action], ["*"]))
    assert list(too_wide(given)) == [
        f"{action} on *: the role may use every such resource of the account; name the resources, or accept them "
        f'with everywhere("{action}"), if AWS has no narrower form for what is called'
    ]
    assert list(too_wide(document(everywhere("xray:PutTraceSegments", action)))) == []


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(
    ("statement", "messages"),
    [
        (allow([PUT], ARN), []),
        (allow(PUT, [ARN, f"{ARN}/index/*"]), []),
        (allow("dynamodb:ListStreams", f"{ARN}/stream/*"), []),
        (allow("s3:PutObject", "arn:aws:s3:::mine/*"), []),
        (deny("*", "*"), []),
        (
            allow("dynamodb:*", ARN),
            [
                "Action dynamodb:*: a wildcard allows calls that the role never makes, and calls that AWS adds later; "
                "name each call"
            ],
        ),
        (
            allow(["s3:Get*", "s3:PutObject"], "arn:aws:s3:::*"),
            [
                "Action s3:Get*: a wildcard allows calls that the role never makes, and calls that AWS adds later; "
                "name each call",
                "s3:Get*, s3:PutObject on arn:aws:s3:::*: the role may use every such resource of the account; name "
                'the resources, or accept them with everywhere("s3:PutObject"), if AWS has no narrower form for what '
                "is called",
            ],
        ),
        (
            allow("*", "*"),
            [
                "Action *: a wildcard allows calls that the role never makes, and calls that AWS adds later; name "
                "each call",
                "* on *: the role may use every such resource of the account; name the resources",
            ],
        ),
        (
            {"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "Resource": ARN},
            [
                "NotAction iam:*, sts:*: an Allow by NotAction covers everything that it does not list; name by "
                "Action what the role needs"
            ],
        ),
        (
            {"Effect": "Allow", "Action": PUT, "NotResource": f"{ARN}-archive"},
            [
                f"NotResource {ARN}-archive: an Allow by NotResource covers everything that it does not list; name by "
                "Resource what the role needs"
            ],
        ),
    ],
)
def test_rights_that_are_too_wide(statement: dict[str, Any], messages: list[str], text: bool) -> None:
    given = document(statement)
    assert list(too_wide(json.dumps(given) if text else given)) == messages


@pytest.mark.parametrize(
    ("resource", "is_wide"),
    [
        ("*", True),
        ("?*", True),
        ("arn:aws:dynamodb:*", True),
        ("arn:aws:dynamodb:eu-central-1:1:*", True),
        ("arn:aws:dynamodb:eu-central-1:1:tab*", True),
        ("arn:aws:dynamodb:eu-central-1:1:table/*", True),
        ("arn:aws:dynamodb:eu-central-1:1:table/?tems", True),
        ("arn:aws:dynamodb:eu-central-1:1:table/*/stream/*", True),
        ("arn:aws:dynamodb:*:*:table/items", False),
        ("arn:aws:dynamodb:eu-central-1:1:table/i*", False),
        ("arn:aws:dynamodb:eu-central-1:1:table/${aws:PrincipalTag/table}", False),
        ("arn:aws:s3:::*", True),
        ("arn:aws:s3:::*/*", True),
        ("arn:aws:s3:::mine*", False),
        ("arn:aws:sqs:eu-central-1:1:*", True),
        ("arn:aws:sqs:*:*:jobs", False),
        ("arn:aws:sns:eu-central-1:1:*", True),
        ("arn:aws:lambda:eu-central-1:1:function:*", True),
        ("arn:aws:lambda:eu-central-1:1:function:mine:*", False),
        ("arn:aws:logs:eu-central-1:1:*", True),
        ("arn:aws:logs:eu-central-1:1:log-group:*", True),
        ("arn:aws:logs:eu-central-1:1:log-group:/aws/lambda/mine:*", False),
        ("arn:aws:execute-api:eu-central-1:1:abc123/*/GET/pets", False),
        ("arn:aws:execute-api:eu-central-1:1:*/prod/GET/pets", True),
        ("arn:aws:apigateway:eu-central-1::/restapis/*", True),
        ("arn:aws:apigateway:eu-central-1::/restapis/abc123/*", False),
        ("arn:aws:ec2:eu-central-1:1:*/*", True),
        ("arn:aws:kms:eu-central-1:1:key/*", True),
        ("arn:aws:secretsmanager:eu-central-1:1:secret:mine-??????", False),
        ("arn:aws:bedrock:*::foundation-model/*", True),
        ("arn:aws:bedrock:*::foundation-model/titan-*", False),
        ("arn:aws:iam::1:role/service-role/*", False),
        (Unknown(), False),
        (None, False),
    ],
)
def test_a_resource_that_names_nothing(resource: Any, is_wide: bool) -> None:
    assert wide(document(allow("any:Call", resource))) == is_wide * [f"any:Call on {resource}"]
    assert wide(document(allow("any:Call", [ARN, resource]))) == is_wide * [f"any:Call on {resource}"]


@pytest.mark.parametrize(
    ("condition", "narrows"),
    [
        (when("StringEquals", "ses:FromAddress", "a@b.org"), True),
        (when("StringLike", "ses:FromAddress", "*@b.org"), True),
        (when("stringequals", "SES:fromaddress", "a@b.org", "c@d.org"), True),
        (when("StringLike", "ses:FromAddress", "*"), False),
        (when("StringLike", "ses:FromAddress", "a@b.org", "*"), False),
        (when("StringLike", "ses:FromAddress", "**"), False),
        (when("StringEquals", "ses:FromAddress", ""), False),
        (when("StringEquals", "ses:FromAddress", Unknown()), True),
        (when("StringNotEquals", "ses:FromAddress", "a@b.org"), False),
        (when("StringNotLike", "ses:FromAddress", "a@b.org"), False),
        (when("StringEqualsIfExists", "ses:FromAddress", "a@b.org"), False),
        (when("ForAllValues:StringEquals", "ses:FromAddress", "a@b.org"), False),
        (when("ForAnyValue:StringEquals", "kms:ResourceAliases", "alias/mine"), True),
        (when("Null", "ses:FromAddress", "false"), False),
        (when("StringEquals", "aws:ResourceTag/team", "a"), True),
        (when("StringEquals", "aws:ResourceTag/team", "${aws:PrincipalTag/team}"), True),
        (when("StringEquals", "secretsmanager:ResourceTag/team", "a"), True),
        (when("StringEquals", "kms:ViaService", "dynamodb.eu-central-1.amazonaws.com"), True),
        (when("StringLike", "kms:ViaService", "dynamodb.*.amazonaws.com"), True),
        (when("StringEquals", "kms:EncryptionContext:aws:dynamodb:tableName", "items"), True),
        (when("StringEquals", "cloudwatch:namespace", "shop"), True),
        (when("ArnLike", "lambda:FunctionArn", "arn:aws:lambda:eu-central-1:1:function:mine"), True),
        (when("ArnLike", "lambda:FunctionArn", "arn:aws:lambda:eu-central-1:1:function:*"), False),
        (when("Bool", "aws:SecureTransport", "true"), False),
        (when("Bool", "aws:MultiFactorAuthPresent", "true"), False),
        (when("StringEquals", "aws:RequestedRegion", "eu-central-1"), False),
        (when("StringEquals", "aws:ResourceAccount", "111122223333"), False),
        (when("StringEquals", "aws:ResourceOrgID", "o-1"), False),
        (when("ArnLike", "aws:SourceArn", "*"), False),
        (when("ArnLike", "aws:SourceArn", "arn:aws:s3:::mine"), False),
        (when("StringEquals", "iam:PassedToService", "lambda.amazonaws.com"), False),
        (when("StringEquals", "sns:Protocol", "sms"), False),
        (when("StringLike", "s3:prefix", "mine/*"), False),
        (when("ForAnyValue:StringEquals", "dynamodb:LeadingKeys", "mine"), False),
        (when("StringEquals", "aws:RequestTag/team", "a"), False),
        (
            {"Bool": {"aws:SecureTransport": "true"}, "StringEquals": {"aws:ResourceTag/a": "b", "aws:username": "c"}},
            True,
        ),
        ({"StringEquals": Unknown()}, True),
        (Unknown(), True),
        ({}, False),
        (None, False),
    ],
)
def test_a_condition_that_narrows_the_resource(condition: Any, narrows: bool) -> None:
    given = document(allow("ses:SendEmail", "*", Condition=condition))
    assert wide(given) == (not narrows) * ["ses:SendEmail on *"]


def test_every_statement_is_looked_at() -> None:
    given = document(allow("sqs:*", "arn:aws:sqs:eu-central-1:1:jobs"), Unknown(), allow("sns:Publish", "*"))
    assert wide(given) == ["Action sqs:*", "sns:Publish on *"]
    assert wide(document(allow(Unknown(), "*"))) == wide(Unknown()) == wide("no JSON") == []


@pytest.mark.parametrize(
    ("name", "is_wide"),
    [
        ("AdministratorAccess", True),
        ("PowerUserAccess", True),
        ("ReadOnlyAccess", True),
        ("AmazonDynamoDBFullAccess", True),
        ("AmazonDynamoDBFullAccess_v2", True),
        ("AWSLambda_FullAccess", True),
        ("AmazonS3ReadOnlyAccess", True),
        ("job-function/DatabaseAdministrator", True),
        ("service-role/AWSLambdaDynamoDBExecutionRole", False),  # pragma: allowlist secret
        ("service-role/AWSLambdaBasicExecutionRole", False),
        ("service-role/AWSLambdaVPCAccessExecutionRole", False),
        ("AWSXRayDaemonWriteAccess", False),
        ("CloudWatchLambdaInsightsExecutionRolePolicy", False),
    ],
)
def test_a_policy_of_awss_own(name: str, is_wide: bool) -> None:
    for partition in ("aws", "aws-us-gov"):
        assert managed_too_wide(f"arn:{partition}:iam::aws:policy/{name}") == (
            f"{name.rpartition('/')[2]}: AWS's own policy covers a whole kind of calls on every resource of the "
            "account; name the calls and their resources in a policy of your own"
            if is_wide
            else None
        )


@pytest.mark.parametrize("arn", ["arn:aws:iam::111122223333:policy/OrdersFullAccess", Unknown(), None])
def test_a_policy_that_only_its_document_can_tell(arn: Any) -> None:
    assert managed_too_wide(arn) is None


# Policies of buckets, queues and topics


def said_of_everybody(given: Mapping[str, Any]) -> list[str]:
    return list(open_to_everybody(document({**allow("sqs:SendMessage", "arn:aws:sqs:eu-central-1:1:q"), **given})))


@pytest.mark.parametrize(
    ("given", "is_open"),
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
def test_a_policy_that_is_open_to_everybody(given: dict[str, Any], is_open: bool) -> None:
    assert said_of_everybody(given) == is_open * [
        "sqs:SendMessage allowed to everybody: any AWS account can read the items in it, or put forged ones there; "
        "name the principals, or bind the callers by aws:SourceAccount, aws:SourceArn or aws:PrincipalOrgID"
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
    assert len(said_of_everybody({"Principal": "*", "Condition": condition})) == (not binds)


def test_a_policy_that_opens_all_but_some_calls() -> None:
    given = document({"Effect": "Allow", "Principal": "*", "NotAction": "sqs:SendMessage", "Resource": "*"})
    assert next(open_to_everybody(given)).startswith("all but sqs:SendMessage allowed to everybody: ")


# What is known of AWS


def test_the_list_of_actions_is_the_pinned_references() -> None:
    """Run `python -m tests.infra.rules.service_reference` where it is not."""
    assert service_reference.FILE.read_text(encoding="utf-8") == service_reference.unscoped()


def test_services_whose_arns_begin_with_a_name_are_such_in_the_reference() -> None:
    formats = {
        service: [
            arn for kind in known.get("Resources", {}).values() for arn in kind["ARNFormats"] if f":{service}:" in arn
        ]
        for service, known in service_reference.reference().items()
    }
    named_first = {service for service, arns in formats.items() if any(arn.count(":.*") for arn in arns)}
    assert named_first >= permissions.NAME_FIRST_SERVICES
    simple = {service for service, arns in formats.items() if arns and all(arn.split(":")[5] == ".*" for arn in arns)}
    # The reference leaves a variable where the type of these stands: ${Scope}/webacl/NAME, ${ResourceType}/NAME.
    assert (
        simple - {"eventsbilltoaws", "mapcredits", "servicequotas", "ssm-sap", "wafv2"}
        <= permissions.NAME_FIRST_SERVICES
    )
