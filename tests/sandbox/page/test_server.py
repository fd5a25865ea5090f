"""The page's server gives facts and actions to whoever has the token, and to no page of another origin."""

import contextlib
import http.client
import json
import threading
from collections.abc import Generator
from itertools import islice
from typing import Any

import pytest

from sandbox.page.commands import FinishedCommand
from sandbox.page.server import MAX_BODY_BYTES
from tests.sandbox.page.page_driver import PageDriver, lines, serve


@pytest.fixture
def page() -> Generator[PageDriver]:
    with serve() as driver:
        yield driver


def test_nothing_is_served_without_the_token(page: PageDriver):
    for path in ("/", "/events", "/facts", "/items", "/held", "/failures", "/faults", "/none"):
        for token in ("", "another", "é", page.token[:-1]):
            status, answer = page.call("GET", path, token=token)
            assert status == 403
            assert answer["error"].startswith("the address has no token, or that of another sandbox")


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"Host": "evil.example"}, "the page is served at 127.0.0.1 only"),
        ({"Host": "127.0.0.1.evil.example:80"}, "the page is served at 127.0.0.1 only"),
        ({"Origin": "https://evil.example"}, "pages of https://evil.example may not call"),
        ({"Origin": "http://localhost:3000"}, "pages of http://localhost:3000 may not call"),
        ({"Origin": "null"}, "pages of null may not call"),
    ],
)
def test_a_page_of_another_origin_is_refused(page: PageDriver, headers: dict[str, str], error: str):
    for method in ("GET", "POST", "DELETE"):
        with page.answer(method, "/faults", b"{}", headers=headers) as response:
            assert response.status == 403
            assert json.load(response)["error"].startswith(error)


def test_a_forwarded_port_and_the_own_origin_are_served(page: PageDriver):
    headers = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}
    with page.answer("GET", "/faults", headers=headers) as response:
        assert response.status == 200


def test_the_page_may_load_nothing_but_itself(page: PageDriver):
    with page.answer("GET", "/") as response:
        policy, text = response.headers["Content-Security-Policy"], response.read().decode()
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert (response.headers["Cache-Control"], response.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert [url for url in ("https://", "//cdn", "innerHTML", "style=") if url in text] == []


def test_events_are_the_facts_with_their_numbers(page: PageDriver):
    page.feed.publish("batch", consumer="mirror", text="two\nlines, ✔")
    with page.answer("GET", "/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        stream = iter(response.readline, b"")
        assert next(stream) == b"id: 1\n"
        assert json.loads(next(stream).removeprefix(b"data: ")) == page.feed.latest("batch")
        page.feed.publish("mail", subject="later")
        assert next(lines(response, "id: ")) == "2"


@pytest.mark.parametrize(("query", "headers"), [({"after": "3"}, {}), ({"after": "1"}, {"Last-Event-ID": "3"})])
def test_a_reader_goes_on_where_it_stopped(page: PageDriver, query: dict[str, str], headers: dict[str, str]):
    page.feed.publish("state", consumers={})
    for number in range(3):
        page.feed.publish("batch", number=number)
    with page.answer("GET", "/events", query=query, headers=headers) as response:
        facts = [json.loads(line) for line in islice(lines(response, "data: "), 2)]
    assert [(fact["kind"], fact["n"]) for fact in facts] == [("state", 1), ("batch", 4)]


def test_a_fact_that_comes_again_does_not_turn_the_reader_back(page: PageDriver):
    page.feed.publish("state", consumers={})
    page.feed.publish("batch")
    page.feed.publish("batch")
    with page.answer("GET", "/events", query={"after": "2"}) as response:
        assert next(lines(response, "id: ")) == "3"


def test_facts_are_json_lines(page: PageDriver):
    page.feed.publish("batch", text="✔")
    page.feed.publish("batch")
    with page.answer("GET", "/facts", query={"after": "1"}) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
        assert json.loads(response.readline())["n"] == 2
        assert response.readline() == b"\n"  # a heartbeat


def test_a_burst_arrives_whole_and_in_order(page: PageDriver):
    with page.answer("GET", "/facts") as response:
        assert response.readline() == b"\n"  # the reader is there
        for number in range(5_000):
            page.feed.publish("batch", number=number)
        facts = [json.loads(line) for line in islice((each for each in response if each.strip()), 5_000)]
    assert [fact["number"] for fact in facts] == list(range(5_000))


def test_a_reader_that_is_gone_and_a_server_that_closes_end_the_stream(page: PageDriver):
    others = set(threading.enumerate())
    with page.answer("GET", "/events"):
        pass
    with page.answer("GET", "/events") as response:
        page.server.close()
        assert response.read().strip(b":\n") == b""
    page.server.close()
    for thread in set(threading.enumerate()) - others:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("method", "path", "body", "query", "status", "error"),
    [
        ("GET", "/none", None, {}, 404, "there is no GET /none"),
        ("POST", "/held", b"{}", {}, 404, "there is no POST /held"),
        ("GET", "/events", None, {"after": "-1"}, 400, "after=-1 is not the number of a fact"),
        ("GET", "/items", None, {}, 400, "the query has no table="),
        ("GET", "/items", None, {"table": "orders"}, 400, "the embedded AWS does not answer: "),
        ("POST", "/retry", b"{", {}, 400, "the body is not a JSON object"),
        ("POST", "/retry", b"[]", {}, 400, "the body is not a JSON object"),
        ("POST", "/retry", b"{}", {}, 400, "the body has no consumer, or one of another type"),
        ("POST", "/skip", {"consumer": "mirror"}, {}, 400, "the body has no item, or one of another type"),
        ("POST", "/redrive", {"consumer": "mirror", "item": 7}, {}, 400, "the body has no item, or one of another"),
        ("POST", "/retry", {"consumer": "--stack"}, {}, 400, "--stack is not the name of a consumer"),
        ("POST", "/faults", {"consumer": "none", "fault": "slow", "on": True}, {}, 400, "the program has no consumer"),
        ("POST", "/faults", {"consumer": "mirror", "fault": "x", "on": True}, {}, 400, "there is no fault x"),
        ("POST", "/items", b"x" * (MAX_BODY_BYTES + 1), {"table": "orders"}, 413, "the body exceeds 1,000,000 bytes"),
    ],
)
def test_a_request_that_cannot_be_served(
    page: PageDriver, method: str, path: str, body: Any, query: dict[str, str], status: int, error: str
):
    found, answer = page.call(method, path, body, **query)
    assert found == status
    assert answer["error"].startswith(error)


def test_a_body_of_unknown_length_is_refused(page: PageDriver):
    connection = http.client.HTTPConnection("127.0.0.1", page.server.port, timeout=5)
    with contextlib.suppress(BrokenPipeError):  # the server may answer before the body has been sent
        connection.request("POST", f"/retry?token={page.token}", iter([b"{}"]))
    assert connection.getresponse().status == 411
    connection.close()


def test_faults_are_switched(page: PageDriver):
    assert page.call("POST", "/faults", {"consumer": "mirror", "fault": "slow", "on": True}) == (
        200,
        {"faults": {"mirror": ["slow"]}},
    )
    page.call("POST", "/faults", {"consumer": "mirror", "fault": "fail", "on": True})
    page.call("POST", "/faults", {"consumer": "mirror", "fault": "slow", "on": False})
    assert page.call("GET", "/faults") == (200, {"faults": {"mirror": ["fail"]}})


def test_held_items_are_those_of_the_command(page: PageDriver):
    page.command.results["held"] = FinishedCommand(1, '{"mirror": {"items": 1}}', "mirror · 1 item is held")
    page.command.results["held --item"] = FinishedCommand(0, "[]", "no item")
    assert page.call("GET", "/held") == (200, {"mirror": {"items": 1}})
    assert page.call("GET", "/held", consumer="mirror", item="--yes") == (200, [])
    assert page.command.calls == [
        ["held", "--json", "--limit", "100"],
        ["held", "mirror", "--json", "--item=--yes", "--limit", "100"],
    ]


def test_a_command_that_could_not_run_is_an_error(page: PageDriver):
    page.command.results["held"] = FinishedCommand(2, "", "the stack has no consumer x\n")
    assert page.call("GET", "/held", consumer="x") == (400, {"error": "the stack has no consumer x"})


def test_failures_are_listed_up_to_a_bound(page: PageDriver):
    page.command.parked = [{"consumer": "mirror", "at": str(number)} for number in range(120)]
    status, answer = page.call("GET", "/failures", consumer="mirror")
    assert (status, len(answer["changes"]), answer["number"]) == (200, 100, 120)
    assert answer["changes"][0] == {"consumer": "mirror", "at": "0"}


@pytest.mark.parametrize(
    ("path", "body", "arguments"),
    [
        ("/retry", {"consumer": "mirror"}, ["retry", "mirror", "--yes"]),
        ("/retry", {"consumer": "mirror", "item": "id=7"}, ["retry", "mirror", "--yes", "--item=id=7"]),
        ("/skip", {"consumer": "mirror", "item": "id=7"}, ["skip", "mirror", "--yes", "--item=id=7"]),
        ("/redrive", {"consumer": "mirror"}, ["redrive", "mirror", "--yes"]),
        (
            "/redrive",
            {"consumer": "mirror", "item": "id=7", "out_of_order": True},
            ["redrive", "mirror", "--yes", "--item=id=7", "--out-of-order"],
        ),
    ],
)
def test_a_button_runs_the_operators_command(page: PageDriver, path: str, body: Any, arguments: list[str]):
    page.command.results[arguments[0]] = FinishedCommand(1, "mirror · 0 of 1 items released\n", "")
    assert page.call("POST", path, body) == (200, {"text": "mirror · 0 of 1 items released", "code": 1})
    assert page.command.calls == [arguments]
