"""Finds calls that AWS would refuse, since the function's role does not allow them.

A call is allowed if a statement of the role's policies allows its action on its resource. Conditions, denials and the
policies of resources are not judged, nor are calls that the sandbox cannot name.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, cast
from urllib.parse import unquote

from sandbox.emulator import ACCOUNT
from sandbox.gate.calls import Call
from sandbox.mapping.invocation import Client

_ACTIONS = {
    ("lambda", "Invoke"): "InvokeFunction",
    ("s3", "HeadObject"): "GetObject",
    ("s3", "ListObjectsV2"): "ListBucket",
    ("sns", "PublishBatch"): "Publish",
    ("sqs", "SendMessageBatch"): "SendMessage",
    ("sqs", "DeleteMessageBatch"): "DeleteMessage",
}
"""The actions with another name than their operation."""
_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}
_FREE = {"sts:GetCallerIdentity"}
"""Actions that need no permission."""


class Permissions:
    """The permissions of one role.

    Parameters
    ----------
    client
        Returns the emulator's boto3 client of a service.
    role
        The role's name.
    """

    def __init__(self, client: Client, role: str, region: str) -> None:
        self._region = region
        self._allowed = [
            (_texts(each["Action"]), _texts(each["Resource"]))
            for each in _statements(client("iam"), role)
            if each["Effect"] == "Allow" and "Action" in each and "Resource" in each
        ]

    def missing(self, call: Call) -> Iterator[tuple[str, str]]:
        """Yield the actions of a call that are not allowed, each with its resource."""
        if not call.operation:
            return
        for action, resources in self._needed(call):
            if action not in _FREE and not any(self._allows(action, resource) for resource in resources):
                yield action, resources[0]

    def _allows(self, action: str, resource: str) -> bool:
        return any(
            any(fnmatchcase(action.lower(), each.lower()) for each in actions)
            and (not resource or any(fnmatchcase(resource, each) for each in resources))
            for actions, resources in self._allowed
        )

    def _needed(self, call: Call) -> Iterator[tuple[str, list[str]]]:
        """Yield each action with the resources of which one must be allowed; "" is one that the sandbox cannot name."""
        if call.service == "dynamodb" and call.operation in ("TransactWriteItems", "TransactGetItems"):
            parts: list[dict[str, Any]] = call.arguments.get("TransactItems") or []
            for part in parts:
                for kind, each in part.items():
                    yield f"dynamodb:{_TRANSACTION[kind]}", [self._table(each["TableName"])]
            return
        action = f"{call.service}:{_ACTIONS.get((call.service, call.operation), call.operation)}"
        if call.service == "ses":  # the identity is the address or its domain
            sender = _address(call.arguments.get("FromEmailAddress") or call.arguments.get("Source") or "")
            identities = (sender, sender.rpartition("@")[2])
            yield action, [self._arn("ses", f"identity/{identity}") for identity in identities]
            return
        yield from ((action, [resource]) for resource in [*self._resources(call)] or [""])

    def _resources(self, call: Call) -> Iterator[str]:
        arguments = call.arguments
        match call.service:
            case "dynamodb":
                index = f"/index/{arguments['IndexName']}" if "IndexName" in arguments else ""
                yield from (self._table(name) + index for name in call.tables)
            case "s3" if arguments.get("Bucket"):
                key = "" if call.operation == "ListObjectsV2" else f"/{arguments['Key']}"
                yield f"arn:aws:s3:::{arguments['Bucket']}{key}"
            case "sns" if arn := arguments.get("TopicArn") or arguments.get("TargetArn"):
                yield arn
            case "sqs" if url := arguments.get("QueueUrl"):
                yield self._arn("sqs", str(url).rsplit("/", 1)[-1])
            case "lambda" if name := arguments.get("FunctionName"):
                yield name if name.startswith("arn:") else self._arn("lambda", f"function:{name}")
            case "secretsmanager" if (name := arguments.get("SecretId", "")).startswith("arn:"):
                yield name
            case "ssm" if name := arguments.get("Name"):
                yield self._arn("ssm", f"parameter/{str(name).lstrip('/')}")
            case _:
                pass

    def _table(self, name: str) -> str:
        return name if name.startswith("arn:") else self._arn("dynamodb", f"table/{name}")

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self._region}:{ACCOUNT}:{resource}"


class Refusals:
    """Reports each call of a consumer that AWS would refuse, once for each action and resource.

    Parameters
    ----------
    role_permissions
        Returns the permissions of a consumer's function; None if they are unknown.
    report
        Called with the consumer, the action and the resource.
    """

    def __init__(
        self, role_permissions: Callable[[str], Permissions | None], report: Callable[[str, str, str], None]
    ) -> None:
        self._role_permissions, self._report = role_permissions, report
        self._permissions: dict[str, Permissions | None] = {}
        self._reported = set[tuple[str, str, str]]()

    def forget(self) -> None:
        """Read the permissions again, and report again: the program has been deployed."""
        self._permissions, self._reported = {}, set[tuple[str, str, str]]()

    def check(self, consumer: str, call: Call) -> None:
        """Report what is missing for a call."""
        if consumer not in self._permissions:
            self._permissions[consumer] = self._role_permissions(consumer)
        permissions = self._permissions[consumer]
        for action, resource in permissions.missing(call) if permissions else ():
            if (consumer, action, resource) not in self._reported:
                self._reported.add((consumer, action, resource))
                self._report(consumer, action, resource)


def _statements(iam: Any, role: str) -> Iterator[Mapping[str, Any]]:
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield from _read(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = attached["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        yield from _read(iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])


def _read(document: Any) -> list[Mapping[str, Any]]:
    parsed = json.loads(unquote(document)) if isinstance(document, str) else document
    statements = parsed["Statement"]
    return cast("list[Mapping[str, Any]]", statements if isinstance(statements, list) else [statements])


def _texts(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _address(sender: str) -> str:
    return sender.rpartition("<")[2].rstrip(">").strip()
