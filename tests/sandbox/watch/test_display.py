"""The lines that a user of the sandbox sees."""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.text import Text

from sandbox.watch.display import LISTED, LISTED_A_SECOND, QUIET_SECONDS, REPEATED_SECONDS, Display

Change = dict[str, Any]
DEPLOYED: dict[str, Any] = {
    "kind": "deployed",
    "at": 0.0,
    "tables": {"orders": {}},
    "consumers": {"mirror": {}},
    "changed": [],
    "first": True,
}


def display() -> Display:
    made = Display()
    assert list(made.render(DEPLOYED)) == []
    return made


def change(item: str = "id=a", outcome: str = "done", error: str | None = None, **rest: Any) -> Change:
    return {"event": "MODIFY", "item": item, "outcome": outcome, "error": error, **rest}


def held(item: str = "id=a", error: str = "SomeError: no", **rest: Any) -> Change:
    return change(item, "held", error, next_try=1.0, **rest)


def plain(lines: Iterable[str]) -> list[str]:
    """Return lines without their markup and without the time of day."""
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", Text.from_markup(line).plain) for line in lines]


def shown(made: Display, *changes: Change, kind: str = "batch", at: float = 0.0, **fields: Any) -> list[str]:
    """Return the lines of an invocation."""
    fact: dict[str, Any] = {"kind": kind, "at": at, "consumer": "mirror", "milliseconds": 12, "error": None}
    fact |= {"output": [], "changes": list(changes)}
    fact |= {"table": "orders", "attempt": 1} if kind == "batch" else {"released": []}
    return plain(made.render(fact | fields))


def test_each_change_has_the_time_the_item_and_the_outcome():
    [line] = display().render(
        {
            "kind": "batch",
            "at": 0.0,
            "consumer": "mirror",
            "table": "orders",
            "milliseconds": 12,
            "error": None,
            "changes": [change()],
            "output": [],
        }
    )
    clock = time.strftime("%H:%M:%S", time.localtime(0))
    assert Text.from_markup(line).plain == f"{clock} mirror orders MODIFY id=a  ✔ 12 ms"


def test_a_failure_is_shown_with_what_happens_next_and_the_handlers_lines():
    traceback = [{"text": "handler/mirror.py:7 in handler: [raise]", "level": "traceback"}]
    assert shown(display(), held(), change("id=a", "waiting"), change("id=a", "waiting"), output=traceback) == [
        "mirror orders MODIFY id=a  ‖ SomeError: no → held, next try in 1 s",
        "mirror orders id=a  ‖ 2 changes waiting",
        "         │ handler/mirror.py:7 in handler: [raise]",
    ]
    assert shown(display(), change(outcome="parked", error="Never: [x]")) == [
        "mirror orders MODIFY id=a  ✖ Never: [x] → parked"
    ]
    assert shown(display(), change(outcome="failed", error="E: 1")) == [
        "mirror orders MODIFY id=a  ‖ E: 1 → Lambda delivers it again"
    ]


def test_a_traceback_is_shown_once_until_the_code_changes():
    made, lines = display(), [{"text": "handler/mirror.py:7 in handler: x", "level": "traceback"}] * 2
    assert len(shown(made, held(), output=lines)) == 2
    assert len(shown(made, held("id=b"), output=lines)) == 1
    list(made.render(DEPLOYED))
    assert len(shown(made, held("id=c"), output=lines)) == 2


def test_many_changes_are_counted_until_the_consumer_has_caught_up():
    made = display()
    burst = [change(f"id={number}") for number in range(LISTED + 1)]
    printed = [{"text": "hello", "level": "print"}] * 3
    assert shown(made, *burst, at=10.0, output=printed) == []
    assert shown(made, change(), at=10.2) == []
    assert plain(made.live()) == ["mirror orders 7 changes in 0.2 s (33/s), 3 lines printed …"]
    assert plain(made.tick(10.3)) == []
    over = "mirror orders ✔ 7 changes in 0.2 s (33/s), 3 lines printed, caught up"
    assert plain(made.tick(10.3 + QUIET_SECONDS)) == [over]
    assert made.live() == []
    assert len(shown(made, change(), at=20.0)) == 1


def test_many_single_changes_are_counted_too():
    made = display()
    lines = [shown(made, change(f"id={number}"), at=number / 100) for number in range(50)]
    assert sum(map(len, lines)) == LISTED_A_SECOND


def test_a_failure_that_repeats_is_shown_after_some_time_only():
    made = display()
    assert len(shown(made, held())) == 1
    times = [at for at in range(1, 25) if shown(made, held(), kind="retry", at=float(at))]
    assert times == [int(REPEATED_SECONDS), int(2 * REPEATED_SECONDS)]


def test_an_outage_is_a_few_lines_and_a_live_one():
    made = display()
    lines = [shown(made, held(f"id={number}", f"Down: try {number}"), at=number / 100) for number in range(185)]
    assert sum(map(len, lines)) == LISTED
    state = {"level": "held", "state": "185 items held, 185 changes waiting", "lag_seconds": 0, "last_error": "Down"}
    list(made.render({"kind": "state", "at": 2.0, "consumers": {"mirror": state}}))
    assert plain(made.live()) == ["mirror 185 items held, 185 changes waiting · Down"]


def test_a_release_says_how_long_the_item_was_held():
    made = display()
    shown(made, held(), at=5.0)
    done = [change(), change(), change("id=b")]
    assert shown(made, *done, kind="retry", at=8.0, released=["id=a"]) == [
        "mirror        id=a  ▶ released after 3 s, 2 changes done"
    ]
    assert len(shown(made, held(), at=9.0)) == 1, "the failure is news again"


def test_many_releases_are_counted():
    items = [f"id={number}" for number in range(LISTED + 3)]
    assert shown(display(), kind="retry", released=items)[-1] == "           … and 3 more"


def test_a_crash_names_its_items_and_a_failed_retry_run_is_shown_once():
    made = display()
    crash: dict[str, Any] = {"error": "Runtime.ExitError: killed"}
    changes = [change(f"id={number}", "failed") for number in range(4)]
    assert shown(made, *changes, **crash) == [
        "mirror orders ✖ Runtime.ExitError: killed → 4 changes to retry (id=0, id=1, id=2, …)"
    ]
    assert shown(made, kind="retry", error="Runtime.ImportModuleError: x") == [
        "mirror        ✖ the retry run failed: Runtime.ImportModuleError: x"
    ]
    assert shown(made, kind="retry", error="Runtime.ImportModuleError: x", at=1.0) == []


def test_other_facts_are_lines():
    made = display()
    of_mirror = {"at": 0.0, "consumer": "mirror", "table": "orders"}
    facts: list[Mapping[str, Any]] = [
        {"kind": "mail", **of_mirror, "to": ["a@example.com"], "subject": "Hi [you]"},
        {"kind": "message", **of_mirror, "service": "sns", "target": "alerts", "text": "a\nb"},
        {"kind": "refused", **of_mirror, "text": "AWS would refuse"},
        {"kind": "discarded", **of_mirror, "count": 2, "reason": "too old", "destination": None},
        {"kind": "problem", "at": 0.0, "text": "a.py:1: SyntaxError\n  code"},
        {**DEPLOYED, "first": False, "changed": ["mirror-function"]},
        {"kind": "faults", "at": 0.0, "faults": {"mirror": ["slow"]}},
        {"kind": "of a later version", "at": 0.0},
    ]
    assert [line for fact in facts for line in plain(made.render(fact))] == [
        "mirror orders ✉ to a@example.com: Hi [you]",
        "mirror orders ✉ to sns alerts: a b",
        "mirror orders ⚠ AWS would refuse",
        "mirror orders ✖ 2 changes given up: too old → lost",
        "✖ not deployed: a.py:1: SyntaxError",
        "           code",
        "✔ redeployed: mirror-function",
        "faults: mirror: slow",
    ]
