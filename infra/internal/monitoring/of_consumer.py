"""The alarms of one consumer, each with the reason of its numbers."""

from collections.abc import Iterator

from infra.consumer import StreamConsumer
from infra.internal.monitoring.alarm import FIVE_MINUTES, MINUTE, Alarm, any_of
from infra.internal.monitoring.metrics import of_engine, of_function, of_mapping, of_table
from infra.rules.mappings import DAY_SECONDS
from infra.settings import AlarmSettings
from infra.table import Table


def alarms_of_consumer(consumer: StreamConsumer, settings: AlarmSettings) -> Iterator[Alarm]:
    """Yield the alarms of a consumer with stores.

    A disabled consumer retries and reads nothing, on purpose: it has no alarm about that. The alarms that need
    EventCount are left out if the consumer's mappings do not count events.
    """
    yield from _about_held_items(consumer, settings)
    yield from _about_lag(consumer, settings)
    yield from _about_losses(consumer)
    yield from _about_function(consumer, settings)
    if consumer.tuning.enabled and consumer.counts_events:
        yield from (_nothing_read(consumer, table) for table in consumer.tables if table.in_this_account)


def giving_up_soon_seconds(give_up_after: int) -> float:
    """Return the seconds after which a held item is given up soon: a day before, but at the earliest halfway."""
    return max(give_up_after - DAY_SECONDS, give_up_after / 2)


def _about_held_items(consumer: StreamConsumer, settings: AlarmSettings) -> Iterator[Alarm]:
    name, give_up_after = consumer.name, consumer.tuning.give_up_after
    soon = giving_up_soon_seconds(give_up_after)
    oldest = {"oldest": of_engine(consumer, "OldestHeldSeconds", "Maximum")}
    yield Alarm(
        *("held", "ticket", "held"),
        f"{name}: an item has been held for {_time(settings.held_after)} or longer. Its changes fail, and wait in "
        "order; all other items go on.",
        oldest,
        threshold=settings.held_after,
        period=FIVE_MINUTES,
    )
    yield Alarm(
        *("many-held", "page", "many-held"),
        f"{name} holds {settings.many_held} items or more: its code, or a service that it calls, fails for most "
        "changes.",
        {"held": of_engine(consumer, "HeldItems", "Maximum")},
        threshold=settings.many_held,
        period=MINUTE,
        # A short failure of a dependency is over before anybody could act.
        datapoints=5,
        periods=5,
    )
    yield Alarm(
        *("giving-up-soon", "page", "giving-up-soon"),
        f"{name} gives up an item within {_time(give_up_after - soon)}: the item's first waiting change is then "
        "parked, and its later changes run without it.",
        oldest,
        threshold=soon,
        period=FIVE_MINUTES,
    )
    if consumer.tuning.enabled:
        yield Alarm(
            *("not-retrying", "ticket", "not-retrying"),
            f"{name}: no retry run has reported for 15 min, so held items are not retried. The schedule is disabled, "
            "or the function does not run.",
            {"runs": of_engine(consumer, "HeldItems", "SampleCount")},
            # Without FILL, CloudWatch takes older data in place of missing data, and the alarm would come later.
            expressions={"reported": "FILL(runs, 0)"},
            threshold=1,
            period=FIVE_MINUTES,
            datapoints=3,
            periods=3,
            comparison="LessThanThreshold",
            missing_data="breaching",
            warm_up_minutes=15,  # the first run of a new consumer has not reported yet
        )
    yield Alarm(
        *("parked", "ticket", "parked"),
        f"{name} has parked a change: the failure bucket keeps it whole, and the item goes on without it. It waits for "
        "a person.",
        {"parked": of_engine(consumer, "ParkedChanges")},
        threshold=1,
        period=FIVE_MINUTES,
    )


def _about_lag(consumer: StreamConsumer, settings: AlarmSettings) -> Iterator[Alarm]:
    age = {"age": of_function(consumer, "IteratorAge", "Maximum")}
    yield Alarm(
        *("late", "page", "late"),
        f"{consumer.name} is late: it processes changes {_time(settings.late_after)} or longer after they were "
        "written.",
        age,
        threshold=settings.late_after * 1_000,
        period=MINUTE,
        # A single old batch, of a crash that is being bisected for example, is no lag.
        datapoints=5,
        periods=5,
    )
    yield Alarm(
        *("losing-soon", "page", "losing-soon"),
        f"{consumer.name} is {_time(settings.losing_after)} or longer behind its stream, which deletes a change after "
        "24 h. It loses changes unless it catches up.",
        age,
        threshold=settings.losing_after * 1_000,
        period=FIVE_MINUTES,
        datapoints=2,
        periods=3,
        # A function that is not invoked has no IteratorAge, and the changes become older all the same.
        missing_data="ignore",
    )


def _about_losses(consumer: StreamConsumer) -> Iterator[Alarm]:
    mappings = consumer.mappings.values() if consumer.counts_events else ()
    lost = Alarm(
        *("lost", "page", "lost"),
        f"{consumer.name} has lost changes: the mapping gave them up, and could not write them to the failure "
        "destination. Their items exist in the table.",
        {},
        threshold=1,
        period=FIVE_MINUTES,
        # FILL makes a period 0 until its data arrives, so the last three periods count.
        periods=3,
    )
    failed_deliveries = of_function(consumer, "DestinationDeliveryFailures")
    yield from any_of(lost, [failed_deliveries, *(of_mapping(each, "DroppedEventCount") for each in mappings)])
    discarded = Alarm(
        *("discarded", "page", "discarded"),
        f"The mapping of {consumer.name} has discarded changes, which were too old before the function could process "
        "them. The failure destination has them.",
        {},
        threshold=1,
        period=FIVE_MINUTES,
        periods=3,
    )
    yield from any_of(discarded, [of_mapping(each, "OnFailureDestinationDeliveredEventCount") for each in mappings])


def _about_function(consumer: StreamConsumer, settings: AlarmSettings) -> Iterator[Alarm]:
    name, timeout = consumer.name, consumer.tuning.timeout
    yield Alarm(
        *("broken", "page", "broken"),
        f"The function of {name} has failed for 15 min: it crashes, runs into its time-out or does not start. A "
        "handler that raises an exception is no failure of the function.",
        {"errors": of_function(consumer, "Errors")},
        threshold=1,
        period=FIVE_MINUTES,
        # The engine survives single deaths of the function: bisecting finds the change that causes them.
        datapoints=3,
        periods=3,
    )
    yield Alarm(
        *("throttled", "ticket", "throttled"),
        f"Lambda throttles the function of {name}: the account's or the function's concurrency is used up. Lambda "
        "invokes it later, so changes are late.",
        {"throttles": of_function(consumer, "Throttles")},
        threshold=1,
        period=MINUTE,
        datapoints=3,  # Lambda retries single throttled invocations within seconds
        periods=5,
    )
    yield Alarm(
        *("near-the-time-out", "ticket", "near-the-time-out"),
        f"Invocations of {name} take more than {settings.near_timeout_share:.0%} of their {timeout} s: changes that "
        "are not done in time are delivered again.",
        {"duration": of_function(consumer, "Duration", "p99")},
        threshold=settings.near_timeout_share * timeout * 1_000,
        comparison="GreaterThanThreshold",
        period=MINUTE,
        datapoints=3,
        periods=5,
    )


def _nothing_read(consumer: StreamConsumer, table: Table) -> Alarm:
    """Return the alarm on writes of which the mapping reads nothing.

    A period counts if the table was written in the period before, and the mapping read nothing in both: a change of
    the last second of a period is read in the next one. Two such periods of an hour are needed, because writes that
    change nothing, and refused conditional writes, consume capacity too. At a table that is written all the time, three
    periods of 3 min pass. For a sparsely written table, the hour suffices.
    """
    return Alarm(
        *(f"{table.name}-nothing-read", "page", "nothing-read"),
        f"{consumer.name} reads nothing of {table.name}, although items are written: the mapping is disabled, is gone, "
        "or reads an older stream.",
        {
            "writes": of_table(table.table_name, "ConsumedWriteCapacityUnits"),
            "polled": of_mapping(consumer.mappings[table.name], "PolledEventCount"),
        },
        expressions={
            "written": "FILL(writes, 0)",
            "read": "FILL(polled, 0)",
            "unread": "IF((written - DIFF(written) > 0) AND (2 * read - DIFF(read) == 0), 1, 0)",
        },
        threshold=1,
        period=3 * MINUTE,
        datapoints=2,
        periods=20,
    )


def _time(seconds: float) -> str:
    return f"{seconds / 3_600:g} h" if seconds >= 3_600 else f"{seconds / 60:g} min"
