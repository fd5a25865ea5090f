"""The state of each consumer: lag, rate, held and parked changes, in numbers and in words."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.invocation import Client
from sandbox.mapping.poller import Poller
from sandbox.watch.feed import Fact, Feed

RATE_SECONDS = 5.0
"""The time over which the rate of changes is measured."""
LATE_SECONDS = 3.0
"""A consumer whose oldest change is older than this is behind."""


class State:
    """Publishes the fact `state` whenever it differs from the one before.

    Parameters
    ----------
    client
        Returns the emulator's boto3 client of a service.
    """

    def __init__(self, feed: Feed, poller: Poller, client: Client) -> None:
        self._feed, self._poller, self._client = feed, poller, client
        self._lock = threading.Lock()
        self._outputs: Mapping[str, Any] = {}
        self._settled: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._errors: dict[str, str] = {}
        self._broken = set[str]()  # consumers whose last invocation has failed as a whole
        self._stale = set[str]()  # consumers whose held items and failures may have changed
        self._counts: dict[str, tuple[int, int, int]] = {}
        self._published: Mapping[str, Any] = {}

    def use(self, outputs: Mapping[str, Any]) -> None:
        """Take the consumers and stores from a stack's outputs."""
        with self._lock:
            self._outputs = outputs
            self._stale |= set(outputs.get("consumers") or {})

    def take(self, fact: Fact) -> None:
        """Take in a fact."""
        if fact["kind"] not in ("batch", "retry"):
            return
        consumer, changes = fact["consumer"], fact["changes"]
        with self._lock:
            settled = sum(change["outcome"] in ("done", "parked") for change in changes)
            self._settled[consumer].append((fact["at"], settled))
            errors = [change["error"] for change in changes if change["error"]]
            if fact["error"] or errors:
                self._errors[consumer] = fact["error"] or errors[-1]
            (self._broken.add if fact["error"] else self._broken.discard)(consumer)
            self._stale.add(consumer)

    def publish(self) -> None:
        """Publish the state of now, if it has changed."""
        with self._lock:
            stale, self._stale = self._stale, set[str]()
            consumers: Mapping[str, Any] = self._outputs.get("consumers") or {}
            stores: Mapping[str, Any] = self._outputs.get("stores") or {}
        for name in stale & consumers.keys():
            try:
                self._counts[name] = self._count(name, consumers[name], stores)
            except (ClientError, BotoCoreError):
                with self._lock:
                    self._stale.add(name)  # a deployment may change the stores meanwhile
        lags, off, now = self._poller.lags(), self._poller.switched_off(), time.time()
        states = {
            name: self._describe(name, round(lags.get(each["function"], 0.0), 1), now, is_off=each["function"] in off)
            for name, each in consumers.items()
        }
        if states != self._published:
            self._published = states
            self._feed.publish("state", consumers=states)

    def _count(self, name: str, consumer: Mapping[str, Any], stores: Mapping[str, Any]) -> tuple[int, int, int]:
        """Return the held items of a consumer, their waiting changes, and its parked changes."""
        if not stores:
            return 0, 0, 0
        ledger_name = consumer.get("ledgerName", name)
        pages = (
            self._client("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=stores["ledger"]["name"],
                KeyConditionExpression="pk = :pk",
                FilterExpression="#state = :held",
                ProjectionExpression="waiting",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={":pk": {"S": f"hold#{ledger_name}"}, ":held": {"S": "held"}},
            )
        )
        waiting = [int(row.get("waiting", {"N": "0"})["N"]) for page in pages for row in page["Items"]]
        objects = self._client("s3").get_paginator("list_objects_v2")
        parked = objects.paginate(Bucket=stores["failures"]["bucket"], Prefix=f"engine/{ledger_name}/")
        return len(waiting), sum(waiting), sum(page["KeyCount"] for page in parked)

    def _describe(self, name: str, lag: float, now: float, *, is_off: bool) -> dict[str, Any]:
        held, waiting, parked = self._counts.get(name, (0, 0, 0))
        with self._lock:
            settled = self._settled[name]
            while settled and settled[0][0] < now - RATE_SECONDS:
                settled.popleft()
            rate = round(sum(count for _, count in settled) / RATE_SECONDS, 1)
            error, is_broken = self._errors.get(name), name in self._broken
        if is_off:
            level, words = "off", "switched off: python -m ops resume " + name
        elif is_broken:
            level, words = "failing", "its function fails"
        elif held:
            level = "held"
            words = f"{held} item{'' if held == 1 else 's'} held, {waiting} change{'' if waiting == 1 else 's'} waiting"
        elif lag >= LATE_SECONDS:
            level, words = "busy", f"{lag:.0f} s behind"
        elif rate:
            level, words = "busy", "processes changes"
        else:
            level, words = "well", "caught up"
        numbers = {"lag_seconds": lag, "rate": rate, "held": held, "waiting": waiting, "parked": parked}
        return {"state": words, "level": level, **numbers, "last_error": error if held or is_broken or parked else None}
