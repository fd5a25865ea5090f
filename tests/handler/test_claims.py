"""Claims: once, and once more only for each time that the holder dies in between."""

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
    """The claims in the ledger, by event id."""
    rows = (item for item in harness.dynamodb.items("ledger") if item["sk"] == {"S": "claim"})
    return {item["pk"]["S"].removeprefix("claim#consumer#"): item for item in rows}


def dying(batch: str = "a", **deliver: Any) -> ConsumerHarness:
    """A world whose function died while it held the claim on the first change."""
    harness = ConsumerHarness(claim=True)
    harness.trouble[1] = SimulatedCrash()
    with pytest.raises(SimulatedCrash):
        harness.deliver(batch, **deliver)
    harness.trouble.clear()
    return harness


def test_a_claimed_change_is_done_once_however_often_it_is_delivered() -> None:
    harness = ConsumerHarness(claim=True)
    for _ in range(3):
        assert harness.deliver("ab") == []
    assert harness.applied == [1, 2]


def test_a_claim_holds_in_another_environment_and_while_it_is_in_progress() -> None:
    """The same batch is delivered to a second environment while the first one runs: there, the item is held."""
    harness = ConsumerHarness(claim=True)
    harness.trouble[1] = [lambda: harness.deliver("a")]
    assert harness.deliver("a") == []
    assert (harness.ran, harness.applied, harness.waiting()) == ([1], [1], [1])
    assert harness.retry(now=True)["released"] == 1
    assert harness.ran == [1]


def test_a_claim_in_progress_is_an_ordinary_failure_until_its_holders_time_is_over() -> None:
    harness = dying(seconds=60)
    harness.clock.now += 58
    assert harness.deliver("a") == []
    assert (harness.waiting(), harness.described()["error_type"]) == ([1], "IdempotencyAlreadyInProgressError")
    harness.clock.now += 2
    assert harness.retry(now=True)["released"] == 1
    assert harness.ran == [1, 1], "once, plus once for the death"


def test_a_claim_is_held_for_what_is_left_of_this_invocation_and_not_the_last() -> None:
    harness = ConsumerHarness(claim=True)
    harness.deliver("a", seconds=900)
    harness.trouble[2] = [SimulatedCrash()]
    with pytest.raises(SimulatedCrash):
        harness.deliver("b", start=2, seconds=10)
    harness.clock.now += 11
    assert harness.deliver("b", start=2) == []
    assert harness.applied == [1, 2]


@pytest.mark.parametrize("context", [None, SimpleNamespace()])
def test_without_a_context_a_claim_is_held_for_lambdas_longest_invocation(context: Any) -> None:
    harness = ConsumerHarness(claim=True)
    harness.trouble[1] = [SimulatedCrash()]
    with pytest.raises(SimulatedCrash):
        harness.engine({"Records": [record(1)]}, context)
    harness.clock.now += 898
    harness.deliver("a")
    assert (harness.waiting(), harness.applied) == ([1], [])
    harness.clock.now += 2
    assert harness.retry(now=True)["released"] == 1


@pytest.mark.parametrize("error", [FAILS, SystemExit(1), KeyboardInterrupt()])
def test_a_failure_gives_the_claim_back(error: BaseException, log_lines: Lines) -> None:
    harness = ConsumerHarness(claim=True)
    harness.trouble[1] = [error, error, error]
    assert harness.deliver("a") == []
    assert (claims(harness), harness.ran) == ({}, [1, 1, 1])
    assert log_lines()[-1]["error"]["type"] == type(error).__name__
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1]


def test_a_permanent_error_is_parked_under_a_claim_too() -> None:
    harness = ConsumerHarness(claim=True)
    harness.trouble[1] = PermanentError("never")
    assert harness.deliver("aa") == []
    assert (harness.parked(), harness.applied) == ([1], [2])


def test_a_mark_that_fails_counts_as_done_and_is_counted(counts: Counts, log_lines: Lines) -> None:
    harness = ConsumerHarness(claim=True)
    harness.dynamodb.on["UpdateItem claim"] = refused()
    assert harness.deliver("ab") == []
    assert harness.applied == [1, 2]
    assert counts() == {"FailedMarks": 2}
    assert {line["message"] for line in log_lines()} == {"the claim cannot be marked"}


def test_a_claim_that_cannot_be_given_back_hides_no_error_and_is_counted(counts: Counts) -> None:
    harness = ConsumerHarness(claim=True)
    harness.dynamodb.on["DeleteItem claim"] = refused()
    harness.trouble |= {1: PermanentError("never"), 2: FAILS}
    assert harness.deliver("ab") == []
    assert (harness.parked(), harness.waiting("b")) == ([1], [2])
    assert counts() == {"FailedMarks": 2, "HeldChanges": 1, "ParkedChanges": 1}


def test_a_claim_that_cannot_be_made_is_an_ordinary_failure_and_nothing_happens() -> None:
    harness = ConsumerHarness(claim=True)
    harness.dynamodb.on["PutItem claim"] = refused()
    assert harness.deliver("ab") == []
    assert (harness.ran, harness.waiting("a"), harness.waiting("b")) == ([], [1], [2])


def test_an_awaitable_result_is_no_claimed_success() -> None:
    async def later() -> None: ...

    harness = ConsumerHarness(claim=True)
    harness.look = lambda change: later()
    assert harness.deliver("a") == []
    assert (claims(harness), harness.waiting()) == ({}, [1])


def test_each_claim_has_a_partition_of_its_own_by_consumer_and_event_id() -> None:
    harness = ConsumerHarness(claim=True, remember_seconds=100, powertools_service_name="welcome-email")
    harness.deliver("ab")
    items = harness.dynamodb.items("ledger")
    assert [(item["pk"]["S"], item["sk"]["S"], item["status"]["S"]) for item in items] == [
        (f"claim#welcome-email#event-{number}", "claim", "COMPLETED") for number in (1, 2)
    ]
    assert all(99 <= int(item["expiry"]["N"]) - harness.clock() <= 101 for item in items)  # it is cut to whole seconds


def test_a_change_without_an_event_id_cannot_be_claimed_and_is_parked() -> None:
    harness = ConsumerHarness(claim=True)
    assert harness.engine({"Records": [{**record(1), "eventID": None}]}) == {"batchItemFailures": []}
    assert (harness.ran, harness.parked()) == ([], [1])


def test_claims_need_a_ledger() -> None:
    with pytest.raises(NoLedgerError, match="consumer claims its changes, but LEDGER_TABLE is not set"):
        ConsumerHarness(claim=True, ledger_table="")


def test_claims_that_powertools_would_skip_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "true")
    with pytest.raises(ClaimsDisabledError, match="unset it"):
        Claims(object(), "ledger", "welcome-email", 100)


def test_a_switch_that_is_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "false")
    Claims(object(), "ledger", "welcome-email", 100)
