"""What must hold in every history, whatever goes wrong in it."""

from collections.abc import Callable, Iterator

from tests.property.laws.complete import (
    nothing_is_lost,
    nothing_is_parked_without_its_reason,
    nothing_that_is_about_to_be_discarded_is_reported,
    what_is_redriven_is_done_or_parked_again,
)
from tests.property.laws.order import (
    a_claimed_effect_happens_once,
    nothing_is_repeated_or_turned_back,
    one_item_has_one_handler,
    the_mirror_equals_its_source,
)
from tests.property.laws.waiting import (
    a_change_is_tried_as_often_as_promised,
    a_failure_makes_no_batch_come_again,
    a_hold_is_due_within_its_back_off,
    an_outage_ends_without_a_hand,
    every_due_item_is_tried,
    no_handler_begins_without_its_time,
    nothing_is_held_without_a_reason,
    nothing_is_tried_before_it_is_due,
)
from tests.property.world import World

Law = Callable[[World], Iterator[str]]

LAWS: tuple[Law, ...] = (
    nothing_is_lost,
    nothing_that_is_about_to_be_discarded_is_reported,
    what_is_redriven_is_done_or_parked_again,
    nothing_is_parked_without_its_reason,
    nothing_is_repeated_or_turned_back,
    the_mirror_equals_its_source,
    a_claimed_effect_happens_once,
    one_item_has_one_handler,
    a_failure_makes_no_batch_come_again,
    nothing_is_held_without_a_reason,
    a_change_is_tried_as_often_as_promised,
    a_hold_is_due_within_its_back_off,
    nothing_is_tried_before_it_is_due,
    every_due_item_is_tried,
    an_outage_ends_without_a_hand,
    no_handler_begins_without_its_time,
)


def breaches(world: World) -> list[str]:
    """Every breach of a law, each with the law's name."""
    return [f"{law.__name__}: {breach}" for law in LAWS for breach in law(world)]
