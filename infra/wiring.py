"""What the rules say of a consumer's wiring, all of it at once, before its first resource."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from infra import rules
from infra.grants import Grant, allow
from infra.guard import Finding, judge
from infra.mapping_args import MappingArgs, as_inputs, refusals
from infra.resource import FUNCTION, MAPPING, QUEUE, ROLE_POLICY, TABLE, UNKNOWN, Resource
from infra.rules import Level
from infra.settings import Tuning
from infra.table import Table, ViewType


def findings(
    consumer: str,
    sources: Mapping[Table, Sequence[str]],
    granted: Mapping[str, Grant],
    tuning: Tuning,
    mapping_args: MappingArgs,
    *,
    runtime: str | None,
    destination: bool,
    needs: ViewType,
    loops: Collection[Table],
) -> Iterator[Finding]:
    """What may go wrong with a consumer of `sources`, tables to filter patterns, and how to mend it.

    Outputs that are not known yet do not matter: what a resource is made of is said by names.
    """
    yield from ((Level.REFUSED, message) for message in refusals(consumer, mapping_args))
    sizes: dict[str, Any] = tuning.model_dump(by_alias=True)
    given = {
        "destinationConfig": UNKNOWN if destination else None,
        "functionResponseTypes": ["ReportBatchItemFailures"],
    }
    function = Resource(FUNCTION, consumer, sizes | {"runtime": runtime}, consumer, {"role": [consumer]})
    mappings = [
        Resource(
            MAPPING,
            f"{consumer}-{table.name}",
            sizes
            | as_inputs(mapping_args)
            | given
            | {"filterCriteria": {"filters": [{"pattern": pattern} for pattern in patterns]}},
            f"{consumer}-{table.name}",
            {"eventSourceArn": [_urn(table)], "functionName": [consumer]},
        )
        for table, patterns in sources.items()
    ]
    rights = [
        Resource(ROLE_POLICY, f"{consumer}'s {variable}", {"policy": {"Statement": list(grant.statements)}})
        for variable, grant in granted.items()
    ]
    yield from rules.findings([*mappings, function, *rights])
    for mapping, table in zip(mappings, sources, strict=True):
        of = f"{consumer} on {table.name}"
        yield from ((Level.UNSAFE, f"{mapping.name}: {message}") for message in rules.short_age(mapping))
        if any(grant.fenced for grant in granted.values()):
            yield from ((Level.UNSAFE, f"{of}: {message}") for message in rules.fenced_filters(mapping))
        view = Resource(TABLE, table.name, {"streamViewType": table.view_type})
        yield from ((Level.REFUSED, f"{of}: {message}") for message in rules.poor_view(view, needs))
        readers = [
            Resource(MAPPING, each, dependencies={"eventSourceArn": [_urn(table)]})
            for each in (*table.readers, consumer)
        ]
        yield from ((Level.REFUSED, message) for _, message in rules.third_reader(readers))
    yield from _loops(function, [table for table in sources if table not in loops], granted)


def refuse_fifo(consumer: str, *, fifo: bool | None) -> None:
    """Refuse a queue or topic that a mapping cannot deliver to."""
    target = Resource(QUEUE, "on_failure", {"fifoQueue": fifo}, "target")
    found = rules.fifo_destination([target, Resource(MAPPING, consumer, {}, "", {"destinationConfig": ["target"]})])
    judge(((Level.REFUSED, message) for _, message in found), protect=False)


def _loops(function: Resource, reads: Sequence[Table], granted: Mapping[str, Grant]) -> Iterator[Finding]:
    """Writes to what is read: Lambda's own detection of loops does not cover DynamoDB."""
    tables = [Resource(TABLE, table.name, {"arn": table.name}, _urn(table)) for table in reads]
    links = {"eventSourceArn": [table.urn for table in tables], "functionName": [function.urn]}
    names = {id(table.arn): table.name for table in reads}
    policies = [
        Resource(
            ROLE_POLICY,
            variable,
            {
                "policy": {
                    "Statement": [
                        allow(["dynamodb:PutItem"], [table.name for table in grant.writes]),
                        *({**each, "Resource": _named(each.get("Resource"), names)} for each in grant.statements),
                    ]
                }
            },
            dependencies={"role": [function.urn]},
        )
        for variable, grant in granted.items()
    ]
    found = rules.write_back_loop([*tables, *policies, function, Resource(MAPPING, function.name, {}, "", links)])
    yield from ((Level.REFUSED, message) for _, message in found)


def _named(resources: object, names: Mapping[int, str]) -> list[str]:
    """Names of the tables whose ARNs, outputs as yet, stand among a statement's resources."""
    listed = cast("list[object]", resources) if isinstance(resources, list) else [resources]
    return [names[id(each)] for each in listed if id(each) in names]


def _urn(table: Table) -> str:
    return f"{TABLE}::{table.name}"
