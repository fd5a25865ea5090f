"""One line on the terminal that moves while processes run; elsewhere, a line now and then."""

from __future__ import annotations

import re
import selectors
import shutil
import subprocess
import sys
import time
from typing import IO, Any

TICK_SECONDS = 0.2
QUIET_SECONDS = 10.0
"""Without a terminal, a line is printed at this interval."""
SPINNER = "|/-\\"
BEGUN = re.compile(r" *(?:Downloading|Using cached) (\S+) \(([\d.]+) ?(kB|KiB|MB|MiB)\)")
"""A file with its size: pip prints each file, one after the other; uv prints those from 1 MB on, several at a time."""
ENDED = re.compile(r" Downloaded (\S+)")
COUNTED = re.compile(r"(Resolved|Prepared|Installed) (\d+) packages?")


class Progress:
    """Shows what is installed, how far it is, and the seconds since the start, while `run` runs a process.

    Each process inherits the file `turn`.
    """

    def __init__(self, what: str, turn: IO[str]) -> None:
        self._what, self._turn = what, turn
        self._is_terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._shown_at = self._started
        self._ticks = 0
        self._packages = 0
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()
        self.lines: list[str] = []
        """What the latest process has printed."""

    def __enter__(self) -> Progress:
        """Show the line for the first time."""
        print(f"{self._what} (once)", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the line."""
        self._draw("")

    @property
    def last_line(self) -> str:
        """The last line that the latest process has printed."""
        return next((line.strip() for line in reversed(self.lines) if line.strip()), "it printed nothing")

    def run(self, command: list[str], environment: dict[str, str] | None = None) -> int:
        """Run a process, show its progress, and return its exit code."""
        self.lines = []
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            pass_fds=[self._turn.fileno()],
        )
        output: Any = process.stdout
        rest = b""
        with selectors.DefaultSelector() as selector, output:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if selector.select(TICK_SECONDS):
                    chunk = output.read1(65_536)
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines if chunk else [rest]:
                        self._take(line.decode(errors="replace"))
                    if not chunk:
                        break
                self._tick()
        return process.wait()

    def end(self, text: str) -> None:
        """Clear the line, and say what is done and how long it has taken."""
        self._draw("")
        packages = f", {self._packages} packages" if self._packages else ""
        print(f"{text}: {time.monotonic() - self._started:.0f} s{packages}", flush=True)

    def _take(self, line: str) -> None:
        """Note a line of a process, and what it says about the progress."""
        self.lines.append(line)
        begun, ended, counted = BEGUN.match(line), ENDED.match(line), COUNTED.match(line)
        if begun:
            self._begun[begun[1]] = float(begun[2]) / (1 if begun[3].startswith("M") else 1_000)
        elif ended:
            self._ended.add(ended[1])
        elif counted:
            self._packages = int(counted[2])
        elif line.startswith("Collecting "):
            self._packages += 1
        if line.startswith(("Collecting ", "Installing ", "Prepared ")):
            self._ended.update(self._begun)

    @property
    def state(self) -> str:
        """The packages and megabytes so far, as far as the processes have said."""
        loaded = sum(size for name, size in self._begun.items() if name in self._ended)
        return (
            f"{self._packages} packages, {loaded:.0f} of {sum(self._begun.values()):.0f} MB" if self._packages else ""
        )

    def _tick(self) -> None:
        now = time.monotonic()
        text = f"{now - self._started:.0f} s  {self.state}"
        if self._is_terminal:
            self._ticks += 1
            self._draw(f"{SPINNER[self._ticks % len(SPINNER)]} {text}")
        elif now - self._shown_at >= QUIET_SECONDS:
            self._shown_at = now
            print(f"  {text}", flush=True)

    def _draw(self, text: str) -> None:
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", flush=True)
