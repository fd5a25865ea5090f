"""(a) Nothing is lost, and nothing is given up without its reason."""

from collections.abc import Iterator

from sandbox.mapping.protocol import AGE_EXCEEDED
from tests.property.function.rows import number_in
from tests.property.history.facts import Parked
from tests.property.schedule import CLOCKS_DIFFER
from tests.property.world import RECORD_AGE, World

MOST_DEATHS_ALONE = 4
"""Deliveries of a change alone that may end in a death: before it is old enough to be counted, two that are counted."""
AGE_MARGIN = 120.0
"""Seconds after an invocation's end in which what it reports is delivered again."""


def nothing_is_lost(world: World) -> Iterator[str]:
    """(a) Each change is done, parked, or discarded whole before our code ran; at the end, no item is held."""
    facts = world.facts
    if not world.at_rest:
        yield "the mapping does not come to rest"
    for digest, row in world.function.table.rows.held().items():
        yield f"{world.function.table.rows.item_of[digest]} is still held at the end: {row}"
    for each in sorted(facts.item_of.keys() - facts.finished.keys() - facts.parked.keys() - facts.discarded.keys()):
        if each not in facts.expired or not world.faults.lambdas.stalled:
            yield f"change {each} is neither done, nor parked, nor discarded"
    for each, (_, condition) in facts.discarded.items():
        if condition != AGE_EXCEEDED:
            yield f"change {each} was discarded by the mapping: {condition}"
        died_of_it = [run for run in facts.runs if run.numbers == [each] and each in run.died_inside]
        if len(died_of_it) > MOST_DEATHS_ALONE:
            yield f"change {each} was discarded after the function had died of it {len(died_of_it)} times"


def nothing_that_is_about_to_be_discarded_is_reported(world: World) -> Iterator[str]:
    """(a) Our code has run, so the mapping must not discard it; but for a ledger that did not answer."""
    facts = world.facts
    for run in facts.runs:
        for each in run.reported if not run.ledger_failed else ():
            if facts.created[each] + RECORD_AGE <= run.deadline + AGE_MARGIN - CLOCKS_DIFFER:
                yield f"change {each} was reported at an age of {run.end - facts.created[each]:.0f} s"


def what_is_redriven_is_done_or_parked_again(world: World) -> Iterator[str]:
    """(a) From the moment at which the function says that it has put a change back."""
    facts = world.facts
    for each, times in facts.redriven.items():
        done = facts.finished.get(each, [])
        ends = [*done, *(parked.when for parked in facts.parked[each])]
        is_claimed = world.kind == "claimed" and bool(done)  # it is done, and its claim says so
        if max(ends) < max(times) and not is_claimed:
            yield f"change {each} was put back, and neither done nor parked since"


def nothing_is_parked_without_its_reason(world: World) -> Iterator[str]:
    """(a) And none is given up before its time: it has failed so long, or followed one that had."""
    facts, handlers = world.facts, world.faults.handlers
    for each, all_parked in facts.parked.items():
        item = facts.item_of[each]
        for parked in all_parked:
            is_right = {
                "PermanentError": each in handlers.permanent,
                "Undecodable": each in handlers.undecodable,
                "Skipped": item in facts.asked_to_skip,
                "GivenUp": (each in facts.killed or each in facts.failures or _fails_elsewhere(world))
                and (_has_failed_long_enough(world, parked) or _follows_one_given_up(world, parked)),
                "GiveUpAfterExceeded": parked.run.kind == "the engine before holds",
            }
            if not is_right.get(parked.reason, False):
                failing = parked.when - _failing_since(world, parked)
                yield f"change {each} was parked ({parked.reason}) after it had failed for {failing:.0f} s"


def _fails_elsewhere(world: World) -> bool:
    """Whether a change may fail without its handler: where the function dies, or its claim cannot be written."""
    stores = world.faults.stores
    ledger_fails = stores.flaky or stores.laggy or stores.ledger_down or stores.ledger_throttled
    return world.faults.lambdas.crash > 0 or (world.kind == "claimed" and bool(ledger_fails))


def _failing_since(world: World, parked: Parked) -> float:
    """When the change first failed, or became the first that waits."""
    facts = world.facts
    waits = [move.when for move in facts.moves if number_in(move.after.get("next", "")) == parked.number]
    return min([parked.when, *facts.failed_or_came_first(parked.number), *waits])


def _has_failed_long_enough(world: World, parked: Parked) -> bool:
    failing = parked.when - _failing_since(world, parked)
    return failing >= world.settings.give_up_after_seconds - 2 * CLOCKS_DIFFER


def _follows_one_given_up(world: World, parked: Parked) -> bool:
    facts, run, item = world.facts, parked.run, world.facts.item_of[parked.number]
    before = any(
        earlier.reason == "GivenUp" and earlier.when <= parked.when
        for each, all_parked in facts.parked.items()
        for earlier in all_parked
        if each != parked.number and facts.item_of[each] == item
    )
    # A change whose claim says that it is done succeeds without its handler.
    others_succeed = world.kind == "claimed" or any(facts.item_of[each] != item for each in run.finished)
    return before and parked.number in run.failed and others_succeed
