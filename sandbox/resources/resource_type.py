"""What a resource type of the sandbox is: its properties, name, replace keys and computed outputs, and its calls."""

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
"""A property's path in Pulumi to its name in boto3; None where a class sees to it, or where it means nothing here."""

SHOWN = ("aws:lambda/", "aws:dynamodb/")
"""The services that the sandbox shows: functions and mappings, tables and streams.

A type of these services that the sandbox does not know, or an unknown property of such a type, could change what they
do. To go on without it would show something false, so the sandbox stops. It passes over types of other services, and
their unknown properties, and names them.
"""
EVERYWHERE: Properties = {"tags": None, "region": None, "namePrefix": None, "bucketPrefix": None}
"""Properties of so many types that no type names them."""
DOCUMENTS = ("policy", "assumeRolePolicy")
"""Properties that are JSON, and that programs may give as what it stands for."""

_GONE = {
    *("404", "NoSuchEntity", "NotFound", "NotFoundException", "ParameterNotFound", "PolicyNotFoundException"),
    "AWS.SimpleQueueService.NonExistentQueue",
}


class ResourceError(SandboxError):
    """A resource type, property or function that the sandbox does not know, or a change that AWS would refuse."""


class Mappings(Protocol):
    """Does the work of event source mappings: the emulator's own mappings know nothing of failures."""

    def attach(self, uuid: str, request: Mapping[str, Any]) -> None:
        """Begin the work of a mapping."""
        ...

    def update(self, uuid: str, request: Mapping[str, Any]) -> None:
        """Go on with another configuration."""
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
        """Invoke a function with this input by a schedule; a second call changes the input."""
        ...

    def unschedule(self, function_arn: str) -> None:
        """End a function's schedule."""
        ...


@dataclass(frozen=True)
class Aws:
    """What resources are made in: clients of the emulator, and what does the work of its mappings and schedules."""

    client: Callable[[str], Any]
    region: str
    mappings: Mappings
    schedules: Schedules


class ResourceType:
    """One resource type: what is said of it here holds where a subclass does not know better."""

    type: ClassVar[str]
    service: ClassVar[str]
    created: ClassVar[str]
    described: ClassVar[str]
    deleted: ClassVar[str]
    """The boto3 calls; `key` is the argument of the last two for the id."""
    key: ClassVar[str]
    named_by: ClassVar[str | None] = "name"
    """The property that holds the physical name, made from the logical one where it is not given."""
    id_from: ClassVar[str] = "{name}"
    """The id, of inputs and of what the call answers."""
    properties: ClassVar[Properties]
    defaults: ClassVar[Inputs] = {}
    replaced_by: ClassVar[frozenset[str]] = frozenset()
    """Properties that cannot be changed in place."""
    outputs: ClassVar[Mapping[str, str]] = {}
    """Computed outputs to their place in the description (JMESPath)."""
    mentioned: ClassVar[Mapping[str, Any]] = {}
    """Properties that mean something on AWS only, by path, with the value that nobody needs to be told of."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.client = aws.client(self.service)

    def check(self, name: str, inputs: Inputs) -> Inputs:
        """`inputs` with a name and the defaults, policies as JSON.

        Raises
        ------
        ResourceError
            A property of a type that the sandbox shows is unknown: every one is named.
        """
        if self.type.startswith(SHOWN) and (unknown := sorted(set(_unknown(self.properties, inputs)))):
            raise ResourceError(f"{self.type} {name}: the sandbox does not know the property {', '.join(unknown)}")
        named: Inputs = {}
        if self.named_by:
            named[self.named_by] = self.physical_name(inputs.get(f"{self.named_by}Prefix", f"{name}-"))
        documents = {name: json.dumps(inputs[name]) for name in DOCUMENTS if isinstance(inputs.get(name), dict)}
        return {**self.defaults, **named, **inputs, **documents}

    def unimitated(self, inputs: Inputs) -> list[str]:
        """The properties among `inputs` that the sandbox takes and does not imitate."""
        unknown = set(_unknown(self.properties, inputs))
        used = {
            path
            for path, usual in self.mentioned.items()
            if any(value and value != usual for value in _found(inputs, path))
        }
        return sorted(unknown | used)

    def physical_name(self, prefix: str) -> str:
        """As Pulumi's AWS provider makes it: seven random digits, so that a replacement can stand beside the old."""
        return f"{prefix}{secrets.token_hex(4)[:7]}"

    def create(self, inputs: Inputs) -> str:
        """Make it; its id."""
        made = getattr(self.client, self.created)(**self.request(inputs))
        return self.id_from.format_map({**inputs, **made})

    def read(self, identity: str) -> Inputs | None:
        """Its computed outputs, as they are now; None when it is gone."""
        try:
            found = self.describe(identity)
        except ClientError as error:
            if _gone(error):
                return None
            raise
        return {output: jmespath.search(path, found) for output, path in self.outputs.items()}

    def describe(self, identity: str) -> Inputs:
        """What AWS says of it."""
        return getattr(self.client, self.described)(**self.at(identity))

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        """Change it in place: what is put is put again."""
        del identity, old
        getattr(self.client, self.created)(**self.request(new))

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Unmake it; that it is gone already is no error."""
        del inputs
        try:
            getattr(self.client, self.deleted)(**self.at(identity))
        except ClientError as error:
            if not _gone(error):
                raise

    def at(self, identity: str) -> Inputs:
        """boto3's arguments that name it."""
        return {self.key: identity}

    def request(self, inputs: Inputs) -> Inputs:
        """boto3's arguments for `inputs`, nested ones and lists included."""
        return _translated(self.properties, inputs, "")


def changed(old: Inputs, new: Inputs) -> set[str]:
    """The properties that differ."""
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def known(paths: str) -> Properties:
    """Properties by path, and what boto3 calls them: the same, capitalised, or as said; `ttl=` is for the class."""
    split = (path.partition("=") for path in paths.split())
    own = {path: (name or None) if sign else _pascal(path.rpartition(".")[2]) for path, sign, name in split}
    return {**EVERYWHERE, **own}


def _pascal(name: str) -> str:
    return name[0].upper() + name[1:]


def _has_parts(properties: Properties, path: str) -> bool:
    return not path or any(each.startswith(f"{path}.") for each in properties)


def _unknown(properties: Properties, value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _unknown(properties, item, at)
    elif isinstance(value, dict) and _has_parts(properties, at):
        for key, item in cast("Inputs", value).items():
            yield from _unknown(properties, item, f"{at}.{key}" if at else key)
    elif at not in properties:
        yield at


def _translated(properties: Properties, value: Any, at: str) -> Any:
    if isinstance(value, list):
        return [_translated(properties, item, at) for item in cast("list[Any]", value)]
    if not isinstance(value, dict) or not _has_parts(properties, at):
        return cast("Any", value)
    translated: Inputs = {}
    for key, item in cast("Inputs", value).items():
        path = f"{at}.{key}" if at else key
        is_known = path in properties or _has_parts(properties, path)
        if is_known and (name := properties.get(path, _pascal(key))):
            translated[name] = _translated(properties, item, path)
    return translated


def _found(value: Any, path: str) -> Iterator[Any]:
    """What stands at a path, in each element of the lists on the way."""
    if isinstance(value, list) and path:
        for item in cast("list[Any]", value):
            yield from _found(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        key, _, rest = path.partition(".")
        yield from _found(cast("Inputs", value).get(key), rest)


def _gone(error: Any) -> bool:
    code: str = error.response["Error"]["Code"]
    return code in _GONE or code.startswith(("ResourceNotFound", "NoSuch"))
