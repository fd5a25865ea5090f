"""The actions of the page: it reads and writes items, shows held and parked changes, and provokes faults."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sandbox import SandboxError
from sandbox.emulator import Clients
from sandbox.page.commands import COULD_NOT_RUN, FinishedCommand, run_ops
from sandbox.page.items import Items

MAX_CHANGES = 100
"""The number of waiting changes of an item, and of failed changes of a consumer, that the page shows."""

Command = Callable[[Sequence[str], Mapping[str, str]], FinishedCommand]
"""Runs an operator's command; see `run_ops`."""


class Faults(Protocol):
    """The switches of the faults, by consumer."""

    def set(self, consumer: str, fault: str, on: bool) -> None:  # noqa: FBT001 -- a switch
        """Switch a fault on or off. Raises ValueError if there is no such fault."""
        ...

    def current(self) -> Mapping[str, Sequence[str]]:
        """Return the faults that are on, by consumer."""
        ...


class ActionError(SandboxError):
    """An action cannot be done."""


class Actions:
    """What the page does in a running sandbox.

    Parameters
    ----------
    variables
        The environment variables that point a client at the sandbox's front, which lets functions see a write at once.
    outputs
        Returns the outputs of the running stack; None before the first deployment.
    faults
        The switches of the faults.
    command
        Runs an operator's command.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        outputs: Callable[[], Mapping[str, Any] | None],
        faults: Faults,
        *,
        command: Command = run_ops,
    ) -> None:
        self._variables, self._outputs, self._faults, self._command = variables, outputs, faults, command
        clients = Clients(variables["AWS_ENDPOINT_URL"], variables["AWS_REGION"])
        self.items = Items(lambda: clients("dynamodb"), self._tables)

    def _tables(self) -> dict[str, str]:
        tables: Mapping[str, Mapping[str, Any]] = (self._outputs() or {}).get("tables", {})
        return {name: table["name"] for name, table in tables.items()}

    def held(self, consumer: str | None = None, item: str | None = None) -> Any:
        """Return what `ops held --json` prints: the held items by consumer and cause, or one with its waiting changes.

        Raises
        ------
        ActionError
            The command could not run; the error has its message.
        """
        arguments = ["held", *_named(consumer), "--json", *_option("item", item), "--limit", str(MAX_CHANGES)]
        return self._read(arguments)

    def failures(self, consumer: str | None = None) -> dict[str, Any]:
        """Return the first MAX_CHANGES failed changes with their errors and records, and the number of all.

        Raises
        ------
        ActionError
            As for `held`.
        """
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "failures.jsonl"
            result = self._read(["failures", *_named(consumer), "--json", "--export", str(path)])
            with path.open(encoding="utf-8") as lines:
                changes = [json.loads(line) for line, _ in zip(lines, range(MAX_CHANGES), strict=False)]
        return {"changes": changes, "number": result["changes"]}

    def _read(self, arguments: Sequence[str]) -> Any:
        finished = self._command(arguments, self._variables)
        if finished.code >= COULD_NOT_RUN:
            raise ActionError(finished.messages.strip() or f"{arguments[0]} ended with {finished.code}")
        return json.loads(finished.output)

    def retry(self, consumer: str, item: str | None = None) -> dict[str, Any]:
        """Retry the held items of a consumer, or one of them; return what the command printed, and its exit code."""
        return self._execute("retry", consumer, *_option("item", item))

    def skip(self, consumer: str, item: str) -> dict[str, Any]:
        """Park the first waiting change of a held item; return as `retry` does."""
        return self._execute("skip", consumer, *_option("item", item))

    def redrive(self, consumer: str, item: str | None = None, *, out_of_order: bool = False) -> dict[str, Any]:
        """Put back the failed changes of a consumer, or of one item; return as `retry` does.

        With `out_of_order`, also those of which later changes of their items may have run.
        """
        flags = ["--out-of-order"] if out_of_order else []
        return self._execute("redrive", consumer, *_option("item", item), *flags)

    def _execute(self, name: str, consumer: str, *options: str) -> dict[str, Any]:
        finished = self._command([name, *_named(consumer), "--yes", *options], self._variables)
        return {"text": (finished.output + finished.messages).strip(), "code": finished.code}

    def switch_fault(self, consumer: str, fault: str, *, on: bool) -> Mapping[str, Sequence[str]]:
        """Switch a fault on or off; return the faults that are on, by consumer.

        Raises
        ------
        ActionError
            There is no such fault or no such consumer.
        """
        consumers = (self._outputs() or {}).get("consumers", {})
        if consumer not in consumers:
            raise ActionError(f"the program has no consumer {consumer}; it has {', '.join(consumers) or 'none'}")
        try:
            self._faults.set(consumer, fault, on)
        except ValueError as error:
            raise ActionError(str(error)) from error
        return self._faults.current()

    def faults(self) -> Mapping[str, Sequence[str]]:
        """Return the faults that are on, by consumer."""
        return self._faults.current()


def _named(consumer: str | None) -> list[str]:
    """Return the argument with a consumer's name. Raises ActionError for a name that the command takes as an option."""
    if consumer is not None and consumer.startswith("-"):
        raise ActionError(f"{consumer} is not the name of a consumer")
    return [] if consumer is None else [consumer]


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [f"--{name}={value}"]
