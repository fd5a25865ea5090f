"""The fact that says what is deployed."""

from collections.abc import Iterator
from typing import Any, cast

from sandbox.program.deploy import TABLE, DeployedResource, Deployment
from sandbox.program.plan import FUNCTION, MAPPING


def deployed_fields(deployment: Deployment) -> dict[str, Any]:
    """Return the fields `tables`, `consumers` and `unsupported` of the fact `deployed` (docs/sandbox.md)."""
    tables = dict(_tables(deployment))
    mappings = [each for each in deployment.resources if each.registration.type == MAPPING]
    names = {table["name"]: name for name, table in tables.items()}
    for mapping in mappings:
        physical = _table_of(mapping)
        if physical not in names:
            name = _reader_s_name(mapping) or physical
            names[physical] = name
            tables[name] = _describe(deployment, physical)
    consumers: dict[str, Any] = {}
    for function in deployment.resources:
        if function.registration.type == FUNCTION:
            name = function.registration.name_in_program
            exported = _exported(deployment, name)
            reads = {names[_table_of(each)] for each in mappings if _reads(function, each)}
            consumers[name] = {
                "function": function.id,
                "reads": sorted(reads),
                "claimed": bool(exported.get("claimed")),
                "fenced": bool(exported.get("fenced")),
            }
    return {"tables": tables, "consumers": consumers, "unsupported": deployment.unsupported_line}


def _exported(deployment: Deployment, consumer: str) -> dict[str, Any]:
    """Return what the program exports of a consumer, as `consumers`; empty if it exports nothing."""
    consumers = deployment.outputs.get("consumers")
    exported = cast("dict[str, Any]", consumers).get(consumer) if isinstance(consumers, dict) else None
    return cast("dict[str, Any]", exported) if isinstance(exported, dict) else {}


def _tables(deployment: Deployment) -> Iterator[tuple[str, dict[str, Any]]]:
    for deployed in deployment.resources:
        if deployed.registration.type == TABLE and not deployed.registration.is_of_stores:
            keys = [deployed.inputs[key] for key in ("hashKey", "rangeKey") if deployed.inputs.get(key)]
            yield deployed.registration.name_in_program, {"name": deployed.id, "keys": keys}


def _describe(deployment: Deployment, table: str) -> dict[str, Any]:
    """Return the fact's entry of a table that the program has not made."""
    schema = deployment.aws.client("dynamodb").describe_table(TableName=table)["Table"]["KeySchema"]
    return {"name": table, "keys": [each["AttributeName"] for each in schema]}


def _table_of(mapping: DeployedResource) -> str:
    return str(mapping.inputs["eventSourceArn"]).partition(":table/")[2].partition("/")[0]


def _reader_s_name(mapping: DeployedResource) -> str:
    """Return the table's name in the program: a StreamConsumer names its mappings after itself and the table."""
    *_, consumer = mapping.registration.parent.split("::")
    prefix = f"{consumer}-"
    return mapping.registration.name.removeprefix(prefix) if mapping.registration.name.startswith(prefix) else ""


def _reads(function: DeployedResource, mapping: DeployedResource) -> bool:
    """Return whether the mapping invokes the function, by its name or an ARN of it."""
    return function.id in str(mapping.inputs["functionName"]).split(":")
