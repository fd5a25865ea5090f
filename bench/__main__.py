"""Measurements beside peers: `python -m bench` answers every question, `python -m bench NAME` one of them in full.

Figures are ratios to a peer in the same run, CPU times or virtual times, so that other load on this machine changes
them little. The run of every question writes bench/RESULTS.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.question import Data, MissingError, Question, Row, rows_of, text
from bench.questions import (
    capacity,
    cold,
    cost,
    deploy,
    drain,
    engine,
    growth,
    lateness,
    memory,
    ordered,
    program,
    redrive,
    sandbox,
    sizes,
)
from bench.results import RESULTS, Results
from sandbox import ROOT
from sandbox.edges import run

QUESTIONS = {
    "engine": Question(engine.measure, engine.NOTE, engine.GOALS),
    "memory": Question(memory.measure, memory.NOTE, memory.GOALS),
    "cold": Question(cold.measure, cold.NOTE, cold.GOALS, cold.figures),
    "ordered": Question(ordered.measure, ordered.NOTE, ordered.GOALS, ordered.figures),
    "lateness": Question(lateness.measure, lateness.NOTE, lateness.GOALS, lateness.figures),
    "sizes": Question(sizes.measure, sizes.NOTE, sizes.GOALS, sizes.figures),
    "cost": Question(cost.measure, cost.NOTE, cost.GOALS, cost.figures),
    "capacity": Question(capacity.measure, capacity.NOTE),
    "drain": Question(drain.measure, drain.NOTE, drain.GOALS),
    "redrive": Question(redrive.measure, redrive.NOTE, redrive.GOALS),
    "growth": Question(growth.measure, growth.NOTE, growth.GOALS, growth.figures),
    "program": Question(program.measure, program.NOTE, program.GOALS),
    "deploy": Question(deploy.measure, deploy.NOTE, deploy.GOALS, deploy.figures),
    "sandbox": Question(sandbox.measure, sandbox.NOTE, sandbox.GOALS),
}
"""The questions, in the order of the table."""

LACKS = 3
"""The exit code of a question that this machine cannot answer."""


def _table(rows: Sequence[Row]) -> Table:
    table = Table(padding=(0, 0))
    for name, value in rows[0].items():
        is_text = isinstance(value, str)
        table.add_column(name, justify="left" if is_text else "right", min_width=None if is_text else 6)
    for row in rows:
        table.add_row(*map(text, row.values()))
    return table


def _verdicts(results: Results) -> Table:
    table = Table(padding=(0, 0))
    table.add_column("question")
    table.add_column("figure")
    for name in ("good is", "measured"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for name, each in results.verdicts(QUESTIONS):
        sign = "[green]✔" if each.is_good else "[red]✖"
        table.add_row(name, each.figure, str(each.goal), text(each.measured), sign)
    return table


def _ask(name: str, results: Results) -> None:
    """Answer a question in a process of its own, whose memory, threads and imports no other question has."""
    command = [sys.executable, "-m", "bench", name, "--json", *["--quick"] * results.quick]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        results.left_out[name] = last if done.returncode == LACKS else f"it failed with {last}"
        return
    results.data[name] = json.loads(done.stdout)
    results.seconds[name] = time.monotonic() - began
    results.load[name] = os.getloadavg()[0]


def _every_question(console: Console, *, quick: bool, as_json: bool) -> int:
    results = Results(quick)
    with console.status("measuring") as status:
        for number, name in enumerate(QUESTIONS, 1):
            status.update(f"{name}, {number} of {len(QUESTIONS)}")
            _ask(name, results)
    RESULTS.write_text(results.as_markdown(QUESTIONS), encoding="utf-8")
    if as_json:
        _print_json(results.as_json(QUESTIONS))
    else:
        console.print(_verdicts(results))
    for name, reason in results.left_out.items():
        console.print(f"{name} is left out: {reason}")
    console.print(f"{RESULTS.relative_to(ROOT)} has everything that was measured.")
    return int(any(reason.startswith("it failed") for reason in results.left_out.values()))


def _one_question(console: Console, name: str, *, quick: bool, as_json: bool) -> int:
    question = QUESTIONS[name]
    try:
        with console.status("measuring"):
            data: Data = question.measure(quick=quick)
    except MissingError as lack:
        print(lack, file=sys.stderr)
        return LACKS
    if as_json:
        _print_json(data)
        return 0
    console.print(_table(rows_of(data)))
    console.print(" ".join(question.note.split()))
    return 0


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


def main() -> int:
    """Measure, and print a table or JSON; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("question", choices=list(QUESTIONS), nargs="?", help="default: every question")
    parser.add_argument("--quick", action="store_true", help="measure a part, in less than a minute a question")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    console = Console(stderr=arguments.json, highlight=False)
    if arguments.question:
        return _one_question(console, arguments.question, quick=arguments.quick, as_json=arguments.json)
    return _every_question(console, quick=arguments.quick, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(run(main))
