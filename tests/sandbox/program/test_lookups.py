"""The functions of AWS's provider that the sandbox answers."""

import json
from typing import Any

import pulumi_aws as resources
import pytest

from sandbox.program.deploy import Deployment
from sandbox.program.in_process import run
from sandbox.program.lookups import answer
from sandbox.resources.resource_type import Aws, ResourceError
from tests.local import REGION, LocalAws
from tests.sandbox.making import ACCOUNT, STREAM, Maker, Mappings, nowhere
from tests.sandbox.resources.test_tables import ATTRIBUTES, BY_CITY, BY_DAY, BY_TIME


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
    found = answer("aws:index/getPartition:getPartition", {}, Aws(lambda service: None, region, Mappings(), Mappings()))
    expected = {"id": partition, "partition": partition, "dnsSuffix": suffix, "reverseDnsPrefix": reverse}
    assert found == expected


def test_what_a_look_at_a_table_tells(maker: Maker, aws: LocalAws):
    _, name, _ = maker.table(
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
    found = answer("aws:dynamodb/getTable:getTable", {"name": name}, maker.aws)
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
    label = found["streamArn"].removeprefix(f"{arn}/stream/")
    none = {"readCapacity": 0, "writeCapacity": 0}
    warm = [{"readUnitsPerSecond": 0, "writeUnitsPerSecond": 0}]
    assert found == {
        "id": name,
        "name": name,
        "arn": arn,
        "region": REGION,
        "attributes": [{"name": each, "type": "S"} for each in ("id", "at", "city", "time")],
        "billingMode": "PAY_PER_REQUEST",
        **none,
        "hashKey": "id",
        "rangeKey": "at",
        "deletionProtectionEnabled": False,
        "tableClass": "STANDARD",
        "globalSecondaryIndexes": [
            {
                "name": "by-day",
                "hashKey": "city",
                "rangeKey": "",
                "keySchemas": [{"attributeName": "city", "keyType": "HASH"}],
                "projectionType": "INCLUDE",
                "nonKeyAttributes": ["total"],
                "onDemandThroughputs": [],
                "warmThroughputs": [],
                **none,
            }
        ],
        "localSecondaryIndexes": [
            {"name": "by-time", "rangeKey": "time", "projectionType": "KEYS_ONLY", "nonKeyAttributes": []}
        ],
        "onDemandThroughputs": [],
        "warmThroughputs": warm,
        "replicas": [{"regionName": "us-east-1", "kmsKeyArn": ""}],
        "streamArn": f"{arn}/stream/{label}",
        "streamLabel": label,
        "streamEnabled": True,
        "streamViewType": "NEW_AND_OLD_IMAGES",
        "serverSideEncryption": None,
        "ttl": {"enabled": True, "attributeName": "expiry"},
        "pointInTimeRecovery": {"enabled": False, "recoveryPeriodInDays": 0},
        "tags": {"team": "a"},
    }


def test_a_program_sees_a_table_as_the_plugin_shows_it(maker: Maker, aws: LocalAws):
    """Every attribute has the type that pulumi_aws says, so that a program can judge a table that is there already."""
    seen: list[resources.dynamodb.GetTableResult] = []
    _, name, _ = maker.table(globalSecondaryIndexes=[{**BY_CITY, "rangeKey": None}], attributes=ATTRIBUTES[::2])

    def program() -> None:
        seen.append(resources.dynamodb.get_table(name=name))
        with pytest.raises(Exception, match="Requested resource not found"):
            resources.dynamodb.get_table(name="nowhere")

    run(program, stack="local", config={}, backend=Deployment(aws.sandbox.aws))
    [table] = seen
    [index] = table.global_secondary_indexes
    assert (index.name, index.hash_key, index.range_key, index.projection_type) == ("by-city", "city", "", "ALL")
    assert [(each.name, each.type) for each in table.attributes] == [("id", "S"), ("city", "S")]
    assert (table.ttl.enabled, table.ttl.attribute_name, table.replicas, table.tags) == (False, "", [], {})
    assert (table.point_in_time_recovery.enabled, table.billing_mode) == (False, "PAY_PER_REQUEST")


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
