"""The faults that a user provokes: they act on the calls that a handler makes to AWS."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from sandbox.front.forwarding import Response
from sandbox.gate.calls import Call

Fault = Literal["fail", "slow", "crash", "outage"]
FAIL_SECONDS = 5.0
"""How long the chosen write fails: longer than the engine's tries in place, so that its item is held."""
SLOW_SECONDS = 2.0
"""How long a slow call waits before it is sent."""
OUTAGE = Response.error("InternalServerError", "the sandbox provokes an outage", 500)
FAILURE = Response.error("InternalServerError", "the sandbox lets this write fail", 500)


class Faults:
    """The faults of each consumer.

    - `fail`: its next write fails, also if it is tried again within FAIL_SECONDS; then the fault is over.
    - `crash`: the function's process is killed at its next call; then the fault is over.
    - `slow`: each call takes SLOW_SECONDS more.
    - `outage`: each call fails.

    The engine's own calls, to the ledger and the failure bucket, are spared.

    Parameters
    ----------
    changed
        Called with the faults after each change, on any thread.
    """

    def __init__(self, changed: Callable[[Mapping[str, Sequence[str]]], object]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._on: defaultdict[str, set[Fault]] = defaultdict(set)
        self._failing: dict[str, tuple[object, float]] = {}  # the write that fails and its end, by consumer

    def set(self, consumer: str, fault: str, on: bool) -> None:  # noqa: FBT001 -- a switch
        """Switch a fault on or off. Raises ValueError if there is no such fault."""
        wanted = next((each for each in get_args(Fault) if each == fault), None)
        if wanted is None:
            raise ValueError(f"there is no fault {fault}; there are {', '.join(get_args(Fault))}")
        with self._lock:
            (self._on[consumer].add if on else self._on[consumer].discard)(wanted)
        self._changed(self.current())

    def current(self) -> dict[str, list[str]]:
        """Return the faults that are on, by consumer."""
        with self._lock:
            return {consumer: sorted(faults) for consumer, faults in self._on.items() if faults}

    def apply(self, consumer: str, call: Call, kill: Callable[[], None]) -> Response | None:
        """Do to a call what the consumer's faults say; return the answer of a call that fails."""
        with self._lock:
            faults = set(self._on[consumer])
            write, end = self._failing.get(consumer, (None, 0.0))
            if write == (call.operation, call.arguments) and time.monotonic() < end:
                return FAILURE
            fails = "fail" in faults and not call.is_read
            over: Fault | None = "crash" if "crash" in faults else "fail" if fails else None
            if over:
                self._on[consumer].discard(over)
            if over == "fail":
                self._failing[consumer] = (call.operation, call.arguments), time.monotonic() + FAIL_SECONDS
        if over:
            self._changed(self.current())
        if over == "crash":
            kill()
            return OUTAGE
        if "slow" in faults:
            time.sleep(SLOW_SECONDS)
        return FAILURE if over == "fail" else OUTAGE if "outage" in faults else None


def kill_client(port: int) -> None:
    """Kill the process that has this port of a connection on loopback; do nothing if there is none."""
    process = _owner_on_linux(port) if Path("/proc/net/tcp").exists() else _owner_by_lsof(port)
    if process is not None and process != os.getpid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _owner_on_linux(port: int) -> int | None:
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    inode = next((words[9] for words in lines if int(words[1].partition(":")[2], 16) == port), None)
    for directory in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(str(each.readlink()) == f"socket:[{inode}]" for each in directory.iterdir()):
                return int(directory.parent.name)
    return None


def _owner_by_lsof(port: int) -> int | None:
    command = ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:ESTABLISHED", "-Fpn"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    process = None
    for line in found:
        if line.startswith("p"):
            process = int(line[1:])
        elif line.startswith("n") and line.partition("->")[0].endswith(f":{port}"):
            return process
    return None
