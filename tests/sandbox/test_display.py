"""The lines that a user of the sandbox sees."""

from typing import Any

from sandbox.display import LISTED, REPEATED_SECONDS, Display
from sandbox.report import BROKEN, HELD, PARKED, PROGRESS, RELEASED, RETRY_FAILED, WAIT
from tests.fakes.records import record
from tests.sandbox.test_report import entry, report, reported

SOON = "1970-01-01T00:00:01+00:00"
RETRY = "mirror         retry        "


def batch(display: Display, *log: str, keys: str = "a", **options: Any) -> list[str]:
    """The lines of a batch with one change for each of these one-letter keys."""
    records = [record(number, key) for number, key in enumerate(keys, 1)]
    return list(display.render(report(*log, records=records, **options)))


def retry(display: Display, *log: str, **options: Any) -> list[str]:
    lines = list(display.render(report(*log, **options)))
    assert all(line.startswith((RETRY, "    …")) for line in lines)
    return [line.removeprefix(RETRY) for line in lines]


def hold(item: str = "a") -> str:
    return entry(HELD, 1, "no", id=item, changes=1, sequences=[1])


def failure(text: str = "no", *, item: str = "a", tries: int = 2) -> str:
    return entry(RETRY_FAILED, 1, text, id=item, tries=tries, waiting=1, next_try=SOON)


def test_a_batch_has_one_line_and_one_more_for_each_item_in_trouble():
    assert batch(
        Display(),
        entry(PARKED, 1, "never", reason="PermanentError"),
        entry("change failed", 2, "[not] yet", id="b"),
        entry(HELD, 4, "not yet", id="c", changes=3, sequences=[4, 5, 6], next_try=SOON),
        entry(WAIT, id="d", changes=1, sequences=[7], waiting=3),
        keys="abbcccde",
        response=reported(2, 3),
        attempt=2,
    ) == [
        "mirror         orders       8 changes  [green]✔ 1[/]  [red]✖ 1 failed[/]  [yellow]↻ 1 to retry[/]  "
        "[yellow]‖ 3 held[/]  [yellow]‖ 1 waiting[/]  [red]✖ 1 parked[/]  try 2  [dim]123 ms[/]",
        "  [red]✖[/] MODIFY id=a: SomeError: never → parked",
        r"  [red]✖[/] MODIFY id=b: SomeError: \[not] yet → Lambda retries",
        "  [yellow]‖[/] MODIFY id=c: SomeError: not yet → held, next try in 1 s; 2 later changes waiting",
        "  [yellow]‖[/] id=d: 1 more change waiting, 3 in all",
    ]


def test_a_crash_is_shown_with_its_error():
    assert batch(Display(), response=None, error="Timedout: after 2 s") == [
        "mirror         orders       1 change  [red]✖ all to retry: Timedout: after 2 s[/]  [dim]123 ms[/]"
    ]


def test_a_park_reason_is_shown_unless_the_handler_raised_it():
    given_up, full = entry(PARKED, 1, "no", reason="GivenUp"), entry(PARKED, 2, id="b", reason="HoldFull")
    assert batch(Display(), given_up, full, keys="ab")[1:] == [
        "  [red]✖[/] MODIFY id=a: SomeError: no → parked (GivenUp)",
        "  [red]✖[/] MODIFY id=b: HoldFull → parked",
    ]


def test_many_lines_of_one_kind_are_counted():
    keys = "abcdefghi"
    log = [entry(HELD, number, id=key, changes=1, sequences=[number]) for number, key in enumerate(keys, 1)]
    assert batch(Display(), *log, keys=keys)[1:] == [
        *(f"  [yellow]‖[/] MODIFY id={key}: not tried → held, next try soon" for key in keys[:LISTED]),
        f"    … and {len(keys) - LISTED} more",
    ]


def test_a_retry_run_has_one_line_for_each_item_and_none_if_it_tries_nothing():
    assert retry(Display()) == []
    assert retry(
        Display(),
        entry(RETRY_FAILED, 4, "no", tries=2, waiting=3, next_try=SOON),
        entry(PROGRESS, id="b", changes=2, sequences=[5, 6], waiting=1),
        entry(RELEASED, id="c", changes=1, sequences=[7], held_seconds=3),
        entry(PARKED, 8, "never", id="d", reason="PermanentError"),
        entry(BROKEN, id="e"),
    ) == [
        "[green]▶[/] id=c: released after 3 s, 1 change done",
        "[green]✔[/] id=b: 2 changes done, 1 still waiting",
        "[red]✖[/] MODIFY id=d: SomeError: never → parked",
        "[red]✖[/] id=e: its hold is broken",
        "[yellow]‖[/] MODIFY id=a: SomeError: no → still held, try 2, next try in 1 s; 3 changes waiting",
    ]


def test_a_failure_that_repeats_is_shown_after_some_time_only():
    display = Display()
    batch(display, hold())
    shown = {at: retry(display, failure(tries=at), ended_at=float(at)) for at in range(2, 24)}
    assert {at: lines for at, lines in shown.items() if lines} == {
        at: [f"[yellow]‖[/] MODIFY id=a: still held, try {at}, next try in 1 s"]
        for at in (int(REPEATED_SECONDS), int(2 * REPEATED_SECONDS))
    }


def test_many_failures_that_repeat_share_a_line():
    display = Display()
    retry(display, failure(), failure(item="b"))
    assert retry(display, failure(), failure(item="b"), ended_at=REPEATED_SECONDS) == [
        "[yellow]‖[/] 2 items still held, next try in 1 s"
    ]


def test_a_failure_is_shown_at_once_after_another_reason_a_release_or_new_code():
    display = Display()
    released = entry(RELEASED, changes=1, sequences=[1], held_seconds=1)
    assert len(retry(display, failure("no"))) == 1
    assert retry(display, failure("no")) == []
    for line in (failure("other"), released, failure("other")):
        assert len(retry(display, line)) == 1
    display.forget_failures()
    assert len(retry(display, failure("other"))) == 1


def test_a_failed_retry_run_is_shown_once():
    display = Display()
    broken: dict[str, Any] = {"response": None, "error": "Runtime.ImportModuleError: no module"}
    assert retry(display, **broken) == ["[red]✖ the retry run failed: Runtime.ImportModuleError: no module[/]"]
    assert retry(display, **broken) == []
    assert retry(display) == []
    assert len(retry(display, **broken)) == 1


def test_an_item_keeps_its_key_if_an_entry_has_none():
    display = Display()
    batch(display, hold())
    assert retry(display, *(entry(each, keys={}, changes=0, held_seconds=7) for each in (RELEASED, BROKEN))) == [
        "[green]▶[/] id=a: released after 7 s, no change was waiting",
        "[red]✖[/] id=a: its hold is broken",
    ]


def test_an_unobserved_release_is_shown_by_the_next_run_without_held_items():
    """The function itself has invoked the retry run that released the item."""
    display = Display()
    none: dict[str, Any] = {"response": {"held": 0, "released": 0}}
    batch(display, hold(), ended_at=5.0)
    assert retry(display, ended_at=7.0) == []
    assert retry(display, ended_at=5.04, **none) == [], "the run began before the item was held"
    assert retry(display, ended_at=8.0, **none) == ["[green]▶[/] id=a: released"]
    assert retry(display, ended_at=9.0, **none) == []
