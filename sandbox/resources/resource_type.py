"""The base class of the resource types: properties, name, outputs, and the boto3 calls that use them."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import jmespath  # pyright: ignore[reportMissingTypeStubs] -- untyped, as botocore is
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from sandbox import SandboxError

Inputs = dict[str, Any]
Properties = Mapping[str, str | None]
"""From a property's path in Pulumi to its name in boto3; None for a property that `request` leaves out."""

STRICT_SERVICES = ("aws:lambda/", "aws:dynamodb/")
"""The services whose behaviour the sandbox shows: functions and mappings, tables and streams.

An unsupported type or property of these services is an error, because it could change that behaviour. Unsupported types
and properties of other services are skipped and reported.
"""
COMMON_PROPERTIES: Properties = {"tags": None, "region": None, "namePrefix": None, "bucketPrefix": None}
"""Properties of many types, which no type lists."""
JSON_PROPERTIES = ("policy", "assumeRolePolicy")
"""Properties that are JSON texts; a program may pass a dict instead."""

_NOT_FOUND_CODES = {
    *("404", "NoSuchEntity", "NotFound", "NotFoundException", "ParameterNotFound", "PolicyNotFoundException"),
    "AWS.SimpleQueueService.NonExistentQueue",
}


class ResourceError(SandboxError):
    """A resource type, property or function that the sandbox does not support, or a change that AWS would reject."""


class Mappings(Protocol):
    """Does the work of event source mappings: the emulator's own mappings do not handle failures."""

    def attach(self, uuid: str, request: Mapping[str, Any]) -> None:
        """Start the work of a mapping."""
        ...

    def update(self, uuid: str, changes: Mapping[str, Any]) -> None:
        """Change these arguments of a mapping; one that is None gets its default."""
        ...

    def detach(self, uuid: str) -> None:
        """Stop the work of a mapping."""
        ...

    def pause(self, function_name: str) -> AbstractContextManager[None]:
        """Begin no invocation of a function while it is updated."""
        ...


class Schedules(Protocol):
    """Fires the schedules of functions, which the emulator never does."""

    def schedule(self, function_arn: str, input_text: str, *, enabled: bool) -> None:
        """Invoke a function with this input on a schedule; a second call changes the input."""
        ...

    def unschedule(self, function_arn: str) -> None:
        """End a function's schedule."""
        ...


@dataclass(frozen=True)
class Aws:
    """The account: clients of the emulator, its Region, and the worker of its mappings and schedules."""

    client: Callable[[str], Any]
    region: str
    mappings: Mappings
    schedules: Schedules


class ResourceType:
    """A resource type. A subclass sets the class variables and overrides the methods that differ from the defaults."""

    type: ClassVar[str]
    service: ClassVar[str]
    create_call: ClassVar[str]
    describe_call: ClassVar[str]
    delete_call: ClassVar[str]
    """The boto3 methods; `describe_call` and `delete_call` take the id as the argument `id_argument`."""
    id_argument: ClassVar[str]
    name_property: ClassVar[str | None] = "name"
    """The property with the physical name; if the inputs lack it, `check` generates it from the logical name."""
    id_format: ClassVar[str] = "{name}"
    """The format of the id, from the inputs and the response of `create_call`."""
    properties: ClassVar[Properties]
    defaults: ClassVar[Inputs] = {}
    replacement_properties: ClassVar[frozenset[str]] = frozenset()
    """Properties whose change replaces the resource."""
    outputs: ClassVar[Mapping[str, str]] = {}
    """From a computed output to its JMESPath in the description."""
    only_on_aws: ClassVar[Mapping[str, Any]] = {}
    """Paths of properties that have an effect on AWS only, each with the value that needs no report."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.client = aws.client(self.service)

    def check(self, name: str, inputs: Inputs) -> Inputs:
        """Return `inputs` with a name, the defaults, and policies as JSON.

        Raises
        ------
        ResourceError
            A type of STRICT_SERVICES has unsupported properties; the message names them all.
        """
        if self.type.startswith(STRICT_SERVICES) and (unknown := sorted(set(_unknown_paths(self.properties, inputs)))):
            raise ResourceError(f"{self.type} {name}: the sandbox does not support the property {', '.join(unknown)}")
        generated: Inputs = {}
        if self.name_property:
            generated[self.name_property] = self.generate_name(inputs.get(f"{self.name_property}Prefix", f"{name}-"))
        documents = {name: json.dumps(inputs[name]) for name in JSON_PROPERTIES if isinstance(inputs.get(name), dict)}
        return {**self.defaults, **generated, **inputs, **documents}

    def list_unsupported(self, inputs: Inputs) -> list[str]:
        """Return the properties among `inputs` that the sandbox accepts and that have no effect in it."""
        unknown = set(_unknown_paths(self.properties, inputs))
        used = {
            path
            for path, usual in self.only_on_aws.items()
            if any(value and value != usual for value in _values_at(inputs, path))
        }
        return sorted(unknown | used)

    def generate_name(self, prefix: str) -> str:
        """Return `prefix` with seven random hexadecimal digits, so that a replacement has another name."""
        return f"{prefix}{secrets.token_hex(4)[:7]}"

    def create(self, inputs: Inputs) -> str:
        """Create the resource and return its id."""
        response = getattr(self.client, self.create_call)(**self.request(inputs))
        return self.id_format.format_map({**inputs, **response})

    def read(self, identity: str) -> Inputs | None:
        """Return the current computed outputs; None if the resource does not exist."""
        try:
            description = self.describe(identity)
        except ClientError as error:
            if _is_not_found(error):
                return None
            raise
        return {output: jmespath.search(path, description) for output, path in self.outputs.items()}

    def describe(self, identity: str) -> Inputs:
        """Return AWS's description of the resource."""
        return getattr(self.client, self.describe_call)(**self.id_arguments(identity))

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        """Change the resource in place. The default repeats `create_call`, which is right for put operations."""
        del identity, old
        getattr(self.client, self.create_call)(**self.request(new))

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Delete the resource. It is not an error if it does not exist."""
        del inputs
        try:
            getattr(self.client, self.delete_call)(**self.id_arguments(identity))
        except ClientError as error:
            if not _is_not_found(error):
                raise

    def id_arguments(self, identity: str) -> Inputs:
        """Return boto3's arguments that identify the resource."""
        return {self.id_argument: identity}

    def request(self, inputs: Inputs) -> Inputs:
        """Return boto3's arguments for `inputs`, with nested values and lists."""
        return _translate(self.properties, inputs, "")


def changed_properties(old: Inputs, new: Inputs) -> set[str]:
    """Return the names of the properties that differ."""
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def parse_properties(paths: str) -> Properties:
    """Parse paths: `path` has the capitalised name in boto3; `path=Name` has another; `path=` has none."""
    split = (path.partition("=") for path in paths.split())
    own = {path: (name or None) if sign else _pascal(path.rpartition(".")[2]) for path, sign, name in split}
    return {**COMMON_PROPERTIES, **own}


def _pascal(name: str) -> str:
    return name[0].upper() + name[1:]


def _has_parts(properties: Properties, path: str) -> bool:
    return not path or any(each.startswith(f"{path}.") for each in properties)


def _unknown_paths(properties: Properties, value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _unknown_paths(properties, item, at)
    elif isinstance(value, dict) and _has_parts(properties, at):
        for key, item in cast("Inputs", value).items():
            yield from _unknown_paths(properties, item, f"{at}.{key}" if at else key)
    elif at not in properties:
        yield at


def _translate(properties: Properties, value: Any, at: str) -> Any:
    if isinstance(value, list):
        return [_translate(properties, item, at) for item in cast("list[Any]", value)]
    if not isinstance(value, dict) or not _has_parts(properties, at):
        return cast("Any", value)
    translated: Inputs = {}
    for key, item in cast("Inputs", value).items():
        path = f"{at}.{key}" if at else key
        is_known = path in properties or _has_parts(properties, path)
        if is_known and (name := properties.get(path, _pascal(key))):
            translated[name] = _translate(properties, item, path)
    return translated


def _values_at(value: Any, path: str) -> Iterator[Any]:
    """Yield the values at a path; a list on the way yields the values of each element."""
    if isinstance(value, list) and path:
        for item in cast("list[Any]", value):
            yield from _values_at(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        key, _, rest = path.partition(".")
        yield from _values_at(cast("Inputs", value).get(key), rest)


def _is_not_found(error: Any) -> bool:
    code: str = error.response["Error"]["Code"]
    return code in _NOT_FOUND_CODES or code.startswith(("ResourceNotFound", "NoSuch"))
