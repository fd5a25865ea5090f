"""(d) to (f): who waits, for what, and how long."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from tests.property.function.lambda_environment import RESERVE_SECONDS
from tests.property.function.ledger_observer import number_in
from tests.property.history.faults import HOUR, MINUTE
from tests.property.history.history import RECORD_AGE, History
from tests.property.history.journal import Run, Transition
from tests.property.retry_schedule import CLOCKS_DIFFER

IN_A_ROW = 20
"""Failures in a row from which on what comes is held untried."""
SLOW_FAILURES, CAREFUL_SECONDS = 2, 60.0 + 60.0 + CLOCKS_DIFFER
"""After so many slow failures within a minute an item is held untried, until a minute after the last one."""
FEW = 6
"""With fewer items tried it is chance which were older: items that were held together are as old as each other."""
TRIES_IN_PLACE = 3
ALONE_SECONDS = 30.0
NEW_TURNS_SECONDS = 45.0
"""New turns begin in a retry run's first 50 s."""


def _time_was_short(history: History, run: Run) -> bool:
    return run.deadline - run.end <= history.settings.handler_timeout_seconds + RESERVE_SECONDS + 1


def a_failure_causes_no_redelivery(history: History) -> Iterator[str]:
    """(d) What is reported, is so for want of time, or because the ledger did not do what it was asked for."""
    for run in history.journal.runs:
        if run.reported and not run.ledger_failed and not _time_was_short(history, run):
            yield f"{sorted(run.reported)} of the batch {run.numbers} come again"


def no_change_is_held_without_a_reason(history: History) -> Iterator[str]:
    """(d) A healthy item waits only where 20 failures came in a row or two were slow, or its time is too short."""
    for transition in history.journal.transitions:
        first = number_in(transition.after.get("next", ""))
        if transition.kind == "hold" and first is not None and not _may_be_held(history, transition, first):
            yield f"change {first} was held untried"


def _may_be_held(history: History, transition: Transition, first: int) -> bool:
    run, handlers = transition.run, history.faults.handlers
    cannot_be_parked = run.bucket_failed and first in handlers.permanent | handlers.undecodable
    stores, journal = history.faults.stores, history.journal
    ledger_fails = stores.flaky or stores.laggy or stores.ledger_down or stores.ledger_throttled
    unclaimed = history.consumer_kind == "claimed" and (
        ledger_fails or first in journal.doubled or journal.killed or history.faults.lambdas.crash
    )
    earlier = [other for other in history.journal.runs if other.numbers == [first] and other.start < run.start]
    return bool(
        first in run.failed | journal.doubled
        or transition.in_a_row >= IN_A_ROW
        or (stores.laggy and journal.slow_failures)  # a slow ledger makes other failures seem slow
        or _is_careful(journal.slow_failures, transition.when)
        or cannot_be_parked
        or unclaimed
        or (run.numbers == [first] and len(earlier) >= (1 if stores.flaky else 2))
        or history.journal.created[first] + RECORD_AGE <= run.deadline + 2 * MINUTE + CLOCKS_DIFFER
    )


def _is_careful(slow_failures: Sequence[float], now: float) -> bool:
    return sum(now - CAREFUL_SECONDS <= when <= now for when in slow_failures) >= SLOW_FAILURES


def no_change_is_tried_too_often(history: History) -> Iterator[str]:
    """(d) Up to three times in its batch, so that no batch waits for longer; once in a retry run."""
    for run in history.journal.runs:
        most = TRIES_IN_PLACE if run.kind == "batch" else 1
        for each, tries in run.attempts.items():
            if tries > most and each not in history.journal.asked_to_redrive:
                yield f"change {each} was tried {tries} times in one {run.kind} run"


def a_hold_is_due_within_its_back_off(history: History) -> Iterator[str]:
    """(e) A quarter of the time that its first change has failed, at least a minute and at most an hour."""
    journal = history.journal
    first_since: dict[int, float] = {}
    for transition in journal.transitions:
        first = number_in(transition.after.get("next", ""))
        if first is not None:
            times = [transition.when, first_since.get(first, transition.when), *journal.failed_or_came_first(first)]
            first_since[first] = min(when for when in times if when <= transition.when)
        if transition.after.get("state") != "held" or transition.kind not in ("hold", "lease", "hand back"):
            continue
        back_off = _back_off(transition.when - first_since[first]) if first else HOUR
        wait = transition.after["due"] - transition.when
        if wait > back_off + CLOCKS_DIFFER:
            yield f"{transition.item} is due in {wait:.0f} s, and should be in {back_off:.0f} s"
        has_failed = (
            first in transition.run.failed
            and transition.run.kind in ("retry", "helper")
            and transition.kind == "hand back"
        )
        if has_failed and first is not None:
            failed_at = max(when for when, _ in journal.failures[first] if when <= transition.when)
            if transition.after["due"] < failed_at + MINUTE - CLOCKS_DIFFER:
                yield f"{transition.item} has failed and is due again in {transition.after['due'] - failed_at:.0f} s"


def _back_off(failing: float) -> float:
    return min(max(failing / 4, MINUTE), HOUR)


def no_item_is_tried_before_it_is_due(history: History) -> Iterator[str]:
    """(e) Also where two retry runs overlap."""
    for transition in history.journal.transitions:
        is_retry = transition.run.kind in ("retry", "helper") and not transition.run.makes_all_due
        if is_retry and transition.kind == "lease" and transition.before["due"] > transition.when + CLOCKS_DIFFER:
            yield f"{transition.item} was tried {transition.before['due'] - transition.when:.0f} s before it was due"


def every_due_item_is_tried(history: History) -> Iterator[str]:
    """(e) By each retry run that has time for it; where it has not, some of the old and some of the young."""
    journal = history.journal
    times = [transition.when for transition in journal.transitions]
    has_helpers = any(run.kind == "helper" for run in journal.runs)
    for run in journal.runs:
        if run.kind != "retry" or run.ledger_failed or has_helpers or not run.due_holds:
            continue
        during = journal.transitions[bisect_left(times, run.start) : bisect_right(times, run.end)]
        touched = {transition.digest for transition in during}
        left = run.due_holds - touched
        if run.has_crashed:
            died_of_suspect = bool(run.leased) and run.leased[-1] in run.suspects
            left = left - run.suspects if died_of_suspect else set[str]()
        elif _time_was_short(history, run) or run.end - run.start > NEW_TURNS_SECONDS:
            if _starves(run, touched):
                yield f"of {len(run.due_holds)} due items only the oldest or only the youngest were tried"
            continue
        for digest in sorted(left):
            item = history.function.dynamodb.observer.item_of[digest]
            yield f"{item} was due, and a retry run that had time did not try it"


def _starves(run: Run, touched: set[str]) -> bool:
    in_line = sorted(run.waiting_since.keys() - run.suspects, key=run.waiting_since.__getitem__)
    tried = [place for place, digest in enumerate(in_line) if digest in touched]
    middle = len(in_line) / 2
    return FEW <= len(tried) <= middle and (max(tried) < middle or min(tried) >= middle)


def held_items_recover_after_an_outage(history: History) -> Iterator[str]:
    """(f) Within a quarter of its length, an hour at most, and the time that the waiting changes take."""
    journal, handlers = history.journal, history.faults.handlers
    if handlers.outage is None or not history.faults.is_calm or handlers.transient:
        return
    end = handlers.outage[1]
    failing_changes = {journal.item_of[each] for each in history.faults.failing_changes}
    slowest = 20.0 if handlers.slow else 1.0
    held: dict[str, Transition] = {}
    for transition in journal.transitions:
        if transition.kind == "hold":
            held[transition.digest] = transition
        elif transition.kind == "release" and transition.digest in held:
            since = held.pop(transition.digest).when
            waiting = sum(item == transition.item for item in journal.item_of.values())
            until = end + _back_off(end - since) + 3 * MINUTE + waiting * slowest
            is_sound = transition.item not in failing_changes and since < end <= transition.when
            if is_sound and transition.when > until:
                late = f"{transition.when - end:.0f} s after the outage, not {until - end:.0f} s"
                yield f"{transition.item} was released {late}"


def no_handler_starts_without_enough_time(history: History) -> Iterator[str]:
    """But for the first of a batch, which is always started."""
    faults = history.faults
    handlers = faults.handlers
    hang = handlers.hang or handlers.linger or handlers.stuck
    if not hang and faults.stores.ledger_down is None and not faults.stores.flaky and not faults.stores.laggy:
        for each in sorted(history.journal.overran):
            yield f"the function's time was over in the midst of {each}"
