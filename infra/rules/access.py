"""Rules about rights: roles, policies of resources, and functions that write what they read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.rules import rights
from infra.rules.rule import Level, rule, stack_rule
from infra.rules.view import (
    ATTACHMENT,
    BUCKET_POLICY,
    CONSUMER,
    FUNCTION,
    MAPPING,
    POLICY,
    QUEUE,
    QUEUE_POLICY,
    ROLE,
    ROLE_ATTACHMENT,
    ROLE_POLICY,
    TABLE_POLICY,
    TOPIC,
    TOPIC_POLICY,
    ResourceView,
    Tables,
    linked,
    listed,
    of,
    texts,
    within,
)


@rule(Level.UNSAFE, ROLE, ROLE_POLICY, POLICY, ROLE_ATTACHMENT, ATTACHMENT)
def wildcard_rights(resource: ResourceView) -> Iterator[str]:
    """A role may do what it does, and nothing else."""
    for arn in [resource.inputs.get("policyArn"), *listed(resource.inputs.get("managedPolicyArns"))]:
        if isinstance(arn, str) and (message := rights.managed_too_wide(arn)):
            yield message
    for document in _documents(resource):
        yield from rights.too_wide(document)


@rule(Level.UNSAFE, BUCKET_POLICY, QUEUE_POLICY, TOPIC_POLICY, TABLE_POLICY, QUEUE, TOPIC)
def open_policy(resource: ResourceView) -> Iterator[str]:
    """A table, bucket, queue or topic is open to the principals that are named."""
    yield from rights.public(resource.inputs.get("policy"))


def _documents(resource: ResourceView) -> list[Any]:
    """The policies that a resource of a role holds."""
    inline = [within(each, "policy") for each in listed(resource.inputs.get("inlinePolicies"))]
    return [document for document in (resource.inputs.get("policy"), *inline) if document is not None]


@dataclass(frozen=True)
class _Use:
    """A function that reads a table by a mapping and may write another one, or the same, by a policy."""

    function: ResourceView
    reads: str
    writes: str
    policy: ResourceView
    declared: bool  # whether the consumer declares that what it reads comes back to it


@stack_rule(Level.REFUSED)
def write_back_loop(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A function does not write the table whose changes it reads, nor one whose reader writes that table.

    A filter may leave a function's own writes out; a consumer declares that with `allow_writes_to`. Where only the
    update knows a policy's text, the loop is seen by the update, or by the next preview.
    """
    tables = Tables(resources)
    uses = list(_uses(resources, tables))
    for use in uses:
        if use.writes == use.reads and not use.declared:
            name = tables.name(use.reads)
            yield (
                use.policy,
                f"{use.function.name} reads {name} and may write it ({use.policy.name}): every write would trigger it "
                "again, endlessly. Write to another table, or filter out its own writes and declare "
                "allow_writes_to=[...]",
            )
    for round_trip in _round_trips(uses):
        if all(use.declared for use in round_trip):
            continue
        steps = ", and ".join(
            f"{use.function.name} reads {tables.name(use.reads)} and may write {tables.name(use.writes)} "
            f"({use.policy.name})"
            for use in round_trip
        )
        yield (
            round_trip[-1].policy,
            f"{steps}: each write would trigger the next, endlessly. Write to another table, or filter out what the "
            f"other writes and declare {_declarations(round_trip, tables)}",
        )


def _declarations(uses: Sequence[_Use], tables: Tables) -> str:
    return " and ".join(f"allow_writes_to=[{tables.name(use.reads)}] for {use.function.name}" for use in uses)


def _uses(resources: Sequence[ResourceView], tables: Tables) -> Iterator[_Use]:
    consumers = {consumer.urn: consumer for consumer in of(resources, CONSUMER)}
    known = {*tables.by_identity, *(table for each in of(resources, MAPPING) for table in tables.read_by(each))}
    writes = {
        role: [(policy, table) for policy in policies for table in _written(policy, tables, sorted(known))]
        for role, policies in _policies_by_role(resources).items()
    }
    roles = {function.urn: role.urn for function, role in linked(resources, FUNCTION, "role", ROLE)}
    for mapping, function in linked(resources, MAPPING, "functionName", FUNCTION):
        consumer = consumers.get(mapping.parent)
        if consumer is None and mapping.inputs.get("filterCriteria"):
            continue
        loops = listed(within(consumer and consumer.inputs, "allowWritesTo"))
        declared = {table for loop in loops for table in tables.identities(loop)}
        for table in tables.read_by(mapping):
            for policy, written in writes.get(roles.get(function.urn, ""), ()):
                yield _Use(function, table, written, policy, table in declared)


def _written(policy: ResourceView, tables: Tables, known: Sequence[str]) -> Iterator[str]:
    """The tables that a policy lets one write."""
    allow = [rights.allowing(document, rights.TABLE_WRITES) for document in _documents(policy)]
    for table in known:
        names = texts([table, tables[table].inputs.get("arn")])
        if any(allows(*names) for allows in allow):
            yield table


def _policies_by_role(resources: Sequence[ResourceView]) -> Mapping[str, list[ResourceView]]:
    """URNs of roles to what holds their policies: the role itself, policies within it, and attached ones."""
    found = {role.urn: [role] for role in of(resources, ROLE)}
    for policy, role in linked(resources, ROLE_POLICY, "role", ROLE):
        found[role.urn].append(policy)
    for role, policy in linked(resources, ROLE, "managedPolicyArns", POLICY):
        found[role.urn].append(policy)
    for kind, by in ((ROLE_ATTACHMENT, "role"), (ATTACHMENT, "roles")):
        attached = list(linked(resources, kind, "policyArn", POLICY))
        for attachment, role in linked(resources, kind, by, ROLE):
            found[role.urn] += [policy for each, policy in attached if each is attachment]
    return found


def _round_trips(uses: Sequence[_Use]) -> Iterator[list[_Use]]:
    """Shortest ways from a table back to it over several functions; each table is on one of them at most."""
    steps: dict[str, list[_Use]] = {}
    for use in uses:
        if use.reads != use.writes:
            steps.setdefault(use.reads, []).append(use)
    told: set[str] = set()
    for start in sorted(steps):
        trips, seen = [[use] for use in steps[start]], {start}
        while trips and start not in told:
            trip = trips.pop(0)
            if trip[-1].writes == start:
                told |= {use.reads for use in trip}
                yield trip
            elif trip[-1].writes not in seen:
                seen.add(trip[-1].writes)
                trips += [[*trip, use] for use in steps.get(trip[-1].writes, ())]
