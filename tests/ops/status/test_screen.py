"""The screen of status: 80 columns, trouble first, readable without colour."""

from dataclasses import replace

from ops.status.facts import ConsumerFacts, Facts, HeldError, HoldFacts, Listing, Unread
from ops.status.findings import judge
from ops.status.screen import as_json, lines
from tests.ops.status.facts import CONSUMER, HOUR, MAPPING, MINUTE, NOW, facts, hours, minutes, with_mapping


def screen(seen: Facts, options: str = "") -> str:
    shown = [text for text, _ in lines(seen, judge(seen), options)]
    assert max(map(len, shown)) <= 80
    assert all("\n" not in text for text in shown)
    return "\n".join(shown)


def named(name: str, consumer: ConsumerFacts = CONSUMER) -> ConsumerFacts:
    return replace(consumer, name=name, ledger_name=name)


def test_all_is_well():
    assert screen(facts(named("change-log"), named("mirror"))) == (
        "all is well · 2 consumers · 22:40 UTC\n"
        "\n"
        "✔ change-log  up to date · 1.0/s · nothing held · retried now\n"
        "✔ mirror      up to date · 1.0/s · nothing held · retried now"
    )


def test_trouble_comes_first_with_the_command_that_helps():
    held = HoldFacts(
        *(211, False, 640, NOW - 3.2 * HOUR, NOW - MINUTE),
        (HeldError('EndpointConnectionError: Could not connect to the endpoint URL: "…"', 100),),
    )
    mapping = replace(
        MAPPING,
        state="Disabled",
        modified_at=NOW - 3 * HOUR,
        recent={},
        history={"PolledEventCount": hours(300, until=3)},
    )
    stopped = replace(
        named("mirror"),
        mappings=(mapping,),
        holds=held,
        parked=Listing(1000, has_more=True, oldest_at=NOW - 5 * HOUR, newest_at=NOW - HOUR),
        recent={"HeldItems": minutes(211, until=1)},
        history={"IteratorAge": hours(400, until=3)},
    )
    assert screen(facts(named("change-log"), stopped), " --stack prod") == (
        "3 things to do · 2 consumers · 22:40 UTC\n"
        "\n"
        "✖ mirror      no batch since 19:40 UTC · 0/s · 211 items held · 1,000+ parked ·\n"
        "              retried 1 min ago\n"
        "  ✖ The mapping of orders is disabled since 19:40 UTC (3 h ago).\n"
        "    No change of orders is processed. The oldest unread changes expire in 21 h,\n"
        "    at 27 Nov 19:40 UTC.\n"
        "    → python -m ops resume mirror --stack prod  docs/runbook.md#nothing-read\n"
        "  ✖ 211 items are held, the first since 19:28 UTC (3 h 12 min ago).\n"
        "    640 changes wait in order, and the schedule retries them. Most frequent\n"
        "    error (100 of the 100 longest held): EndpointConnectionError: Could not\n"
        '    connect to the endpoint URL: "…"\n'
        "    → python -m ops held mirror --stack prod  docs/runbook.md#many-held\n"
        "  ! more than 1,000 changes were parked, the last at 21:40 UTC.\n"
        "    The engine gave them up, and nothing retries them. The failure bucket has\n"
        "    each whole.\n"
        "    → python -m ops failures mirror --stack prod  docs/runbook.md#parked\n"
        "\n"
        "✔ change-log  up to date · 1.0/s · nothing held · retried now"
    )


def test_the_options_are_repeated_only_for_these_commands():
    shown = screen(facts(with_mapping(state="Disabled"), replace(named("b"), schedule="missing")), " --stack prod")
    assert "python -m ops resume mirror --stack prod" in shown
    assert "pulumi up --refresh  " in shown


def test_a_function_that_is_behind_says_when_it_is_up_to_date():
    ages = tuple((NOW - 660 + 60 * minute, 1_200_000.0 - 30_000 * minute) for minute in range(11))
    shown = screen(facts(replace(CONSUMER, recent={**CONSUMER.recent, "IteratorAge": ages})))
    assert "✔ mirror  15 min behind, caught up in 30 min · 1.0/s · nothing held ·" in shown


def test_without_metrics_the_line_says_so():
    mapping = replace(MAPPING, recent={}, history={})
    silent = replace(CONSUMER, recent={}, history={}, mappings=(mapping,))
    assert screen(facts(silent, tables={})).splitlines() == [
        "nothing is wrong, as far as is known without metrics · 1 consumer · 22:40 UTC",
        "",
        "? mirror  no metrics yet · nothing held",
    ]


def test_what_could_not_be_read_is_said_and_the_rest_is_shown():
    unread = (Unread("mirror", "the held items", "access denied"), Unread(None, "the metrics", "ThrottlingException"))
    seen = facts(named("change-log"), replace(CONSUMER, holds=None), unread=unread)
    assert screen(seen) == (
        "nothing is wrong in what could be read · 2 consumers · 22:40 UTC\n"
        "\n"
        "✔ change-log  up to date · 1.0/s · nothing held · retried now\n"
        "? mirror      up to date · 1.0/s · retried now\n"
        "\n"
        "could not be read:\n"
        "? mirror: the held items: access denied\n"
        "? the metrics: ThrottlingException\n"
        "  docs/roles has the permissions that status needs."
    )


def test_a_clock_that_is_wrong_is_named():
    shown = screen(facts(clock_skew=125.0))
    assert "This machine's clock is 2 min behind AWS's; times here are AWS's." in shown


def test_json_has_facts_and_findings():
    result = as_json(seen := facts(with_mapping(state="Disabled")), judge(seen))
    assert [(each["kind"], each["level"], each["consumer"]) for each in result["findings"]] == [
        ("mapping-disabled", "now", "mirror")
    ]
    assert set(result) == {"findings", "consumers", "tables", "stores", "gone", "unread", "now", "clock_skew"}
    assert result["consumers"]["mirror"]["mappings"][0]["state"] == "Disabled"
    assert result["consumers"]["mirror"]["summary"]["held_items"] == 0
