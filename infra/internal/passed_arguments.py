"""Arguments of pulumi_aws's own that a component passes on, and those that it sets itself."""

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

PassedArgs = Mapping[str, Any]
"""Arguments of a resource of pulumi_aws, by its names and with its types."""


def refusals(of: str, argument: str, kind: type, given: PassedArgs, owned: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the names in `argument` of component `of`.

    `kind` is the class of the arguments; `owned` says of those that the component sets what to do in their place.
    """
    known = inspect.signature(kind).parameters
    for name in given:
        if name in owned:
            yield f"{of}: {argument} may not set {name}: {owned[name]}"
        elif name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"{of}: {argument} sets {name}, which is no argument of {kind.__name__.removesuffix('Args')}{hint}"


def accepted(kind: type, given: PassedArgs, owned: Mapping[str, str]) -> dict[str, Any]:
    """What may be passed on: a component that is refused is made without the rest, so that all findings are told."""
    known = inspect.signature(kind).parameters
    return {name: value for name, value in given.items() if name in known and name not in owned}
