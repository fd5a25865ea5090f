"""(b), (c) and (g): each effect once and in its item's turn, and never two handlers at once for one item."""

from collections import Counter
from collections.abc import Iterator

from tests.property.history.history import History


def no_effect_is_repeated_or_reordered(history: History) -> Iterator[str]:
    """(b) But for what is excused; under a fence, never."""
    journal = history.journal
    latest: dict[str, int] = {}
    for effect in journal.effects:
        before = latest.get(effect.item, 0)
        if effect.number <= before and (history.consumer_kind == "fenced" or effect.number not in journal.excused):
            yield f"the effect of {effect.number} on {effect.item} comes after that of {before}"
        latest[effect.item] = max(before, effect.number)


def the_mirror_equals_its_source(history: History) -> Iterator[str]:
    """(c) Of every item of which no change was parked, discarded or lost."""
    journal = history.journal
    if history.consumer_kind != "fenced":
        return
    spoilt = {journal.item_of[each] for each in journal.parked.keys() | journal.discarded.keys() | journal.expired}
    for item in sorted(journal.source.keys() - spoilt):
        if history.function.mirrored(item) != journal.source[item]:
            yield f"{item} is {history.function.mirrored(item)} in the mirror and {journal.source[item]} in its source"


def a_claimed_effect_happens_once(history: History) -> Iterator[str]:
    """(c) And once more for each death of its holder, and for each mark that failed, which is counted as such."""
    journal = history.journal
    if history.consumer_kind != "claimed":
        return
    for each, count in Counter(effect.number for effect in journal.effects).items():
        allowed = 1 + journal.deaths[each] + (journal.failed_marks[each] if each in journal.excused else 0)
        if count > allowed:
            yield f"the claimed effect of {each} happened {count} times, at most {allowed} are accounted for"


def an_item_has_one_handler_at_a_time(history: History) -> Iterator[str]:
    """(g) At a time; but for deliveries that were doubled."""
    for overlap in history.journal.overlaps:
        yield f"handlers of {overlap.numbers[0]} and {overlap.numbers[1]} run at once for {overlap.item}"
