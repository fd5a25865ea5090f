"""What `python -m sandbox up` and `watch` show in a terminal: the facts as lines, live lines, and keys."""

import contextlib
import os
import select
import shlex
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from sandbox.emulator import USERS_OWN
from sandbox.running import RunningSandbox
from sandbox.watch.display import Display
from sandbox.watch.feed import Fact

REFRESH_SECONDS = 0.2
"""Seconds between two renewals of the live lines."""


class Terminal:
    """Prints facts; a terminal also has live lines at its end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._display = Display(console.width) if console.is_terminal else Display()
        self._live: Live | None = None

    @contextlib.contextmanager
    def live(self) -> Generator[None]:
        """Show the live lines until the context ends; without a terminal, there are none."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def show(self, fact: Fact) -> None:
        """Print the lines of a fact."""
        self._print(self._display.render(fact))

    def tick(self) -> None:
        """Print what is over, and renew the live lines."""
        self._print(self._display.tick(time.time()))
        if self._live:
            lines = self._display.live()
            text = Text.from_markup("\n".join(lines), overflow="ellipsis")
            text.no_wrap = True
            self._live.update(text, refresh=True)

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=True, highlight=False)


def print_program(console: Console, fact: Fact, running: RunningSandbox, outputs: Mapping[str, Any]) -> None:
    """Print what is up: the tables and consumers of a fact `deployed`, and where everything is."""
    tables = [f"{name:<20} {table['name']}  key {', '.join(table['keys'])}" for name, table in _sorted(fact["tables"])]
    consumers = [
        f"{name:<20} reads {', '.join(each['reads']) or 'nothing'}" for name, each in _sorted(fact["consumers"])
    ]
    _print_rows(console, "tables", tables)
    _print_rows(console, "consumers", consumers)
    _print_rows(console, "shown here", ["changes, e-mails and messages, what handlers print, and where they fail"])
    stores: Mapping[str, Any] = outputs.get("stores") or {}
    if bucket := stores.get("failures", {}).get("bucket"):
        _print_rows(console, "failures", [f"are kept in s3://{bucket}"])
    _print_rows(console, "AWS", [f'{running.endpoint}  (in another terminal: eval "$({_python()} -m sandbox env)")'])
    if running.page:
        _print_rows(console, "page", [running.page])
    if fact["unsupported"]:
        console.print(escape(fact["unsupported"]), style="dim", soft_wrap=True, highlight=False)


def print_stop(console: Console) -> None:
    """Print how the sandbox is stopped, and which key deploys again."""
    _print_rows(console, "stop", ["Ctrl-C" + ("; r deploys again" if sys.stdin.isatty() else "")])


def _print_rows(console: Console, title: str, rows: Iterable[str]) -> None:
    for number, text in enumerate(rows):
        console.print(f"[bold]{'' if number else title:<11}[/]{escape(text)}", soft_wrap=True, highlight=False)


def _sorted(named: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(named.items())


def print_states(console: Console, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a line for each consumer: its state in words, and its numbers."""
    width = max(map(len, states), default=1)
    for name, state in _sorted(states):
        mark = {"held": "[yellow]‖[/]", "failing": "[red]✖[/]", "off": "[yellow]○[/]"}.get(
            state["level"], "[green]✔[/]"
        )
        numbers = (
            f"{state['rate']:g}/s, {state['lag_seconds']:g} s behind, {state['held']} held, {state['parked']} parked"
        )
        error = f"\n  {' ' * width}{escape(state['last_error'])}" if state["last_error"] else ""
        text = f"{mark} {name:<{width}}  {escape(state['state'])}  [dim]{numbers}[/]{error}"
        console.print(text, soft_wrap=True, highlight=False)


def exports(variables: Mapping[str, str]) -> Iterable[str]:
    """Yield the commands that point another terminal at the sandbox."""
    yield f"unset {' '.join(USERS_OWN)}"
    yield from (f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _python() -> str:
    path = os.path.relpath(sys.executable)
    return path if not path.startswith("..") else sys.executable


@contextlib.contextmanager
def keys(stream: TextIO) -> Generator[None]:
    """Let a terminal pass each key at once, until the context ends; Ctrl-C still interrupts."""
    if not stream.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(stream)
    try:
        tty.setcbreak(stream)
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, before)


def pressed_key(stream: TextIO) -> str:
    """Return the key that was pressed; empty if there is none or the stream is no terminal."""
    if not stream.isatty() or not select.select([stream], [], [], 0)[0]:
        return ""
    return os.read(stream.fileno(), 1).decode(errors="replace")


def ask(console: Console, stream: TextIO, question: str) -> bool:
    """Print a question and return whether the next key is y; False if the stream is no terminal."""
    if not stream.isatty():
        return False
    console.print(f"[bold]{escape(question)}[/]", soft_wrap=True, highlight=False)
    while not (key := pressed_key(stream)):
        time.sleep(REFRESH_SECONDS)
    return key in "yY"
