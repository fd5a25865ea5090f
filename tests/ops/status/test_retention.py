"""What a stream's retention has taken, from the metrics of the last 48 hours."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ops.status.facts import HISTORY_PERIOD, ConsumerFacts, MappingFacts, Series, TableFacts
from ops.status.findings.retention import LostSpan, lost_spans, reads, unread_since
from ops.streams import RETENTION_SECONDS
from tests.ops.status.facts import CONSUMER, HOUR, MAPPING, NOW, hours, minutes


def table(writes: Series) -> TableFacts:
    return TableFacts("orders-1", {}, {"ConsumedWriteCapacityUnits": writes})


def consumer(ages: Series, polled: Series = (), **changes: object) -> tuple[ConsumerFacts, MappingFacts]:
    mapping = replace(MAPPING, history={"PolledEventCount": polled}, recent={}, oldest_record_at=None, **changes)
    return replace(CONSUMER, mappings=(mapping,), recent={}, history={"IteratorAge": ages}), mapping


def hours_ago(at: float) -> float:
    return round((NOW - at) / HOUR, 2)


def test_a_mapping_that_was_stopped_for_30_hours_and_goes_on_has_lost_6():
    """On its return it reads the stream's beginning: its age is 24 h."""
    ages = (*hours(400, since=47, until=32), *hours(24 * HOUR * 1000, since=2))
    [lost] = lost_spans(*consumer(ages), table(hours(1)), NOW)
    assert lost.is_certain
    assert (hours_ago(lost.since), hours_ago(lost.until)) == (32, 26)


def test_a_mapping_that_was_stopped_for_20_hours_has_lost_nothing():
    ages = (*hours(400, since=47, until=22), *hours(20 * HOUR * 1000, since=2))
    assert lost_spans(*consumer(ages), table(hours(1)), NOW) == []


def test_a_mapping_that_was_behind_when_it_stopped_has_lost_that_as_well():
    ages = hours(10 * HOUR * 1000, since=47, until=20)
    [lost] = lost_spans(*consumer(ages), table(hours(1)), NOW)
    assert (hours_ago(lost.since), hours_ago(lost.until)) == (30, 24)


def test_a_quiet_table_loses_nothing():
    """Days without a batch are no loss if nothing was written."""
    ages = hours(400, since=47, until=46)
    assert lost_spans(*consumer(ages), table(hours(1, since=47, until=46)), NOW) == []


def test_a_mapping_whose_filters_match_nothing_reads_all_the_same():
    ages = hours(400, since=47, until=46)
    assert lost_spans(*consumer(ages, polled=hours(10)), table(hours(1)), NOW) == []


def test_a_stream_that_deletes_late_has_lost_less():
    """Retention is a promise: the stream may keep a record longer."""
    facts, mapping = consumer(hours(400, since=47, until=30))
    kept = replace(mapping, oldest_record_at=NOW - 28 * HOUR)
    [lost] = lost_spans(replace(facts, mappings=(kept,)), kept, table(hours(1)), NOW)
    assert (hours_ago(lost.since), hours_ago(lost.until)) == (30, 28)


def test_nobody_knows_what_a_table_of_another_account_wrote():
    facts, mapping = consumer(hours(400, since=47, until=30))
    [lost] = lost_spans(facts, mapping, None, NOW)
    assert not lost.is_certain


def test_the_age_of_a_function_is_not_taken_for_another_mapping_s():
    """Orders is 23 h behind, and users is not: users has lost nothing when both stop for 5 h."""
    polled = hours(10, since=47, until=5)
    orders = replace(MAPPING, history={"PolledEventCount": polled})
    users = replace(MAPPING, table="users", uuid="uuid-2", history={"PolledEventCount": polled})
    both = replace(CONSUMER, mappings=(orders, users), history={"IteratorAge": hours(23 * HOUR * 1000, until=5)})
    assert lost_spans(both, users, table(hours(1)), NOW) == []


def test_without_counts_a_mapping_of_two_is_not_judged():
    silent = replace(MAPPING, uuid="uuid-2", history={})
    both = replace(CONSUMER, mappings=(MAPPING, silent))
    assert reads(both, silent) == []
    assert lost_spans(both, silent, table(hours(1)), NOW) == []


def test_the_oldest_unread_change_is_the_first_write_after_the_last_read():
    facts, mapping = consumer(hours(400, until=5))
    writes = (*hours(1, until=5), *hours(1, since=4, until=3))
    at = unread_since(facts, mapping, table(writes), NOW)
    assert at is not None
    assert hours_ago(at) == 4


def test_a_change_is_unread_from_the_minute_after_the_last_read():
    """Five minutes are too coarse for the last hour: the mapping was stopped in the middle of them."""
    facts, mapping = consumer(hours(400))
    stopped = replace(mapping, recent={"PolledEventCount": minutes(60, since=50, until=8)})
    facts = replace(facts, mappings=(stopped,), recent={"IteratorAge": minutes(0, since=50, until=8)})
    written = TableFacts("orders-1", {"ConsumedWriteCapacityUnits": minutes(1, since=50)}, {})
    assert unread_since(facts, stopped, written, NOW) == NOW - 8 * 60
    before = TableFacts("orders-1", {"ConsumedWriteCapacityUnits": minutes(1, since=50, until=8)}, {})
    assert unread_since(facts, stopped, before, NOW) is None


@given(
    stopped=st.integers(min_value=1, max_value=40),
    resumed=st.integers(min_value=0, max_value=39),
    written=st.sets(st.integers(min_value=0, max_value=46)),
)
def test_only_writes_that_were_unread_for_24_hours_are_called_lost(stopped: int, resumed: int, written: set[int]):
    """A mapping reads without delay, but for a stop; some hours have writes. A model says what each write met."""
    resumed = 0 if resumed >= stopped else resumed  # 0: not yet
    ages = (*hours(0, since=47, until=stopped), *(hours(0, since=resumed)))
    writes = tuple(sorted((NOW - hour * HOUR, 1.0) for hour in written))
    spans: list[LostSpan] = lost_spans(*consumer(ages), table(writes), NOW)
    back_at = NOW - resumed * HOUR
    for at, _ in writes:
        is_unread = NOW - stopped * HOUR <= at < back_at
        is_lost = is_unread and at + RETENTION_SECONDS < back_at
        is_called = any(span.since <= at < span.until for span in spans)
        assert not (is_called and not is_lost)
        if is_lost and at + RETENTION_SECONDS + HISTORY_PERIOD < back_at:
            assert is_called
