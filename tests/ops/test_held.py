"""The command held, over an engine in memory: groups of held items, and one item with its changes."""

import json
import re
from typing import Any

import pytest

from handler.stream.engine.workers import SimulatedCrash
from handler.stream.ledger.writes import LedgerBusyError
from ops import OpsError
from ops.commands.held import show_groups, show_item
from ops.errors import explanation
from ops.held.ledger import HeldItems
from tests.fakes.aws import refusal
from tests.fakes.records import STREAM, record
from tests.handler.harness import FIRST, ConsumerHarness, digest, with_held_item
from tests.ops.engine import OpsHarness

DAY = 86_400


def with_two_causes() -> OpsHarness:
    """Three items are held for one cause, with two changes each, and one item for another."""
    harness = ConsumerHarness({place: TimeoutError(f"timed out after {3000 + place} ms") for place in (1, 2, 3)})
    harness.trouble[4] = KeyError("email")
    for place, item in enumerate("abcd", 1):
        harness.invoke({"Records": [record(place, item), record(place + 10, item)][: 1 if item == "d" else 2]})
        harness.clock.now += 100
    return OpsHarness(harness)


def groups(ops: OpsHarness, examples: int = 1, after: float = 0) -> tuple[int, list[str]]:
    now = ops.harness.clock.now + after
    return show_groups(ops.session, [ops.reader], now, examples), ops.shown()


def details(ops: OpsHarness, text: str = "id=a", limit: int = 10) -> tuple[int, list[str]]:
    return show_item(ops.session, [ops.reader], text, limit, ops.harness.clock.now), ops.shown()


def test_items_are_grouped_by_cause_the_largest_group_first():
    assert groups(with_two_causes()) == (
        1,
        [
            "mirror · 4 items are held, 7 changes wait",
            "    3 items  TimeoutError: timed out after # ms",
            "             for up to 6 min · 6 changes wait · next try due now",
            "             such as id=a",
            "    1 item   KeyError: '…'",
            "             for up to 1 min · 1 change waits · next try due now",
            "             id=d",
            "  python -m ops held mirror --item id=a",
            "  python -m ops retry mirror",
        ],
    )


def test_a_consumer_s_own_screen_lists_items_of_each_group():
    _, lines = groups(with_two_causes(), examples=2)
    assert [line.strip() for line in lines[3:6]] == ["id=a", "id=b", "and 1 more"]


def test_a_group_with_an_item_that_is_given_up_soon_comes_first():
    ops = with_two_causes()
    ops.functions.variables["GIVE_UP_AFTER_SECONDS"] = str(2 * DAY)
    ops.harness.ledger("hold#consumer")[digest("d")]["since"] = {"N": str(ops.harness.clock.now - 1.5 * DAY)}
    _, lines = groups(ops)
    assert lines[1:4] == [
        "    1 item   KeyError: '…'",
        "             for up to 1 d 12 h · 1 change waits · next try due now",
        "             the engine gives up the first item in 12 h",
    ]


def test_nothing_held_is_one_line_and_exit_code_0():
    assert groups(OpsHarness(ConsumerHarness())) == (0, ["mirror · nothing is held"])


def test_a_consumer_without_stores_can_hold_nothing():
    ops = OpsHarness(ConsumerHarness())
    with pytest.raises(OpsError, match="bare has no stores: it holds no items"):
        HeldItems(ops.stack, "bare", ops.stack.client)


def test_an_item_is_shown_with_its_changes():
    ops = with_two_causes()
    for item in "ab":
        body = {"Keys": {"id": {"S": item}}}
        old, new = ({**body["Keys"], "n": {"N": str(n)}, "s": {"S": "same"}} for n in (1, 2))
        ops.harness.invoke({"Records": [record(30, item, OldImage=old, NewImage=new)]})
    code, lines = details(ops, "id=b")
    assert code == 1
    assert lines == [
        "mirror · id=b of orders",
        f"  digest      {digest('b')}",
        "  held        3 changes wait",
        "  failing     for 5 min, since 2027-01-15T08:01Z",
        "  tries       3, the last 5 min ago",
        "  last error  TimeoutError: timed out after 3002 ms",
        "  next try    due now",
        "  gives up    in 6 d 23 h: then the first change is parked, the next one runs",
        "   1  MODIFY 6 min ago           event-2",
        f"      sequence {FIRST + 2}",
        "      1 other attribute unchanged",
        "   2  MODIFY 6 min ago           event-12",
        f"      sequence {FIRST + 12}",
        "      1 other attribute unchanged",
        "   3  MODIFY 6 min ago           event-30",
        f"      sequence {FIRST + 30}",
        "      n: 1 → 2",
        "      1 other attribute unchanged",
    ]
    assert len(details(ops, "id=b", limit=1)[1]) == 12
    assert details(ops, digest("b"))[1][0] == "mirror · id=b of orders"


def test_an_item_that_is_being_tried_and_the_deaths_before_are_shown():
    ops = OpsHarness(with_held_item("aa"))
    ops.harness.trouble = {1: SimulatedCrash()}
    ops.harness.retry_and_crash(now=True)
    assert "  being tried now, by a run that ends by 2027-01-15T08:01Z" in details(ops)[1]
    ops.harness.clock.now += 600
    lines = details(ops)[1]
    assert "  suspect: the function died once in a row while the first change ran" in lines
    assert groups(ops)[1][3].strip() == "the function died while 1 of these items ran"


def test_a_broken_hold_is_said_in_words():
    ops = OpsHarness(with_held_item("aaa"))
    del ops.harness.change_rows()[f"{STREAM.rpartition('/')[2]}#{FIRST + 1:040}#0000"]
    code, lines = details(ops)
    text = " ".join(line.strip() for line in lines)
    assert code == 1
    assert "broken" in text
    assert f"the first waiting change, {STREAM.rpartition('/')[2]}#{FIRST + 1:040}, is missing" in text.replace(
        "0 0", "00"
    )
    assert "None of the item's changes runs, since later ones must not overtake a missing one." in text


def test_an_item_without_a_description_goes_by_its_digest():
    ops = OpsHarness(with_held_item("a"))
    del ops.harness.change_rows()["!"]
    assert groups(ops)[1][1:4:2] == [
        "    1 item   Unknown: the ledger has no description of the item",
        f"             {digest('a')}",
    ]
    assert details(ops, digest("a"))[0] == 1


def test_a_redriven_change_and_an_item_of_a_newer_engine_are_said():
    ops = OpsHarness(ConsumerHarness())
    ops.harness.ask("redrive", records=[record(1, "a")])
    ops.harness.make_newer()
    lines = details(ops)[1]
    assert "  held        0 changes wait and redriven ones (1 request)" in lines
    assert "  a newer version of the engine holds this item: only its function runs it" in lines
    assert f"      sequence {FIRST + 1} · redriven" in lines


def test_an_item_that_is_not_held_is_exit_code_0_and_a_wrong_key_is_an_error():
    ops = with_two_causes()
    assert details(ops, "id=z") == (0, ["no item id=z is held by mirror"])
    with pytest.raises(OpsError, match="'name=z' is no item's key"):
        details(ops, "name=z")


def test_json_has_every_item_and_each_change_whole(capsys: pytest.CaptureFixture[str]):
    ops = with_two_causes()
    ops.session = type(ops.session)(ops.stack, ops.session.console, as_json=True)
    capsys.readouterr()
    groups(ops)
    printed = json.loads(capsys.readouterr().out)["mirror"]
    assert (printed["items"], printed["changes"], [group["items"] for group in printed["groups"]]) == (4, 7, [3, 1])
    details(ops)
    [item] = json.loads(capsys.readouterr().out)
    assert item["keys"] == {"id": {"S": "a"}}
    assert [each["record"] for each in item["waiting"]] == [record(1, "a"), record(11, "a")]


def test_a_function_that_is_gone_hides_only_the_give_up_time():
    ops = with_two_causes()

    ops.functions.refusal = refusal("ResourceNotFoundException")
    assert groups(ops)[0] == 1
    assert "  gives up    unknown: the function is gone" in details(ops)[1]


def test_a_throttled_ledger_is_an_error_with_the_way_out():
    ops = with_two_causes()

    def throttled(**request: Any) -> Any:
        return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}

    ops.harness.dynamodb.batch_get_item = throttled
    with pytest.raises(LedgerBusyError) as raised:
        groups(ops)
    assert re.search(
        r"left requests unprocessed, .*: wait a minute and run the command again", explanation(raised.value) or ""
    )
