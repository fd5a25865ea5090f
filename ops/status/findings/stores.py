"""Findings about held items, their retry, parked changes, lifetimes, and consumers that are gone."""

from collections.abc import Iterator

from handler.stream.environment import DAY
from ops.status.facts import (
    MISSING,
    ConsumerFacts,
    Facts,
    FunctionFacts,
    GoneConsumer,
    HoldFacts,
    Listing,
    ScheduleFacts,
)
from ops.status.findings.finding import REDEPLOY, Finding, Level
from ops.status.findings.series import total
from ops.status.summary import last_retry_run
from ops.text.counts import count
from ops.text.times import clock, duration_text, since

MANY_HELD = 20
"""The threshold of the alarm `many-held`."""
SILENCE_SECONDS = 900
"""The time of the alarm `not-retrying`: a retry run starts every minute, and CloudWatch shows it within 3 minutes."""
BROKEN_SECONDS = 3600
"""A retry run tries a broken hold again after an hour."""
MAX_ERROR_TEXT = 200


def hold_findings(consumer: ConsumerFacts, now: float) -> Iterator[Finding]:
    """Return the findings about the held items of a consumer."""
    name, holds, function = consumer.name, consumer.holds, consumer.function
    if not isinstance(holds, HoldFacts):
        return
    give_up = function.give_up_after_seconds if isinstance(function, FunctionFacts) else None
    if holds.oldest_since is not None:
        yield _held(name, holds, now, is_retried=_is_retried(consumer))
        left = None if give_up is None else holds.oldest_since + give_up - now
        if left is not None and left < DAY:
            when = f"in {duration_text(left)}" if left > 0 else "at its next try"
            yield Finding(
                *("giving-up-soon", Level.NOW, name),
                f"The longest held item is given up {when}.",
                "Its first waiting change is then parked, and the item's next change runs without it.",
                *("giving-up-soon", f"python -m ops held {name}"),
            )
    if broken := total(consumer.recent.get("HoldBroken", ()), now - BROKEN_SECONDS, now):
        yield Finding(
            *("hold-broken", Level.NOW, name),
            f"A hold is broken: retry runs found {count(int(broken), 'such hold')} in the last hour.",
            "The ledger lacks a waiting change. The item stops, since its later changes must not overtake it.",
            *("held", f"python -m ops held {name}"),
        )


def _is_retried(consumer: ConsumerFacts) -> bool:
    schedule = consumer.schedule
    return schedule is None or (isinstance(schedule, ScheduleFacts) and schedule.state == "ENABLED")


def _held(name: str, holds: HoldFacts, now: float, *, is_retried: bool) -> Finding:
    is_flood = holds.items >= MANY_HELD
    oldest = holds.oldest_since or now
    items = count(holds.items, "item", has_more=holds.has_more)
    one = holds.items == 1
    state = f"1 item is held {since(oldest, now)}." if one else f"{items} are held, the first {since(oldest, now)}."
    cause = ""
    if holds.errors:
        first = holds.errors[0]
        text = first.cause if len(first.cause) <= MAX_ERROR_TEXT else f"{first.cause[: MAX_ERROR_TEXT - 1]}…"
        seen = sum(each.items for each in holds.errors)
        of = f"the {seen} longest held" if seen < holds.items else str(seen)
        share = "All fail with" if first.items == holds.items else f"Most frequent error ({first.items} of {of})"
        cause = f"{'Its error' if one else share}: {text}"
    changes = f"{count(holds.waiting, 'change')} wait{'s' if holds.waiting == 1 else ''} in order"
    meaning = f"{changes}{', and the schedule retries them' if is_retried else ''}. {cause}".strip()
    return Finding(
        *("many-held" if is_flood else "held", Level.NOW if is_flood else Level.SOON, name),
        *(state, meaning),
        *("many-held" if is_flood else "held", f"python -m ops held {name}"),
    )


def retry_findings(consumer: ConsumerFacts, now: float) -> Iterator[Finding]:
    """Return the finding about a consumer whose held items nothing retries."""
    name, schedule = consumer.name, consumer.schedule
    meaning = "Held items are not retried, and stay held."
    if schedule == MISSING:
        yield Finding(
            *("schedule-missing", Level.SOON, name),
            "The retry schedule does not exist any more.",
            *(meaning, "not-retrying", REDEPLOY),
        )
        return
    if isinstance(schedule, ScheduleFacts) and schedule.state != "ENABLED":
        yield Finding(
            *("schedule-disabled", Level.SOON, name),
            "The retry schedule is disabled.",
            *(meaning, "not-retrying", f"python -m ops resume {name}"),
        )
        return
    last = last_retry_run(consumer)
    due = consumer.holds.longest_due if isinstance(consumer.holds, HoldFacts) else None
    if last is not None and now - last > SILENCE_SECONDS:
        state = f"No retry run has reported {since(last, now)}."
    elif last is None and due is not None and now - due > SILENCE_SECONDS:
        state = f"No retry run tries the held items: the first is due {since(due, now)}."
    else:
        return
    yield Finding(
        *("not-retrying", Level.SOON, name),
        state,
        f"The schedule should start one every minute. {meaning}",
        *("not-retrying", f"python -m ops retry {name}"),
    )


def failure_findings(consumer: ConsumerFacts, now: float) -> Iterator[Finding]:
    """Return the finding about the parked changes of a consumer."""
    parked = consumer.parked
    if not isinstance(parked, Listing) or not parked.count:
        return
    is_one = parked.count == 1 and not parked.has_more
    last = "" if parked.newest_at is None else f"{'' if is_one else ', the last'} at {clock(parked.newest_at, now)}"
    yield Finding(
        *("parked", Level.SOON, consumer.name),
        f"{count(parked.count, 'change', has_more=parked.has_more)} {'was' if is_one else 'were'} parked{last}.",
        "The engine gave it up, and nothing retries it. The failure bucket has it whole."
        if is_one
        else "The engine gave them up, and nothing retries them. The failure bucket has each whole.",
        *("parked", f"python -m ops failures {consumer.name}"),
    )


def lifetime_findings(consumer: ConsumerFacts, facts: Facts) -> Iterator[Finding]:
    """Return the finding about claims that expire before the last redelivery of their changes."""
    function, days = consumer.function, facts.stores.failure_days
    if not isinstance(function, FunctionFacts) or not isinstance(days, int):
        return
    remember, give_up = function.remember_seconds, function.give_up_after_seconds
    if remember is None or give_up is None:
        return
    needed = days * DAY + give_up + DAY
    if remember < needed:
        yield Finding(
            *("lifetimes-too-short", Level.SOON, consumer.name),
            f"Claims and tombstones live for {duration_text(remember)}, but a change can come again for "
            f"{duration_text(needed)}.",
            f"The failure bucket keeps a change for {days} d: its redrive may repeat an effect or bring back an old "
            "version.",
            *("tables-and-ledger", REDEPLOY),
        )


def shared_findings(facts: Facts) -> Iterator[Finding]:
    """Return the findings about the ledger and the tables."""
    if facts.stores.ledger_expires is False:
        yield Finding(
            *("ledger-keeps-rows", Level.SOON, None),
            f"The ledger {facts.stores.ledger} deletes no expired rows: its time to live is off.",
            "It grows without end; the consumers work as before.",
            *("tables-and-ledger", REDEPLOY),
        )
    for table in facts.tables.values():
        since_at = facts.now - SILENCE_SECONDS
        throttled = sum(
            total(table.recent.get(name, ()), since_at, facts.now)
            for name in ("ReadThrottleEvents", "WriteThrottleEvents")
        )
        if throttled:
            is_ledger = table.name == facts.stores.ledger
            yield Finding(
                *("table-throttled", Level.SOON, None),
                f"DynamoDB throttled {count(int(throttled), 'request')} of {table.name} in the last 15 minutes.",
                "Batches that cannot reach the ledger are delivered again."
                if is_ledger
                else "Its writers and readers are refused.",
                "tables-and-ledger",
            )


def gone_findings(gone: GoneConsumer, now: float) -> Iterator[Finding]:
    """Return the findings about the traces of a consumer that is gone."""
    name, holds = gone.name, gone.holds
    if holds.oldest_since is not None:
        items = count(holds.items, "item", has_more=holds.has_more)
        yield Finding(
            *("gone-holds", Level.SOON, None),
            f"{items} of {name} {'is' if holds.items == 1 else 'are'} held, but the stack has no consumer {name}.",
            f"Nothing retries them, {since(holds.oldest_since, now)}. Deploy {name} again, or its successor with "
            f'former_name="{name}".',
            "held",
        )
    if gone.has_failures:
        yield Finding(
            *("gone-failures", Level.NOTE, None),
            f"The failure bucket has parked changes of {name}, which the stack does not have.",
            "They stay until they expire.",
            *("parked", "python -m ops failures"),
        )
    if gone.noted_streams:
        tables = ", ".join(sorted(stream.split("/")[1] for stream in gone.noted_streams))
        yield Finding(
            *("gone-notes", Level.NOTE, None),
            f"The ledger has notes of {name}, which the stack does not have, on {tables}.",
            f"They expire within 48 h. If you add {name} again before, it skips the changes that they list as done.",
            "tables-and-ledger",
        )
