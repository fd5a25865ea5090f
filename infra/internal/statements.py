"""Statements of policies, and the documents that they make."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from infra.rules.permissions import ON_ALL

Statement = Mapping[str, Any]
"""One statement of a policy; what stands in it may be an output."""


def allow(actions: Sequence[str], resources: Sequence[pulumi.Input[str]], **condition: Any) -> Statement:
    """One statement that allows `actions` on `resources`, under the condition operators given."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def everywhere(*actions: str) -> Statement:
    """One statement that allows `actions` on every resource, which the rules so accept.

    For calls that AWS gives no narrower form, as sns:Publish to a telephone number or translate:TranslateText.
    """
    words = re.findall("[A-Za-z0-9]+", " ".join(actions))
    sid = ON_ALL + "".join(word[0].upper() + word[1:] for word in words)
    return {"Sid": sid} | dict(allow(actions, ["*"]))


def policy_document(statements: Sequence[pulumi.Input[Statement | None]]) -> pulumi.Output[str]:
    """The document of a role's policy; a right that several bring along, such as that to a key, stands once."""

    def document(said: Sequence[Statement | None]) -> str:
        once = [statement for number, statement in enumerate(said) if statement and statement not in said[:number]]
        return json.dumps({"Version": "2012-10-17", "Statement": once})

    return pulumi.Output.all(*statements).apply(document)
