"""What the benchmarks make of their figures. Times are not tested here."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import LACKS, QUESTIONS
from bench.question import Question, at_least, at_most, growth, in_turn, text
from bench.results import Results
from sandbox import ROOT
from tests.local import environment_without_aws


def asked(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run `python -m bench`; return the exit code, the output and the errors."""
    command = [sys.executable, "-m", "bench", *arguments]
    environment = environment_without_aws() | variables
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def measure(*, quick: bool = False) -> dict[str, float]:
    return {"delay, s": 3.0, "changes a second": 50.0, "size": 1.0}


QUESTION = Question(measure, "What it means.", {"delay, s": at_most(2), "changes a second": at_least(50)})


def test_a_figure_is_good_within_its_goal_and_a_figure_without_a_goal_is_only_shown():
    results = Results(quick=True, data={"mine": measure()}, seconds={"mine": 4.0}, load={"mine": 1.5})
    verdicts = results.as_json({"mine": QUESTION})["verdicts"]
    assert verdicts == [
        {"question": "mine", "figure": "delay, s", "goal": "≤ 2", "measured": 3.0, "good": False},
        {"question": "mine", "figure": "changes a second", "goal": "≥ 50", "measured": 50.0, "good": True},
    ]
    page = results.as_markdown({"mine": QUESTION})
    assert "`make bench QUICK=1` wrote this file. It measured a part" in page
    assert "| mine | delay, s | ≤ 2 | 3 | **no** |" in page
    assert "| mine | changes a second | ≥ 50 | 50 | yes |" in page
    assert "## mine\n\n| figure | value |\n| --- | ---: |\n| delay, s | 3 |" in page
    assert "It took 4 s; the load was then 1.5." in page


def test_a_question_that_the_machine_cannot_answer_is_left_out_with_its_reason():
    results = Results(quick=False, left_out={"deploy": "terraform must be on the PATH"})
    page = results.as_markdown({"deploy": QUESTION})
    assert "`deploy` is left out: terraform must be on the PATH." in page
    assert "`make bench` wrote this file.\n" in page


def test_the_command_says_what_the_machine_lacks(tmp_path: Path):
    code, out, error = asked("deploy", "--json", PATH=str(tmp_path))
    assert (code, out, error) == (LACKS, "", "terraform and pulumi must be on the PATH\n")


def test_the_goals_of_a_table_are_those_of_its_rows():
    rows = [{"fail": share, "changes/s": 20.0, "$ together": 0.01} for share in ("none", "0.1 %", "5 %")]
    assert QUESTIONS["cost"].figures(rows).keys() == QUESTIONS["cost"].goals.keys()
    assert all(each.is_good for each in QUESTIONS["cost"].verdicts(rows))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0254, "0.025"), (3.14159, "3.14"), (1_234.5, "1,234"), (7, "7"), (2.0, "2"), (None, "-"), ("a", "a")],
)
def test_a_cell_has_about_three_digits(value: object, shown: str):
    assert text(value) == shown


def test_the_growth_of_a_quadratic_time_is_two():
    assert growth([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_peers_take_their_turn():
    called: list[str] = []
    answers = {"a": iter([1.0, 9.0, 2.0]), "b": iter([5.0, 4.0, 3.0])}

    def answer(name: str) -> float:
        called.append(name)
        return next(answers[name])

    assert in_turn({name: lambda name=name: answer(name) for name in "ab"}, 3) == {"a": 2.0, "b": 4.0}
    assert called == ["a", "b"] * 3
