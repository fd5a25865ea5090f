"""The changes that break the order, as `bench ordered` counts them. Times are not tested here."""

import pytest

from bench.questions.ordered import ASYNC, DISTINCT, HOT, OURS, POOL, RUNS, STOCK, ZIPF, broken, items_of
from tests.fakes.aws import silence


@pytest.mark.parametrize(
    ("name", "without", "with_failures"),
    [(OURS, 0, 0), (STOCK, 0, 18), (ASYNC, 19, 19)],
)
def test_the_broken_changes_of_one_hot_item(name: str, without: int, with_failures: int):
    """Every change after the second one overtakes it if it fails."""
    items = items_of(HOT, 20)
    with silence():
        assert broken(RUNS[name], items, failing=False) == without
        assert broken(RUNS[name], items, failing=True) == with_failures


def test_distinct_items_have_no_order_to_break():
    items = items_of(DISTINCT, 20)
    with silence():
        assert [broken(RUNS[name], items, failing=True) for name in (STOCK, ASYNC, POOL)] == [0, 0, 0]


def test_zipf_has_a_hot_item_and_many_others():
    items = items_of(ZIPF)
    assert items == items_of(ZIPF)
    assert items.count("item-0") > 5
    assert len(set(items)) > 50
