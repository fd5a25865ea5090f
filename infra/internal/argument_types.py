"""Mistakes in the arguments of a component that only a type checker would find: each is refused by its name."""

from collections.abc import Iterator, Mapping
from inspect import isawaitable
from typing import Any, cast

import pulumi

from infra.grants import Grant
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, Table


def reads_refusals(component: str, reads: Any) -> Iterator[str]:
    """Say what in `reads` is not the changes of a table."""
    if isinstance(reads, Changes | Table) or not isinstance(reads, list | tuple):
        yield f"{component}: reads={_kind(reads)}: pass a list of changes, as in reads=[users.changes()]"
        return
    for each in cast("list[Any]", reads):
        if isinstance(each, Table):
            yield f"{component}: reads names the table {each.name}: name its changes, as in {each.name}.changes()"
        elif not isinstance(each, Changes):
            yield f"{component}: reads has {_kind(each)}: name changes, as in reads=[users.changes()]"


def environment_refusals(component: str, environment: Any) -> Iterator[str]:
    """Say which environment variables have a value that cannot be one."""
    if not isinstance(environment, Mapping):
        yield f"{component}: environment={_kind(environment)}: pass a dictionary of variables by name"
        return
    for name, value in cast("Mapping[Any, Any]", environment).items():
        if not isinstance(name, str):
            yield f"{component}: environment has {_kind(name)} as a name: a name is text"
        elif isinstance(value, Table):
            yield (
                f"{component}: {name} is the table {value.name}: say what the handler does with it, as in "
                f"read_from({value.name}) or write_to({value.name})"
            )
        elif not isinstance(value, str | Grant | pulumi.Output) and not isawaitable(value):
            yield f"{component}: {name} is {_kind(value)}: a variable is text, as in str(...), or a grant"


def kind_refusals(component: str, *, tuning: Any, stores: Any) -> Iterator[str]:
    """Say whether `tuning` or `stores` is something else."""
    if not isinstance(tuning, Tuning):
        yield f"{component}: tuning={_kind(tuning)}: pass settings.tuning({component!r}), or Tuning(batch_size=...)"
    if stores is not None and not isinstance(stores, Stores):
        yield f"{component}: stores={_kind(stores)}: pass Stores(...), or None"


def _kind(value: Any) -> str:
    """Return what a value is, without its content, which may be secret."""
    return "None" if value is None else f"a {type(value).__name__}"
