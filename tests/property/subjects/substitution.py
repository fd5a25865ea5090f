"""Substitutes names of the engine's modules during one history, to make a mutant."""

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

Substitution = Callable[[], AbstractContextManager[None]]


@contextlib.contextmanager
def _replaced(replacements: tuple[tuple[Any, str, Any], ...]) -> Generator[None]:
    former = [(where, name, getattr(where, name)) for where, name, _ in replacements]
    for where, name, value in replacements:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in former:
            setattr(where, name, value)


def substitute(*replacements: tuple[ModuleType | type, str, Any]) -> Substitution:
    """Return a context that gives these names of modules or classes other values."""
    return lambda: _replaced(replacements)


class _EventualClient:
    """A client whose queries are eventually consistent."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def query(self, **request: Any) -> Any:
        return self._client.query(**{**request, "ConsistentRead": False})


@contextlib.contextmanager
def reading_eventually(table: Any) -> Generator[None]:
    """Make the queries of a ledger table eventually consistent."""
    former = table._dynamodb
    table._dynamodb = lambda: _EventualClient(former())
    try:
        yield
    finally:
        table._dynamodb = former
