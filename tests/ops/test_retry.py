"""The commands retry and skip, over an engine in memory."""

from collections.abc import Callable

import pytest

from handler.stream.engine.workers import SimulatedCrash
from ops import OpsError
from ops.commands.retry import run as retry
from ops.commands.skip import run as skip
from ops.function import FunctionError
from ops.held.retrying import Retry
from tests.fakes.aws import refusal
from tests.fakes.records import record
from tests.handler.harness import FAILS, ConsumerHarness, Takes, digest, with_held_item, with_mended_item
from tests.ops.engine import OpsHarness


def retrying(ops: OpsHarness, *digests: str) -> Retry:
    """Return a retry whose clock is the harness's; of all held items by default."""
    harness = ops.harness
    rows = {row.digest: row for row in ops.reader.rows() if not digests or row.digest in digests}
    return Retry(ops.reader, ops.stack.client, rows, not digests, sleep=harness.clock.advance, clock=harness.clock)


def test_retry_releases_what_no_longer_fails():
    ops = OpsHarness(with_mended_item("aab"))
    assert retry(ops.session, ops.reader, None) == 0
    lines = ops.shown()
    assert lines[0] == "mirror · 1 item is held, 2 changes wait"
    assert lines[-1] == "mirror · 1 of 1 items released"
    assert ops.functions.requests == [{"table-stream": "retry", "now": True}]
    assert ops.harness.applied == [1, 2]


def test_retry_names_what_still_fails_and_ends_with_1():
    ops = OpsHarness(ConsumerHarness({1: FAILS, 2: FAILS}))
    ops.harness.deliver("ab")
    ops.harness.clock.now += 1
    ops.harness.trouble = {2: KeyError("x")}
    assert retry(ops.session, ops.reader, None) == 1
    lines = ops.shown()
    assert "mirror · 1 of 2 items released" in lines
    assert "    1 item   KeyError: '…'" in lines
    assert ops.harness.ran[-2:] == [1, 2], "each item is tried once"


def test_retry_of_an_item_runs_no_other():
    ops = OpsHarness(ConsumerHarness({1: FAILS, 2: FAILS}))
    ops.harness.deliver("ab")
    ops.harness.mend()
    assert retry(ops.session, ops.reader, "id=b") == 0
    assert ops.harness.applied == [2]
    assert ops.functions.requests == [{"table-stream": "retry", "now": True, "item": digest("b")}]
    assert "mirror · 1 of 1 items released" in ops.shown()


@pytest.mark.parametrize(("item", "line"), [(None, "mirror · nothing is held"), ("id=a", "mirror · id=a is not held")])
def test_with_nothing_held_retry_asks_and_invokes_nothing(item: str | None, line: str):
    ops = OpsHarness(ConsumerHarness(), assume_yes=False)
    assert retry(ops.session, ops.reader, item) == 0
    assert (ops.shown(), ops.functions.requests) == ([line], [])


def test_an_item_with_more_changes_than_a_turn_does_is_continued():
    """A turn ends after 15 s and hands the item back, due now."""
    ops = OpsHarness(with_held_item("a" * 6))
    ops.harness.trouble = {place: Takes(6) for place in range(1, 7)}
    run = retrying(ops, digest("a"))
    progress = list(run.run())
    assert (progress[-1].released, progress[-1].changes, run.still_held()) == (1, 6, [])
    assert len(ops.functions.requests) == 2


def test_items_that_no_whole_run_reaches_get_runs_of_their_own():
    """Failing items at both ends of the queue use up each whole run."""
    ops = OpsHarness(ConsumerHarness(dict.fromkeys(range(1, 6), FAILS)))
    for place, item in enumerate("abcde", 1):
        ops.harness.deliver(item, start=place)
        ops.harness.clock.now += 10
    ops.harness.trouble = {place: Takes(30, FAILS) for place in (1, 5)}
    run = retrying(ops)
    progress = list(run.run())
    assert {row.digest for row in run.still_held()} == {digest("a"), digest("e")}
    assert progress[-1].tried == 5
    whole = [request for request in ops.functions.requests if "item" not in request]
    assert len(whole) < len(ops.functions.requests)


def test_an_item_that_another_run_has_is_waited_for():
    ops = OpsHarness(with_held_item("aa"))
    ops.harness.trouble[1] = SimulatedCrash()
    ops.harness.retry_and_crash(now=True)
    ops.harness.trouble.clear()
    run = retrying(ops, digest("a"))
    assert list(run.run())[-1].released == 1
    assert (run.still_held(), ops.harness.applied) == ([], [1, 2])


def test_a_function_that_fails_ends_the_retry():
    ops = OpsHarness(with_held_item("aa"))
    ops.functions.failing = {"errorType": "ImportError", "errorMessage": "no module x"}
    with pytest.raises(FunctionError, match="mirror-1 failed: ImportError: no module x; its log, /logs, says more"):
        retry(ops.session, ops.reader, None)
    assert len(ops.functions.requests) == 1


def test_an_invocation_that_aws_refuses_is_raised():
    ops = OpsHarness(with_held_item("aa"))
    ops.functions.refusal = refusal("TooManyRequestsException")
    with pytest.raises(Exception, match="TooManyRequestsException"):
        retry(ops.session, ops.reader, None)


@pytest.mark.parametrize("command", [retry, skip])
def test_without_consent_nothing_happens(command: Callable[..., int]):
    ops = OpsHarness(with_held_item("aa"), assume_yes=False)
    with pytest.raises(OpsError, match="standard input is not a terminal: pass --yes"):
        command(ops.session, ops.reader, "id=a")
    assert ops.functions.requests == []


# skip


def test_skip_parks_the_first_waiting_change_and_says_what_happens():
    ops = OpsHarness(with_mended_item("aaa"))
    assert skip(ops.session, ops.reader, "id=a") == 0
    lines = ops.shown()
    assert lines[0] == "mirror · id=a of orders"
    assert "  Then the next of 2 more changes runs." in lines
    assert lines[-3:] == ["parked: MODIFY event-1", "  python -m ops failures mirror", "  2 more wait, due now"]
    assert (ops.harness.parked(), ops.harness.waiting()) == ([1], [2, 3])


def test_skipping_the_only_change_releases_the_item():
    ops = OpsHarness(with_held_item("a"))
    assert skip(ops.session, ops.reader, "id=a") == 0
    lines = ops.shown()
    assert "  Then the item is released." in lines
    assert lines[-1] == "  the item is released"


def test_a_refused_skip_says_why():
    ops = OpsHarness(with_held_item("aa"))
    ops.harness.s3.failing = refusal("AccessDenied")
    assert skip(ops.session, ops.reader, "id=a") == 1
    assert ops.shown()[-1] == "not skipped: the failure bucket refuses it: the log says why"


def test_an_item_that_moves_on_while_the_operator_thinks_is_not_skipped(monkeypatch: pytest.MonkeyPatch):
    ops = OpsHarness(with_mended_item("aaa"))

    def think(_: object) -> bool:
        ops.harness.trouble[2] = FAILS
        ops.harness.retry(now=True)
        return True

    monkeypatch.setattr("ops.cli.Session.should_execute", think)
    with pytest.raises(OpsError, match="a retry run has moved the item on meanwhile: nothing was skipped"):
        skip(ops.session, ops.reader, "id=a")
    assert ops.harness.parked() == []


def test_skip_of_an_item_that_is_not_held_names_the_command_that_lists_them():
    ops = OpsHarness(with_held_item("a"))
    with pytest.raises(OpsError, match="mirror holds no item id=b: python -m ops held mirror shows the held items"):
        skip(ops.session, ops.reader, "id=b")


def test_skip_of_a_broken_hold_points_to_the_runbook():
    ops = OpsHarness(with_held_item("aa"))
    rows = ops.harness.change_rows()
    del rows[next(key for key in sorted(rows) if key != "!")]
    with pytest.raises(OpsError, match=r"the hold is broken \(.*is missing\): docs/runbook.md, Held"):
        skip(ops.session, ops.reader, "id=a")


def test_redriven_changes_are_retried_too():
    ops = OpsHarness(ConsumerHarness())
    ops.harness.ask("redrive", records=[record(1, "a"), record(2, "a")])
    assert retry(ops.session, ops.reader, None) == 0
    assert ops.harness.applied == [1, 2]
