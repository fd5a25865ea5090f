"""The screen of status: the consumers with trouble first, each with what is wrong and the command that helps."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ops.status.facts import ConsumerFacts, Facts, Unread
from ops.status.findings.finding import Finding, Level
from ops.status.reading.calls import ACCESS_DENIED
from ops.status.summary import Summary, summary_of
from ops.text.counts import count, rate
from ops.text.lines import WIDTH, wrapped
from ops.text.times import ago, clock, duration_text

MARKS = {Level.NOW: "✖", Level.SOON: "!", Level.NOTE: "·"}
COLOURS = {Level.NOW: "bold red", Level.SOON: "yellow", Level.NOTE: "default"}
WELL, WELL_COLOUR = "✔", "green"
UP_TO_DATE_SECONDS = 10
"""The age of a batch of a mapping that is up to date: the batching window of the settings and some seconds."""
QUIET_SECONDS = 900
"""After this time without a batch, the line says since when."""
SKEW_SECONDS = 30
"""The Date of AWS's answers has whole seconds; a smaller difference does not matter."""

Line = tuple[str, str]
"""A line, and the style of Rich in which it is shown."""


def lines(facts: Facts, findings: Sequence[Finding], options: str = "") -> Iterator[Line]:
    """Return the lines of the screen.

    Parameters
    ----------
    options
        Options such as ` --stack prod`, which the suggested commands need as well.
    """
    yield _headline(facts, findings), "bold"
    yield from _skew(facts.clock_skew)
    yield from _consumers(facts, findings, options)
    shared = [finding for finding in findings if finding.consumer is None]
    if shared:
        yield "", ""
        yield "  the stores, the tables, and consumers that are gone", "bold"
        for finding in shared:
            yield from _finding(finding, options)
    if facts.unread:
        yield "", ""
        yield from _unread(facts.unread)


def _headline(facts: Facts, findings: Sequence[Finding]) -> str:
    urgent = sum(finding.level < Level.NOTE for finding in findings)
    if urgent:
        verdict = f"{count(urgent, 'thing')} to do"
    elif facts.unread:
        verdict = "nothing is wrong in what could be read"
    elif all(summary_of(consumer, facts.now).has_metrics for consumer in facts.consumers):
        verdict = "all is well"
    else:
        verdict = "nothing is wrong, as far as is known without metrics"
    return f"{verdict} · {count(len(facts.consumers), 'consumer')} · {clock(facts.now, facts.now)}"


def _skew(seconds: float) -> Iterator[Line]:
    if abs(seconds) >= SKEW_SECONDS:
        side = "behind" if seconds > 0 else "ahead of"
        text = f"This machine's clock is {duration_text(abs(seconds))} {side} AWS's; times here are AWS's."
        yield from _wrapped(text, "", "  ", "yellow")


def _consumers(facts: Facts, findings: Sequence[Finding], options: str) -> Iterator[Line]:
    by_consumer = {
        consumer.name: [finding for finding in findings if finding.consumer == consumer.name]
        for consumer in facts.consumers
    }
    unread = {each.consumer for each in facts.unread}
    width = max((len(consumer.name) for consumer in facts.consumers), default=0)
    needs_gap = True
    for consumer in sorted(facts.consumers, key=lambda consumer: _urgency(by_consumer[consumer.name])):
        found = by_consumer[consumer.name]
        if needs_gap or found:
            yield "", ""
        needs_gap = bool(found)
        summary = summary_of(consumer, facts.now)
        mark, colour = _mark(found, is_known=consumer.name not in unread and summary.has_metrics)
        figures = " · ".join(_figures(consumer, summary, facts.now))
        yield from _wrapped(figures, f"{mark} {consumer.name:<{width}}  ", " " * (width + 4), colour)
        for finding in found:
            yield from _finding(finding, options)


def _unread(unread: Sequence[Unread]) -> Iterator[Line]:
    yield "could not be read:", "yellow"
    for each in sorted(unread, key=lambda each: (each.consumer is None, each.consumer or "", each.what)):
        what = f"{each.consumer}: {each.what}" if each.consumer else each.what
        yield from _wrapped(f"{what}: {each.reason}", "? ", "  ", "yellow")
    if any(each.reason.startswith(ACCESS_DENIED) for each in unread):
        yield "  docs/roles has the permissions that status needs.", ""


def _urgency(findings: Sequence[Finding]) -> int:
    return min((finding.level for finding in findings), default=Level.NOTE + 1)


def _mark(findings: Sequence[Finding], *, is_known: bool) -> tuple[str, str]:
    urgent = [finding.level for finding in findings if finding.level < Level.NOTE]
    if urgent:
        return MARKS[min(urgent)], COLOURS[min(urgent)]
    return (WELL, WELL_COLOUR) if is_known else ("?", "yellow")


def _figures(consumer: ConsumerFacts, figures: Summary, now: float) -> Iterator[str]:
    yield _lag(figures, now)
    if figures.changes_per_second is not None:
        yield rate(figures.changes_per_second)
    if consumer.ledger_name is None:
        yield "no stores"
    if figures.held_items is not None:
        yield f"{count(figures.held_items, 'item')} held" if figures.held_items else "nothing held"
    if figures.parked_changes:
        yield f"{figures.parked_changes:,}{'+' if figures.has_more_parked else ''} parked"
    if figures.last_retry_at is not None:
        yield f"retried {ago(now - figures.last_retry_at)}"


def _lag(figures: Summary, now: float) -> str:
    lag = figures.lag
    if lag is None:
        return "no batch seen" if figures.has_metrics else "no metrics yet"
    behind = "" if lag.seconds <= UP_TO_DATE_SECONDS else f"{duration_text(lag.seconds)} behind"
    if now - lag.at > QUIET_SECONDS:
        return f"no batch since {clock(lag.at, now)}{f', then {behind}' if behind else ''}"
    if not behind:
        return "up to date"
    if lag.is_rising:
        return f"{behind} and falling back"
    return f"{behind}{f', caught up in {duration_text(lag.catch_up_seconds)}' if lag.catch_up_seconds else ''}"


def _finding(finding: Finding, options: str) -> Iterator[Line]:
    yield from _wrapped(finding.state, f"  {MARKS[finding.level]} ", "    ", COLOURS[finding.level])
    yield from _wrapped(finding.meaning, "    ", "    ", "")
    section = f"docs/runbook.md#{finding.section}"
    if finding.command is None:
        yield f"    → {section}", "cyan"
        return
    command = finding.command + (options if finding.command.startswith("python -m ops") else "")
    together = f"    → {command:<34}  {section}"
    if len(together) <= WIDTH:
        yield together, "cyan"
    else:
        yield f"    → {command}", "cyan"
        yield f"      {section}", "cyan"


def _wrapped(text: str, first: str, following: str, style: str) -> Iterator[Line]:
    return ((line, style) for line in wrapped(text, first, following))


def as_json(facts: Facts, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return facts and findings for scripts; times are seconds since 1970, durations are seconds."""
    return {
        "findings": [{**asdict(finding), "level": finding.level.name.lower()} for finding in findings],
        "consumers": {
            consumer.name: {**asdict(consumer), "summary": asdict(summary_of(consumer, facts.now))}
            for consumer in facts.consumers
        },
        "tables": {name: asdict(table) for name, table in facts.tables.items()},
        "stores": asdict(facts.stores),
        "gone": [asdict(each) for each in facts.gone],
        "unread": [asdict(each) for each in facts.unread],
        "now": facts.now,
        "clock_skew": facts.clock_skew,
    }
