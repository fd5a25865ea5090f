"""What must hold in every history, whatever goes wrong in it."""

from collections.abc import Callable, Iterator

from tests.property.history.history import History
from tests.property.laws.complete import (
    a_redriven_change_is_done_or_parked_again,
    no_change_is_lost,
    no_change_is_parked_without_a_reason,
    no_change_near_its_age_limit_is_reported,
)
from tests.property.laws.order import (
    a_claimed_effect_happens_once,
    an_item_has_one_handler_at_a_time,
    no_effect_is_repeated_or_reordered,
    the_mirror_equals_its_source,
)
from tests.property.laws.waiting import (
    a_failure_causes_no_redelivery,
    a_hold_is_due_within_its_back_off,
    every_due_item_is_tried,
    held_items_recover_after_an_outage,
    no_change_is_held_without_a_reason,
    no_change_is_tried_too_often,
    no_handler_starts_without_enough_time,
    no_item_is_tried_before_it_is_due,
)

Law = Callable[[History], Iterator[str]]

LAWS: tuple[Law, ...] = (
    no_change_is_lost,
    no_change_near_its_age_limit_is_reported,
    a_redriven_change_is_done_or_parked_again,
    no_change_is_parked_without_a_reason,
    no_effect_is_repeated_or_reordered,
    the_mirror_equals_its_source,
    a_claimed_effect_happens_once,
    an_item_has_one_handler_at_a_time,
    a_failure_causes_no_redelivery,
    no_change_is_held_without_a_reason,
    no_change_is_tried_too_often,
    a_hold_is_due_within_its_back_off,
    no_item_is_tried_before_it_is_due,
    every_due_item_is_tried,
    held_items_recover_after_an_outage,
    no_handler_starts_without_enough_time,
)


def breaches(history: History) -> list[str]:
    """Every breach of a law, each with the law's name."""
    return [f"{law.__name__}: {breach}" for law in LAWS for breach in law(history)]
