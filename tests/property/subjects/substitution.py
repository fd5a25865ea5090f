"""How a mistake is planted in the engine: by names of its modules that mean something else for one history."""

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
    """In these modules or classes, these names mean these values."""
    return lambda: _replaced(replacements)
