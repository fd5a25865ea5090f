"""Claims: once, and once more only for each time that the holder dies in between."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from handler.stream import Change, PermanentError
from handler.stream.claims import Claims, ClaimsDisabledError
from handler.stream.entry import NoLedgerError
from tests.handler.conftest import Lines
from tests.handler.fakes import Context, record, refusal
from tests.handler.test_deadline import Died
from tests.handler.world import World

FAILS = ValueError("down")


def claims(world: World) -> dict[str, dict[str, Any]]:
    """The claims in the ledger, by event id."""
    ledger = world.dynamodb.tables["ledger"]
    return {key[0].removeprefix("claim#consumer#"): item for key, item in ledger.items() if key[1] == "claim"}


def test_a_claimed_change_is_done_once_however_often_it_is_delivered() -> None:
    world = World(claim=True)
    for _ in range(3):
        assert world.deliver("ab") == []
    assert world.applied == [1, 2]


def test_a_claim_holds_in_another_environment_and_while_it_is_in_progress() -> None:
    """The same batch is delivered to a second environment while the first one runs."""
    world = World(claim=True)
    reported = list[Any]()

    def deliver_again() -> None:
        world.trouble.clear()
        reported.append(world.environment()({"Records": [record(1)]}, Context(world.clock)))

    world.trouble[1] = deliver_again
    assert world.deliver("a") == []
    assert reported == [{"batchItemFailures": [{"itemIdentifier": str(10**20 + 1)}]}]
    assert world.applied == [1]


def test_a_claim_in_progress_is_an_ordinary_failure_until_its_holders_time_is_over(log_lines: Lines) -> None:
    world = World(claim=True)
    world.trouble[1] = Died()
    with pytest.raises(Died):
        world.deliver("a", seconds=60)
    world.trouble.clear()
    world.clock.now += 59
    assert world.deliver("a") == [1]
    assert log_lines()[-1]["error"]["type"] == "IdempotencyAlreadyInProgressError"
    world.clock.now += 2
    assert world.deliver("a") == []
    assert world.ran == [1, 1]  # once, plus once for the death


def test_a_claim_is_held_for_what_is_left_of_this_invocation_and_not_the_last() -> None:
    world = World(claim=True)
    world.deliver("a", seconds=900)
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("b", start=2, seconds=10)
    world.clock.now += 11
    world.trouble.clear()
    assert world.deliver("b", start=2) == []


@pytest.mark.parametrize("context", [None, SimpleNamespace()])
def test_without_a_context_a_claim_is_held_for_lambdas_longest_invocation(context: Any) -> None:
    world = World(claim=True)
    world.trouble[1] = Died()
    with pytest.raises(Died):
        world.deliver("a", context=context or SimpleNamespace(aws_request_id="r"))
    world.trouble.clear()
    world.clock.now += 899
    assert world.deliver("a") == [1]
    world.clock.now += 2
    assert world.deliver("a") == []


@pytest.mark.parametrize("error", [FAILS, SystemExit(1), KeyboardInterrupt()])
def test_a_failure_gives_the_claim_back(error: BaseException, log_lines: Lines) -> None:
    world = World(claim=True)
    world.trouble[1] = error
    assert world.deliver("a") == [1]
    assert claims(world) == {}
    assert log_lines()[0]["error"]["type"] == type(error).__name__
    world.trouble.clear()
    assert world.deliver("a") == []
    assert world.applied == [1]


def test_a_permanent_error_is_parked_under_a_claim_too() -> None:
    world = World(claim=True)
    world.trouble[1] = PermanentError("never")
    assert world.deliver("aa") == []
    assert (world.parked(), world.applied) == ([1], [2])


def test_a_mark_that_fails_counts_as_done_and_is_counted(
    counts: Callable[[], dict[str, int]], log_lines: Lines
) -> None:
    world = World(claim=True)
    world.dynamodb.failing["update_item"] = refusal("InternalServerError", "UpdateItem")
    assert world.deliver("ab") == []
    assert world.applied == [1, 2]
    assert counts() == {"FailedMarks": 2}
    assert {line["message"] for line in log_lines()} == {"the claim cannot be marked"}


def test_a_claim_that_cannot_be_given_back_hides_no_error_and_is_counted(counts: Callable[[], dict[str, int]]) -> None:
    world = World(claim=True)
    world.dynamodb.failing["delete_item"] = refusal("InternalServerError", "DeleteItem")
    world.trouble |= {1: PermanentError("never"), 2: FAILS}
    assert world.deliver("ab") == [2]
    assert world.parked() == [1]
    assert counts() == {"FailedMarks": 2, "FailedChanges": 1, "ParkedChanges": 1}


def test_a_claim_that_cannot_be_made_is_an_ordinary_failure_and_nothing_happens() -> None:
    world = World(claim=True)
    world.dynamodb.failing["put_item"] = refusal("InternalServerError", "PutItem")
    assert world.deliver("ab") == [1, 2]
    assert world.ran == []


def test_an_awaitable_result_is_no_claimed_success() -> None:
    async def later() -> None: ...

    def handle(change: Change) -> Any:
        return later()

    world = World(claim=True)
    world.handle = handle
    world.engine = world.environment()
    assert world.deliver("a") == [1]
    assert claims(world) == {}


def test_each_claim_has_a_partition_of_its_own_by_consumer_and_event_id() -> None:
    world = World(claim=True, remember_seconds=100, powertools_service_name="welcome-email")
    world.deliver("ab")
    ledger = world.dynamodb.tables["ledger"]
    assert set(ledger) == {(f"claim#welcome-email#event-{number}", "claim") for number in (1, 2)}
    for item in ledger.values():
        assert item["status"] == {"S": "COMPLETED"}
        assert 99 <= int(item["expiry"]["N"]) - world.clock() <= 101  # Powertools reads the machine's clock


def test_a_change_without_an_event_id_cannot_be_claimed_and_is_parked() -> None:
    world = World(claim=True)
    assert world.engine({"Records": [{**record(1), "eventID": None}]}) == {"batchItemFailures": []}
    assert (world.ran, world.parked()) == ([], [1])


def test_claims_need_a_ledger() -> None:
    with pytest.raises(NoLedgerError, match="consumer claims its changes, but LEDGER_TABLE is not set"):
        World(claim=True, ledger_table="")


def test_claims_that_powertools_would_skip_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "true")
    with pytest.raises(ClaimsDisabledError, match="unset it"):
        Claims(object(), "ledger", "welcome-email", 100)
