"""Reads what the ledger and the failure bucket say about a consumer. Every read is bounded."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from handler.stream.ledger import Ledger
from handler.stream.ledger.hold_reader import HoldReader
from handler.stream.ledger.rows import HoldRow
from handler.stream.ledger.table import LedgerTable
from ops.failures.bucket import ENGINE
from ops.held.ledger import HeldItem
from ops.stack import Client
from ops.status.facts import GoneConsumer, HeldError, HoldFacts, Listing

MAX_ROWS = 20_000
"""Most hold rows that are read: about 6 MB, 2 s on AWS."""
MAX_DESCRIPTIONS = 100
"""Most held items whose errors are read: the items of one BatchGetItem call."""


def read_holds(client: Client, ledger: str, consumer: str) -> HoldFacts:
    """Return the held items of a consumer, by its name in the ledger."""
    holds = Ledger(lambda: client("dynamodb"), ledger, consumer, time.sleep).holds
    rows = list(islice(holds.read_all(), MAX_ROWS + 1))
    held = sorted((row for row in rows[:MAX_ROWS] if row.is_held), key=lambda row: row.since)
    now = time.time()
    return HoldFacts(
        items=len(held),
        has_more=len(rows) > MAX_ROWS,
        waiting=sum(row.waiting + row.redriven for row in held),
        oldest_since=held[0].since if held else None,
        longest_due=min((row.due for row in held if row.lease <= now), default=None),
        errors=_read_errors(holds, held[:MAX_DESCRIPTIONS]),
    )


def _read_errors(holds: HoldReader, rows: Sequence[HoldRow]) -> tuple[HeldError, ...]:
    """Return the causes of these items' errors, the most frequent first."""
    descriptions = holds.read_descriptions([row.digest for row in rows])
    causes = Counter(HeldItem.from_rows(row, descriptions.get(row.digest)).cause for row in rows)
    return tuple(HeldError(cause, items) for cause, items in causes.most_common())


def list_objects(s3: Any, bucket: str, prefix: str) -> Listing:
    """Return the first 1,000 objects of a prefix."""
    page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    times = [each["LastModified"].timestamp() for each in page.get("Contents", ())]
    return Listing(len(times), page["IsTruncated"], min(times, default=None), max(times, default=None))


def consumers_with_failures(s3: Any, bucket: str) -> set[str]:
    """Return the names in the ledger of the first 1,000 consumers with parked changes in the failure bucket."""
    page = s3.list_objects_v2(Bucket=bucket, Prefix=ENGINE, Delimiter="/")
    return {each["Prefix"].removeprefix(ENGINE).rstrip("/") for each in page.get("CommonPrefixes", ())}


def deletes_expired(dynamodb: Any, ledger: str) -> bool:
    """Return whether the ledger's time to live deletes expired rows."""
    response = dynamodb.describe_time_to_live(TableName=ledger)["TimeToLiveDescription"]
    return response["TimeToLiveStatus"] in ("ENABLED", "ENABLING") and response.get("AttributeName") == "expiry"


def failure_days(s3: Any, bucket: str) -> int | None:
    """Return after how many days the bucket deletes an object; None if no rule of its lifecycle applies to all."""
    rules: list[dict[str, Any]] = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    days = [
        rule["Expiration"]["Days"]
        for rule in rules
        if rule["Status"] == "Enabled" and "Days" in rule.get("Expiration", {}) and _applies_to_all(rule)
    ]
    return min(days, default=None)


def _applies_to_all(rule: dict[str, Any]) -> bool:
    """Return whether a rule has no filter: S3 shows an empty filter, or an empty prefix."""
    conditions = {"Prefix": rule.get("Prefix", "")} | rule.get("Filter", {})
    return conditions == {"Prefix": ""}


def read_gone(
    client: Client, ledger: str, consumer: str, streams: Iterable[str], *, has_failures: bool
) -> GoneConsumer:
    """Return the traces of a consumer that the stack does not have.

    The ledger may have millions of claims, so it is not scanned: only the consumer's partitions for its holds, and for
    its notes of these streams, are queried.
    """
    rows = LedgerTable(lambda: client("dynamodb"), ledger)
    noted = tuple(stream for stream in streams if rows.query_page(f"note#{consumer}#{stream}", limit=1)[0])
    return GoneConsumer(consumer, read_holds(client, ledger, consumer), noted, has_failures)
