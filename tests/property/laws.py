"""What must hold in every history, whatever goes wrong in it."""

from collections import Counter
from collections.abc import Callable, Iterator

from sandbox.actions import AGE_EXCEEDED
from tests.property.world import World

Law = Callable[[World], Iterator[str]]


def nothing_is_lost(world: World) -> Iterator[str]:
    """(a) Each change is applied, parked, at the destination or refused there, or, where time is lost, expired."""
    facts = world.facts
    if not world.at_rest:
        yield "the mapping does not come to rest"
    accounted = facts.settled if world.faults.calm else facts.settled | facts.expired
    for each in sorted(facts.item_of.keys() - accounted):
        yield f"change {each} is neither applied, nor parked, nor discarded"


def nothing_is_repeated_or_turned_back(world: World) -> Iterator[str]:
    """(b) But for what is excused; under a fence, never."""
    latest: dict[str, int] = {}
    for effect in world.facts.effects:
        before = latest.get(effect.item, 0)
        if effect.number <= before and (world.kind == "fenced" or effect.number not in world.facts.excused):
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
    """(d) And once more for each death of its holder, and for each mark that failed, which is counted as such."""
    facts = world.facts
    if world.kind != "claimed":
        return
    for each, count in Counter(effect.number for effect in facts.effects).items():
        allowed = 1 + facts.deaths[each] + (facts.failed_marks[each] if each in facts.excused else 0)
        if count > allowed:
            yield f"the claimed effect of {each} happened {count} times, at most {allowed} are accounted for"


def nothing_holds_its_lane_for_long(world: World) -> Iterator[str]:
    """(e) Where nothing disturbs or hides the clocks: for what the engine promises, one back-off and two runs."""
    facts, settings = world.facts, world.settings
    if not world.faults.calm:
        return
    slack = world.longest_back_off + 2 * facts.longest_run + 2  # notes keep whole seconds
    for each, held in facts.held.items():
        if held.since is None or each in facts.clocks_hidden:
            continue
        if held.others_since is not None:
            until = held.others_since + (0 if held.given_up else settings.give_up_after_seconds)
        else:
            until = held.since + settings.give_up_alone_after_seconds
        until = max(held.since, min(until, facts.created[each] + world.margin_ends)) + slack
        end = _end(world, each)
        if end > until:
            yield f"change {each} held its lane from {held.since:.0f} to {end:.0f}, and should have until {until:.0f}"
    hurried = world.faults.stuck or world.faults.late or world.faults.slow  # time-outs, or too much work for the margin
    for each, (_, condition) in facts.discarded.items():
        if condition == AGE_EXCEEDED and not hurried:
            yield f"the mapping discarded change {each}, whose age was the engine's to watch"


def recovery_parks_nothing_sound(world: World) -> Iterator[str]:
    """(f) But for what was in a batch of each lane as the outage began."""
    facts, outage = world.facts, world.faults.outage
    if outage is None or not world.faults.calm or world.faults.recut:  # a wider cut is another batch
        return
    for each, parked in facts.parked.items():
        causes = {cause for _, cause in facts.failures[each]}
        sound = causes == {"outage"} and each not in facts.at_outage
        if sound and (parked.reason == "GiveUpAfterExceeded" or parked.when > outage[1] + facts.longest_run):
            yield f"change {each} was parked ({parked.reason}) for an outage alone"


def nothing_is_parked_before_its_time(world: World) -> Iterator[str]:
    """(g) A clock must have run: the item's once others had succeeded, the lone one, or the record's age."""
    facts, settings, calm = world.facts, world.settings, world.faults.calm
    for each, parked in facts.parked.items():
        first = min((when for when, _ in facts.failures[each]), default=parked.when)
        if world.kind == "claimed" and not calm:
            first = 0.0  # a claim that is another's is a failure that the handler does not see
        failing = parked.when - first + 1  # notes keep whole seconds
        held = facts.held.get(each)
        others_since = held.others_since - facts.longest_run if held and held.others_since else parked.when
        clock = failing if not calm else min(failing, parked.when - others_since + 1)
        alone = failing >= settings.give_up_alone_after_seconds and not (calm and parked.others_done)
        in_time = {
            "PermanentError": each in world.faults.permanent,
            "RecordAgeExceeded": parked.when - facts.created[each] >= world.margin_ends,
            "GiveUpAfterExceeded": clock >= settings.give_up_after_seconds
            or (parked.given_up and (parked.others_done or not calm)),
            "GiveUpAloneAfterExceeded": alone,
        }
        if not in_time[parked.reason]:
            yield f"change {each} was parked ({parked.reason}) after it had failed for {failing:.0f} s"


def nothing_overruns_for_want_of_time(world: World) -> Iterator[str]:
    """(h) No handler is begun that has not its full time, but for the first of a batch, which always is."""
    faults = world.faults
    if not (faults.hang or faults.linger or faults.stuck):
        for each in sorted(world.facts.overran):
            yield f"the function's time was over in the midst of {each}"


LAWS: tuple[Law, ...] = (
    nothing_is_lost,
    nothing_is_repeated_or_turned_back,
    the_mirror_equals_its_source,
    a_claimed_effect_happens_once,
    nothing_holds_its_lane_for_long,
    recovery_parks_nothing_sound,
    nothing_is_parked_before_its_time,
    nothing_overruns_for_want_of_time,
)


def breaches(world: World) -> list[str]:
    """Every breach of a law, each with the law's name."""
    return [f"{law.__name__}: {breach}" for law in LAWS for breach in law(world)]


def _end(world: World, each: int) -> float:
    facts = world.facts
    ends = [facts.done.get(each), *((facts.parked[each].when,) if each in facts.parked else ())]
    ends += [facts.discarded[each][0]] if each in facts.discarded else []
    return min((end for end in ends if end is not None), default=float("inf"))
