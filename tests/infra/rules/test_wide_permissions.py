"""Permissions of a role that are wider than named calls of named resources."""

import json
from typing import Any

import pytest

from infra.internal.statements import everywhere
from infra.rules import permissions
from infra.rules.permissions import managed_too_wide, too_wide
from infra.rules.view import Unknown
from tests.infra.rules import service_reference
from tests.infra.rules.views import allow, deny, document, when

ARN = "arn:aws:dynamodb:eu-central-1:111122223333:table/items"
PUT = "dynamodb:PutItem"
WILDCARD = "a wildcard allows calls that the role never makes, and calls that AWS adds later; name each call"
ALL_BUT = "an Allow by Not{0} covers everything that it does not list; name by {0} what the role needs"


def wide(policy: Any) -> list[str]:
    """Return the beginning of each message."""
    return [message.partition(": ")[0] for message in too_wide(policy)]


@pytest.mark.parametrize(
    "action",
    [
        *("comprehend:DetectSentiment", "textract:DetectDocumentText", "rekognition:DetectFaces"),
        *("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules"),
        *("ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses"),
        *("ec2:UnassignPrivateIpAddresses", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
        *("kms:ListAliases", "dynamodb:ListTables", "dynamodb:ListStreams", "dynamodb:DescribeLimits"),
        *("logs:DescribeLogGroups", "s3:ListAllMyBuckets", "sqs:ListQueues", "sns:ListTopics"),
        *("ecr:GetAuthorizationToken", "ses:GetSendQuota", "lambda:ListFunctions"),
        *("secretsmanager:GetRandomPassword", "sts:GetCallerIdentity", "tag:GetResources", "TAG:getresources"),
    ],
)
def test_an_action_that_aws_takes_on_all_resources_only(action: str) -> None:
    assert wide(document(allow(action, "*"))) == []


@pytest.mark.parametrize(
    "action",
    [
        # to a phone number, without terminology, lexicon or dataset AWS takes `*` only: accepted by name
        *("sns:Publish", "translate:TranslateText", "polly:SynthesizeSpeech", "cloudwatch:PutMetricData"),
        # these have a narrower form whatever is called
        *("ses:SendEmail", "bedrock:InvokeModel", "iam:PassRole", "ec2:RunInstances"),
        *("ec2:AttachNetworkInterface", "logs:CreateLogGroup", "dynamodb:GetRecords", "dynamodb:DescribeStream"),
        *("kms:Decrypt", "s3:PutObject", "no-such-service:Call", "dynamodb:NoSuchCall"),
    ],
)
def test_an_action_on_all_resources_is_accepted_by_name(action: str) -> None:
    assert list(too_wide(document(allow(["xray:PutTraceSegments", action], ["*"])))) == [
        f"{action} on *: the role may use every such resource of the account; name the resources, or accept them "
        f'with everywhere("{action}"), if AWS supports no narrower resource for the call'
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
        (allow("dynamodb:*", ARN), [f"Action dynamodb:*: {WILDCARD}"]),
        (
            allow(["s3:Get*", "s3:PutObject"], "arn:aws:s3:::*"),
            [
                f"Action s3:Get*: {WILDCARD}",
                "s3:Get*, s3:PutObject on arn:aws:s3:::*: the role may use every such resource of the account; name "
                'the resources, or accept them with everywhere("s3:PutObject"), if AWS supports no narrower resource '
                "for the call",
            ],
        ),
        (
            allow("*", "*"),
            [
                f"Action *: {WILDCARD}",
                "* on *: the role may use every such resource of the account; name the resources",
            ],
        ),
        (
            {"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "Resource": ARN},
            [f"NotAction iam:*, sts:*: {ALL_BUT.format('Action')}"],
        ),
        (
            {"Effect": "Allow", "Action": PUT, "NotResource": f"{ARN}-archive"},
            [f"NotResource {ARN}-archive: {ALL_BUT.format('Resource')}"],
        ),
    ],
)
def test_rights_that_are_too_wide(statement: dict[str, Any], messages: list[str], text: bool) -> None:
    policy = document(statement)
    assert list(too_wide(json.dumps(policy) if text else policy)) == messages


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
    assert wide(document(allow("ses:SendEmail", "*", Condition=condition))) == (not narrows) * ["ses:SendEmail on *"]


def test_every_statement_is_looked_at() -> None:
    policy = document(allow("sqs:*", "arn:aws:sqs:eu-central-1:1:jobs"), Unknown(), allow("sns:Publish", "*"))
    assert wide(policy) == ["Action sqs:*", "sns:Publish on *"]
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


def test_the_list_of_actions_is_the_pinned_references() -> None:
    """If this fails, run `python -m tests.infra.rules.service_reference`."""
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
