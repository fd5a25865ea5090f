"""The laws: what every history keeps, whatever fails in it. Each public function of these modules is a law."""

from collections.abc import Callable, Iterator
from inspect import isfunction
from types import ModuleType

from tests.property.history.history import History
from tests.property.laws import complete, order, waiting

Law = Callable[[History], Iterator[str]]


def _laws_of(module: ModuleType) -> Iterator[Law]:
    for name, value in vars(module).items():
        if isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value


LAWS: tuple[Law, ...] = (*_laws_of(complete), *_laws_of(order), *_laws_of(waiting))


def breaches(history: History) -> list[str]:
    """Return every breach of a law, each with the law's name."""
    return [f"{law.__name__}: {breach}" for law in LAWS for breach in law(history)]
