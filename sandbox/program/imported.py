"""What `pulumi import` learns of a resource that the engine has not made: its inputs, read from the emulator.

Tables, functions and mappings can be imported here. As with AWS's plugin, a value that is as if it had been left out is
no input, and a function's code cannot be read. AWS's plugin imports every type.
"""

from collections.abc import Iterator
from typing import Any, cast

from sandbox.program.lookups import answer
from sandbox.resources.functions import EventSourceMapping, Function
from sandbox.resources.resource_type import Inputs, ResourceError, ResourceType
from sandbox.resources.tables import Table

_USUAL: Inputs = {
    "billingMode": "PROVISIONED",
    "tableClass": "STANDARD",
    "recoveryPeriodInDays": 35,
    "packageType": "Zip",
    "size": 512,  # of a function's ephemeral storage
}
"""What AWS has of a part where nothing was said."""
_NOT_ASKED_FOR = {"keySchemas", "onDemandThroughputs", "warmThroughputs"}
"""What AWS tells of an index beside what makes it."""


def inputs_of(kind: ResourceType, identity: str) -> Inputs:
    """The inputs that would make what there is.

    Raises
    ------
    ResourceError
        Its type cannot be imported here.
    """
    match kind:
        case Table():
            found = answer("aws:dynamodb/getTable:getTable", {"name": identity}, kind.aws)
            given = {name: value for name, value in found.items() if name in kind.properties and name != "region"}
        case Function():
            given = dict(_inputs(kind, kind.describe(identity), ""))
        case EventSourceMapping():
            found = kind.describe(identity)
            given = dict(_inputs(kind, found, ""))
            given["enabled"] = found["State"] not in ("Disabled", "Disabling")
            given["functionName"] = found["FunctionArn"].partition(":function:")[2]
        case _:
            raise ResourceError(f"{identity}: resources of type {kind.type} cannot be imported here")
    return _said(given)


def _said(value: Any) -> Any:
    """`value` without what is as if it had been left out; that something is off is said."""
    if isinstance(value, list):
        return [_said(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    said = {part: _said(content) for part, content in cast("Inputs", value).items() if part not in _NOT_ASKED_FOR}
    kept = {part: content for part, content in said.items() if content != _USUAL.get(part)}
    return {part: content for part, content in kept.items() if content or part == "enabled"}


def _inputs(kind: ResourceType, found: Inputs, at: str) -> Iterator[tuple[str, Any]]:
    """What boto3 tells, by Pulumi's names: `ResourceType.request` the other way round."""
    within = [path.removeprefix(at) for path in kind.properties if path.startswith(at)]
    for name in dict.fromkeys(path.partition(".")[0] for path in within):
        called = kind.properties.get(at + name, name[0].upper() + name[1:])
        value = found.get(called) if called else None
        if any(path.startswith(f"{name}.") for path in within):
            items = cast("list[Any]", value) if isinstance(value, list) else [value]
            nested = [dict(_inputs(kind, item, f"{at}{name}.")) for item in items if item]
            value = nested if isinstance(value, list) else next(iter(nested), None)
        if value is not None:
            yield name, value
