"""(b), (c) and (g): each effect once and in its item's turn, and never two handlers at once for one item."""

from collections import Counter
from collections.abc import Iterator

from tests.property.world import World


def nothing_is_repeated_or_turned_back(world: World) -> Iterator[str]:
    """(b) But for what is excused; under a fence, never."""
    facts = world.facts
    latest: dict[str, int] = {}
    for effect in facts.effects:
        before = latest.get(effect.item, 0)
        if effect.number <= before and (world.kind == "fenced" or effect.number not in facts.excused):
            yield f"the effect of {effect.number} on {effect.item} comes after that of {before}"
        latest[effect.item] = max(before, effect.number)


def the_mirror_equals_its_source(world: World) -> Iterator[str]:
    """(c) Of every item of which no change was parked, discarded or lost."""
    facts = world.facts
    if world.kind != "fenced":
        return
    spoilt = {facts.item_of[each] for each in facts.parked.keys() | facts.discarded.keys() | facts.expired}
    for item in sorted(facts.source.keys() - spoilt):
        if world.function.mirrored(item) != facts.source[item]:
            yield f"{item} is {world.function.mirrored(item)} in the mirror and {facts.source[item]} in its source"


def a_claimed_effect_happens_once(world: World) -> Iterator[str]:
    """(c) And once more for each death of its holder, and for each mark that failed, which is counted as such."""
    facts = world.facts
    if world.kind != "claimed":
        return
    for each, count in Counter(effect.number for effect in facts.effects).items():
        allowed = 1 + facts.deaths[each] + (facts.failed_marks[each] if each in facts.excused else 0)
        if count > allowed:
            yield f"the claimed effect of {each} happened {count} times, at most {allowed} are accounted for"


def one_item_has_one_handler(world: World) -> Iterator[str]:
    """(g) At a time; but for deliveries that were doubled."""
    for overlap in world.facts.overlaps:
        yield f"handlers of {overlap.numbers[0]} and {overlap.numbers[1]} run at once for {overlap.item}"
