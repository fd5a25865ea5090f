"""How an invocation's changes are sorted by its answer and log."""

import json
from typing import Any

import pytest

from sandbox.mapping.invocation import ObservedInvocation
from sandbox.report import (
    HELD,
    PARKED,
    RELEASED,
    RETRY_FAILED,
    WAIT,
    InvocationReport,
    Names,
    remaining_held,
    report_of,
)
from tests.fakes.records import FIRST, record, sequence

STREAM = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders-table-1/stream/2026"
TABLES = {"orders": {"name": "orders-table-1", "streamArn": STREAM}}
NAMES = Names.from_outputs({"consumers": {"mirror": {"function": "mirror-function-1"}}, "tables": TABLES})


def entry(message: str, number: int | None = None, text: str | None = None, **rest: Any) -> str:
    """A log line of the engine about the item with the key `id`, "a" by default."""
    identity = rest.pop("id", "a")
    line: dict[str, Any] = {"level": "ERROR", "message": message, "item": f"digest-{identity}"}
    line |= {"table": "orders-table-1", "keys": {"id": identity}}
    if number is not None:
        line |= {"sequence_number": sequence(number), "event_name": "MODIFY", "event_id": str(number)}
    if text is not None:
        line["error"] = {"type": "SomeError", "text": text}
    if "sequences" in rest:
        line["sequence_numbers"] = [sequence(each) for each in rest.pop("sequences")]
    return json.dumps(line | rest)


def invocation(*log: str, records: list[dict[str, Any]] | None = None, **options: Any) -> ObservedInvocation:
    """An invocation with a batch; without records, a retry run."""
    defaults: dict[str, Any] = {"uuid": "u", "function": "mirror-function-1", "attempt": 1, "ended_at": 0.0}
    defaults |= {"duration_seconds": 0.1234, "error": None, "stream_arn": STREAM if records else ""}
    if records:
        defaults |= {"response": {"batchItemFailures": []}, "scheduled": None}
    else:
        retried = {"held": 1, "due": 1, "tried": 1, "released": 0}
        defaults |= {"response": retried, "scheduled": {"table-stream": "retry"}}
    return ObservedInvocation(records=tuple(records or ()), log="\n".join(log), **(defaults | options))


def report(*log: str, records: list[dict[str, Any]] | None = None, **options: Any) -> InvocationReport:
    return report_of(invocation(*log, records=records, **options), NAMES)


def reported(*sequences: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": sequence(each)} for each in sequences]}


def test_each_change_is_done_failed_postponed_held_waiting_or_parked():
    items = {"parked": "a", "failed": "b", "postponed": "b", "held": "c", "with it": "c", "waiting": "d", "done": "e"}
    records = [record(number, item) for number, item in enumerate(items.values(), 1)]
    hold = {"changes": 2, "sequences": [4, 5], "attempts": 3, "next_try": "2026-11-26T10:00:01+00:00"}
    result = report(
        *("not JSON", "[1]", '{"message": ["no text"]}', '{"message": "something else"}'),
        entry(PARKED, 1, "never", reason="PermanentError"),
        entry("change failed", 2, "[not] yet", id="b"),
        entry(HELD, 4, "not yet", id="c", **hold),
        entry(WAIT, id="d", waits_for=sequence(0), changes=1, sequences=[6], waiting=3),
        records=records,
        response=reported(2, 3),
        attempt=2,
    )
    assert (result.consumer, result.table) == ("mirror", "orders")
    assert [each.error for each in result.entries_of(PARKED)] == ["SomeError: never"]
    assert result.failed == ((records[1], "SomeError: [not] yet"),)
    assert result.postponed == (records[2],)
    assert result.held == (records[3], records[4])
    assert result.waiting == (records[5],)
    assert result.done == (records[6],)
    [held] = result.entries_of(HELD)
    assert (held.table, held.change, held.sequences) == ("orders", "MODIFY id=c", (FIRST + 4, FIRST + 5))
    assert held.sequence == FIRST + 4
    assert (held.changes, held.tries, held.next_try) == (2, 3, 1795687201)
    assert [(each.change, each.waiting) for each in result.entries_of(WAIT)] == [("id=d", 3)]


def test_an_entry_that_names_only_the_first_changes_counts_for_the_later_ones_of_its_item():
    records = [record(number, "ab"[number % 2]) for number in range(1, 400)]
    result = report(
        entry(HELD, 3, "no", id="b", changes=199, sequences=range(3, 203, 2)),
        entry(WAIT, id="a", changes=199, sequences=range(2, 202, 2), waiting=300),
        records=records,
    )
    assert (result.done, len(result.held), len(result.waiting)) == ((records[0],), 199, 199)


def test_a_parked_change_of_a_held_item_is_not_held():
    records = [record(1), record(2)]
    hold = entry(HELD, 1, "no", changes=1, sequences=[1])
    result = report(hold, entry(PARKED, 2, reason="HoldFull"), records=records)
    assert (result.done, result.held) == ((), (records[0],))


def test_after_a_crash_no_change_is_done():
    """An item that the function held before the crash is held."""
    records = [record(1), record(2, "b")]
    hold = entry(HELD, 1, changes=1, sequences=[1])
    result = report(hold, records=records, response=None, error="Timedout: after 2 s")
    assert (result.done, result.failed, result.postponed, result.held) == ((), (), (), (records[0],))


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": None}, []])
def test_an_empty_answer_is_a_success(answer: Any):
    assert len(report(records=[record(1)], response=answer).done) == 1


def test_a_batch_item_failure_without_a_sequence_number_is_ignored():
    answer = {"batchItemFailures": [{"itemIdentifier": None}, {"itemIdentifier": "x"}, "y"]}
    result = report(records=[record(1)], response=answer)
    assert (result.failed, result.postponed) == ((), ())


def test_the_report_of_a_retry_run_has_its_log_entries():
    run = report(
        entry(RETRY_FAILED, 4, "not yet", tries=5, waiting=2, next_try="2026-11-26T10:00:00.500000Z"),
        entry(RELEASED, id="b", changes=2, sequences=[7, 8], held_seconds=3.25),
    )
    assert (run.consumer, run.done) == ("mirror", ())
    failed, released = run.entries
    assert (failed.message, failed.tries, failed.waiting, failed.next_try) == (RETRY_FAILED, 5, 2, 1795687200.5)
    assert (released.table, released.sequences, released.held_seconds) == ("orders", (FIRST + 7, FIRST + 8), 3.25)
    assert released.item == "digest-b"


@pytest.mark.parametrize(
    ("answer", "remaining"),
    [({"held": 3, "released": 2}, 1), ({"held": 1}, 1), ({"held": 1, "released": 2}, 0), ({}, None), ("text", None)],
)
def test_the_remaining_held_items_are_those_that_a_run_has_not_released(answer: Any, remaining: int | None):
    assert remaining_held(answer) == remaining


def test_names_that_the_outputs_lack_are_the_physical_ones():
    result = report_of(invocation(entry(HELD, 1, "no"), records=[record(1)]), Names.from_outputs({}))
    assert (result.consumer, result.table) == ("mirror-function-1", "orders-table-1")
    assert result.entries[0].table == "orders-table-1"
