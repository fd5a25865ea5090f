"""What somebody who watches the sandbox sees, line by line."""

from typing import Any

from sandbox.display import LISTED, REPEATED_SECONDS, Display
from sandbox.report import BROKEN, HELD, PARKED, PROGRESS, RELEASED, RETRY_FAILED, WAIT, report_of
from tests.sandbox.test_report import NAMES, entry, invocation, record, reported, retry_run

SOON = "1970-01-01T00:00:01+00:00"


def batch(display: Display, records: list[dict[str, Any]], *log: str, **rest: Any) -> list[str]:
    return list(display.render(report_of(invocation(records, log="\n".join(log), **rest), NAMES)))


def retry(display: Display, *log: str, **rest: Any) -> list[str]:
    return list(display.render(report_of(retry_run(*log, **rest), NAMES)))


def test_a_batch_is_a_line_and_one_more_for_each_item_in_trouble():
    records = [record(number, id=item) for number, item in enumerate("abbcccde", 1)]
    shown = batch(
        Display(),
        records,
        entry(PARKED, 1, "never", reason="PermanentError"),
        entry("change failed", 2, "[not] yet", id="b"),
        entry(HELD, 4, "not yet", id="c", changes=3, sequences=[4, 5, 6], next_try=SOON),
        entry(WAIT, id="d", changes=1, sequences=[7], waiting=3),
        response=reported(2, 3),
        attempt=2,
    )
    assert shown == [
        "mirror         orders       8 changes  [green]✔ 1[/]  [red]✖ 1 failed[/]  [yellow]↻ 1 comes again[/]  "
        "[yellow]‖ 3 held[/]  [yellow]‖ 1 waits[/]  [red]✖ 1 parked[/]  try 2  [dim]123 ms[/]",
        "  [red]✖[/] MODIFY id=a: SomeError: never → parked",
        r"  [red]✖[/] MODIFY id=b: SomeError: \[not] yet → comes again",
        "  [yellow]‖[/] MODIFY id=c: SomeError: not yet → held, next try in 1 s; 2 later changes wait",
        "  [yellow]‖[/] id=d: 1 more change waits, 3 in all",
    ]


def test_a_function_that_died_is_shown_with_its_last_words():
    shown = batch(Display(), [record(1, id="a")], response=None, error="Timedout: after 2 s")
    assert shown == [
        "mirror         orders       1 change  [red]✖ all come again: Timedout: after 2 s[/]  [dim]123 ms[/]"
    ]


def test_why_a_change_is_parked_where_it_did_not_ask_for_it():
    shown = batch(
        Display(),
        [record(1, id="a"), record(2, id="b")],
        entry(PARKED, 1, "no", reason="GivenUp"),
        entry(PARKED, 2, id="b", reason="HoldFull"),
    )
    assert shown[1:] == [
        "  [red]✖[/] MODIFY id=a: SomeError: no → parked (GivenUp)",
        "  [red]✖[/] MODIFY id=b: HoldFull → parked",
    ]


def test_many_of_a_kind_are_counted():
    records = [record(number, id=str(number)) for number in range(1, 20)]
    log = [entry(HELD, number, id=str(number), changes=1, sequences=[number]) for number in range(1, 20)]
    assert batch(Display(), records, *log)[1:] == [
        *(f"  [yellow]‖[/] MODIFY id={number}: not tried → held, next try soon" for number in range(1, 1 + LISTED)),
        f"    … and {19 - LISTED} more",
    ]


def test_a_retry_run_tells_what_it_tried():
    assert retry(Display()) == []
    assert retry(
        Display(),
        entry(RETRY_FAILED, 4, "no", tries=2, waiting=3, next_try=SOON),
        entry(PROGRESS, id="b", changes=2, sequences=[5, 6], waiting=1),
        entry(RELEASED, id="c", changes=1, sequences=[7], held_seconds=3),
        entry(PARKED, 8, "never", id="d", reason="PermanentError"),
        entry(BROKEN, id="e"),
    ) == [
        "mirror         retry        [green]▶[/] id=c: released after 3 s, 1 change done",
        "mirror         retry        [green]✔[/] id=b: 2 changes done, 1 still waits",
        "mirror         retry        [red]✖[/] MODIFY id=d: SomeError: never → parked",
        "mirror         retry        [red]✖[/] id=e: its hold is broken",
        "mirror         retry        [yellow]‖[/] MODIFY id=a: SomeError: no → still held, try 2, next try in 1 s; "
        "3 changes wait",
    ]


def fails(text: str, *, id: str = "a", tries: int = 2) -> str:  # noqa: A002 -- the key's name
    return entry(RETRY_FAILED, 1, text, id=id, tries=tries, waiting=1, next_try=SOON)


def test_what_fails_again_for_the_same_reason_is_shown_again_after_a_while_only():
    display = Display()
    batch(display, [record(1, id="a")], entry(HELD, 1, "no", changes=1, sequences=[1]))
    shown = {at: retry(display, fails("no", tries=at), ended_at=float(at)) for at in range(2, 24)}
    assert {at: line for at, [line] in ((at, lines) for at, lines in shown.items() if lines)} == {
        at: f"mirror         retry        [yellow]‖[/] MODIFY id=a: still held, try {at}, next try in 1 s"
        for at in (int(REPEATED_SECONDS), int(2 * REPEATED_SECONDS))
    }


def test_many_that_fail_again_are_one_line():
    display = Display()
    retry(display, fails("no"), fails("no", id="b"))
    assert retry(display, fails("no"), fails("no", id="b"), ended_at=REPEATED_SECONDS) == [
        "mirror         retry        [yellow]‖[/] 2 items still held, next try in 1 s"
    ]


def test_another_reason_another_hold_and_new_code_are_shown_at_once():
    display = Display()
    released = entry(RELEASED, changes=1, sequences=[1], held_seconds=1)
    assert len(retry(display, fails("no"))) == 1
    assert retry(display, fails("no")) == []
    assert len(retry(display, fails("other"))) == 1
    assert len(retry(display, released)) == 1
    assert len(retry(display, fails("other"))) == 1
    display.forget()
    assert len(retry(display, fails("other"))) == 1


def test_a_retry_run_that_fails_is_shown_once():
    display = Display()
    broken: dict[str, Any] = {"response": None, "error": "Runtime.ImportModuleError: no module"}
    assert retry(display, **broken) == [
        "mirror         retry        [red]✖ nothing is tried: Runtime.ImportModuleError: no module[/]"
    ]
    assert retry(display, **broken) == []
    assert retry(display) == []
    assert len(retry(display, **broken)) == 1


def test_an_item_keeps_its_name_where_an_entry_has_none():
    display = Display()
    batch(display, [record(1, id="a")], entry(HELD, 1, "no", changes=1, sequences=[1]))
    nameless = [entry(message, keys={}, changes=0, held_seconds=7) for message in (RELEASED, BROKEN)]
    assert retry(display, *nameless) == [
        "mirror         retry        [green]▶[/] id=a: released after 7 s, nothing waits",
        "mirror         retry        [red]✖[/] id=a: its hold is broken",
    ]


def test_what_a_run_of_the_functions_own_released_is_shown_by_the_next_that_finds_nothing_held():
    display = Display()
    none: dict[str, Any] = {"response": {"held": 0, "released": 0}}
    batch(display, [record(1, id="a")], entry(HELD, 1, "no", changes=1, sequences=[1]), ended_at=5.0)
    assert retry(display, ended_at=7.0) == []
    assert retry(display, ended_at=5.04, **none) == [], "the run began before the item was held"
    assert retry(display, ended_at=8.0, **none) == ["mirror         retry        [green]▶[/] id=a: held no longer"]
    assert retry(display, ended_at=9.0, **none) == []
