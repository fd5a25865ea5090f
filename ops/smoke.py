"""The smoke test: writes, updates and deletes marked items, and waits for each effect of the consumers."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from handler.stream.codec import encode_item
from ops import OpsError
from ops.items import key_types
from ops.stack import Client, Stack

EVENTS = ("INSERT", "MODIFY", "REMOVE")
MIRROR_TABLES = {"orders": "orders-mirror"}
"""Each table that the mirror copies, with its copy, by the tables' names in the program."""
POLL_SECONDS = 1.0
"""Between two looks: CloudWatch Logs allows an account five searches (FilterLogEvents) a second."""
LOOK_BACK_SECONDS = 300
"""Limit for how far this machine's clock may be ahead of CloudWatch's."""


class SmokeError(OpsError):
    """A table cannot have a marked item, or a marked item could not be deleted."""


class Effect(NamedTuple):
    """The effect that one consumer must have after one change of a marked item."""

    consumer: str
    table: str
    event: str


@dataclass(frozen=True)
class Item:
    """The marked item of one table."""

    table: str  # its name in the program
    name: str  # its name in AWS
    key: Mapping[str, Any]  # in the format of boto3's client
    readers: tuple[str, ...]

    def version(self, marker: str, number: int) -> dict[str, Any]:
        """Return the whole item. It has no e-mail address, so that nobody receives a mail."""
        return {**self.key, **encode_item({"smoke": marker, "version": number})}


class SmokeTest:
    """One smoke test: the constructor makes the plan, and only reads; `run` executes it.

    The test covers `change-log` and `mirror`. It leaves out `welcome-email`, whose mails would reach people, and every
    other consumer, whose effects it does not know.

    Raises
    ------
    SmokeError
        The key of a table is not a string.
    """

    def __init__(self, stack: Stack, client: Client) -> None:
        self.marker = f"smoke-{uuid.uuid4().hex}"
        self._stack, self._client = stack, client
        readers = {name: consumer.mappings for name, consumer in stack.consumers.items()}
        mirrored_tables = [table for table in readers.get("mirror", ()) if MIRROR_TABLES.get(table) in stack.tables]
        self.pairs = [("change-log", table) for table in readers.get("change-log", ())]
        self.pairs += [("mirror", table) for table in mirrored_tables]
        self.untried_consumers = sorted(readers.keys() - {consumer for consumer, _ in self.pairs})
        self._tables = {name: sorted(mappings) for name, mappings in readers.items()}
        self.items = {
            table: Item(
                table,
                stack.tables[table].name,
                self._key(table),
                tuple(sorted(name for name, mappings in readers.items() if table in mappings)),
            )
            for table in dict.fromkeys(table for _, table in self.pairs)
        }

    def why_untried(self, consumer: str) -> str:
        """Return why the test does not cover a consumer, and how to try it."""
        tables = " or ".join(self._tables[consumer]) or "a table that it reads"
        return (
            "smoke sees only what change-log logs and mirror copies; to try it, write an item to "
            f"{tables}, and look for its effect"
        )

    def _key(self, table: str) -> dict[str, Any]:
        names = key_types(self._client, self._stack.tables[table].name)
        for name, kind in names.items():
            if kind != "S":
                raise SmokeError(f"{table}: the key {name} is of type {kind}; smoke can mark only strings")
        # Each table has its own marker, because a log entry of the change-log does not name its table.
        return encode_item(dict.fromkeys(names, f"{self.marker}-{table}"))

    def run(self, timeout_seconds: float, on_effect: Callable[[Effect, float], None]) -> list[Effect]:
        """Change the items, wait for the effects of each change, and return the missing effects.

        The first change with a missing effect is the last change. The items are always deleted. The mirror's tombstone
        stays until it expires: without it, a repeated older change would bring the item back.

        Parameters
        ----------
        timeout_seconds
            Seconds to wait for the effects of one change.
        on_effect
            Called with each effect and the seconds since its change.

        Raises
        ------
        SmokeError
            An item could not be deleted; the message names it.
        """
        started = time.time()
        try:
            for number, event in enumerate(EVENTS[:2], 1):
                for item in self.items.values():
                    put = {"TableName": item.name, "Item": item.version(self.marker, number)}
                    self._client("dynamodb").put_item(**put)
                if missing := self._wait_for_effects(event, started, timeout_seconds, on_effect):
                    return missing
        finally:
            self._remove()
        return self._wait_for_effects(EVENTS[2], started, timeout_seconds, on_effect)

    def _remove(self) -> None:
        failures: list[str] = []
        for item in self.items.values():
            try:
                self._client("dynamodb").delete_item(TableName=item.name, Key=item.key)
            except Exception as error:
                failures.append(f"{json.dumps(item.key)} in {item.name} ({error})")
        if failures:
            raise SmokeError(f"these items could not be deleted; delete them by hand: {'; '.join(failures)}")

    def _wait_for_effects(
        self, event: str, started: float, timeout_seconds: float, on_effect: Callable[[Effect, float], None]
    ) -> list[Effect]:
        waiting_since = time.monotonic()
        missing = [Effect(consumer, table, event) for consumer, table in self.pairs]
        while True:
            visible = set(self._effects({effect.consumer for effect in missing}, started))
            for effect in [effect for effect in missing if effect in visible]:
                missing.remove(effect)
                on_effect(effect, time.monotonic() - waiting_since)
            if not missing or time.monotonic() - waiting_since > timeout_seconds:
                return missing
            time.sleep(POLL_SECONDS)

    def _effects(self, consumers: Iterable[str], started: float) -> Iterator[Effect]:
        if "change-log" in consumers:
            yield from self._effects_in_log(started)
        if "mirror" in consumers:
            yield from self._effects_in_mirror()

    def _effects_in_log(self, started: float) -> Iterator[Effect]:
        search = self._client("logs").get_paginator("filter_log_events")
        for table in (table for consumer, table in self.pairs if consumer == "change-log"):
            pages = search.paginate(
                logGroupName=self._stack.consumers["change-log"].log_group,
                startTime=int((started - LOOK_BACK_SECONDS) * 1000),
                filterPattern=f'"{self.marker}-{table}"',
            )
            lines = (event["message"] for page in pages for event in page["events"])
            for entry in (json.loads(line) for line in lines if line.startswith("{")):
                if entry.get("message") == "change" and entry["dynamodb"]["Keys"] == self.items[table].key:
                    yield Effect("change-log", table, entry["event_name"])

    def _effects_in_mirror(self) -> Iterator[Effect]:
        for table in (table for consumer, table in self.pairs if consumer == "mirror"):
            name, key = self._stack.tables[MIRROR_TABLES[table]].name, self.items[table].key
            copy = self._client("dynamodb").get_item(TableName=name, Key=key, ConsistentRead=True).get("Item", {})
            version = int(copy["version"]["N"]) if "version" in copy else 3  # a tombstone, or no item
            yield Effect("mirror", table, EVENTS[version - 1])
