"""Measurements of the engine: python -m bench engine | cold | lateness | drain | cost | sizes | redrive | capacity.

Times are ratios to a peer in the same run, CPU times or virtual times, so that other load on this machine changes them
little.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import capacity, cold, cost, drain, engine, lateness, redrive, sizes
from sandbox.edges import run

Row = dict[str, Any]


def _figures(measure: Callable[[], dict[str, float]]) -> list[Row]:
    return [{"figure": name, "value": value} for name, value in measure().items()]


def _lateness(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for scenario in lateness.scenarios(quick=quick):
        progress(f"{scenario.name}, {scenario.rate:,.0f} changes/s")
        rows.append(lateness.measure(scenario))
    return rows


def _rows(question: str, *, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    match question:
        case "lateness":
            return _lateness(quick=quick, progress=progress)
        case "drain":
            return _figures(lambda: drain.measure(quick=quick))
        case "cold":
            return cold.measure(quick=quick, progress=progress)
        case "cost":
            return cost.measure(quick=quick)
        case "capacity":
            return capacity.measure(quick=quick)
        case "redrive":
            return _figures(lambda: redrive.measure(quick=quick))
        case "sizes":
            return sizes.measure(quick=quick, progress=progress)
        case _:
            return _figures(engine.measure)


NOTES = {
    "cold": cold.NOTE,
    "lateness": lateness.NOTE,
    "drain": drain.NOTE,
    "cost": cost.NOTE,
    "engine": engine.NOTE,
    "sizes": sizes.NOTE,
    "redrive": redrive.NOTE,
    "capacity": capacity.NOTE,
}


def _table(rows: Sequence[Row]) -> Table:
    table = Table(padding=(0, 0))
    for name, value in rows[0].items():
        is_text = isinstance(value, str)
        table.add_column(name, justify="left" if is_text else "right", min_width=None if is_text else 6)
    for row in rows:
        table.add_row(*map(_text, row.values()))
    return table


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    digits = 0 if value >= 100 or isinstance(value, int) else 2 if value >= 1 else 4
    return f"{value:,.{digits}f}"


def main() -> int:
    """Measure, and print a table or JSON; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("question", choices=sorted(NOTES))
    parser.add_argument("--quick", action="store_true", help="measure a part, in less than a minute")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    console = Console(stderr=arguments.json, highlight=False)
    with console.status("measuring") as status:
        rows = _rows(arguments.question, quick=arguments.quick, progress=status.update)
    if arguments.json:
        json.dump(rows, sys.stdout, indent=2, ensure_ascii=False)
        print()
        return 0
    console.print(_table(rows))
    console.print(" ".join(NOTES[arguments.question].split()))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
