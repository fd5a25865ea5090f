"""The command tail: no line twice, none lost; which lines are selected, and how they read."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ops import OpsError
from ops.logs.lines import Selection, readable
from ops.logs.tail import Line, Tail
from tests.fakes.aws import Clock, refusal
from tests.fakes.records import STREAM
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness, digest

NOW = 1_800_000_000.0
MS = int(NOW * 1000)


class Logs:
    """CloudWatch Logs: FilterLogEvents with pages of two events. Events may arrive late, and out of order."""

    def __init__(self) -> None:
        self.groups: dict[str, list[dict[str, Any]]] = {"/a": [], "/b": []}
        self.calls = 0
        self.failures: list[Exception] = []

    def add(self, at: int, message: str, group: str = "/a") -> None:
        """Add an event, `at` milliseconds after the start."""
        events = self.groups[group]
        events.append({"timestamp": MS + at, "message": message, "eventId": f"{group}{len(events)}"})

    def filter_log_events(self, logGroupName: str, startTime: int, nextToken: str = "0") -> Any:  # noqa: N803
        self.calls += 1
        if self.failures:
            raise self.failures.pop()
        if logGroupName not in self.groups:
            raise refusal("ResourceNotFoundException")
        events = sorted(self.groups[logGroupName], key=lambda event: event["timestamp"])
        events, start = [event for event in events if event["timestamp"] >= startTime], int(nextToken)
        more = {"nextToken": str(start + 2)} if start + 2 < len(events) else {}
        return {"events": events[start : start + 2], **more}


def following(logs: Logs, since: float = NOW, groups: tuple[str, ...] = ("/a",)) -> tuple[Tail, Clock]:
    clock = Clock(NOW)
    names = {group.strip("/"): group for group in groups}
    return Tail(names, lambda _: logs, since, clock=clock, sleep=clock.advance), clock


def look(tail: Tail) -> list[str]:
    return [line.message for line in tail.look()]


def test_each_line_is_read_once():
    logs = Logs()
    tail, _ = following(logs)
    for number in range(5):
        logs.add(number, f"line {number}")
    assert look(tail) == [f"line {number}" for number in range(5)]
    assert look(tail) == []
    logs.add(5, "line 5")
    assert look(tail) == ["line 5"]


def test_a_late_line_and_lines_of_one_millisecond_are_not_lost():
    logs = Logs()
    tail, _ = following(logs)
    logs.add(60_000, "new")
    assert look(tail) == ["new"]
    logs.add(60_000, "of the same millisecond")
    logs.add(31_000, "29 s late")
    assert look(tail) == ["29 s late", "of the same millisecond"]


def test_lines_before_the_start_are_left_out_and_memory_stays_small():
    logs = Logs()
    tail, clock = following(logs)
    logs.add(-1, "before")
    for number in range(100):
        logs.add(number * 1000, f"line {number}")
    assert len(look(tail)) == 100
    clock.advance(1000)
    assert look(tail) == []
    assert len(tail._groups[0].seen) <= 31  # pyright: ignore[reportPrivateUsage] -- what is kept


def test_a_clock_that_is_behind_or_ahead_loses_nothing():
    for ahead in (-250, 250):
        logs = Logs()
        tail, clock = following(logs, NOW - 600)
        clock.advance(ahead)
        look(tail)
        logs.add(0, "line")
        assert look(tail) == ["line"]


def test_several_groups_are_merged_by_time():
    logs = Logs()
    tail, _ = following(logs, groups=("/a", "/b"))
    for number in range(4):
        logs.add(number, f"line {number}", "/b" if number % 2 else "/a")
    assert look(tail) == [f"line {number}" for number in range(4)]


def test_five_calls_a_second_are_never_made():
    logs = Logs()
    tail, clock = following(logs, groups=("/a", "/b"))
    for number in range(40):
        logs.add(number, "line")
    look(tail)
    assert logs.calls / (clock.now - NOW) <= 4


def test_a_throttled_look_is_repeated_and_repeats_no_line():
    logs = Logs()
    tail, _ = following(logs)
    for number in range(3):
        logs.add(number, f"line {number}")
    lines = tail.follow()
    assert next(lines).message == "line 0"
    assert next(lines).message == "line 1"
    logs.failures = [refusal("ThrottlingException")] * 3
    assert next(lines).message == "line 2"


def test_a_log_that_always_throttles_or_refuses_ends_the_command():
    logs = Logs()
    for code, failures in (("ThrottlingException", 10), ("AccessDeniedException", 1)):
        logs.failures = [refusal(code)] * failures
        with pytest.raises(Exception, match=code):
            next(following(logs)[0].follow())
        assert logs.failures == []


def test_a_log_group_that_does_not_exist_is_named():
    with pytest.raises(OpsError, match="the log group /none of none does not exist"):
        look(following(Logs(), groups=("/none",))[0])


# Lines of the engine


@pytest.fixture
def engine_lines(log_lines: Lines) -> Callable[[], list[Line]]:
    """What the engine logs when item a is held, its second change waits, and it is released."""

    def lines() -> list[Line]:
        harness = ConsumerHarness({1: FAILS, 9: FAILS})
        harness.deliver("a")
        harness.deliver("a", start=2)
        harness.deliver("b", start=9)
        harness.mend()
        harness.retry(now=True)
        return [Line(MS + place, "mirror", json.dumps(each)) for place, each in enumerate(log_lines())]

    return lines


def messages(lines: list[Line], selection: Selection) -> list[str]:
    return [json.loads(line.message)["message"] for line in lines if line in selection]


TABLES = {"orders": (STREAM.partition("/stream/")[0], {"id": "S"})}


def test_an_item_s_lines_are_found_by_digest_and_by_key(engine_lines: Callable[[], list[Line]]):
    lines = engine_lines()
    expected = ["item held", "changes wait", "item released"]
    assert messages(lines, Selection([digest("a")], tables=TABLES)) == expected
    assert messages(lines, Selection([digest("a")])) == expected
    assert messages(lines, Selection([digest("c")], tables=TABLES)) == []
    without_item = [
        Line(line.at, "mirror", json.dumps({k: v for k, v in json.loads(line.message).items() if k != "item"}))
        for line in lines
    ]
    assert messages(without_item, Selection([digest("a")], tables=TABLES)) == expected


def test_a_handler_s_lines_are_selected_from_the_line_on_that_names_the_item():
    held = {"message": "item held", "item": digest("a"), "event_id": "event-1"}
    own = {"message": "calling the shop", "event_id": "event-1"}
    other = {"message": "calling the shop again", "event_id": "event-2"}
    lines = [Line(MS, "mirror", json.dumps(each)) for each in (own, held, own, other)]
    assert messages(lines, Selection([digest("a")])) == ["item held", "calling the shop"]


def test_an_event_is_selected_by_its_id_anywhere_in_a_line_or_by_its_kind(engine_lines: Callable[[], list[Line]]):
    lines = engine_lines()
    assert messages(lines, Selection(event="event-2")) == ["changes wait"]
    assert len(messages(lines, Selection(event="modify"))) == len(lines)
    assert messages(lines, Selection(event="REMOVE")) == []
    assert Line(MS, "mirror", "Traceback: event-2 failed") in Selection(event="event-2")


def test_the_engine_s_lines_read_well(engine_lines: Callable[[], list[Line]]):
    texts = [text.plain for text in readable(engine_lines()[0])]
    assert texts[:3] == [
        "08:00:00 mirror  ERROR  item held",
        "         MODIFY orders id=a · event-1",
        "         ValueError: down",
    ]
    assert texts[3].startswith(f"         item {digest('a')} · attempts 3 · ")
    assert all(len(text) <= 80 for text in texts)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("REPORT RequestId: 1\tDuration: 2 ms\n", "REPORT RequestId: 1  Duration: 2 ms"),
        ("red \x1b[31m text", "red \\x1b[31m text"),
        ('{"broken', '{"broken'),
        ("[1]", "[1]"),
        (
            json.dumps({"_aws": {"Timestamp": 1}, "service": "m", "HeldItems": [3.0], "OldestHeldSeconds": [4521.5]}),
            "metrics  HeldItems 3 · OldestHeldSeconds 4,521.5",
        ),
        (
            json.dumps(
                {"type": "platform.report", "record": {"status": "timeout", "metrics": {"durationMs": 60000.0}}}
            ),
            "platform.report · timeout · 60000.0 ms",
        ),
        (json.dumps({"level": "INFO", "message": {"a": 1}}), 'INFO  {"a": 1}'),
    ],
)
def test_other_lines_stay_as_they_are(message: str, text: str):
    [line] = readable(Line(MS, "mirror", message))
    assert line.plain == f"08:00:00 mirror  {text}"


def test_an_error_shows_where_in_the_handler_it_arose():
    """The frames of the engine and of packages are left out."""
    paths = ["/var/task/handler/stream/entry.py", "/var/task/handler/mirror.py", "/var/task/botocore/client.py"]
    trace = [f'  File "{path}", line 7, in f\n    f()\n' for path in paths]
    fields = {"level": "ERROR", "message": "no x", "errorType": "Runtime.ImportError", "stackTrace": trace}
    texts = [text.plain for text in readable(Line(MS, "mirror", json.dumps(fields)))]
    assert texts == [
        "08:00:00 mirror  ERROR  no x",
        "         errorType Runtime.ImportError",
        "         at handler/mirror.py:7, f",
    ]
