"""(a) Nothing is lost, and nothing is given up without its reason."""

from collections.abc import Iterator

from sandbox.mapping.protocol import AGE_EXCEEDED
from tests.property.function.ledger_observer import number_in
from tests.property.history.history import RECORD_AGE, History
from tests.property.history.journal import Parked
from tests.property.retry_schedule import CLOCKS_DIFFER

MOST_DEATHS_ALONE = 4
"""Deliveries of a change alone that may end in a death: before it is old enough to be counted, two that are counted."""
AGE_MARGIN = 120.0
"""Seconds after an invocation's end in which what it reports is delivered again."""


def no_change_is_lost(history: History) -> Iterator[str]:
    """(a) Each change is done, parked, or discarded whole before our code ran; at the end, no item is held."""
    journal = history.journal
    if not history.is_at_rest:
        yield "the mapping does not come to rest"
    for digest, row in history.function.dynamodb.observer.held().items():
        yield f"{history.function.dynamodb.observer.item_of[digest]} is still held at the end: {row}"
    for each in sorted(
        journal.item_of.keys() - journal.finished.keys() - journal.parked.keys() - journal.discarded.keys()
    ):
        if each not in journal.expired or not history.faults.lambdas.stalled:
            yield f"change {each} is neither done, nor parked, nor discarded"
    for each, (_, condition) in journal.discarded.items():
        if condition != AGE_EXCEEDED:
            yield f"change {each} was discarded by the mapping: {condition}"
        died_of_it = [run for run in journal.runs if run.numbers == [each] and each in run.running_at_crash]
        if len(died_of_it) > MOST_DEATHS_ALONE:
            yield f"change {each} was discarded after the function had died of it {len(died_of_it)} times"


def no_change_near_its_age_limit_is_reported(history: History) -> Iterator[str]:
    """(a) Our code has run, so the mapping must not discard it; but for a ledger that did not answer."""
    journal = history.journal
    for run in journal.runs:
        for each in run.reported if not run.ledger_failed else ():
            if journal.created[each] + RECORD_AGE <= run.deadline + AGE_MARGIN - CLOCKS_DIFFER:
                yield f"change {each} was reported at an age of {run.end - journal.created[each]:.0f} s"


def a_redriven_change_is_done_or_parked_again(history: History) -> Iterator[str]:
    """(a) From the moment at which the function says that it has put a change back."""
    journal = history.journal
    for each, times in journal.redriven.items():
        done = journal.finished.get(each, [])
        ends = [*done, *(parked.when for parked in journal.parked[each])]
        is_claimed = history.consumer_kind == "claimed" and bool(done)  # it is done, and its claim says so
        if max(ends) < max(times) and not is_claimed:
            yield f"change {each} was put back, and neither done nor parked since"


def no_change_is_parked_without_a_reason(history: History) -> Iterator[str]:
    """(a) And none is given up before its time: it has failed so long, or followed one that had."""
    journal, handlers = history.journal, history.faults.handlers
    for each, all_parked in journal.parked.items():
        item = journal.item_of[each]
        for parked in all_parked:
            is_right = {
                "PermanentError": each in handlers.permanent,
                "Undecodable": each in handlers.undecodable,
                "Skipped": item in journal.asked_to_skip,
                "GivenUp": (each in journal.killed or each in journal.failures or _fails_elsewhere(history))
                and (_has_failed_long_enough(history, parked) or _follows_one_given_up(history, parked)),
                "GiveUpAfterExceeded": parked.run.kind == "the engine before holds",
            }
            if not is_right.get(parked.reason, False):
                failing = parked.when - _failing_since(history, parked)
                yield f"change {each} was parked ({parked.reason}) after it had failed for {failing:.0f} s"


def _fails_elsewhere(history: History) -> bool:
    """Whether a change may fail without its handler: where the function dies, or its claim cannot be written."""
    stores = history.faults.stores
    ledger_fails = stores.flaky or stores.laggy or stores.ledger_down or stores.ledger_throttled
    return history.faults.lambdas.crash > 0 or (history.consumer_kind == "claimed" and bool(ledger_fails))


def _failing_since(history: History, parked: Parked) -> float:
    """When the change first failed, or became the first that waits."""
    journal = history.journal
    waits = [
        transition.when
        for transition in journal.transitions
        if number_in(transition.after.get("next", "")) == parked.number
    ]
    return min([parked.when, *journal.failed_or_came_first(parked.number), *waits])


def _has_failed_long_enough(history: History, parked: Parked) -> bool:
    failing = parked.when - _failing_since(history, parked)
    return failing >= history.settings.give_up_after_seconds - 2 * CLOCKS_DIFFER


def _follows_one_given_up(history: History, parked: Parked) -> bool:
    journal, run, item = history.journal, parked.run, history.journal.item_of[parked.number]
    before = any(
        earlier.reason == "GivenUp" and earlier.when <= parked.when
        for each, all_parked in journal.parked.items()
        for earlier in all_parked
        if each != parked.number and journal.item_of[each] == item
    )
    # A change whose claim says that it is done succeeds without its handler.
    others_succeed = history.consumer_kind == "claimed" or any(journal.item_of[each] != item for each in run.finished)
    return before and parked.number in run.failed and others_succeed
