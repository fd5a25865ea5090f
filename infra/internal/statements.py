"""Statements of IAM policies, and the policy documents that contain them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from infra.rules.permissions import ON_ALL

Statement = Mapping[str, Any]
"""One statement of a policy. Its values may be outputs."""


def allow(actions: Sequence[str], resources: Sequence[pulumi.Input[str]], **condition: Any) -> Statement:
    """Return a statement that allows `actions` on `resources` under a condition, given by its operators."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def everywhere(*actions: str) -> Statement:
    """Return a statement that allows `actions` on every resource, and that the rules accept.

    Use it where AWS supports no narrower resource, for example sns:Publish to a phone number.
    """
    words = re.findall("[A-Za-z0-9]+", " ".join(actions))
    sid = ON_ALL + "".join(word[0].upper() + word[1:] for word in words)
    return {"Sid": sid} | dict(allow(actions, ["*"]))


def policy_document(statements: Sequence[pulumi.Input[Statement | None]]) -> pulumi.Output[str]:
    """Return the policy document. A statement that occurs several times, such as one about a key, is written once."""

    def document(values: Sequence[Statement | None]) -> str:
        once = [statement for number, statement in enumerate(values) if statement and statement not in values[:number]]
        return json.dumps({"Version": "2012-10-17", "Statement": once})

    return pulumi.Output.all(*statements).apply(document)
