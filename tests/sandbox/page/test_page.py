"""The page in a browser: it shows what the facts say, and its buttons do what they name; no test judges its looks."""

import json
from collections.abc import Generator
from typing import Any, cast

import pytest

from sandbox.page.commands import FinishedCommand
from tests.local import LocalAws
from tests.sandbox.page.browser import CHROMIUM, Page, chromium
from tests.sandbox.page.page_driver import PageDriver, serve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on the PATH")

ITEM = "id=7"
FOURTH_TO_SIXTH, THIRD_TO_SIXTH = "v4\N{EN DASH}v6", "v3\N{EN DASH}v6"
ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/page-orders/stream/2026"


@pytest.fixture(scope="module")
def browser() -> Generator[Page]:
    with chromium() as page:
        page.look(1280)
        yield page


@pytest.fixture
def sandbox(aws: LocalAws) -> Generator[PageDriver]:
    aws.create_table("page-orders")
    outputs = {"tables": {"orders": {"name": "page-orders"}}, "consumers": {"mirror": {"function": "mirror-1"}}}
    with serve(aws.variables(), outputs) as driver:
        driver.command.results["held"] = FinishedCommand(0, "{}", "")
        deploy(driver)
        yield driver
    aws.client("dynamodb").delete_table(TableName="page-orders")


@pytest.fixture
def page(browser: Page, sandbox: PageDriver) -> Generator[Page]:
    browser.problems.clear()
    browser.open(sandbox.server.url)
    browser.wait_for("document.querySelector('tr[data-consumer]')?.textContent")
    yield browser
    browser.open("about:blank")  # before the server stops
    assert browser.problems == []


def deploy(sandbox: PageDriver, *, first: bool = True) -> None:
    consumers = {"mirror": {"function": "mirror-1", "reads": ["orders"], "claimed": False, "fenced": True}}
    tables = {"orders": {"name": "page-orders", "keys": ["id"]}}
    changed = [] if first else ["mirror-function"]
    sandbox.feed.publish("deployed", tables=tables, consumers=consumers, changed=changed, unsupported="", first=first)


def change(sequence: int | None, outcome: str, item: str = ITEM, **more: Any) -> dict[str, Any]:
    text = None if sequence is None else str(sequence)
    whole = {"event": "MODIFY", "item": item, "keys": {"id": item.removeprefix("id=")}, "sequence": text}
    return {**whole, "outcome": outcome, "error": "KeyError: 'x'" if outcome == "held" else None, **more}


def batch(sandbox: PageDriver, *changes: dict[str, Any], **more: Any) -> None:
    fields: dict[str, Any] = {"table": "orders", "attempt": 1, "milliseconds": 9, "error": None, "output": []}
    fields |= {"changes": changes} | more
    sandbox.feed.publish("batch", consumer="mirror", **fields)


def state(sandbox: PageDriver, **more: Any) -> None:
    fields = {"state": "caught up", "level": "well", "lag_seconds": 0.1, "rate": 3.25, "held": 0, "parked": 0}
    sandbox.feed.publish("state", consumers={"mirror": {**fields, "last_error": None, **more}})


def chips(page: Page) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('.row[data-item] .chip:not(.next)')].map((each) => each.textContent)"
    )


def test_a_lane_says_how_its_consumer_is(page: Page, sandbox: PageDriver):
    state(
        sandbox, state="1 item is held", level="held", held=1_234, parked=2, lag_seconds=75, last_error="KeyError: 'x'"
    )
    sandbox.feed.publish("faults", faults={"mirror": ["slow"]})
    page.wait_for("document.querySelector('[data-fault=slow]').getAttribute('aria-pressed') === 'true'")
    cells = page.run("[...document.querySelectorAll('tr[data-consumer=mirror] td')].map((each) => each.innerText)")
    assert cells[0].splitlines() == ["mirror", "reads orders · fenced"]
    assert cells[1].split() == ["‖", "1", "item", "is", "held"]
    assert cells[2:7] == ["75 s", "3.3/s", "1,234", "2", "KeyError: 'x'"]


def test_an_item_in_trouble_has_a_row_from_its_failure_to_its_release(page: Page, sandbox: PageDriver):
    batch(
        sandbox,
        *(change(number, "done") for number in (101, 102)),
        *(change(500 + n, "done", f"id={n}") for n in (1, 2)),
    )
    batch(sandbox, change(103, "held", tries=1), change(104, "waiting"), change(105, "waiting"))
    batch(sandbox, change(106, "waiting"))
    page.wait_for("document.querySelectorAll('.chip').length === 2")
    assert chips(page) == ["✖ v3", f"‖ {FOURTH_TO_SIXTH}"]
    assert page.text(".row[data-item] .sub") == f"mirror · ✖ v3, {FOURTH_TO_SIXTH} wait"
    assert page.text("#trouble-count") == "1 item in trouble"
    assert page.text(".others .sub").startswith("4 changes done")
    sandbox.feed.publish(
        "retry",
        consumer="mirror",
        milliseconds=9,
        error=None,
        changes=[change(103, "done"), change(None, "done"), change(None, "done")],
        released=[ITEM],
        held=0,
        output=[],
    )
    page.wait_for("document.querySelectorAll('.chip').length === 3")
    assert chips(page) == ["✖ v3", f"‖ {FOURTH_TO_SIXTH}", f"✔ {THIRD_TO_SIXTH}"]
    assert page.text(".row[data-item] .sub").startswith("mirror · ✔ released")
    assert page.text("#trouble-count") == "no item is in trouble"


def test_parked_and_redelivered_changes_have_signs_of_their_own(page: Page, sandbox: PageDriver):
    batch(sandbox, change(1, "parked", "id=1"), change(2, "failed", "id=2"), error="Task timed out")
    page.wait_for("document.querySelectorAll('.chip').length === 2")
    assert chips(page) == ["▣ v1", "↻ v1"]
    batch(sandbox, change(2, "done", "id=2"), attempt=2)
    page.wait_for("document.querySelectorAll('.chip').length === 3")
    assert chips(page) == ["▣ v1", "↻ v1", "✔ v1"]


def test_a_burst_is_summed_and_what_is_shown_stays_bounded(page: Page, sandbox: PageDriver):
    for start in range(0, 5_000, 100):
        batch(sandbox, *(change(number, "done", f"id={number}") for number in range(start, start + 100)))
    batch(sandbox, *(change(9_000 + number, "held", f"id={number}") for number in range(900)))
    page.wait_for("document.querySelector('#trouble-count').textContent === '900 items in trouble'")
    assert page.text("#summary").endswith("5,000 changes done")
    assert page.run("document.querySelectorAll('.row').length") == 14
    assert chips(page) == ["✖ v2"] * 12
    assert page.text(".row:nth-last-child(2)").splitlines() == ["and 888 more items", "888 of them in trouble"]


def test_what_a_fact_says_is_text_only(page: Page, sandbox: PageDriver):
    nasty = "<img src=x onerror='document.title=1'><script>document.title=1</script>"
    output = [{"text": nasty, "level": nasty, "item": nasty}]
    batch(sandbox, change(1, "held", nasty, error=nasty), output=output, error=nasty)
    sandbox.feed.publish("mail", consumer=nasty, **{"from": cast("Any", nasty)}, to=[nasty], subject=nasty, text=nasty)
    sandbox.feed.publish("message", consumer=nasty, service="sns", target=nasty, text=nasty)
    sandbox.feed.publish("refused", consumer=nasty, action=nasty, resource=nasty, text=nasty)
    sandbox.feed.publish("problem", text=nasty)
    page.wait_for("document.querySelectorAll('.chip').length === 1")
    assert page.run("document.querySelectorAll('main img, main script').length") == 0
    assert page.text("#problem pre") == nasty
    assert page.text(".row .title") == nasty
    assert page.text("#tab-refused") == "Refused calls 1"


def test_a_problem_of_an_edit_is_shown_until_the_next_deployment(page: Page, sandbox: PageDriver):
    sandbox.feed.publish("problem", text="handler/mirror.py:3: SyntaxError: invalid syntax")
    page.wait_for("document.querySelector('#problem').hidden === false")
    assert page.text("#problem pre") == "handler/mirror.py:3: SyntaxError: invalid syntax"
    deploy(sandbox, first=False)
    page.wait_for("document.querySelector('#problem').hidden")
    assert page.text("#summary").startswith("deployed again at ")


def test_items_are_written_and_deleted_in_the_editor(page: Page, sandbox: PageDriver, aws: LocalAws):
    page.wait_for("document.querySelector('#text').value.includes('id')")
    exact = '{"id": "a", "n": 12345678901234567890.5}'
    page.run(f"document.querySelector('#text').value = {json.dumps(exact)}; document.querySelector('#save').click()")
    page.wait_for("document.querySelector('#saved').textContent === '✔ saved'")
    assert [str(item["n"]) for item in aws.items("page-orders")] == ["12345678901234567890.5"]
    assert page.text("#items .mono") == "id=a"
    page.run("document.querySelector('#text').value = '{}'; document.querySelector('#save').click()")
    assert page.wait_for("document.querySelector('#saved.bad')?.textContent").startswith("✖ ")
    page.run("document.querySelector('#items button').click(); document.querySelector('#delete').click()")
    page.wait_for("document.querySelector('#saved').textContent === '✔ deleted'")
    assert aws.items("page-orders") == []


def record(event: str, old: Any, new: Any) -> dict[str, Any]:
    images = {name: image for name, image in (("OldImage", old), ("NewImage", new)) if image}
    dynamodb = {"Keys": {"id": {"S": "7"}}, "SequenceNumber": "103", **images}
    return {"eventID": f"event-{event}", "eventName": event, "eventSourceARN": ARN, "dynamodb": dynamodb}


def test_held_and_parked_changes_are_shown_with_their_images_and_mended(page: Page, sandbox: PageDriver):
    old, new = {"id": {"S": "7"}, "n": {"N": "1"}}, {"id": {"S": "7"}, "n": {"N": "12345678901234567890"}}
    key = {"item": "d" * 32, "table": "page-orders", "keys": {"id": {"S": "7"}}}
    group = {"cause": "KeyError: 'x'", "keys": [key]}
    item = {**key, "consumer": "mirror", "error": {"type": "KeyError", "text": "'x'"}, "tries": 2, "changes": 1}
    times = {"since": 0, "next_try": 0, "is_being_tried": False, "deaths": 0}
    held = {"mirror": {"items": 1, "changes": 1, "groups": [group]}}
    waiting = [{"redriven": False, "record": record("MODIFY", old, new)}]
    sandbox.command.parked = [
        {"consumer": "mirror", "item": "e" * 32, "cause": "no", "error": "no", "at": "2026-01-01T00:00:00+00:00"}
        | {"record": record("INSERT", None, new)}
    ]
    sandbox.command.results |= {
        "held": FinishedCommand(1, json.dumps(held), ""),
        "held --item": FinishedCommand(1, json.dumps([{**item, **times, "waiting": waiting}]), ""),
        "retry": FinishedCommand(1, "mirror · 0 of 1 items released", ""),
        "skip": FinishedCommand(0, "parked: MODIFY", ""),
        "redrive": FinishedCommand(0, "1 change put back", ""),
    }
    batch(sandbox, change(103, "held"))
    state(sandbox, held=1, parked=1)
    page.wait_for("document.querySelectorAll('#trouble .pick').length === 2")
    page.run("document.querySelector('#trouble .pick').click()")
    page.wait_for("document.querySelectorAll('.images tr.differs').length === 1")
    assert page.text(".images tr.differs").split("\t") == ["≠", "n", "1", "12345678901234567890"]
    for button, text in (("retry", "0 of 1 items released"), ("skip", ""), ("park", "parked: MODIFY")):
        page.wait_for(f"document.querySelector('[data-action={button}]')?.disabled === false")
        page.run(f"document.querySelector('[data-action={button}]').click()")
        page.wait_for(f"document.querySelector('#trouble .detail').innerText.includes({json.dumps(text)})")
    assert chips(page) == ["✖ v1", "▣ v1"]
    page.run("document.querySelectorAll('#trouble .pick')[1].click()")
    page.wait_for("document.querySelector('[data-action=redrive]')?.disabled === false")
    page.run("document.querySelector('[data-action=redrive]').click()")
    page.wait_for("document.querySelector('#trouble .answer')?.innerText.includes('1 change put back')")
    executed = [call for call in sandbox.command.calls if "--yes" in call]
    assert executed == [
        ["retry", "mirror", "--yes", f"--item={'d' * 32}"],
        ["skip", "mirror", "--yes", f"--item={'d' * 32}"],
        ["redrive", "mirror", "--yes", f"--item={'e' * 32}"],
    ]


def test_a_fault_is_provoked_with_a_button(page: Page, sandbox: PageDriver):
    page.run("document.querySelector('[data-fault=fail]').click()")
    page.wait_for("document.querySelector('[data-fault=fail]').getAttribute('aria-pressed') === 'true'")
    assert sandbox.faults.on == {"mirror": ["fail"]}
    page.run("document.querySelector('[data-fault=fail]').click()")
    page.wait_for("document.querySelector('[data-fault=fail]').getAttribute('aria-pressed') === 'false'")
    assert sandbox.faults.on == {"mirror": []}


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_its_window_in_both_schemes(page: Page, sandbox: PageDriver, width: int):
    batch(sandbox, change(1, "held", "customer_id=with-a-long-name order_id=" + "9" * 60))
    page.wait_for("document.querySelectorAll('.chip').length === 1")
    backgrounds: set[str] = set()
    for scheme in ("light", "dark"):
        page.look(width, scheme=scheme)
        assert page.run("document.documentElement.scrollWidth") == width
        backgrounds.add(page.run("getComputedStyle(document.documentElement).backgroundColor"))
    page.look(1280)
    assert len(backgrounds) == 2


def test_the_page_says_when_the_sandbox_has_stopped(browser: Page, sandbox: PageDriver):
    browser.open(sandbox.server.url)
    browser.wait_for("document.querySelector('#connection')?.textContent === '● live'")
    sandbox.server.close()
    browser.wait_for("document.querySelector('#stopped').hidden === false")
    assert browser.text("#stopped h2") == "The sandbox has stopped"
    with serve() as another:  # a sandbox that starts at the same address has another token
        browser.open(sandbox.server.url.replace(f":{sandbox.server.port}/", f":{another.server.port}/"))
        assert "the address has no token, or that of another sandbox" in browser.wait_for("document.body.innerText")
