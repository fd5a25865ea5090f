"""Writes bench/RESULTS.md: the machine, the verdicts, and everything that was measured."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.question import Data, Question, Row, Verdict, rows_of, text
from sandbox import ROOT

RESULTS = ROOT / "bench" / "RESULTS.md"


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "load": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }


def _processor() -> str:
    """Return the processor's name as Linux has it, or as Python does."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _commit() -> str:
    """Return the commit that is checked out, or `unknown` outside a clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


@dataclass
class Results:
    """What a run of several questions has found."""

    quick: bool
    machine: Mapping[str, Any] = field(default_factory=machine)
    data: dict[str, Data] = field(default_factory=dict[str, Data])
    """What was measured, by question."""
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Why a question has no answer."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """How long each question took."""
    load: dict[str, float] = field(default_factory=dict[str, float])
    """The machine's load average of a minute at each question's end."""

    def verdicts(self, questions: Mapping[str, Question]) -> list[tuple[str, Verdict]]:
        """Return the figures that have goals, with the names of their questions."""
        return [(name, each) for name, data in self.data.items() for each in questions[name].verdicts(data)]

    def as_json(self, questions: Mapping[str, Question]) -> dict[str, Any]:
        """Return everything as plain data."""
        verdicts = [
            {"question": name, "figure": each.figure, "goal": str(each.goal), "measured": each.measured}
            | {"good": each.is_good}
            for name, each in self.verdicts(questions)
        ]
        return {
            "quick": self.quick,
            "machine": self.machine,
            "verdicts": verdicts,
            "left out": self.left_out,
            "seconds": self.seconds,
            "load": self.load,
            "measured": self.data,
        }

    def as_markdown(self, questions: Mapping[str, Question]) -> str:
        """Return the content of RESULTS.md."""
        command = "make bench QUICK=1" if self.quick else "make bench"
        part = " It measured a part of everything: the figures are rougher than those of `make bench`." * self.quick
        about = "; ".join(f"{name} {value}" for name, value in self.machine.items())
        lines = ["# Results", "", f"`{command}` wrote this file.{part}", "", f"Machine: {about}.", ""]
        rows = [
            {"question": name, "figure": each.figure, "goal": str(each.goal), "measured": text(each.measured)}
            | {"good": "yes" if each.is_good else "**no**"}
            for name, each in self.verdicts(questions)
        ]
        lines += _table(rows)
        for name, reason in self.left_out.items():
            lines += ["", f"`{name}` is left out: {reason}."]
        for name, data in self.data.items():
            lines += ["", f"## {name}", "", *_table(rows_of(data)), "", " ".join(questions[name].note.split())]
            lines += ["", f"It took {self.seconds[name]:.0f} s; the load was then {self.load[name]:.1f}."]
        return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    cells = [list(rows[0]), *(list(map(text, row.values())) for row in rows)]
    sides = ["---" if isinstance(value, str) else "---:" for value in rows[0].values()]
    return [f"| {' | '.join(each)} |" for each in (cells[0], sides, *cells[1:])]
