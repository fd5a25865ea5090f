"""What `pulumi import` learns of a resource that the engine has not made: its inputs, read from the emulator.

Tables, functions and mappings can be imported here. As with AWS's plugin, a value that is as if it had been left out is
no input, and a function's code cannot be read. AWS's plugin imports every type.
"""

from collections.abc import Iterator
from typing import Any, cast

from sandbox.program.lookups import look_up
from sandbox.resources.functions import EventSourceMapping, Function
from sandbox.resources.resource_type import Inputs, ResourceError, ResourceType
from sandbox.resources.tables import Table

_DEFAULTS: Inputs = {
    "billingMode": "PROVISIONED",
    "tableClass": "STANDARD",
    "recoveryPeriodInDays": 35,
    "packageType": "Zip",
    "size": 512,  # of a function's ephemeral storage
}
"""What AWS has of a part where nothing was parts."""
_NO_INPUTS = {"keySchemas", "onDemandThroughputs", "warmThroughputs"}
"""What AWS tells of an index beside what makes it."""


def read_inputs(resource_type: ResourceType, identity: str) -> Inputs:
    """The inputs that would make what there is.

    Raises
    ------
    ResourceError
        Its type cannot be imported here.
    """
    match resource_type:
        case Table():
            description = look_up("aws:dynamodb/getTable:getTable", {"name": identity}, resource_type.aws)
            inputs = {
                name: value
                for name, value in description.items()
                if name in resource_type.properties and name != "region"
            }
        case Function():
            inputs = dict(_to_inputs(resource_type, resource_type.describe(identity), ""))
        case EventSourceMapping():
            description = resource_type.describe(identity)
            inputs = dict(_to_inputs(resource_type, description, ""))
            inputs["enabled"] = description["State"] not in ("Disabled", "Disabling")
            inputs["functionName"] = description["FunctionArn"].partition(":function:")[2]
        case _:
            raise ResourceError(f"{identity}: resources of type {resource_type.type} cannot be imported here")
    return _without_defaults(inputs)


def _without_defaults(value: Any) -> Any:
    """`value` without what is as if it had been left out; that something is off is parts."""
    if isinstance(value, list):
        return [_without_defaults(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    parts = {
        part: _without_defaults(content) for part, content in cast("Inputs", value).items() if part not in _NO_INPUTS
    }
    changed = {part: content for part, content in parts.items() if content != _DEFAULTS.get(part)}
    return {part: content for part, content in changed.items() if content or part == "enabled"}


def _to_inputs(resource_type: ResourceType, description: Inputs, prefix: str) -> Iterator[tuple[str, Any]]:
    """What boto3 tells, by Pulumi's names: `ResourceType.request` the other way round."""
    paths = [path.removeprefix(prefix) for path in resource_type.properties if path.startswith(prefix)]
    for name in dict.fromkeys(path.partition(".")[0] for path in paths):
        argument = resource_type.properties.get(prefix + name, name[0].upper() + name[1:])
        value = description.get(argument) if argument else None
        if any(path.startswith(f"{name}.") for path in paths):
            items = cast("list[Any]", value) if isinstance(value, list) else [value]
            nested = [dict(_to_inputs(resource_type, item, f"{prefix}{name}.")) for item in items if item]
            value = nested if isinstance(value, list) else next(iter(nested), None)
        if value is not None:
            yield name, value
