"""Findings about a consumer's event source mappings: their state, their stream and their failure destination."""

from collections.abc import Iterator

from ops.status.facts import HISTORY_PERIOD, MISSING, ConsumerFacts, Listing, MappingFacts, TableFacts
from ops.status.findings.finding import REDEPLOY, Finding, Level, Section
from ops.status.findings.retention import lost_spans, unread_since
from ops.status.findings.series import last_positive, total
from ops.streams import RETENTION_SECONDS
from ops.text.counts import count
from ops.text.times import clock, duration_text, since, span

CHANGING_SECONDS = 600
"""A mapping takes minutes to change its state (CreateEventSourceMapping, eventual consistency of the position)."""
QUIET_SECONDS, DELAY_SECONDS = 600, 180
"""A mapping polls 4 times a second, and CloudWatch shows a metric within 3 minutes."""
BY_USER = ("", "User action", "USER_INITIATED")
KINDS_OF_DESTINATION = {"s3": "bucket", "sqs": "queue", "sns": "topic"}


def mapping_findings(
    consumer: ConsumerFacts, mapping: MappingFacts, table: TableFacts | None, now: float
) -> Iterator[Finding]:
    """Return the findings about one mapping; `table` is None for a table of another account."""
    judge = _Mapping(consumer, mapping, table, now)
    yield from judge.lost()
    yield from judge.state()
    yield from judge.stream()
    yield from judge.destination()


def missing_mapping(consumer: str, table: str) -> Finding:
    """Return the finding about a mapping that does not exist."""
    return Finding(
        *("mapping-missing", Level.NOW, consumer),
        f"The mapping of {table} does not exist any more.",
        f"No change of {table} is processed. A new mapping starts as its startingPosition says.",
        *("nothing-read", REDEPLOY),
    )


class _Mapping:
    def __init__(self, consumer: ConsumerFacts, mapping: MappingFacts, table: TableFacts | None, now: float) -> None:
        self._consumer, self._mapping, self._table, self._now = consumer, mapping, table, now
        self._name = mapping.table

    def _finding(
        self, kind: str, level: Level, state: str, meaning: str, section: Section, command: str | None = None
    ) -> Finding:
        return Finding(kind, level, self._consumer.name, state, meaning, section, command)

    def state(self) -> Iterator[Finding]:
        mapping, name = self._mapping, self._name
        match mapping.state:
            case "Enabled":
                if mapping.last_result.startswith(("PROBLEM", "FAILED")):
                    yield self._finding(
                        *("batch-fails", Level.SOON),
                        f"Lambda's last batch of {name} failed: {mapping.last_result}",
                        "Lambda delivers the batch again; the shard's later changes wait behind it.",
                        *("broken", f"python -m ops tail {self._consumer.name}"),
                    )
                yield from self._not_polled()
            case "Disabled":
                reason = "" if mapping.reason in BY_USER else f" ({mapping.reason})"
                yield self._finding(
                    *("mapping-disabled", Level.NOW),
                    f"The mapping of {name} is disabled {since(mapping.modified_at, self._now)}.{reason}",
                    f"No change of {name} is processed. {self._expiry()}",
                    *("nothing-read", f"python -m ops resume {self._consumer.name}"),
                )
            case state:
                is_slow = self._now - mapping.modified_at > CHANGING_SECONDS
                yield self._finding(
                    *("mapping-changing", Level.SOON if is_slow else Level.NOTE),
                    f"The mapping of {name} is {state} {since(mapping.modified_at, self._now)}.",
                    "Lambda takes a few minutes for this; then the mapping continues at its position.",
                    "nothing-read",
                )

    def _expiry(self) -> str:
        oldest = unread_since(self._consumer, self._mapping, self._table, self._now)
        if oldest is None:
            return "CloudWatch shows no write to it since."
        expiry = oldest + RETENTION_SECONDS
        if expiry - self._now < HISTORY_PERIOD:
            return "The stream deletes unread changes already: each after 24 h."
        return (
            f"The oldest unread changes expire in {duration_text(expiry - self._now)}, at {clock(expiry, self._now)}."
        )

    def _not_polled(self) -> Iterator[Finding]:
        mapping, polled = self._mapping, self._mapping.recent.get("PolledEventCount", ())
        until = self._now - DELAY_SECONDS
        begin = until - QUIET_SECONDS
        writes = self._table.recent.get("ConsumedWriteCapacityUnits", ()) if self._table else ()
        is_counted = mapping.counts_events or bool(mapping.history.get("PolledEventCount"))
        is_settled = mapping.modified_at < begin
        if not (is_counted and is_settled and total(writes, begin, until)) or total(polled, begin, self._now):
            return
        last = last_positive(mapping.history.get("PolledEventCount", ()))
        when = "in the last 10 minutes" if last is None else since(last + HISTORY_PERIOD, self._now)
        yield self._finding(
            *("not-polled", Level.NOW),
            f"{self._name} is written, but its mapping has read nothing {when}.",
            "Lambda does not read the stream, although the mapping is enabled: its role may lack a permission.",
            *("nothing-read", REDEPLOY),
        )

    def stream(self) -> Iterator[Finding]:
        latest, stream = self._mapping.latest_stream_arn, self._mapping.stream_arn
        if latest == MISSING:
            yield self._finding(
                *("no-stream", Level.NOW),
                f"The table {self._mapping.table_name} has no stream, or does not exist any more.",
                f"No change of {self._name} is processed, and none is kept for later.",
                *("nothing-read", REDEPLOY),
            )
        elif latest is not None and latest != stream:
            yield self._finding(
                *("old-stream", Level.NOW),
                f"The mapping of {self._name} reads an old stream, of {_label(stream)}.",
                f"The table writes to the stream of {_label(latest)}, which keeps a change for 24 h.",
                *("nothing-read", REDEPLOY),
            )

    def lost(self) -> Iterator[Finding]:
        for lost in lost_spans(self._consumer, self._mapping, self._table, self._now):
            are = "are" if lost.is_certain else "may be"
            yield self._finding(
                *("retention-passed", Level.NOW),
                f"Changes of {self._name} {span(lost.since, lost.until, self._now)} {are} lost.",
                "The stream deleted them after 24 h, before the mapping read them. The table has the items as they "
                "are now.",
                "lost",
            )
        dropped = self._mapping.history.get("DroppedEventCount", ())
        if last := last_positive(dropped):
            number = int(sum(value for _, value in dropped))
            yield self._finding(
                *("changes-dropped", Level.NOW),
                f"The mapping of {self._name} lost {count(number, 'change')}, the last at {clock(last, self._now)}.",
                "It gave them up, and could not write them to the failure destination.",
                "lost",
            )

    def destination(self) -> Iterator[Finding]:
        destination, discarded = self._mapping.destination, self._mapping.discarded
        if destination:
            _, _, service, _, _, identity = destination.arn.split(":", 5)
            what = f"{KINDS_OF_DESTINATION.get(service, service)} {identity}"
            if destination.exists is False:
                yield self._finding(
                    *("destination-missing", Level.NOW),
                    f"The failure destination of {self._name}, {what}, does not exist.",
                    "A batch that the mapping gives up is lost.",
                    *("lost", REDEPLOY),
                )
            elif destination.is_allowed is False:
                yield self._finding(
                    *("destination-denied", Level.NOW),
                    f"The function's role may not write to the failure destination of {self._name}, {what}.",
                    "A batch that the mapping gives up is lost.",
                    *("lost", REDEPLOY),
                )
        if isinstance(discarded, Listing) and discarded.count:
            newest = "" if discarded.newest_at is None else f", the last at {clock(discarded.newest_at, self._now)}"
            batches = count(discarded.count, "batch", "es", has_more=discarded.has_more)
            yield self._finding(
                *("discarded", Level.NOW),
                f"The mapping of {self._name} discarded {batches}{newest}.",
                "The function could not start with them. The failure bucket has them whole.",
                *("discarded", f"python -m ops failures {self._consumer.name}"),
            )
        elif discarded is None and (
            last := last_positive(self._mapping.history.get("OnFailureDestinationDeliveredEventCount", ()))
        ):
            yield self._finding(
                *("discarded", Level.NOW),
                f"The mapping of {self._name} discarded changes, the last at {clock(last, self._now)}.",
                "The destination has pointers to them, which are of no use when the stream deletes them after 24 h.",
                *("discarded", f"python -m ops replay {self._consumer.name} --since 24h"),
            )


def _label(stream_arn: str) -> str:
    """Return when the stream was created, to the minute."""
    return stream_arn.rpartition("/")[2][:16].replace("T", " ")
