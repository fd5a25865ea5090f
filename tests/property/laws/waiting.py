"""(d) to (f): who waits, for what, and how long."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from tests.property.function.place import RESERVE
from tests.property.function.rows import number_in
from tests.property.history.facts import Move, Run
from tests.property.history.faults import HOUR, MINUTE
from tests.property.schedule import CLOCKS_DIFFER
from tests.property.world import RECORD_AGE, World

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


def _time_was_short(world: World, run: Run) -> bool:
    return run.deadline - run.end <= world.settings.handler_timeout_seconds + RESERVE + 1


def a_failure_makes_no_batch_come_again(world: World) -> Iterator[str]:
    """(d) What is reported, is so for want of time, or because the ledger did not do what it was asked for."""
    for run in world.facts.runs:
        if run.reported and not run.ledger_failed and not _time_was_short(world, run):
            yield f"{sorted(run.reported)} of the batch {run.numbers} come again"


def nothing_is_held_without_a_reason(world: World) -> Iterator[str]:
    """(d) A healthy item waits only where 20 failures came in a row or two were slow, or its time is too short."""
    for move in world.facts.moves:
        first = number_in(move.after.get("next", ""))
        if move.kind == "hold" and first is not None and not _may_be_held(world, move, first):
            yield f"change {first} was held untried"


def _may_be_held(world: World, move: Move, first: int) -> bool:
    run, handlers = move.run, world.faults.handlers
    cannot_be_parked = run.bucket_failed and first in handlers.permanent | handlers.undecodable
    stores, facts = world.faults.stores, world.facts
    ledger_fails = stores.flaky or stores.laggy or stores.ledger_down or stores.ledger_throttled
    unclaimed = world.kind == "claimed" and (
        ledger_fails or first in facts.doubled or facts.killed or world.faults.lambdas.crash
    )
    earlier = [other for other in world.facts.runs if other.numbers == [first] and other.start < run.start]
    return bool(
        first in run.failed | facts.doubled
        or move.in_a_row >= IN_A_ROW
        or (stores.laggy and facts.slow_failures)  # a slow ledger makes other failures seem slow
        or _is_careful(facts.slow_failures, move.when)
        or cannot_be_parked
        or unclaimed
        or (run.numbers == [first] and len(earlier) >= (1 if stores.flaky else 2))
        or world.facts.created[first] + RECORD_AGE <= run.deadline + 2 * MINUTE + CLOCKS_DIFFER
    )


def _is_careful(slow_failures: Sequence[float], now: float) -> bool:
    return sum(now - CAREFUL_SECONDS <= when <= now for when in slow_failures) >= SLOW_FAILURES


def a_change_is_tried_as_often_as_promised(world: World) -> Iterator[str]:
    """(d) Up to three times in its batch, so that no batch waits for longer; once in a retry run."""
    for run in world.facts.runs:
        most = TRIES_IN_PLACE if run.kind == "batch" else 1
        for each, tries in run.attempts.items():
            if tries > most and each not in world.facts.asked_to_redrive:
                yield f"change {each} was tried {tries} times in one {run.kind} run"


def a_hold_is_due_within_its_back_off(world: World) -> Iterator[str]:
    """(e) A quarter of the time that its first change has failed, at least a minute and at most an hour."""
    facts = world.facts
    first_since: dict[int, float] = {}
    for move in facts.moves:
        first = number_in(move.after.get("next", ""))
        if first is not None:
            times = [move.when, first_since.get(first, move.when), *facts.failed_or_came_first(first)]
            first_since[first] = min(when for when in times if when <= move.when)
        if move.after.get("state") != "held" or move.kind not in ("hold", "lease", "hand back"):
            continue
        back_off = _back_off(move.when - first_since[first]) if first else HOUR
        wait = move.after["due"] - move.when
        if wait > back_off + CLOCKS_DIFFER:
            yield f"{move.item} is due in {wait:.0f} s, and should be in {back_off:.0f} s"
        has_failed = first in move.run.failed and move.run.kind in ("retry", "helper") and move.kind == "hand back"
        if has_failed and first is not None:
            failed_at = max(when for when, _ in facts.failures[first] if when <= move.when)
            if move.after["due"] < failed_at + MINUTE - CLOCKS_DIFFER:
                yield f"{move.item} has failed and is due again in {move.after['due'] - failed_at:.0f} s"


def _back_off(failing: float) -> float:
    return min(max(failing / 4, MINUTE), HOUR)


def nothing_is_tried_before_it_is_due(world: World) -> Iterator[str]:
    """(e) Also where two retry runs overlap."""
    for move in world.facts.moves:
        is_retry = move.run.kind in ("retry", "helper") and not move.run.is_of_all
        if is_retry and move.kind == "lease" and move.before["due"] > move.when + CLOCKS_DIFFER:
            yield f"{move.item} was tried {move.before['due'] - move.when:.0f} s before it was due"


def every_due_item_is_tried(world: World) -> Iterator[str]:
    """(e) By each retry run that has time for it; where it has not, some of the old and some of the young."""
    facts = world.facts
    times = [move.when for move in facts.moves]
    has_helpers = any(run.kind == "helper" for run in facts.runs)
    for run in facts.runs:
        if run.kind != "retry" or run.ledger_failed or has_helpers or not run.due:
            continue
        during = facts.moves[bisect_left(times, run.start) : bisect_right(times, run.end)]
        touched = {move.digest for move in during}
        left = run.due - touched
        if run.is_dead:
            died_of_suspect = bool(run.leased) and run.leased[-1] in run.suspects
            left = left - run.suspects if died_of_suspect else set[str]()
        elif _time_was_short(world, run) or run.end - run.start > NEW_TURNS_SECONDS:
            if _starves(run, touched):
                yield f"of {len(run.due)} due items only the oldest or only the youngest were tried"
            continue
        for digest in sorted(left):
            yield f"{world.function.table.rows.item_of[digest]} was due and not tried by a retry run that had time"


def _starves(run: Run, touched: set[str]) -> bool:
    in_line = sorted(run.line.keys() - run.suspects, key=run.line.__getitem__)
    tried = [place for place, digest in enumerate(in_line) if digest in touched]
    middle = len(in_line) / 2
    return FEW <= len(tried) <= middle and (max(tried) < middle or min(tried) >= middle)


def an_outage_ends_without_a_hand(world: World) -> Iterator[str]:
    """(f) Within a quarter of its length, an hour at most, and the time that the waiting changes take."""
    facts, handlers = world.facts, world.faults.handlers
    if handlers.outage is None or not world.faults.is_calm or handlers.transient:
        return
    end = handlers.outage[1]
    spoilt = {facts.item_of[each] for each in world.faults.spoilt}
    slowest = 20.0 if handlers.slow else 1.0
    held: dict[str, Move] = {}
    for move in facts.moves:
        if move.kind == "hold":
            held[move.digest] = move
        elif move.kind == "release" and move.digest in held:
            since = held.pop(move.digest).when
            waiting = sum(item == move.item for item in facts.item_of.values())
            until = end + _back_off(end - since) + 3 * MINUTE + waiting * slowest
            is_sound = move.item not in spoilt and since < end <= move.when
            if is_sound and move.when > until:
                yield f"{move.item} was released {move.when - end:.0f} s after the outage, not {until - end:.0f} s"


def no_handler_begins_without_its_time(world: World) -> Iterator[str]:
    """But for the first of a batch, which is always started."""
    faults = world.faults
    handlers = faults.handlers
    hang = handlers.hang or handlers.linger or handlers.stuck
    if not hang and faults.stores.ledger_down is None and not faults.stores.flaky and not faults.stores.laggy:
        for each in sorted(world.facts.overran):
            yield f"the function's time was over in the midst of {each}"
