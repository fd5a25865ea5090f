"""An invocation's answer and log, sorted change by change."""

import json
from typing import Any

from sandbox.mapping.invocation import ObservedInvocation
from sandbox.report import HELD, PARKED, RELEASED, RETRY_FAILED, WAIT, Names, report_of

STREAM = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders-table-1/stream/2026"
NAMES = Names.from_outputs(
    {
        "consumers": {"mirror": {"function": "mirror-function-1"}},
        "tables": {"orders": {"name": "orders-table-1", "streamArn": STREAM}},
    }
)


def record(sequence: int, **keys: str) -> dict[str, Any]:
    typed = {name: {"S": value} for name, value in keys.items()}
    return {"eventName": "MODIFY", "dynamodb": {"SequenceNumber": f"{sequence:030}", "Keys": typed}}


def entry(message: str, sequence: int | None = None, text: str | None = None, **rest: Any) -> str:
    """A line of the engine's about the item whose key is `id`, "a" unless given."""
    identity = rest.pop("id", "a")
    line: dict[str, Any] = {"level": "ERROR", "message": message, "item": f"digest-{identity}"}
    line |= {"table": "orders-table-1", "keys": {"id": identity}}
    if sequence is not None:
        line |= {"sequence_number": f"{sequence:030}", "event_name": "MODIFY", "event_id": str(sequence)}
    if text is not None:
        line["error"] = {"type": "SomeError", "text": text}
    if "sequences" in rest:
        line["sequence_numbers"] = [f"{each:030}" for each in rest.pop("sequences")]
    return json.dumps(line | rest)


def invocation(records: list[dict[str, Any]], **rest: Any) -> ObservedInvocation:
    answered: dict[str, Any] = {"response": {"batchItemFailures": []}, "error": None, "log": ""}
    answered |= {"attempt": 1, "ended_at": 0.0}
    return ObservedInvocation(
        uuid="u",
        function="mirror-function-1",
        stream_arn=STREAM,
        records=tuple(records),
        duration_seconds=0.1234,
        **(answered | rest),
    )


def retry_run(*log: str, **rest: Any) -> ObservedInvocation:
    answer = {"held": 1, "due": 1, "tried": 1, "released": 0, "parked": 0}
    given: dict[str, Any] = {"response": answer, "error": None, "ended_at": 0.0, **rest}
    return ObservedInvocation(
        uuid="",
        function="mirror-function-1",
        stream_arn="",
        records=(),
        attempt=1,
        duration_seconds=0.05,
        log="\n".join(log),
        scheduled={"table-stream": "retry"},
        **given,
    )


def reported(*sequences: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": f"{each:030}"} for each in sequences]}


def test_each_change_is_done_failed_to_come_again_held_waiting_or_parked():
    items = {"parked": "a", "failed": "b", "again": "b", "held": "c", "with it": "c", "waits": "d", "done": "e"}
    records = [record(number, id=item) for number, item in enumerate(items.values(), 1)]
    log = [
        *("not JSON", "[1]", '{"message": ["no text"]}', '{"message": "something else"}'),
        entry(PARKED, 1, "never", reason="PermanentError"),
        entry("change failed", 2, "[not] yet", id="b"),
        entry(
            HELD, 4, "not yet", id="c", changes=2, sequences=[4, 5], attempts=3, next_try="2026-11-26T10:00:01+00:00"
        ),
        entry(WAIT, id="d", waits_for=f"{0:030}", changes=1, sequences=[6], waiting=3),
    ]
    found = report_of(invocation(records, response=reported(2, 3), log="\n".join(log), attempt=2), NAMES)
    assert (found.consumer, found.table, found.changes, found.scheduled) == ("mirror", "orders", 7, False)
    assert [each.error for each in found.entries_of(PARKED)] == ["SomeError: never"]
    assert found.failed == ((records[1], "SomeError: [not] yet"),)
    assert found.postponed == (records[2],)
    assert found.held == (records[3], records[4])
    assert found.waiting == (records[5],)
    assert found.done == (records[6],)
    [held] = found.entries_of(HELD)
    assert (held.table, held.change, held.sequence, held.sequences) == ("orders", "MODIFY id=c", 4, (4, 5))
    assert (held.changes, held.tries, held.next_try) == (2, 3, 1795687201)
    assert [(each.change, each.waiting) for each in found.entries_of(WAIT)] == [("id=d", 3)]


def test_a_long_queue_is_named_by_its_first_changes_alone():
    records = [record(number, id="ab"[number % 2]) for number in range(1, 400)]
    log = [
        entry(HELD, 3, "no", id="b", changes=199, sequences=range(3, 203, 2)),
        entry(WAIT, id="a", changes=199, sequences=range(2, 202, 2), waiting=300),
    ]
    found = report_of(invocation(records, log="\n".join(log)), NAMES)
    assert (found.done, len(found.held), len(found.waiting)) == ((records[0],), 199, 199)


def test_what_was_parked_of_an_item_that_is_held_then_is_not_held():
    records = [record(1, id="a"), record(2, id="a")]
    log = [entry(HELD, 1, "no", changes=1, sequences=[1]), entry(PARKED, 2, reason="HoldFull")]
    found = report_of(invocation(records, log="\n".join(log)), NAMES)
    assert (found.done, found.held) == ((), (records[0],))


def test_a_function_that_died_has_done_nothing_that_counts():
    """What it held with its last words is held all the same."""
    records = [record(1, id="a"), record(2, id="b")]
    log = entry(HELD, 1, changes=1, sequences=[1])
    found = report_of(invocation(records, response=None, error="Timedout: after 2 s", log=log), NAMES)
    assert (found.done, found.failed, found.postponed, found.held) == ((), (), (), (records[0],))


def test_a_success_may_be_answered_in_any_way():
    answers: list[Any] = [None, {}, {"batchItemFailures": None}, []]
    for answer in answers:
        assert len(report_of(invocation([record(1, id="a")], response=answer), NAMES).done) == 1


def test_an_answer_that_names_no_change_tells_none_apart():
    answer = {"batchItemFailures": [{"itemIdentifier": None}, {"itemIdentifier": "x"}, "y"]}
    found = report_of(invocation([record(1, id="a")], response=answer), NAMES)
    assert (found.failed, found.postponed) == ((), ())


def test_of_a_retry_run_is_known_what_it_logged():
    found = report_of(
        retry_run(
            entry(RETRY_FAILED, 4, "not yet", tries=5, waiting=2, next_try="2026-11-26T10:00:00.500000Z"),
            entry(RELEASED, id="b", changes=2, sequences=[7, 8], held_seconds=3.25),
        ),
        NAMES,
    )
    assert (found.consumer, found.scheduled, found.changes) == ("mirror", True, 0)
    failed, released = found.entries
    assert (failed.message, failed.tries, failed.waiting, failed.next_try) == (RETRY_FAILED, 5, 2, 1795687200.5)
    assert (released.table, released.sequences, released.held_seconds) == ("orders", (7, 8), 3.25)
    assert released.item == "digest-b"


def test_names_that_the_program_does_not_tell_are_the_physical_ones():
    found = report_of(invocation([record(1, id="a")], log=entry(HELD, 1, "no")), Names.from_outputs({}))
    assert (found.consumer, found.table) == ("mirror-function-1", "orders-table-1")
    assert found.entries[0].table == "orders-table-1"
