"""What a filter lets through: each line that was recorded on AWS, and what is refused."""

from typing import Any

import pytest

from sandbox.filtering import FilterError, any_of
from tests.property.stream import change

NUMBER = change(1, image={"a": {"S": "xyz"}, "n": {"N": "150"}, "s": {"SS": ["p", "q"]}, "b": {"BOOL": True}})


def passes(pattern: str, record: dict[str, Any] = NUMBER) -> bool:
    return any_of([pattern])(record)


def image(test: str) -> str:
    return f'{{"dynamodb": {{"NewImage": {test}}}}}'


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ('{"eventName": ["MODIFY"]}', True),
        ('{"eventName": ["INSERT", "REMOVE"]}', False),
        (image('{"a": {"S": ["xyz"]}}'), True),
        (image('{"a": ["xyz"]}'), False),  # the type key is needed
        (image('{"a": {"S": [{"exists": true}]}}'), True),
        (image('{"c": {"S": [{"exists": true}]}}'), False),
        (image('{"c": {"S": [{"exists": false}]}}'), True),
        (image('{"a": [{"exists": false}]}'), True),  # no leaf, so nothing is there
        (image('{"c": [{"exists": false}]}'), True),
        (image('{"a": [{"exists": true}]}'), False),
        (image('{"a": {"S": [{"prefix": "xy"}]}}'), True),
        (image('{"a": {"S": [{"prefix": "yz"}]}}'), False),
        (image('{"a": {"S": [{"anything-but": ["abc"]}]}}'), True),
        (image('{"a": {"S": [{"anything-but": "xyz"}]}}'), False),
        (image('{"c": {"S": [{"anything-but": ["abc"]}]}}'), False),
        (image('{"n": {"N": [{"numeric": [">", 100]}]}}'), False),  # accepted, and never matches
        (image('{"n": {"N": ["150"]}}'), True),
        (image('{"n": {"N": [150]}}'), False),
        (image('{"b": {"BOOL": [true]}}'), True),
        (image('{"b": {"BOOL": [1]}}'), False),
        (image('{"b": {"BOOL": [{"prefix": "t"}]}}'), False),
        (image('{"b": {"BOOL": [{"numeric": ["=", 1]}]}}'), False),  # true is no number
        (image('{"s": {"SS": ["q"]}}'), True),
        ('{"dynamodb": {"ApproximateCreationDateTime": [{"numeric": [">", 0]}]}}', False),
        ('{"dynamodb": {"ApproximateCreationDateTime": [{"numeric": [">=", 0, "<", 1]}]}}', True),
        ('{"userIdentity": {"type": ["Service"]}}', False),
        ('{"eventName": ["MODIFY"], "eventSource": ["aws:kinesis"]}', False),  # all keys must match
        ("{}", True),
    ],
)
def test_a_pattern(pattern: str, *, matches: bool) -> None:
    assert passes(pattern) is matches


def test_a_creation_time_is_a_number_and_compares() -> None:
    for rule, matches in (('">", 0', True), ('"<=", 5', True), ('"<", 5', False), ('">=", 5', True), ('"=", 5', True)):
        test = f'{{"dynamodb": {{"ApproximateCreationDateTime": [{{"numeric": [{rule}]}}]}}}}'
        assert passes(test, change(1, at=5)) is matches


def test_null_matches_a_null_alone() -> None:
    record = {**NUMBER, "userIdentity": None}
    assert passes('{"userIdentity": [null]}', record)
    assert not passes('{"eventName": [null]}', record)


def test_several_patterns_are_alternatives_and_none_lets_all_pass() -> None:
    assert any_of(['{"eventName": ["INSERT"]}', '{"eventName": ["MODIFY"]}'])(NUMBER)
    assert any_of([])(NUMBER)


@pytest.mark.parametrize(
    "pattern", ["no JSON", '["a"]', '{"eventName": "INSERT"}', '{"eventName": []}', '{"n": [{"numeric": ["~", 1]}]}']
)
def test_a_pattern_that_aws_refuses(pattern: str) -> None:
    with pytest.raises(FilterError, match=r"^InvalidParameterValueException: Invalid filter pattern definition\."):
        any_of([pattern])


@pytest.mark.parametrize("rule", ['{"suffix": "x"}', '{"cidr": "10.0.0.0/8"}', '{"exists": true, "prefix": "a"}'])
def test_an_operator_that_is_not_imitated_is_refused_by_name(rule: str) -> None:
    with pytest.raises(FilterError, match=r"eventName: the sandbox does not imitate"):
        any_of([f'{{"eventName": [{rule}]}}'])
