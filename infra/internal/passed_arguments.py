"""Additional arguments that a component passes on to a resource of pulumi_aws."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

PassedArgs = Mapping[str, Any]
"""Arguments of a resource of pulumi_aws, with the names and types of pulumi_aws."""


def refusals(component: str, argument: str, kind: type, values: PassedArgs, owned: Mapping[str, str]) -> Iterator[str]:
    """Say which names in `argument` of a component are refused, and why.

    `kind` is the class of the arguments. `owned` contains the arguments that the component sets itself, each with the
    reason or with the argument of the component to use instead.
    """
    known = inspect.signature(kind).parameters
    for name in values:
        if name in owned:
            yield f"{component}: {argument} may not set {name}: {owned[name]}"
        elif name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            resource = kind.__name__.removesuffix("Args")
            yield f"{component}: {argument} sets {name}, which is no argument of {resource}{hint}"


def choice_refusals(component: str, argument: str, value: Any, choices: Sequence[str]) -> Iterator[str]:
    """Say that the value of an argument is none of its choices, and which is the nearest."""
    if value not in choices:
        near = get_close_matches(str(value).upper(), choices, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"
        yield f"{component}: {argument}={value!r} is no choice; {hint}"


def accepted(kind: type, values: PassedArgs, owned: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments that are not refused. A preview goes on with these, to report all other findings."""
    known = inspect.signature(kind).parameters
    return {name: value for name, value in values.items() if name in known and name not in owned}
