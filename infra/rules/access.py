"""Rules about rights: roles, policies of resources, and functions that write what they read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.rules import permissions
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
    as_list,
    as_strings,
    links,
    of_type,
    value_at,
)


@rule(Level.UNSAFE, ROLE, ROLE_POLICY, POLICY, ROLE_ATTACHMENT, ATTACHMENT)
def wildcard_permissions(resource: ResourceView) -> Iterator[str]:
    """A role may do what it does, and nothing else."""
    for arn in [resource.inputs.get("policyArn"), *as_list(resource.inputs.get("managedPolicyArns"))]:
        if isinstance(arn, str) and (message := permissions.managed_too_wide(arn)):
            yield message
    for document in _documents(resource):
        yield from permissions.too_wide(document)


@rule(Level.UNSAFE, BUCKET_POLICY, QUEUE_POLICY, TOPIC_POLICY, TABLE_POLICY, QUEUE, TOPIC)
def open_policy(resource: ResourceView) -> Iterator[str]:
    """A table, bucket, queue or topic is open to the principals that are named."""
    yield from permissions.open_to_everybody(resource.inputs.get("policy"))


def _documents(resource: ResourceView) -> list[Any]:
    """The policies that a resource of a role holds."""
    inline = [value_at(each, "policy") for each in as_list(resource.inputs.get("inlinePolicies"))]
    return [document for document in (resource.inputs.get("policy"), *inline) if document is not None]


@dataclass(frozen=True)
class _ReadAndWrite:
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
    uses = list(_readers_that_write(resources, tables))
    for use in uses:
        if use.writes == use.reads and not use.declared:
            name = tables.name(use.reads)
            yield (
                use.policy,
                f"{use.function.name} reads {name} and may write it ({use.policy.name}): every write would trigger it "
                "again, endlessly. Write to another table, or filter out its own writes and declare "
                "allow_writes_to=[...]",
            )
    for round_trip in _cycles(uses):
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


def _declarations(uses: Sequence[_ReadAndWrite], tables: Tables) -> str:
    return " and ".join(f"allow_writes_to=[{tables.name(use.reads)}] for {use.function.name}" for use in uses)


def _readers_that_write(resources: Sequence[ResourceView], tables: Tables) -> Iterator[_ReadAndWrite]:
    consumers = {consumer.urn: consumer for consumer in of_type(resources, CONSUMER)}
    known = {*tables.by_identity, *(table for each in of_type(resources, MAPPING) for table in tables.read_by(each))}
    writes = {
        role: [(policy, table) for policy in policies for table in _written(policy, tables, sorted(known))]
        for role, policies in _policies_by_role(resources).items()
    }
    roles = {function.urn: role.urn for function, role in links(resources, FUNCTION, "role", ROLE)}
    for mapping, function in links(resources, MAPPING, "functionName", FUNCTION):
        consumer = consumers.get(mapping.parent)
        if consumer is None and mapping.inputs.get("filterCriteria"):
            continue
        loops = as_list(value_at(consumer and consumer.inputs, "allowWritesTo"))
        declared = {table for loop in loops for table in tables.identities(loop)}
        for table in tables.read_by(mapping):
            for policy, written in writes.get(roles.get(function.urn, ""), ()):
                yield _ReadAndWrite(function, table, written, policy, table in declared)


def _written(policy: ResourceView, tables: Tables, known: Sequence[str]) -> Iterator[str]:
    """The tables that a policy lets one write."""
    allow = [permissions.allowed_on(document, permissions.TABLE_WRITES) for document in _documents(policy)]
    for table in known:
        names = as_strings([table, tables[table].inputs.get("arn")])
        if any(allows(*names) for allows in allow):
            yield table


def _policies_by_role(resources: Sequence[ResourceView]) -> Mapping[str, list[ResourceView]]:
    """URNs of roles to what holds their policies: the role itself, policies within it, and attached ones."""
    found = {role.urn: [role] for role in of_type(resources, ROLE)}
    for policy, role in links(resources, ROLE_POLICY, "role", ROLE):
        found[role.urn].append(policy)
    for role, policy in links(resources, ROLE, "managedPolicyArns", POLICY):
        found[role.urn].append(policy)
    for kind, by in ((ROLE_ATTACHMENT, "role"), (ATTACHMENT, "roles")):
        attached = list(links(resources, kind, "policyArn", POLICY))
        for attachment, role in links(resources, kind, by, ROLE):
            found[role.urn] += [policy for each, policy in attached if each is attachment]
    return found


def _cycles(uses: Sequence[_ReadAndWrite]) -> Iterator[list[_ReadAndWrite]]:
    """Shortest ways from a table back to it over several functions; each table is on one of them at most."""
    steps: dict[str, list[_ReadAndWrite]] = {}
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
