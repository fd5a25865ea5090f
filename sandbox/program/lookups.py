"""The functions of the AWS provider that the sandbox supports."""

import json
from typing import Any, cast

import jmespath  # pyright: ignore[reportMissingTypeStubs] -- untyped, as botocore is

from sandbox.resources.resource_type import Aws, Inputs, ResourceError

GET_TABLE = "aws:dynamodb/getTable:getTable"

_PROJECTED = """name: IndexName, projectionType: Projection.ProjectionType,
    nonKeyAttributes: Projection.NonKeyAttributes || `[]`,
    rangeKey: KeySchema[?KeyType=='RANGE'].AttributeName | [0] || ''"""
_MAXIMA = """OnDemandThroughput && [{maxReadRequestUnits: OnDemandThroughput.MaxReadRequestUnits,
                                 maxWriteRequestUnits: OnDemandThroughput.MaxWriteRequestUnits}] || `[]`"""
_WARM = """WarmThroughput && [{readUnitsPerSecond: WarmThroughput.ReadUnitsPerSecond,
                               writeUnitsPerSecond: WarmThroughput.WriteUnitsPerSecond}] || `[]`"""
_CAPACITY = """readCapacity: ProvisionedThroughput.ReadCapacityUnits || `0`,
    writeCapacity: ProvisionedThroughput.WriteCapacityUnits || `0`"""
_TABLE = f"""{{id: TableName, name: TableName, arn: TableArn,
    attributes: AttributeDefinitions[].{{name: AttributeName, type: AttributeType}},
    billingMode: BillingModeSummary.BillingMode || 'PROVISIONED', {_CAPACITY},
    hashKey: KeySchema[?KeyType=='HASH'].AttributeName | [0],
    rangeKey: KeySchema[?KeyType=='RANGE'].AttributeName | [0] || '',
    deletionProtectionEnabled: DeletionProtectionEnabled || `false`,
    tableClass: TableClassSummary.TableClass || 'STANDARD',
    globalSecondaryIndexes: (GlobalSecondaryIndexes || `[]`)[].{{{_PROJECTED}, {_CAPACITY},
        hashKey: KeySchema[?KeyType=='HASH'].AttributeName | [0],
        keySchemas: KeySchema[].{{attributeName: AttributeName, keyType: KeyType}},
        onDemandThroughputs: {_MAXIMA}, warmThroughputs: {_WARM}}},
    localSecondaryIndexes: (LocalSecondaryIndexes || `[]`)[].{{{_PROJECTED}}},
    onDemandThroughputs: {_MAXIMA}, warmThroughputs: {_WARM},
    replicas: (Replicas || `[]`)[].{{regionName: RegionName, kmsKeyArn: KMSMasterKeyId || ''}},
    streamArn: LatestStreamArn || '', streamLabel: LatestStreamLabel || '',
    streamEnabled: StreamSpecification.StreamEnabled || `false`,
    streamViewType: StreamSpecification.StreamViewType || '',
    serverSideEncryption: (SSEDescription.Status == 'ENABLED') &&
        {{enabled: `true`, kmsKeyArn: SSEDescription.KMSMasterKeyArn}} || `null`}}"""
"""From DescribeTable's response to pulumi_aws's GetTableResult (JMESPath)."""


def look_up(token: str, args: Inputs, aws: Aws) -> Inputs:
    """Return the result of a function of the provider.

    Raises
    ------
    ResourceError
        The sandbox does not support the function.
    botocore.exceptions.ClientError
        AWS rejects the call, for example because the table does not exist.
    """
    match token:
        case "aws:index/getRegion:getRegion":
            return {"id": aws.region, "region": aws.region, "name": aws.region}
        case "aws:index/getPartition:getPartition":
            return _partition(aws.region)
        case "aws:index/getCallerIdentity:getCallerIdentity":
            caller = aws.client("sts").get_caller_identity()
            account = caller["Account"]
            return {"id": account, "accountId": account, "arn": caller["Arn"], "userId": caller["UserId"]}
        case _ if token == GET_TABLE:
            return _table(args["name"], aws)
        case "aws:iam/getPolicyDocument:getPolicyDocument":
            document = _policy_document(args)
            return {"id": "document", "json": json.dumps(document, indent=2), "minifiedJson": json.dumps(document)}
        case _:
            raise ResourceError(f"the sandbox does not support the function {token}")


def _partition(region: str) -> Inputs:
    """Return the partition of a Region."""
    partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rpartition("-")[0].rpartition("-")[0], "aws")
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    reverse = ".".join(reversed(suffix.split(".")))
    return {"id": partition, "partition": partition, "dnsSuffix": suffix, "reverseDnsPrefix": reverse}


def _table(name: str, aws: Aws) -> Inputs:
    client = aws.client("dynamodb")
    description = jmespath.search(_TABLE, client.describe_table(TableName=name)["Table"])
    expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups["PointInTimeRecoveryDescription"]
    recoverable = recovery["PointInTimeRecoveryStatus"] == "ENABLED"
    days = recovery.get(
        "RecoveryPeriodInDays", 35 if recoverable else 0
    )  # AWS's default is 35 days (UpdateContinuousBackups)
    tags = client.list_tags_of_resource(ResourceArn=description["arn"])["Tags"]
    return {
        **description,
        "region": aws.region,
        "ttl": {"enabled": expiry["TimeToLiveStatus"] == "ENABLED", "attributeName": expiry.get("AttributeName", "")},
        "pointInTimeRecovery": {"enabled": recoverable, "recoveryPeriodInDays": days},
        "tags": {tag["Key"]: tag["Value"] for tag in tags},
    }


def _policy_document(args: Inputs) -> Inputs:
    """Return a policy of the sources' statements, its own, and the overrides, which replace statements of equal Sid."""
    sources, overrides = (
        [statement for text in args.get(name, ()) for statement in _statements(text)]
        for name in ("sourcePolicyDocuments", "overridePolicyDocuments")
    )
    statements = [_statement(each) for each in args.get("statements", ())]
    replaced = {each["Sid"] for each in overrides if each.get("Sid")}
    remaining = [each for each in (*sources, *statements) if each.get("Sid") not in replaced]
    identified = {"Id": args["policyId"]} if "policyId" in args else {}
    return {"Version": args.get("version", "2012-10-17"), **identified, "Statement": [*remaining, *overrides]}


def _statements(text: str) -> list[Inputs]:
    statements: Any = json.loads(text)["Statement"]
    return [cast("Inputs", statements)] if isinstance(statements, dict) else statements


def _statement(args: Inputs) -> Inputs:
    statement: Inputs = {"Sid": args["sid"]} if args.get("sid") else {}
    statement["Effect"] = args.get("effect", "Allow")
    for name in ("actions", "notActions", "resources", "notResources"):
        if values := args.get(name):
            statement[name[0].upper() + name[1:-1]] = _one_or_more(values)
    for name in ("principals", "notPrincipals"):
        if principals := args.get(name):
            every = [each for each in principals if each["type"] == "*"]
            by_kind = {each["type"]: _one_or_more(each["identifiers"]) for each in principals}
            statement[name[0].upper() + name[1:-1]] = "*" if every else by_kind
    for condition in args.get("conditions", ()):
        tests: Inputs = statement.setdefault("Condition", {}).setdefault(condition["test"], {})
        tests[condition["variable"]] = _one_or_more(condition["values"])
    return statement


def _one_or_more(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
