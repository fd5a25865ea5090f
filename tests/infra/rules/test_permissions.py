"""Whether a document allows an action on a resource, for any document."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.rules.permissions import TABLE_WRITES, allowed_on, matches, statements
from infra.rules.view import Unknown
from tests.infra.rules.views import allow, deny, document, when

ARN = "arn:aws:dynamodb:eu-central-1:111122223333:table/items"
URN = "urn:pulumi:dev::shop::aws:dynamodb/table:Table::items"
OUTPUT = Unknown(frozenset({URN, "urn:pulumi:dev::shop::aws:s3/bucket:Bucket::lost"}))
"""An output of the table that is not known yet."""
PUT = "dynamodb:PutItem"


def may(document: object, actions: Sequence[str], resource: str) -> bool:
    return allowed_on(document, actions)(resource)


# The wildcard matcher


def by_hand(pattern: str, text: str) -> bool:
    """Return the result of `matches`, by the definition of the two wildcards."""
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
    ("policy", "effects"),
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
def test_statements_of_a_document(policy: Any, effects: list[str]) -> None:
    assert [each["effect"] for each in statements(policy)] == effects


# Whether a call is allowed


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(
    ("parts", "allowed"),
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
def test_a_write_that_is_allowed(parts: list[Any], allowed: bool, text: bool) -> None:
    policy = document(*parts)
    assert may(json.dumps(policy) if text else policy, TABLE_WRITES, ARN) is allowed


@pytest.mark.parametrize(
    ("parts", "allowed"),
    [
        ([allow(PUT, OUTPUT)], True),
        ([allow(PUT, [ARN, OUTPUT])], True),
        ([allow(PUT, "*")], True),
        ([allow("dynamodb:GetItem", OUTPUT)], False),
        ([allow(PUT, Unknown(frozenset({f"{URN}-archive"})))], False),
        ([allow(PUT, Unknown())], False),
        ([allow(PUT, ARN)], False),
        ([allow(OUTPUT, OUTPUT)], False),
        ([allow([Unknown(), PUT], OUTPUT)], True),
        ([{"Effect": "Allow", "Action": PUT, "NotResource": OUTPUT}], False),
        ([{"Effect": OUTPUT, "Action": PUT, "Resource": OUTPUT}], False),
        ([allow(PUT, OUTPUT), deny("*", "*")], False),
        ([allow(PUT, OUTPUT), deny(PUT, OUTPUT)], True),
        ([allow(PUT, OUTPUT), deny(PUT, "*", Condition=Unknown())], True),
        ([OUTPUT], False),
    ],
)
def test_a_write_of_a_table_that_does_not_exist_yet(parts: list[Any], allowed: bool) -> None:
    assert may(document(*parts), TABLE_WRITES, URN) is allowed


def test_a_document_that_is_not_known_allows_nothing() -> None:
    assert not may(OUTPUT, TABLE_WRITES, URN)
    assert not may("no JSON", TABLE_WRITES, ARN)
    assert not may(document(allow("*", "*")), [], ARN)


def test_a_typed_document_of_pulumi_aws_reaches_the_engine_in_either_spelling() -> None:
    typed = {"statement": [{"effect": "Allow", "notAction": "iam:*", "notResource": ["arn:aws:s3:::a"]}]}
    snake = {"statement": [{"effect": "Allow", "not_action": "iam:*", "not_resource": ["arn:aws:s3:::a"]}]}
    assert may(typed, [PUT], ARN)
    assert may(snake, [PUT], ARN)
    assert not may(typed, ["iam:PassRole"], ARN)
