"""What a partly failing batch costs: 100 records of 20 items, one handler call in ten failing, a plain consumer."""

from collections import defaultdict
from random import Random

from tests.handler.harness import ConsumerHarness

RECORDS, ITEMS, TRANSIENT, SEEDS = 100, "abcdefghijklmnopqrst", 0.1, 60


def invocations(seed: int) -> int:
    """How many invocations it takes, retry runs included; repeats and regressions are errors."""
    random_ = Random(seed)
    harness = ConsumerHarness()
    batch = "".join(random_.choice(ITEMS) for _ in range(RECORDS))

    def may_fail() -> None:
        if random_.random() < TRANSIENT:
            raise ConnectionError

    harness.trouble = dict.fromkeys(range(1, RECORDS + 1), may_fail)
    assert harness.deliver(batch) == [], "no failure makes the batch come again"
    count = 1
    while len(harness.applied) < RECORDS:
        count += 1
        harness.retry_later(60)
    assert sorted(harness.applied) == list(range(1, RECORDS + 1)), "no change is repeated, and none is lost"
    by_item = defaultdict[str, list[int]](list)
    for number in harness.applied:
        by_item[batch[number - 1]].append(number)
    assert all(numbers == sorted(numbers) for numbers in by_item.values()), "no item goes back in time"
    return count


def test_a_tenth_of_all_calls_failing_costs_at_most_four_invocations_on_average() -> None:
    assert sum(invocations(seed) for seed in range(SEEDS)) / SEEDS <= 4
