"""A question that a module of this folder answers: how to measure, and what a good answer is."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, Protocol

ROUNDS, QUICK_ROUNDS = 5, 3
"""Rounds of a measurement that compares peers; the figure is the median of the rounds."""

Row = dict[str, Any]
Data = Mapping[str, float] | Sequence[Row]
"""What a question measures: figures by name, or the rows of a table."""


class MissingError(Exception):
    """The machine lacks something that the question needs; the message says what."""


class Measure(Protocol):
    """A function that measures."""

    def __call__(self, *, quick: bool = ...) -> Data:
        """Return plain data; if `quick`, of a part, in about a minute."""
        ...


@dataclass(frozen=True)
class Goal:
    """A bound on a figure."""

    sign: Literal["≤", "≥"]
    bound: float

    def is_met_by(self, value: float) -> bool:
        """Whether a figure is good."""
        return value <= self.bound if self.sign == "≤" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {text(self.bound)}"


def at_most(bound: float) -> Goal:
    """Return the goal of a figure that should be small."""
    return Goal("≤", bound)


def at_least(bound: float) -> Goal:
    """Return the goal of a figure that should be large."""
    return Goal("≥", bound)


@dataclass(frozen=True)
class Question:
    """A question.

    Parameters
    ----------
    measure
        Measures, and raises MissingError if the machine lacks something.
    note
        What the figures mean, and what good figures are.
    goals
        The goals by the name of the figure. The names of a quick run may differ; a goal without its figure is left out.
    figures
        Returns the figures that have goals, if `measure` returns rows.
    """

    measure: Measure
    note: str
    goals: Mapping[str, Goal] = field(default_factory=dict[str, Goal])
    figures: Callable[[Any], Mapping[str, float]] = lambda figures: figures

    def verdicts(self, data: Data) -> list["Verdict"]:
        """Return the figures that have goals."""
        figures: Mapping[str, float] = self.figures(data) if self.goals else {}
        return [Verdict(name, goal, figures[name]) for name, goal in self.goals.items() if name in figures]


@dataclass(frozen=True)
class Verdict:
    """A figure beside its goal."""

    figure: str
    goal: Goal
    measured: float

    @property
    def is_good(self) -> bool:
        """Whether the figure meets the goal."""
        return self.goal.is_met_by(self.measured)


def rows_of(data: Data) -> list[Row]:
    """Return the rows of a table with everything that was measured."""
    if isinstance(data, Mapping):
        return [{"figure": name, "value": value} for name, value in data.items()]
    return list(data)


def text(value: Any) -> str:
    """Return the text of a cell: three digits or so of a number, `-` for None."""
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 or value == int(value) else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def in_turn(runs: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """Call each function once in each round, one after the other, and return the median of each one's answers.

    Other load on the machine then disturbs all of them alike.
    """
    answers: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            answers[name].append(run())
    return {name: median(each) for name, each in answers.items()}


def seconds_of(run: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the exponent with which the time grows from the smallest size to the largest: 1 is linear."""
    return math.log(seconds[-1] / seconds[0]) / math.log(sizes[-1] / sizes[0])
