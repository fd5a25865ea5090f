"""Reads the resources of a consumer: its function, mappings, schedule and failure destinations."""

import time
from email.utils import parsedate_to_datetime
from typing import Any

from handler.stream.environment import Environment
from ops.failures.bucket import MAPPINGS
from ops.stack import Client
from ops.status.facts import MISSING, FunctionFacts, MappingFacts, ScheduleFacts

WRITES = {"s3": "s3:PutObject", "sqs": "sqs:SendMessage", "sns": "sns:Publish"}
"""The actions that write to the failure destination, by the service in its ARN."""
DEFAULTS = Environment()
"""The settings of a function without variables."""


def read_function(functions: Any, name: str) -> FunctionFacts:
    """Return a function's configuration."""
    response = functions.get_function_configuration(FunctionName=name)
    sent_at = response["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    clock_skew = parsedate_to_datetime(sent_at).timestamp() - time.time() if sent_at else 0.0
    variables = response.get("Environment", {}).get("Variables", {})
    remember = variables.get("REMEMBER_SECONDS")
    return FunctionFacts(
        state=response.get("State", "Active"),
        state_reason=response.get("StateReason", ""),
        last_update=response.get("LastUpdateStatus", "Successful"),
        last_update_reason=response.get("LastUpdateStatusReason", ""),
        timeout_seconds=response["Timeout"],
        role_arn=response["Role"],
        namespace=variables.get("POWERTOOLS_METRICS_NAMESPACE", DEFAULTS.powertools_metrics_namespace),
        remember_seconds=float(remember) if remember else None,
        give_up_after_seconds=float(variables.get("GIVE_UP_AFTER_SECONDS", DEFAULTS.give_up_after_seconds))
        if remember
        else None,
        clock_skew=clock_skew,
    )


def read_mapping(functions: Any, table: str, uuid: str) -> MappingFacts:
    """Return an event source mapping of the table with this name in the program."""
    response = functions.get_event_source_mapping(UUID=uuid)
    return MappingFacts(
        table=table,
        uuid=uuid,
        state=response["State"],
        reason=response.get("StateTransitionReason", ""),
        last_result=response.get("LastProcessingResult", ""),
        modified_at=response["LastModified"].timestamp(),
        stream_arn=response["EventSourceArn"],
        account=response["FunctionArn"].split(":")[4],
        destination_arn=response.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"),
        counts_events="EventCount" in response.get("MetricsConfig", {}).get("Metrics", ()),
    )


def read_schedule(scheduler: Any, name: str) -> ScheduleFacts:
    """Return a retry schedule."""
    return ScheduleFacts(name, scheduler.get_schedule(Name=name)["State"])


def latest_stream(dynamodb: Any, table: str) -> str:
    """Return the ARN of a table's present stream, or MISSING."""
    return dynamodb.describe_table(TableName=table)["Table"].get("LatestStreamArn", MISSING)


def destination_exists(client: Client, arn: str) -> bool:
    """Return True if the destination exists; else raise the error of boto3."""
    _, _, service, _, account, name = arn.split(":", 5)
    match service:
        case "s3":
            client("s3").head_bucket(Bucket=name)
        case "sqs":
            client("sqs").get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        case _:
            client("sns").get_topic_attributes(TopicArn=arn)
    return True


def may_write(iam: Any, role: str, arn: str, account: str) -> bool | None:
    """Return whether the policies of a role allow it to write to a destination; None if they do not decide.

    The simulation does not know the policy of the destination, and takes the account for the destination's owner.
    """
    service = arn.split(":")[2]
    owner = {"ContextKeyName": "s3:ResourceAccount", "ContextKeyValues": [account], "ContextKeyType": "string"}
    response = iam.simulate_principal_policy(
        PolicySourceArn=role,
        ActionNames=[WRITES[service]],
        ResourceArns=[f"{arn}/{MAPPINGS}x" if service == "s3" else arn],
        ContextEntries=[owner],
    )
    [result] = response["EvaluationResults"]
    if result["EvalDecision"] == "allowed":
        return True
    return None if result.get("MissingContextValues") else False
