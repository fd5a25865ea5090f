"""The ledger's table: large changes in parts, whole batches, what DynamoDB leaves unprocessed, pages."""

import base64
import random
from typing import Any

import pytest

from handler.stream.ledger.table import key_of
from handler.stream.ledger.writes import LedgerBusyError, LedgerWrites
from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.records import STREAM, record
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, FIRST, ConsumerHarness


def blob(size: int, seed: int) -> dict[str, Any]:
    """An image of so many random bytes, which no compression makes smaller."""
    return {"id": {"S": "a"}, "blob": {"B": base64.b64encode(random.Random(seed).randbytes(size)).decode()}}


def large(number: int) -> dict[str, Any]:
    """A record of two images as large as DynamoDB's items can be."""
    return record(number, NewImage=blob(390_000, number), OldImage=blob(390_000, -number))


def holding(*records: dict[str, Any]) -> ConsumerHarness:
    harness = ConsumerHarness({1: [FAILS] * 3})
    assert harness.invoke({"Records": list(records)}) == {"batchItemFailures": []}
    return harness


def parts(harness: ConsumerHarness) -> list[tuple[int, int]]:
    """The change and the part of each of the item's change rows."""
    rows = harness.change_rows()
    keys = [sort.split("#") for sort in sorted(rows) if sort != "!"]
    return [(int(number) - FIRST, int(part)) for _, number, part in keys]


def test_a_change_over_350_kb_is_kept_in_parts_and_runs_as_it_came() -> None:
    records = [record(1), large(2), record(3)]
    harness = holding(*records)
    assert parts(harness) == [(1, 0), (2, 0), (2, 1), (2, 2), (3, 0)]
    sizes = [len(row["record"]["B"]) for sort, row in harness.change_rows().items() if sort != "!"]
    assert max(sizes) == 350_000
    seen = list[Any]()
    harness.look = lambda change: seen.append(change.raw)
    assert harness.retry(now=True)["released"] == 1
    assert seen == records
    assert parts(harness) == []


def test_changes_of_several_megabytes_run_page_by_page_each_once() -> None:
    harness = holding(*(large(number) for number in range(1, 5)))
    assert len(parts(harness)) == 12
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1, 2, 3, 4]
    assert harness.dynamodb.calls.count("Query change") > 4


@pytest.mark.parametrize(("version", "broken"), [(None, 0), ("1", 0), ("2", 1)])
def test_a_change_row_without_a_format_is_read_and_one_of_a_newer_format_breaks_the_hold(
    version: str | None, broken: int, counts: Counts
) -> None:
    """The hold waits for an hour, and then for the newer version of the engine."""
    harness = holding(record(1))
    row = harness.change_rows()[f"{STREAM.rpartition('/')[2]}#{FIRST + 1:040}#0000"]
    assert row.pop("v") == {"N": "1"}
    row |= {"v": {"N": version}} if version else {}
    counts()
    assert harness.retry(now=True)["released"] == 1 - broken
    assert counts().get("HoldBroken", 0) == broken


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_that_is_missing_breaks_the_hold(part: int, counts: Counts) -> None:
    harness = holding(large(1), record(2))
    del harness.change_rows()[f"{STREAM.rpartition('/')[2]}#{FIRST + 1:040}#{part:04}"]
    harness.ran.clear()
    counts()
    harness.retry(now=True)
    assert (harness.ran, counts()["HoldBroken"]) == ([], 1)


def test_a_hold_is_written_25_rows_at_a_time() -> None:
    """Sixty changes, and what an operator reads."""
    harness = holding(*(record(number) for number in range(1, 61)))
    assert harness.dynamodb.calls[2:] == ["BatchWriteItem change"] * 3 + ["UpdateItem hold"]
    assert harness.waiting() == list(range(1, 61))


# What DynamoDB leaves unprocessed


class Busy(MemoryDynamoDB):
    """Takes one item of each batch and leaves the others unprocessed, `times` times; then all."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times, self.sent = times, list[int]()

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        [(table, writes)] = request["RequestItems"].items()
        done, left = self._shared(writes)
        super().batch_write_item(RequestItems={table: done})
        return {"UnprocessedItems": {table: left} if left else {}}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        [(table, wanted)] = request["RequestItems"].items()
        assert wanted["ConsistentRead"] is True
        done, left = self._shared(wanted["Keys"])
        response = super().batch_get_item(RequestItems={table: {**wanted, "Keys": done}})
        return {**response, "UnprocessedKeys": {table: {**wanted, "Keys": left}} if left else {}}

    def _shared(self, items: list[Any]) -> tuple[list[Any], list[Any]]:
        self.sent.append(len(items))
        if self._times == 0:
            return items, []
        self._times -= 1
        return items[:1], items[1:]


def busy_table(times: int) -> tuple[Busy, list[float], LedgerWrites]:
    dynamodb, slept = Busy(times), list[float]()
    return dynamodb, slept, LedgerWrites(lambda: dynamodb, "ledger", slept.append)


KEYS = [key_of("p", f"{place:03}") for place in range(30)]


def test_what_is_left_unprocessed_is_sent_again_and_nothing_else() -> None:
    dynamodb, slept, table = busy_table(2)
    table.put_and_delete(KEYS)
    assert (dynamodb.items("ledger"), dynamodb.sent) == (KEYS, [25, 24, 23, 5])
    assert slept == [0.05, 0.1]
    dynamodb, slept, table = busy_table(0)
    table.put_and_delete(KEYS)
    table.put_and_delete(puts=[key_of("p", "new")], deletes=KEYS)
    assert dynamodb.items("ledger") == [key_of("p", "new")]


def test_reads_that_are_left_unprocessed_are_sent_again_100_at_a_time() -> None:
    dynamodb, slept, table = busy_table(0)
    table.put_and_delete(KEYS)
    dynamodb.sent.clear()
    dynamodb._times = 2  # pyright: ignore[reportPrivateUsage] # from now on
    items = table.batch_get([key_of("p", f"{place:03}") for place in range(120)])
    assert (items, dynamodb.sent, slept) == (KEYS, [100, 99, 98, 20], [0.05, 0.1])


def test_after_five_times_the_ledger_is_too_busy() -> None:
    dynamodb, slept, table = busy_table(100)
    with pytest.raises(LedgerBusyError, match="ledger left requests unprocessed, 5 times in a row"):
        table.put_and_delete(KEYS)
    assert (dynamodb.sent, slept) == ([25, 24, 23, 22, 21], [0.05, 0.1, 0.2, 0.4])


def test_what_is_not_wholly_written_does_not_count(log_lines: Lines) -> None:
    """The batch is reported, and no row names the changes."""
    left = {"UnprocessedItems": {"ledger": [{"PutRequest": {"Item": key_of("hold#consumer#x", "y")}}]}}
    harness = ConsumerHarness({1: FAILS}, on={"BatchWriteItem change": lambda act: act() | left})
    assert harness.deliver("ab") == [1]
    assert harness.row() is None
    assert harness.dynamodb.calls.count("BatchWriteItem change") == 5
    assert "LedgerBusyError" in log_lines()[0]["exception"]


def test_a_large_redriven_change_is_kept_in_parts_too() -> None:
    """Its rows begin with a plus sign, which sorts before every version."""
    harness = ConsumerHarness()
    harness.ask("redrive", records=[large(1)])
    assert sorted(sort[0] for sort in harness.change_rows()) == ["!", "+", "+", "+"]
    assert harness.retry()["released"] == 1
    assert harness.applied == [1]
    assert list(harness.change_rows()) == ["!"]
