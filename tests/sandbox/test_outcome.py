"""An invocation's answer and log, told change by change."""

import json
from typing import Any

from sandbox.invocation import Invocation
from sandbox.outcome import LISTED, Names, lines, outcome

STREAM = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders-table-1/stream/2026"
NAMES = Names.of(
    {"consumers": {"mirror": {"function": "mirror-function-1"}}, "tables": {"orders": {"streamArn": STREAM}}}
)


def record(sequence: int, **keys: str) -> dict[str, Any]:
    typed = {name: {"S": value} for name, value in keys.items()}
    return {"eventName": "MODIFY", "dynamodb": {"SequenceNumber": f"{sequence:030}", "Keys": typed}}


def entry(message: str, sequence: int, text: str) -> str:
    error = {"type": "SomeError", "text": text}
    return json.dumps({"message": message, "sequence_number": f"{sequence:030}", "error": error})


def invocation(records: list[dict[str, Any]], **rest: Any) -> Invocation:
    answered: dict[str, Any] = {
        "response": {"batchItemFailures": []},
        "error": None,
        "log": "",
        "attempt": 1,
        "at": 0.0,
        **rest,
    }
    return Invocation(
        uuid="u", function="mirror-function-1", stream_arn=STREAM, records=tuple(records), seconds=0.1234, **answered
    )


def reported(*sequences: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": f"{each:030}"} for each in sequences]}


def test_changes_are_done_failed_held_or_parked():
    records = [record(1, id="a"), record(2, id="b"), record(3, id="b"), record(4, id="c")]
    log = "\n".join(["not JSON", "[1]", entry("change parked", 1, "never"), entry("change failed", 2, "[not] yet")])
    found = outcome(invocation(records, response=reported(2, 3), log=log, attempt=2), NAMES)
    assert (found.consumer, found.table, found.changes) == ("mirror", "orders", 4)
    assert found.parked == ((records[0], "SomeError: never"),)
    assert found.failed == ((records[1], "SomeError: [not] yet"),)
    assert found.held == (records[2],)
    assert found.done == (records[3],)
    assert list(lines(found)) == [
        "mirror         orders       4 changes  [green]✔ 1[/]  [red]✖ 1 failed[/]  [yellow]‖ 1 held[/]  "
        "[red]✖ 1 parked[/]  try 2  [dim]123 ms[/]",
        "  [red]✖[/] MODIFY id=a: SomeError: never → parked",
        r"  [red]✖[/] MODIFY id=b: SomeError: \[not] yet",
        "  [yellow]‖[/] MODIFY id=b waits",
    ]


def test_a_function_that_died_has_done_nothing_that_counts():
    found = outcome(invocation([record(1, id="a")], response=None, error="Timedout: after 2 s"), NAMES)
    assert (found.done, found.failed, found.held) == ((), (), ())
    assert list(lines(found)) == [
        "mirror         orders       1 change  [red]✖ all come again: Timedout: after 2 s[/]  [dim]123 ms[/]"
    ]


def test_a_success_may_be_answered_in_any_way():
    answers: list[Any] = [None, {}, {"batchItemFailures": None}, []]
    for answer in answers:
        assert len(outcome(invocation([record(1, id="a")], response=answer), NAMES).done) == 1


def test_names_that_the_program_does_not_tell_are_the_physical_ones():
    found = outcome(invocation([record(1, id="a")]), Names.of({}))
    assert (found.consumer, found.table) == ("mirror-function-1", "orders-table-1")


def test_many_held_changes_are_counted():
    records = [record(number, id="a", n=str(number)) for number in range(1, 20)]
    log = entry("change failed", 1, "no")
    told = list(lines(outcome(invocation(records, response=reported(*range(1, 20)), log=log), NAMES)))
    assert told[2:] == [
        *(f"  [yellow]‖[/] MODIFY id=a n={number} waits" for number in range(2, 2 + LISTED)),
        f"    … and {18 - LISTED} more",
    ]
