"""The arguments of a resource in plain Python, as the rules see them."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pulumi
from pulumi._types import is_input_type
from pulumi.output import Unknown as PulumiUnknown
from pydantic.alias_generators import to_camel

from infra.rules.view import UNKNOWN, Unknown

DATA_ARGUMENTS = {"policy", "tags", "variables"}
"""Arguments whose own keys are data, not names of pulumi_aws."""


def known_inputs(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by Pulumi's names, with an Unknown for each output."""
    return _plain(arguments, lambda _output, _camel: UNKNOWN)


async def resolved_inputs(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """Return the arguments by Pulumi's names, with the value of each output, and an Unknown where it has none yet.

    The second result is, for each name, the URNs of the resources whose outputs the argument contains.
    """
    inputs: dict[str, Any] = {}
    origins: dict[str, set[str]] = {}
    for name, value, camel in _members(arguments, camel=True):
        origins[name] = set()
        inputs[name] = await resolved(value, origins[name], camel=camel)
    return inputs, origins


async def resolved(value: Any, origins: set[str], *, camel: bool = True) -> Any:
    """Return the value with that of each output in it, and add to `origins` the URNs of the outputs' resources."""
    outputs: list[tuple[Any, bool]] = []
    _plain(value, lambda output, camel: outputs.append((output, camel)), camel=camel)
    values = iter([await _value(output, origins, camel=camel) for output, camel in outputs])
    return _plain(value, lambda _output, _camel: next(values), camel=camel)


async def urn_of(resource: pulumi.Resource) -> str:
    """Return the URN, or an empty text while it is unknown."""
    return await resource.urn.future() or ""


def _plain(value: Any, replacement: Callable[[Any, bool], Any], *, camel: bool = True) -> Any:
    """Return the value in plain Python, with `replacement(output, camel)` for each output in it.

    `camel` says that the keys within are names of pulumi_aws, which the engine spells in camel case.
    """
    if isinstance(value, (pulumi.Output, Awaitable, PulumiUnknown)):
        return replacement(value, camel)
    if isinstance(value, Mapping) or _is_args(value):
        return {name: _plain(part, replacement, camel=within) for name, part, within in _members(value, camel=camel)}
    if isinstance(value, (list, tuple)):
        return [_plain(part, replacement, camel=camel) for part in cast("Sequence[Any]", value)]
    return value


async def _value(output: Any, origins: set[str], *, camel: bool) -> Any:
    if isinstance(output, PulumiUnknown):
        return UNKNOWN
    if not isinstance(output, pulumi.Output):
        return await resolved(await output, origins, camel=camel)
    urns = {await urn_of(each) for each in await output.resources()}
    origins |= urns
    known = await output.is_known()
    return await resolved(await output.future(), origins, camel=camel) if known else Unknown(frozenset(urns))


def _is_args(value: object) -> bool:
    return is_input_type(type(value))


def _members(value: Any, *, camel: bool) -> Iterator[tuple[str, Any, bool]]:
    """Yield each name as the engine spells it, its value, and `camel` for the names within the value."""
    for name, part in cast("Mapping[str, Any]", value if isinstance(value, Mapping) else vars(value)).items():
        if part is not None:
            yield to_camel(name) if camel else name, part, camel and name not in DATA_ARGUMENTS
