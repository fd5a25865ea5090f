"""Prints the tables of docs/capacity.md; run as `python -m bench.questions.capacity`, it writes them there."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from bench.capacity import (
    FAILING_SHARE,
    FAILURE_WRITE_UNITS,
    HANDLERS,
    HOLD_WRITES,
    RATES,
    Consumer,
    ceilings,
    plan,
)
from bench.prices import PRICES, SECONDS_OF_MONTH
from sandbox import ROOT

PAGE = ROOT / "docs" / "capacity.md"
TABLE_COLUMN = "the table's writes, $"
NOTE = """\
The smallest sizes with which a consumer uses at most 70 % of the capacity of its concurrent batches and of the reads
of its holds, for changes of different items that are spread evenly over the shards, without failures. Dollars are of
a month, at the prices of bench cost. docs/capacity.md explains each column, and what to do at the ceilings."""


def row(consumer: Consumer) -> dict[str, Any]:
    """Return a consumer's row."""
    dollars, sizes = consumer.dollars(), consumer.tuning
    return {
        "changes/s": int(consumer.rate),
        "shards": consumer.shards,
        "MB": sizes.memory_size,
        "parallel": sizes.parallelization_factor,
        "window, s": sizes.maximum_batching_window_in_seconds,
        "batch size": sizes.batch_size,
        "changes a batch": consumer.changes,
        "batches/s": consumer.batches,
        "concurrency": consumer.concurrency,
        "read units/s": consumer.read_units,
        "age, s": consumer.oldest_seconds,
        "effect, s": consumer.latest_seconds,
        "Lambda, $": dollars["requests"] + dollars["GB-seconds"],
        "ledger, $": dollars["ledger"],
        TABLE_COLUMN: consumer.rate * PRICES["write units"] * SECONDS_OF_MONTH,
    }


def failing_row(consumer: Consumer) -> dict[str, Any]:
    """Return a consumer's row in the table of failures."""
    failing = consumer.rate * FAILING_SHARE
    reads, writes = consumer.batches + consumer.hold_reads, failing * FAILURE_WRITE_UNITS
    dollars = (reads * PRICES["read units"] + writes * PRICES["write units"]) * SECONDS_OF_MONTH
    return {
        "changes/s": int(consumer.rate),
        "failing changes/s": failing,
        "rows of the holds": consumer.hold_rows,
        "read units/s of the holds": consumer.hold_reads,
        "write units/s of the holds": failing * HOLD_WRITES,
        "write units/s": writes,
        "ledger, $": dollars,
    }


def measure(*, quick: bool = False) -> list[dict[str, Any]]:  # noqa: ARG001 - formulas are quick
    """Return the rows of every handler, without what the consumer does not cost."""
    rows = ({"handler": each.name.partition(",")[0], **row(plan(rate, each))} for each in HANDLERS for rate in RATES)
    return [{name: value for name, value in each.items() if name != TABLE_COLUMN} for each in rows]


def _tables() -> Iterator[tuple[str, str]]:
    for handler in HANDLERS:
        yield f"A handler of {handler.name}", _markdown([row(plan(rate, handler)) for rate in RATES])
    yield "If one change in a thousand fails", _markdown([failing_row(plan(rate, HANDLERS[0])) for rate in RATES])


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([text(value) for value in each.values()] for each in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def text(value: float | str) -> str:
    """Return a cell: three digits that count, and whole numbers as they are."""
    if isinstance(value, str | int):
        return value if isinstance(value, str) else f"{value:,}"
    if value >= 1_000:
        magnitude = 10 ** (len(str(int(value))) - 3)
        return f"{round(value / magnitude) * magnitude:,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def filled(page: str) -> str:
    """Return the page with the tables of plans and the figures of the ceilings made anew.

    Raises
    ------
    ValueError
        The page lacks a table or a ceiling.
    """
    for heading, table in _tables():
        pattern = rf"(\n##+ {re.escape(heading)}\n(?:[^#|\n][^\n]*\n|\n)*)(?:\|[^\n]*\n)+"
        page = _replaced(pattern, table, page)
    for name, (figure, unit) in ceilings().items():
        page = _replaced(rf"(\n\| {re.escape(name)} \| )[^|]*(?= \|)", f"{text(figure)} {unit}", page)
    return page


def _replaced(pattern: str, new: str, page: str) -> str:
    page, count = re.subn(pattern, lambda match: match[1] + new, page)
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} places instead of one for {new!r}")
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
