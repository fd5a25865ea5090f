"""The functions of the AWS provider that the sandbox supports."""

import json
from typing import Any

import pulumi_aws as resources
import pytest

from sandbox.program.deploy import Deployment
from sandbox.program.in_process import Program, run
from sandbox.program.lookups import look_up
from sandbox.resources.resource_type import Aws, ResourceError
from tests.local import REGION, LocalAws
from tests.sandbox.resource_factory import ACCOUNT, STREAM, RecordedMappings, ResourceFactory, disconnected_aws
from tests.sandbox.resources.test_tables import ATTRIBUTES, BY_CITY, BY_DAY, BY_TIME


def test_region_and_caller_identity(aws: LocalAws):
    here = aws.sandbox.aws
    assert look_up("aws:index/getRegion:getRegion", {}, here)["region"] == REGION
    assert look_up("aws:index/getCallerIdentity:getCallerIdentity", {}, here)["accountId"] == ACCOUNT


@pytest.mark.parametrize(
    ("region", "partition", "suffix", "reverse"),
    [
        ("eu-west-1", "aws", "amazonaws.com", "com.amazonaws"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn", "cn.com.amazonaws"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com", "com.amazonaws"),
    ],
)
def test_the_partition_of_a_region(region: str, partition: str, suffix: str, reverse: str):
    account = Aws(lambda service: None, region, RecordedMappings(), RecordedMappings())
    expected = {"id": partition, "partition": partition, "dnsSuffix": suffix, "reverseDnsPrefix": reverse}
    assert look_up("aws:index/getPartition:getPartition", {}, account) == expected


def test_the_description_of_a_table(factory: ResourceFactory, aws: LocalAws):
    _, name, _ = factory.create_table(
        **STREAM,
        attributes=[*ATTRIBUTES, {"name": "time", "type": "S"}],
        rangeKey="at",
        globalSecondaryIndexes=[{**BY_DAY, "hashKey": "city"}],
        localSecondaryIndexes=[BY_TIME],
        ttl={"enabled": True, "attributeName": "expiry"},
        tags={"team": "a"},
        deletionProtectionEnabled=False,
    )
    aws.client("dynamodb").update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": "us-east-1"}}])
    description = factory.describe_table(name)
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
    label = description["streamArn"].removeprefix(f"{arn}/stream/")
    none = {"readCapacity": 0, "writeCapacity": 0}
    warm = [{"readUnitsPerSecond": 0, "writeUnitsPerSecond": 0}]
    assert description == {
        "id": name,
        "name": name,
        "arn": arn,
        "region": REGION,
        "hashKey": "id",
        "rangeKey": "at",
        "attributes": [{"name": each, "type": "S"} for each in ("id", "at", "city", "time")],
        "billingMode": "PAY_PER_REQUEST",
        **none,
        "deletionProtectionEnabled": False,
        "tableClass": "STANDARD",
        "globalSecondaryIndexes": [
            {
                **BY_DAY,
                "hashKey": "city",
                "rangeKey": "",
                "onDemandThroughputs": [],
                "warmThroughputs": [],
                **none,
                "keySchemas": [{"attributeName": "city", "keyType": "HASH"}],
            }
        ],
        "localSecondaryIndexes": [{**BY_TIME, "nonKeyAttributes": []}],
        "onDemandThroughputs": [],
        "warmThroughputs": warm,
        "replicas": [{"regionName": "us-east-1", "kmsKeyArn": ""}],
        "streamArn": f"{arn}/stream/{label}",
        "streamLabel": label,
        **STREAM,
        "serverSideEncryption": None,
        "ttl": {"enabled": True, "attributeName": "expiry"},
        "pointInTimeRecovery": {"enabled": False, "recoveryPeriodInDays": 0},
        "tags": {"team": "a"},
    }


def test_a_program_sees_a_table_as_the_plugin_shows_it(factory: ResourceFactory, aws: LocalAws):
    """Every attribute has the type of pulumi_aws, so that a program can check an existing table."""
    seen: list[resources.dynamodb.GetTableResult] = []
    index = {**BY_CITY, "rangeKey": None}
    _, name, _ = factory.create_table(globalSecondaryIndexes=[index], attributes=ATTRIBUTES[::2])

    def program() -> None:
        seen.append(resources.dynamodb.get_table(name=name))
        with pytest.raises(Exception, match="Requested resource not found"):
            resources.dynamodb.get_table(name="nowhere")

    run(Program(program, config={}), Deployment(aws.sandbox.aws))
    [table] = seen
    [described] = table.global_secondary_indexes
    assert (described.name, described.hash_key, described.range_key, described.projection_type) == (
        "by-city",
        "city",
        "",
        "ALL",
    )
    assert [(each.name, each.type) for each in table.attributes] == [("id", "S"), ("city", "S")]
    assert (table.ttl.enabled, table.ttl.attribute_name, table.replicas, table.tags) == (False, "", [], {})
    assert (table.point_in_time_recovery.enabled, table.billing_mode) == (False, "PAY_PER_REQUEST")


def policy_document(aws: LocalAws, **arguments: Any) -> Any:
    """Return a policy document as the program gets it."""
    seen: list[str] = []

    def program() -> None:
        seen.append(resources.iam.get_policy_document(**arguments).json)

    run(Program(program, config={}), Deployment(aws.sandbox.aws))
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
    assert policy_document(aws, statements=statements, policy_id="p") == {
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


def test_a_policy_document_with_sources_and_overrides(aws: LocalAws):
    source = json.dumps({"Statement": {"Sid": "source", "Effect": "Allow"}})
    override = json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "own", "Effect": "Deny"}]})
    own, kept = {"sid": "own", "actions": ["s3:*"], "resources": ["*"]}, {"sid": "kept", "actions": ["sqs:*"]}
    documents = {"source_policy_documents": [source], "override_policy_documents": [override]}
    document = policy_document(aws, statements=[own, kept], **documents)
    assert [(statement["Sid"], statement["Effect"]) for statement in document["Statement"]] == [
        ("source", "Allow"),
        ("kept", "Allow"),
        ("own", "Deny"),
    ]


def test_an_unknown_function_is_named():
    with pytest.raises(ResourceError, match=r"^the sandbox does not support the function aws:ec2/getAmi:getAmi$"):
        look_up("aws:ec2/getAmi:getAmi", {}, disconnected_aws())
