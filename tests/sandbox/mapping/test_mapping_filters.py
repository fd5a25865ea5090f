"""Filters match as recorded on AWS, and refuse patterns that AWS refuses or the sandbox does not imitate.

A public emulator's test suite has the recordings: of mappings, and, for the other operators of Lambda's guide, of calls
of EventBridge's TestEventPattern (March 2026).
"""

from typing import Any

import pytest

from sandbox.mapping.filters import FilterError, any_of
from tests.fakes.stream import change

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
        (image('{"a": ["xyz"]}'), False),  # the pattern lacks the attribute's type
        (image('{"a": {"S": [{"exists": true}]}}'), True),
        (image('{"c": {"S": [{"exists": true}]}}'), False),
        (image('{"c": {"S": [{"exists": false}]}}'), True),
        (image('{"a": [{"exists": false}]}'), True),  # an object is no value
        (image('{"c": [{"exists": false}]}'), True),
        (image('{"a": [{"exists": true}]}'), False),
        (image('{"a": {"S": [{"prefix": "xy"}]}}'), True),
        (image('{"a": {"S": [{"prefix": "yz"}]}}'), False),
        (image('{"a": {"S": [{"anything-but": ["abc"]}]}}'), True),
        (image('{"a": {"S": [{"anything-but": "xyz"}]}}'), False),
        (image('{"c": {"S": [{"anything-but": ["abc"]}]}}'), False),
        (image('{"n": {"N": [{"numeric": [">", 100]}]}}'), False),  # AWS accepts the pattern, but it never matches
        (image('{"n": {"N": ["150"]}}'), True),
        (image('{"n": {"N": [150]}}'), False),
        (image('{"b": {"BOOL": [true]}}'), True),
        (image('{"b": {"BOOL": [1]}}'), False),
        (image('{"b": {"BOOL": [{"prefix": "t"}]}}'), False),
        (image('{"b": {"BOOL": [{"numeric": ["=", 1]}]}}'), False),  # true is not a number
        (image('{"s": {"SS": ["q"]}}'), True),
        ('{"dynamodb": {"ApproximateCreationDateTime": [{"numeric": [">", 0]}]}}', False),
        ('{"dynamodb": {"ApproximateCreationDateTime": [{"numeric": [">=", 0, "<", 1]}]}}', True),
        ('{"userIdentity": {"type": ["Service"]}}', False),
        ('{"eventName": ["MODIFY"], "eventSource": ["aws:kinesis"]}', False),  # all keys must match
        ("{}", True),
    ],
)
def test_a_pattern_matches_as_recorded(pattern: str, *, matches: bool) -> None:
    assert passes(pattern) is matches


def event(**fields: Any) -> dict[str, Any]:
    return {"detail": fields}


@pytest.mark.parametrize(
    ("detail", "pattern", "matches"),
    [
        (event(file="image.png"), '{"file": [{"suffix": ".png"}]}', True),
        (event(file="image.png"), '{"file": [{"suffix": ".PNG"}]}', False),
        (event(file="image.png"), '{"file": [{"suffix": ""}]}', True),
        (event(file="image.png"), '{"file": [{"prefix": ""}]}', True),
        (event(name="EC2 Change"), '{"name": [{"equals-ignore-case": "ec2 chAnge"}]}', True),
        (event(name="EC2 Change"), '{"name": [{"equals-ignore-case": "ec2"}]}', False),
        (event(name=""), '{"name": [{"equals-ignore-case": ""}]}', True),
        (event(name="a"), '{"name": [{"equals-ignore-case": ""}]}', False),
        (event(state=None), '{"state": [{"anything-but": "initializing"}]}', True),
        (event(), '{"state": [{"anything-but": "initializing"}]}', False),
        (event(state=None), '{"state": [null]}', True),
        (event(state="null"), '{"state": [null]}', False),
        (event(state=""), '{"state": [null]}', False),
        (event(limit=300.0), '{"limit": [300]}', True),
        (event(resources=["a", "b"]), '{"resources": ["b", "c", "d"]}', True),
        (event(resources=["a"]), '{"resources": ["b", "c", "d"]}', False),
        (event(resources=[]), '{"resources": [null]}', False),
        (event(resources=[]), '{"resources": [{"exists": true}]}', False),
        (event(runs=[{"key": 1}, {"id": 2}]), '{"runs": {"id": [{"exists": true}]}}', True),
        (event(**{"a.b": "x"}), '{"a": {"b": ["x"]}}', True),
        (event(a={"b": "x"}), '{"a.b": ["x"]}', True),
        (event(**{"a.b": {"b": "x"}}), '{"a": {"b": ["x"]}}', False),
        (event(a={"b": "x"}), '{"a.b": {"b": ["x"]}}', False),
        (event(a={"b": {"c": "x"}}), '{"a": {"b": {"c": [{"exists": false}]}}}', False),
        (event(a={"b": {"c": "x"}}), '{"a": {"b": {"d": [{"exists": false}]}}}', True),
        (event(home={"N": "7"}), '{"home": {"S": [{"anything-but": ["roses"]}, {"exists": false}]}}', True),
        (event(home={"S": "ABCD"}), '{"home": {"S": [{"anything-but": ["roses"]}, {"exists": false}]}}', True),
        (event(home={"S": "roses"}), '{"home": {"S": [{"anything-but": ["roses"]}, {"exists": false}]}}', False),
        (event(c=0, d=0), '{"$or": [{"c": [{"numeric": [">", 0]}]}, {"d": [{"numeric": ["<", 10]}]}]}', True),
        (event(c=0, d=10), '{"$or": [{"c": [{"numeric": [">", 0]}]}, {"d": [{"numeric": ["<", 10]}]}]}', False),
    ],
)
def test_an_event_pattern_matches_as_recorded(detail: dict[str, Any], pattern: str, matches: bool) -> None:
    assert passes(f'{{"detail": {pattern}}}', detail) is matches


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ('{"a": ["x"], "$or": [{"b": ["y"]}, {"c": ["z"]}]}', True),
        ('{"a": ["w"], "$or": [{"b": ["y"]}, {"c": ["y"]}]}', False),
        ('{"$or": [{"a": ["x"], "b": ["y"]}, {"c": ["no"]}]}', False),
        ('{"$or": [{"a": ["no"]}, {"c": ["no"]}], "d": {"$or": [{"e": [1]}, {"f": [1]}]}}', False),
        ('{"$or": [{"a": ["no"]}, {"c": ["y"]}], "d": {"$or": [{"e": [1]}, {"f": [1]}]}}', True),
        ('{"$or": {"a": ["no"]}}', False),  # not a list, so `$or` is the name of a field
        ('{"$or": [null]}', False),
    ],
)
def test_alternatives_of_several_fields(pattern: str, matches: bool) -> None:
    assert passes(pattern, {"a": "x", "b": "no", "c": ["z", "y"], "d": {"f": 1}}) is matches


def test_members_of_one_object_in_an_array_are_tested_together() -> None:
    people = {"people": [{"first": "Anna", "last": "Smith"}, {"first": "John", "last": "Doe"}]}
    assert passes('{"people": {"first": ["Anna"], "last": ["Smith"]}}', people)
    assert not passes('{"people": {"first": ["Anna"], "last": ["Doe"]}}', people)


def test_two_rules_for_one_field_are_refused() -> None:
    with pytest.raises(FilterError, match=r"^the sandbox does not imitate two rules for one field: a$"):
        any_of(['{"a": ["x"], "$or": [{"a": ["y"]}, {"b": ["y"]}]}'])


def test_a_creation_time_is_compared_as_a_number() -> None:
    for rule, matches in (('">", 0', True), ('"<=", 5', True), ('"<", 5', False), ('">=", 5', True), ('"=", 5', True)):
        test = f'{{"dynamodb": {{"ApproximateCreationDateTime": [{{"numeric": [{rule}]}}]}}}}'
        assert passes(test, change(1, at=5)) is matches


def test_null_matches_only_null() -> None:
    record = {**NUMBER, "userIdentity": None}
    assert passes('{"userIdentity": [null]}', record)
    assert not passes('{"eventName": [null]}', record)


def test_several_patterns_are_alternatives_and_without_patterns_all_records_pass() -> None:
    assert any_of(['{"eventName": ["INSERT"]}', '{"eventName": ["MODIFY"]}'])(NUMBER)
    assert any_of([])(NUMBER)


@pytest.mark.parametrize(
    "pattern",
    [
        *("no JSON", '["a"]', '{"eventName": "INSERT"}', '{"eventName": []}'),
        '{"n": [{"numeric": ["~", 1]}]}',
        '{"eventName": [{"anything-but": null}]}',
        '{"eventName": [{"anything-but": ["a", null]}]}',
        '{"eventName": [{"anything-but": []}]}',
    ],
)
def test_a_pattern_that_aws_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(FilterError, match=r"^InvalidParameterValueException: Invalid filter pattern definition\."):
        any_of([pattern])


@pytest.mark.parametrize(
    "rule",
    [
        *('{"cidr": "10.0.0.0/8"}', '{"wildcard": "a*"}', '{"exists": true, "prefix": "a"}', '{"exists": 0}'),
        *('{"prefix": 1}', '{"suffix": {"equals-ignore-case": "a"}}', '{"equals-ignore-case": ["a"]}'),
        '{"anything-but": {"prefix": "a"}}',
    ],
)
def test_an_operator_that_is_not_imitated_is_refused_by_name(rule: str) -> None:
    with pytest.raises(FilterError, match=r"eventName: the sandbox does not imitate"):
        any_of([f'{{"eventName": [{rule}]}}'])
