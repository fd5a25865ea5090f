"""Measures what a million changes cost beyond the handlers' own work.

A run in virtual time counts the engine's calls and request units, which are multiplied by prices. Run it with:
python -m bench cost.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from bench.prices import MEMORY_GB, MILLION, PRICES, READ_UNIT, SECONDS_OF_MONTH, WRITE_UNIT
from bench.question import at_most
from bench.simulation import MAPPING, InvocationResult, MappingSimulation, Traffic, even_traffic, returned
from bench.virtual import Tables, VirtualFunction
from handler.stream.change import Change
from tests.fakes.aws import Clock, silence
from tests.fakes.records import number_of

ITEMS = 10_000
CHANGES = 100_000
NOTE = """\
US dollars for a million changes of 10,000 items, without the cost of the batches' own invocations and of the handlers.
A run is too short to fill the holds with the rows that released items leave for an hour: once there are 100 of them,
reads cost $0.14 for a million changes (docs/capacity.md).
Good is about $0.02 while none or 0.1 % fail, and under $1.50 while 5 % fail. A failing change fails in place, waits
in the ledger, succeeds in its first retry run, and leaves a row for an hour. A batch costs two read units whatever
its size: $0.25 for a million changes in batches of one, $0.02 in batches of 12, $0.0025 in batches of 100. A month
without changes costs $0.06 for the retry runs."""
GOALS = {
    f"dollars for a million changes of which {share} fail": at_most(bound)
    for share, bound in (("none", 0.03), ("0.1 %", 0.05), ("5 %", 1.5))
}

Item = Mapping[str, Mapping[str, Any]]


class HandlerError(Exception):
    """The handler of a failing change raises this error."""


@dataclass
class Meter:
    """Counts the engine's calls of DynamoDB, and the request units that they consume."""

    calls: Counter[str] = field(default_factory=Counter[str])
    units: Counter[str] = field(default_factory=Counter[str])

    def __call__(self, operation: str, request: Mapping[str, Any], tables: Tables) -> Callable[[Any], None]:
        """Count a call before it is made; return a function that takes the answer."""
        self.calls[operation] += 1
        match operation:
            case "Query":
                return self._queried
            case "BatchGetItem":
                keys = [key for each in request["RequestItems"].values() for key in each["Keys"]]
                return lambda answer: self._got(len(keys), answer)
            case "BatchWriteItem":
                for table, writes in request["RequestItems"].items():
                    for write in writes:
                        [(_, body)] = write.items()
                        self._write(tables, table, body.get("Item") or body["Key"], body.get("Item"))
                return lambda _: None
            case "PutItem":
                self._write(tables, request["TableName"], request["Item"], request["Item"])
                return lambda _: None
            case _:
                before = _item_of(tables, request["TableName"], request["Key"])
                return lambda answer: self._wrote(before, answer.get("Attributes"))

    def _queried(self, answer: Mapping[str, Any]) -> None:
        self.units["read units"] += max(1, ceil(sum(map(size, answer["Items"])) / READ_UNIT))

    def _got(self, asked: int, answer: Mapping[str, Any]) -> None:
        sizes = [size(item) for items in answer["Responses"].values() for item in items]
        self.units["read units"] += asked - len(sizes) + sum(ceil(each / READ_UNIT) for each in sizes)

    def _write(self, tables: Tables, table: str, key: Item, after: Item | None) -> None:
        self._wrote(_item_of(tables, table, key), after)

    def _wrote(self, before: Item | None, after: Item | None) -> None:
        largest = max(size(before) if before else 0, size(after) if after else 0)
        self.units["write units"] += max(1, ceil(largest / WRITE_UNIT))


def size(item: Item) -> int:
    """Return an item's bytes as DynamoDB counts them: a number takes one byte for two digits, and one more byte."""
    total = 0
    for name, value in item.items():
        [(kind, content)] = value.items()
        total += len(name) + (ceil(len(content) / 2) + 1 if kind == "N" else len(content))
    return total


def _item_of(tables: Tables, table: str, key: Item) -> Item | None:
    return tables.get(table, {}).get(key["pk"]["S"], {}).get(key["sk"]["S"])


@dataclass(frozen=True)
class Bill:
    """The calls and units that some changes consumed."""

    changes: int
    batches: int
    calls: Mapping[str, int]
    used: Mapping[str, float]
    """By the names of PRICES."""

    def dollars(self, name: str) -> float:
        """Return the dollars of one of PRICES for a million changes."""
        return self.used[name] * PRICES[name] * MILLION / self.changes

    @property
    def total(self) -> float:
        """The dollars of a million changes."""
        return sum(map(self.dollars, PRICES))


def run(*, changes: int, rate: float, failing: int, items: int = ITEMS, batch: int = 100) -> Bill:
    """Simulate `changes` at `rate` a second; every `failing`-th change fails until its retry run (0: none fails)."""
    meter = Meter()
    traffic = Traffic(even_traffic(rate, changes / rate, items))
    is_batch, batch_seconds = False, list[float]()

    def handle(change: Change, clock: Clock) -> None:
        clock.advance(0.005)
        number = number_of(change.record)
        if is_batch and failing and number % failing == 0:
            raise HandlerError
        traffic.apply(number, clock.now)

    function = VirtualFunction(handle, meter)

    def invoke(records: Sequence[Mapping[str, Any]], now: float) -> tuple[InvocationResult, float]:
        nonlocal is_batch
        is_batch = True
        answer = returned(*function({"Records": list(records)}, now))
        is_batch = False
        batch_seconds.append(answer[1] - now)
        return answer

    def is_settled() -> bool:
        return all(traffic.effect) and not function.tables.get("ledger", {}).get("hold#consumer")

    with silence():
        mapping = {**MAPPING, "BatchSize": batch, "MaximumRecordAgeInSeconds": 86_100}
        MappingSimulation(traffic, mapping, invoke, function.retry).run(is_settled)
    retry_seconds = function.seconds - sum(batch_seconds)
    used = {
        "write units": meter.units["write units"],
        "read units": meter.units["read units"],
        "retry runs": function.invocations - len(batch_seconds),
        "retry GB-seconds": retry_seconds * MEMORY_GB,
        "parked": function.parked,
    }
    return Bill(len(traffic.effect), len(batch_seconds), meter.calls, used)


def idle_month() -> float:
    """Return the dollars of a consumer's retry runs in a month without changes."""
    meter = Meter()
    function = VirtualFunction(lambda _, __: None, meter)
    with silence():
        function.retry(0.0)
    once = {**meter.units, "retry runs": 1, "retry GB-seconds": function.seconds * MEMORY_GB}
    return sum(used * PRICES[name] for name, used in once.items()) * SECONDS_OF_MONTH / 60


def measure(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the table's rows."""
    rows: list[dict[str, Any]] = []
    changes = CHANGES // 5 if quick else CHANGES
    for rate in (20.0, 1_000.0):
        for failing, share in ((0, "none"), (1_000, "0.1 %"), (20, "5 %")):
            bill = run(changes=changes, rate=rate, failing=failing)
            rows.append(
                {"fail": share, "changes/s": rate, "a batch": bill.changes / bill.batches}
                | {f"$ {name}": bill.dollars(name) for name in PRICES}
                | {"$ together": bill.total}
            )
    return rows


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the figures that have goals: those of the highest rate, whose batches are full."""
    highest = max(row["changes/s"] for row in rows)
    return {
        f"dollars for a million changes of which {row['fail']} fail": row["$ together"]
        for row in rows
        if row["changes/s"] == highest
    }
