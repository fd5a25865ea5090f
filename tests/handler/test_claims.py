"""Claims: an effect happens once, and again only after a death of the claim's holder."""

from types import SimpleNamespace
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.claims import Claims, ClaimsDisabledError
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.entry import NoLedgerError
from tests.fakes.aws import refused
from tests.fakes.records import record
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, ConsumerHarness


def claims(harness: ConsumerHarness) -> dict[str, dict[str, Any]]:
    """Return the claims in the ledger, by event id."""
    rows = (item for item in harness.dynamodb.items("ledger") if item["sk"] == {"S": "claim"})
    return {item["pk"]["S"].removeprefix("claim#consumer#"): item for item in rows}


def dying(batch: str = "a", **deliver: Any) -> ConsumerHarness:
    """Return a harness whose function died while it held the claim on the first change."""
    harness = ConsumerHarness({1: SimulatedCrash()}, claim=True)
    harness.deliver_and_crash(batch, **deliver)
    harness.trouble.clear()
    return harness


def test_a_claimed_change_runs_once_in_repeated_deliveries() -> None:
    harness = ConsumerHarness(claim=True)
    for _ in range(3):
        assert harness.deliver("ab") == []
    assert harness.applied == [1, 2]


def test_a_claim_in_progress_is_respected_by_another_environment() -> None:
    """A second environment receives the same batch while the first one runs it, and holds the item."""
    harness = ConsumerHarness(claim=True)
    harness.trouble[1] = [lambda: harness.deliver("a")]
    assert harness.deliver("a") == []
    assert (harness.ran, harness.applied, harness.waiting()) == ([1], [1], [1])
    assert harness.retry(now=True)["released"] == 1
    assert harness.ran == [1]


def test_a_claim_in_progress_is_an_ordinary_failure_until_its_holders_invocation_ends() -> None:
    harness = dying(seconds=60)
    harness.clock.now += 58
    assert harness.deliver("a") == []
    assert (harness.waiting(), harness.described()["error_type"]) == ([1], "IdempotencyAlreadyInProgressError")
    harness.clock.now += 2
    assert harness.retry(now=True)["released"] == 1
    assert harness.ran == [1, 1], "one run, and one after the death"


def test_a_claim_is_held_for_the_remaining_time_of_this_invocation_and_not_of_the_last() -> None:
    harness = ConsumerHarness(claim=True)
    harness.deliver("a", seconds=900)
    harness.trouble[2] = [SimulatedCrash()]
    harness.deliver_and_crash("b", start=2, seconds=10)
    harness.clock.now += 11
    assert harness.deliver("b", start=2) == []
    assert harness.applied == [1, 2]


@pytest.mark.parametrize("context", [None, SimpleNamespace()])
def test_without_a_context_a_claim_is_held_for_lambdas_longest_invocation(context: Any) -> None:
    harness = ConsumerHarness({1: [SimulatedCrash()]}, claim=True)
    with pytest.raises(SimulatedCrash):
        harness.engine({"Records": [record(1)]}, context)
    harness.clock.now += 898
    harness.deliver("a")
    assert (harness.waiting(), harness.applied) == ([1], [])
    harness.clock.now += 2
    assert harness.retry(now=True)["released"] == 1


@pytest.mark.parametrize("error", [FAILS, SystemExit(1), KeyboardInterrupt()])
def test_a_failure_removes_the_claim(error: BaseException, log_lines: Lines) -> None:
    harness = ConsumerHarness({1: [error, error, error]}, claim=True)
    assert harness.deliver("a") == []
    assert (claims(harness), harness.ran) == ({}, [1, 1, 1])
    assert log_lines()[-1]["error"]["type"] == type(error).__name__
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1]


def test_a_permanent_error_of_a_claimed_change_is_parked() -> None:
    harness = ConsumerHarness({1: PermanentError("never")}, claim=True)
    assert harness.deliver("aa") == []
    assert (harness.parked(), harness.applied) == ([1], [2])


def test_a_change_whose_claim_cannot_be_marked_is_done_and_counted(counts: Counts, log_lines: Lines) -> None:
    harness = ConsumerHarness(claim=True, on={"UpdateItem claim": refused()})
    assert harness.deliver("ab") == []
    assert harness.applied == [1, 2]
    assert counts() == {"FailedMarks": 2}
    assert {line["message"] for line in log_lines()} == {"the claim cannot be marked"}


def test_a_claim_that_cannot_be_removed_hides_no_error_and_is_counted(counts: Counts) -> None:
    harness = ConsumerHarness({1: PermanentError("never"), 2: FAILS}, claim=True, on={"DeleteItem claim": refused()})
    assert harness.deliver("ab") == []
    assert (harness.parked(), harness.waiting("b")) == ([1], [2])
    assert counts() == {"FailedMarks": 2, "HeldChanges": 1, "ParkedChanges": 1}


def test_a_claim_that_cannot_be_written_is_an_ordinary_failure_without_effect() -> None:
    harness = ConsumerHarness(claim=True, on={"PutItem claim": refused()})
    assert harness.deliver("ab") == []
    assert (harness.ran, harness.waiting("a"), harness.waiting("b")) == ([], [1], [2])


def test_an_awaitable_result_of_a_claimed_change_is_a_failure() -> None:
    async def later() -> None: ...

    harness = ConsumerHarness(claim=True)
    harness.look = lambda change: later()
    assert harness.deliver("a") == []
    assert (claims(harness), harness.waiting()) == ({}, [1])


def test_each_claim_has_its_own_partition_by_consumer_and_event_id() -> None:
    harness = ConsumerHarness(claim=True, remember_seconds=100, powertools_service_name="welcome-email")
    harness.deliver("ab")
    items = harness.dynamodb.items("ledger")
    assert [(item["pk"]["S"], item["sk"]["S"], item["status"]["S"]) for item in items] == [
        (f"claim#welcome-email#event-{number}", "claim", "COMPLETED") for number in (1, 2)
    ]
    # Powertools truncates to whole seconds.
    assert all(99 <= int(item["expiry"]["N"]) - harness.clock() <= 101 for item in items)


def test_a_change_without_an_event_id_cannot_be_claimed_and_is_parked() -> None:
    harness = ConsumerHarness(claim=True)
    assert harness.engine({"Records": [{**record(1), "eventID": None}]}) == {"batchItemFailures": []}
    assert (harness.ran, harness.parked()) == ([], [1])


def test_claims_need_a_ledger() -> None:
    with pytest.raises(NoLedgerError, match="consumer claims its changes, but LEDGER_TABLE is not set"):
        ConsumerHarness(claim=True, ledger_table="")


def test_disabled_claims_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "true")
    with pytest.raises(ClaimsDisabledError, match="unset it"):
        Claims(object(), "ledger", "welcome-email", 100)


def test_a_variable_with_false_disables_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "false")
    Claims(object(), "ledger", "welcome-email", 100)
