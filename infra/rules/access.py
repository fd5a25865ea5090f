"""Rules about permissions: policies of roles and of resources, and functions that may write the tables they read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.rules import permissions
from infra.rules.rule import Level, rule, stack_rule
from infra.rules.view import ResourceView, Tables, Type, as_list, as_strings, links, of_type, value_at


@rule(Level.UNSAFE, Type.ROLE, Type.ROLE_POLICY, Type.POLICY, Type.ROLE_ATTACHMENT, Type.ATTACHMENT)
def wildcard_permissions(resource: ResourceView) -> Iterator[str]:
    """The permissions of a role name exact actions and resources."""
    for arn in [resource.inputs.get("policyArn"), *as_list(resource.inputs.get("managedPolicyArns"))]:
        if isinstance(arn, str) and (message := permissions.managed_too_wide(arn)):
            yield message
    for document in _documents(resource):
        yield from permissions.too_wide(document)


@rule(Level.UNSAFE, Type.BUCKET_POLICY, Type.QUEUE_POLICY, Type.TOPIC_POLICY, Type.TABLE_POLICY, Type.QUEUE, Type.TOPIC)
def open_policy(resource: ResourceView) -> Iterator[str]:
    """The policy of a table, bucket, queue or topic names the principals that may use it."""
    yield from permissions.open_to_everybody(resource.inputs.get("policy"))


def _documents(resource: ResourceView) -> list[Any]:
    """Return the policy documents that a role or a policy contains."""
    inline = [value_at(each, "policy") for each in as_list(resource.inputs.get("inlinePolicies"))]
    return [document for document in (resource.inputs.get("policy"), *inline) if document is not None]


@dataclass(frozen=True)
class _ReadAndWrite:
    """A function that reads a table by a mapping and may write a table, the same or another one, by a policy."""

    function: ResourceView
    reads: str
    writes: str
    policy: ResourceView
    declared: bool  # whether `allow_writes_to` of the consumer contains the table that it reads


@stack_rule(Level.REFUSED)
def write_back_loop(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A function does not write the table that it reads, and no chain of functions leads from a table back to it.

    A filter can exclude a function's own writes. The consumer declares this by `allow_writes_to`. Where a preview does
    not know a policy's text, the update or the next preview finds the cycle.
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
    for cycle in _cycles(uses):
        if all(use.declared for use in cycle):
            continue
        steps = ", and ".join(
            f"{use.function.name} reads {tables.name(use.reads)} and may write {tables.name(use.writes)} "
            f"({use.policy.name})"
            for use in cycle
        )
        yield (
            cycle[-1].policy,
            f"{steps}: each write would trigger the next, endlessly. Write to another table, or filter out what the "
            f"other writes and declare {_declarations(cycle, tables)}",
        )


def _declarations(uses: Sequence[_ReadAndWrite], tables: Tables) -> str:
    return " and ".join(f"allow_writes_to=[{tables.name(use.reads)}] for {use.function.name}" for use in uses)


def _readers_that_write(resources: Sequence[ResourceView], tables: Tables) -> Iterator[_ReadAndWrite]:
    consumers = {consumer.urn: consumer for consumer in of_type(resources, Type.CONSUMER)}
    known = {
        *tables.by_identity,
        *(table for each in of_type(resources, Type.MAPPING) for table in tables.read_by(each)),
    }
    writes = {
        role: [(policy, table) for policy in policies for table in _written(policy, tables, sorted(known))]
        for role, policies in _policies_by_role(resources).items()
    }
    roles = {function.urn: role.urn for function, role in links(resources, Type.FUNCTION, "role", Type.ROLE)}
    for mapping, function in links(resources, Type.MAPPING, "functionName", Type.FUNCTION):
        consumer = consumers.get(mapping.parent)
        if consumer is None and mapping.inputs.get("filterCriteria"):
            continue
        loops = as_list(value_at(consumer and consumer.inputs, "allowWritesTo"))
        declared = {table for loop in loops for table in tables.identities(loop)}
        for table in tables.read_by(mapping):
            for policy, written in writes.get(roles.get(function.urn, ""), ()):
                yield _ReadAndWrite(function, table, written, policy, table in declared)


def _written(policy: ResourceView, tables: Tables, known: Sequence[str]) -> Iterator[str]:
    """Yield the tables that a policy allows its role to write."""
    allow = [permissions.allowed_on(document, permissions.TABLE_WRITES) for document in _documents(policy)]
    for table in known:
        names = as_strings([table, tables[table].inputs.get("arn")])
        if any(allows(*names) for allows in allow):
            yield table


def _policies_by_role(resources: Sequence[ResourceView]) -> Mapping[str, list[ResourceView]]:
    """Return, by a role's URN, the resources with its policies: the role itself, inline policies, attached policies."""
    policies = {role.urn: [role] for role in of_type(resources, Type.ROLE)}
    for policy, role in links(resources, Type.ROLE_POLICY, "role", Type.ROLE):
        policies[role.urn].append(policy)
    for role, policy in links(resources, Type.ROLE, "managedPolicyArns", Type.POLICY):
        policies[role.urn].append(policy)
    for kind, by in ((Type.ROLE_ATTACHMENT, "role"), (Type.ATTACHMENT, "roles")):
        attached = list(links(resources, kind, "policyArn", Type.POLICY))
        for attachment, role in links(resources, kind, by, Type.ROLE):
            policies[role.urn] += [policy for each, policy in attached if each is attachment]
    return policies


def _cycles(uses: Sequence[_ReadAndWrite]) -> Iterator[list[_ReadAndWrite]]:
    """Yield the shortest cycles of tables over several functions. A table is part of one cycle at most."""
    steps: dict[str, list[_ReadAndWrite]] = {}
    for use in uses:
        if use.reads != use.writes:
            steps.setdefault(use.reads, []).append(use)
    reported: set[str] = set()
    for start in sorted(steps):
        trips, seen = [[use] for use in steps[start]], {start}
        while trips and start not in reported:
            trip = trips.pop(0)
            if trip[-1].writes == start:
                reported |= {use.reads for use in trip}
                yield trip
            elif trip[-1].writes not in seen:
                seen.add(trip[-1].writes)
                trips += [[*trip, use] for use in steps.get(trip[-1].writes, ())]
