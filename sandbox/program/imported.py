"""Reads the inputs of an existing resource from the emulator, for `pulumi import`.

The sandbox supports the import of tables, functions and mappings; the AWS plugin imports every type. As with the AWS
plugin, default values are not inputs, and the code of a function cannot be read.
"""

from collections.abc import Iterator
from typing import Any, cast

from sandbox.program.lookups import GET_TABLE, look_up
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
"""Default values on AWS, by property."""
_NO_INPUTS = {"keySchemas", "onDemandThroughputs", "warmThroughputs"}
"""Properties in the description of an index that are not inputs."""


def read_inputs(resource_type: ResourceType, identity: str) -> Inputs:
    """Return the inputs that would create the resource as it is.

    Raises
    ------
    ResourceError
        The sandbox does not support the import of this type.
    """
    match resource_type:
        case Table():
            description = look_up(GET_TABLE, {"name": identity}, resource_type.aws)
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
            raise ResourceError(f"{identity}: the sandbox cannot import resources of type {resource_type.type}")
    return _without_defaults(inputs)


def _without_defaults(value: Any) -> Any:
    """Return `value` without defaults and empty parts; `enabled` stays, even if it is false."""
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
    """Yield a description's values by Pulumi's names: the inverse of `ResourceType.request`."""
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
