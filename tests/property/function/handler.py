"""The consumer's own code in a history: what it does in the world, and what goes wrong there."""

from collections import defaultdict
from collections.abc import Callable

from handler.stream.change import Change, PermanentError
from handler.stream.effects import put_if_newer
from tests.property.function.names import TARGET
from tests.property.function.place import RESERVE, TIMEOUT, Place
from tests.property.history.facts import Effect, Overlap, Run
from tests.property.history.faults import within
from tests.property.stream import number

SLOW_SECONDS = 4.5
"""A failure that takes nearly half a handler's time; the engine's clock may differ from the kernel's."""


class TroubleError(Exception):
    """Something that a handler needs fails."""


class Handler:
    """The function of a change; `kind` is what protects its effects: plain (nothing), fenced or claimed."""

    def __init__(self, kind: str, say: Callable[[str], None]) -> None:
        self._kind, self._say = kind, say
        self._inside: defaultdict[str, list[tuple[Run, int]]] = defaultdict(list)
        """By item: handlers that have begun and not ended."""

    def __call__(self, place: Place, changed: Change) -> None:
        """Handle a change in an environment."""
        facts, run, each = place.facts, place.run, number(changed.raw)
        item = facts.item_of[each]
        self._watch_overlap(place, item, each)
        run.first = run.first or each
        run.attempts[each] += 1
        run.inside.add(each)
        run.claimed |= {each} if self._kind == "claimed" else set()
        self._inside[item].append((run, each))
        began = place.kernel.now
        try:
            self._work(place, each, changed)
            run.finished.add(each)
            facts.finished.setdefault(each, []).append(place.kernel.now)
            if run.kind == "batch":
                place.failures_in_a_row = 0
        except Exception as error:
            facts.met[f"handler: {error}"] += 1
            facts.failures[each].append((place.kernel.now, str(error)))
            run.failed.add(each)
            place.failures_in_a_row += run.kind == "batch"
            if run.kind == "batch" and place.kernel.now - began >= SLOW_SECONDS:
                facts.slow_failures.append(place.kernel.now)
            self._say(f"{each} fails: {error}")
            raise
        finally:
            run.inside.discard(each)
            self._inside[item].remove((run, each))

    def _watch_overlap(self, place: Place, item: str, each: int) -> None:
        facts = place.facts
        for run, other in self._inside[item]:
            doubled = run.is_doubled or place.run.is_doubled or {each, other} & facts.doubled
            if not run.is_dead and not doubled:
                facts.overlaps.append(Overlap(item, (other, each), place.kernel.now))

    def _work(self, place: Place, each: int, changed: Change) -> None:
        faults, rng, now = place.faults, place.rng, place.kernel.now
        handlers, is_mended = faults.handlers, now >= faults.handlers.mended
        by_chance = now < faults.quiet_at
        hangs = (each in handlers.stuck and not is_mended) or (by_chance and rng.random() < handlers.hang)
        lingers = by_chance and rng.random() < handlers.linger
        early = rng.random() < 0.5
        place.spend(rng.uniform(2, 9.5) if handlers.slow else rng.uniform(0, 0.2))
        self._meanwhile(place)
        place.may_die("before an effect")
        if each in handlers.killers and not is_mended:
            place.facts.met["death of the change itself"] += 1
            place.die()
        if early and (hangs or lingers):
            self._outstay(place, ends=not hangs)
        if each in handlers.undecodable:
            assert changed.new_image, "this raises"
        self._may_fail(place, each, is_mended=is_mended)
        place.run.did.add(each)
        self._affect(place, each, changed)
        if hangs or lingers:
            self._outstay(place, ends=not hangs)
        self._meanwhile(place)
        place.may_die("after an effect")

    def _meanwhile(self, place: Place) -> None:
        if not place.faults.handlers.slow:  # one after the other, the slow would last longer than any handler may
            place.steps.others()

    def _may_fail(self, place: Place, each: int, *, is_mended: bool) -> None:
        handlers, now = place.faults.handlers, place.kernel.now
        if within(handlers.outage, now):
            raise TroubleError("outage")
        if each in handlers.permanent:
            raise PermanentError("permanent")
        if each in handlers.poison | handlers.flood and not is_mended:
            raise TroubleError("poison")
        if now < place.faults.quiet_at and place.rng.random() < handlers.transient:
            raise TroubleError("transient")

    def _affect(self, place: Place, each: int, changed: Change) -> None:
        facts, item = place.facts, place.facts.item_of[each]
        if self._kind != "fenced" or put_if_newer(changed, TARGET):
            facts.effects.append(Effect(each, item, place.kernel.now))
        self._say(f"effect of {each}")

    def _outstay(self, place: Place, *, ends: bool) -> None:
        place.facts.met["linger" if ends else "hang"] += 1
        place.steps.all_others()
        left = place.run.deadline - RESERVE - place.kernel.now
        place.spend(max(left, 0) + 0.5 if ends else 2 * TIMEOUT, outstays=True)
