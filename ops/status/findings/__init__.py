"""Judges facts: pure functions from what was read to what is wrong, the most urgent first."""

from collections.abc import Iterator

from ops.status.facts import Facts
from ops.status.findings.finding import Finding, Level
from ops.status.findings.functions import function_findings, lag_findings
from ops.status.findings.mappings import mapping_findings, missing_mapping
from ops.status.findings.stores import (
    failure_findings,
    gone_findings,
    hold_findings,
    lifetime_findings,
    retry_findings,
    shared_findings,
)
from ops.status.summary import lag_of

__all__ = ["Finding", "Level", "judge"]


def judge(facts: Facts) -> list[Finding]:
    """Return what is wrong, the most urgent first; findings of one urgency keep the order of the consumers."""
    return sorted(_findings(facts), key=lambda finding: finding.level)


def _findings(facts: Facts) -> Iterator[Finding]:
    now = facts.now
    for consumer in facts.consumers:
        for table in consumer.missing_mappings:
            yield missing_mapping(consumer.name, table)
        for mapping in consumer.mappings:
            table = None if mapping.is_of_another_account else facts.tables.get(mapping.table_name)
            yield from mapping_findings(consumer, mapping, table, now)
        yield from function_findings(consumer, now)
        yield from lag_findings(consumer, lag_of(consumer), now)
        yield from hold_findings(consumer, now)
        yield from retry_findings(consumer, now)
        yield from failure_findings(consumer, now)
        yield from lifetime_findings(consumer, facts)
    yield from shared_findings(facts)
    for gone in facts.gone:
        yield from gone_findings(gone, now)
