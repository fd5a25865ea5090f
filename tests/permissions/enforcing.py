"""An emulator that enforces IAM, and the calls on its record."""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- untyped

from tests.local import LocalAws

FROM_MAPPING = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "s3:ListBucket",
}
"""The actions that Lambda's mapping needs of the role."""
NOT_CALLED = {"dynamodb:ListStreams", "s3:ListBucket"}
"""Lambda's documentation asks for these permissions; nothing here uses them."""
UNSCOPED = FROM_MAPPING - NOT_CALLED | {"ses:SendEmail"}
"""The actions that the emulator allows only on `*`."""
SESSION = "ASIA"
"""The keys of roles' sessions begin so; those of users, such as operators, begin with AKIA."""
SEQUENCE = itertools.count()


def allow(guarded: LocalAws, role: str, name: str, actions: list[str], resource: str) -> None:
    """Allow a role more."""
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    guarded.client("iam").put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document)


def deny(guarded: LocalAws, role: str, action: str, resource: str) -> None:
    """Deny a role an action, in place of an earlier denial."""
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": action, "Resource": resource}}
    guarded.client("iam").put_role_policy(RoleName=role, PolicyName="denied", PolicyDocument=json.dumps(document))


def statements(guarded: LocalAws, role: str) -> list[dict[str, Any]]:
    """Return the statements of a role as it was deployed."""
    iam = guarded.client("iam")
    names = set(iam.list_role_policies(RoleName=role)["PolicyNames"]) - {"anywhere", "denied"}
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [statement for document in documents for statement in document["Statement"]]


def ask(guarded: LocalAws, outputs: dict[str, Any], consumer: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Invoke a consumer's function and return its response."""
    function = outputs["consumers"][consumer]["function"]
    answer = guarded.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    payload = json.load(answer["Payload"])
    assert "FunctionError" not in answer, payload
    return payload


def inserted(stream_arn: str, item: Mapping[str, Any], created: int | None = None) -> dict[str, Any]:
    image = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in item.items()}
    keys = {name: value for name, value in image.items() if name == "id" or name.endswith("_id")}
    number = 10**20 + next(SEQUENCE)
    return {
        "eventID": f"event-{number}",
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "eventSourceARN": stream_arn,
        "dynamodb": {
            "Keys": keys,
            "NewImage": image,
            "SequenceNumber": str(number),
            "ApproximateCreationDateTime": int(time.time()) if created is None else created,
        },
    }


def trail(guarded: LocalAws, since: float = 0.0) -> list[dict[str, Any]]:
    """Return the calls by roles, newest first, as the emulator's CloudTrail has them.

    A lookup returns at most fifty calls and has no pages, so each lookup ends where the one before it did. The request
    has microseconds, where boto3 would send whole seconds.
    """
    client, calls, end = guarded.client("cloudtrail"), dict[str, dict[str, Any]](), time.time() + 60

    def between(params: dict[str, Any], **_: Any) -> None:
        params["body"] = json.dumps({"StartTime": since, "EndTime": end}).encode()

    client.meta.events.register("before-call.cloudtrail.LookupEvents", between)
    try:
        while events := [each for each in client.lookup_events()["Events"] if each["EventId"] not in calls]:
            calls |= {each["EventId"]: each for each in events}
            end = events[-1]["EventTime"].timestamp() + 1e-6
    finally:
        client.meta.events.unregister("before-call.cloudtrail.LookupEvents", between)
    return [each for each in calls.values() if each["Username"].startswith(SESSION)]


def recorded(guarded: LocalAws, since: float = 0.0) -> set[tuple[str, str]]:
    """Return the caller and the action of each call; an assumed role has one name."""
    return {(event["Username"], action_of(event)) for event in trail(guarded, since)}


def action_of(event: Mapping[str, Any]) -> str:
    """Return the action that allows a call; only Lambda's invocation has another name than its call."""
    service, call = event["EventSource"].split(".")[0].removesuffix("streams"), event["EventName"]
    return "lambda:InvokeFunction" if (service, call) == ("lambda", "Invoke") else f"{service}:{call}"


def refused(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException"):
            return True
        raise
    return False
