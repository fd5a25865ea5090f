"""The facts of an invocation."""

from typing import Any

from sandbox.report import BROKEN, HELD, PARKED, PROGRESS, RELEASED, RETRY_FAILED, WAIT
from sandbox.watch.feed import Fact, Feed
from sandbox.watch.recorder import Recorder
from tests.fakes.records import record, sequence
from tests.sandbox.test_report import STREAM, TABLES, entry, invocation, reported

OUTPUTS = {"consumers": {"mirror": {"function": "mirror-function-1"}}, "tables": TABLES}
SOON = "1970-01-01T00:00:01+00:00"


def recorder() -> Recorder:
    made = Recorder(Feed())
    made.use(OUTPUTS)
    return made


def recorded(made: Recorder, *log: str, **options: Any) -> Fact:
    fact = made.record(invocation(*log, **options))
    assert fact
    return fact


def outcomes(fact: Fact) -> list[tuple[str, str, str | None]]:
    return [(change["item"], change["outcome"], change["error"]) for change in fact["changes"]]


def test_a_batch_has_each_change_with_its_outcome():
    fact = recorded(
        recorder(),
        entry(PARKED, 1, "never", reason="PermanentError"),
        entry("change failed", 2, "[not] yet", id="b"),
        entry(HELD, 4, "not yet", id="c", changes=3, sequences=[4, 5, 6], attempts=3, next_try=SOON),
        entry(WAIT, id="d", changes=1, sequences=[7], waiting=3),
        records=[record(number, key) for number, key in enumerate("abbcccde", 1)],
        response=reported(2, 3),
        attempt=2,
    )
    assert (fact["kind"], fact["consumer"], fact["table"], fact["attempt"]) == ("batch", "mirror", "orders", 2)
    assert outcomes(fact) == [
        ("id=a", "parked", "SomeError: never"),
        ("id=b", "failed", "SomeError: [not] yet"),
        ("id=b", "postponed", None),
        ("id=c", "held", "SomeError: not yet"),
        ("id=c", "waiting", None),
        ("id=c", "waiting", None),
        ("id=d", "waiting", None),
        ("id=e", "done", None),
    ]
    held = fact["changes"][3]
    assert (held["sequence"], held["tries"], held["next_try"], held["waiting"]) == (sequence(4), 3, 1.0, 3)


def test_after_a_crash_lambda_delivers_every_change_again():
    records = [record(1, "a"), record(2, "b")]
    fact = recorded(recorder(), records=records, response=None, error="Runtime.ExitError: killed")
    assert (fact["error"], outcomes(fact)) == (
        "Runtime.ExitError: killed",
        [("id=a", "failed", None), ("id=b", "failed", None)],
    )


def test_a_retry_run_that_tries_nothing_is_no_fact():
    assert recorder().record(invocation()) is None


def test_a_retry_run_has_what_it_settled_tried_and_released():
    fact = recorded(
        recorder(),
        entry(RETRY_FAILED, 4, "no", tries=2, waiting=3, next_try=SOON, sequences=[2, 3]),
        entry(PROGRESS, id="b", changes=2, sequences=[5, 6], waiting=1),
        entry(RELEASED, id="c", changes=1, sequences=[7], held_seconds=3),
        entry(PARKED, 8, "never", id="d", reason="PermanentError"),
        entry(BROKEN, id="e"),
    )
    assert (fact["kind"], fact["released"], fact["held"]) == ("retry", ["id=c"], 1)
    assert outcomes(fact) == [
        ("id=a", "done", None),
        ("id=a", "done", None),
        ("id=a", "held", "SomeError: no"),
        ("id=b", "done", None),
        ("id=b", "done", None),
        ("id=c", "done", None),
        ("id=d", "parked", "SomeError: never"),
        ("id=e", "held", "its hold is broken"),
    ]


def test_an_item_keeps_its_key_if_an_entry_has_none():
    made = recorder()
    recorded(made, entry(HELD, 1, "no", changes=1, sequences=[1]), records=[record(1)])
    assert recorded(made, entry(RELEASED, keys={}, held_seconds=7))["released"] == ["id=a"]


def test_an_unobserved_release_is_in_the_next_run_without_held_items():
    """The function itself has invoked the retry run that released the item."""
    made = recorder()
    none: dict[str, Any] = {"response": {"held": 0, "released": 0}}
    recorded(made, entry(HELD, 1, "no", changes=1, sequences=[1]), records=[record(1)], ended_at=5.0)
    assert made.record(invocation(ended_at=5.04, **none)) is None, "the run began before the item was held"
    assert recorded(made, ended_at=8.0, **none)["released"] == ["id=a"]
    assert made.record(invocation(ended_at=9.0, **none)) is None


def test_a_discard_names_the_consumer_and_the_table():
    feed = Feed()
    made = Recorder(feed)
    made.use(OUTPUTS)
    made.record_discard("mirror-function-1", STREAM, 3, "RetryAttemptsExhausted", None)
    fact = feed.latest("discarded")
    assert fact
    assert (fact["consumer"], fact["table"], fact["count"], fact["destination"]) == ("mirror", "orders", 3, None)
