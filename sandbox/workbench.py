"""The sandbox with all that a user sees of it: the facts, the page, and the folder that other commands find."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from sandbox import ROOT
from sandbox.edits.deployed import deployed_fields
from sandbox.edits.files import Files
from sandbox.edits.watcher import Watcher
from sandbox.emulator import EmulatorError, free_port
from sandbox.gate.gate import Gate
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.page.actions import Actions
from sandbox.page.server import PageServer
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import STACK, Program
from sandbox.program.sandbox import Sandbox
from sandbox.running import RunningSandbox
from sandbox.tables.local import KEPT, LocalTables
from sandbox.watch.feed import Feed
from sandbox.watch.recorder import Recorder
from sandbox.watch.state import State

PORT, PAGE_PORT = 4566, 4580
"""The usual ports on loopback: of the sandbox, and of its page. If one is taken, the next free one is used."""
PORTS_TRIED = 20
STATE_SECONDS = 1.0
"""Seconds between two looks at the state of the consumers."""


class Workbench:
    """A sandbox with a deployed program, its page and its facts, until it is closed.

    Parameters
    ----------
    program
        The program that is deployed first.
    port
        The sandbox's port on loopback. Default: PORT or the next free one.
    ask
        Asks the user whether an edit may delete something, and returns whether the answer is yes.
    keep_tables
        Keep the items of all tables for the next start.
    invent_tables
        Make the tables that the program only names and that no file describes.

    Attributes
    ----------
    running
        The address, as other commands find it.

    Raises
    ------
    sandbox.emulator.EmulatorError
        The port is taken.
    """

    sandbox: Sandbox
    deployment: Deployment
    running: RunningSandbox

    def __init__(
        self,
        program: Program,
        port: int | None = None,
        ask: Callable[[str], bool] = lambda _: False,
        *,
        keep_tables: bool = False,
        invent_tables: bool = False,
    ) -> None:
        self.feed = Feed()
        self._recorder = Recorder(self.feed)
        self._observed: queue.SimpleQueue[ObservedInvocation] = queue.SimpleQueue()
        self._closed = threading.Event()
        with contextlib.ExitStack() as stack:
            stamps = Files(ROOT, STACK).stamps()
            self._start(stack, program, port, keep_tables=keep_tables, invent_tables=invent_tables)
            self._watcher = Watcher(self.sandbox, self.deployment, self.feed, ask, self.take_deployment, stamps)
            self._closing = stack.pop_all()

    def _start(
        self,
        stack: contextlib.ExitStack,
        program: Program,
        port: int | None,
        *,
        keep_tables: bool,
        invent_tables: bool,
    ) -> None:
        region, emulator_port = program.config["aws:region"], free_port()
        gate = stack.enter_context(
            Gate(
                emulator_port,
                lambda service: self.sandbox.emulator.client(service),
                self.feed,
                region,
                wake=lambda: self.sandbox.poller.wake(),
            )
        )
        self.sandbox = stack.enter_context(
            Sandbox(
                region,
                self._observed.put,
                port=_next_free_port(PORT) if port is None else port,
                emulator_port=emulator_port,
                environment={"AWS_ENDPOINT_URL": gate.url},
            )
        )
        client, poller = self.sandbox.emulator.client, self.sandbox.poller
        poller.discard_observers.append(self._recorder.record_discard)
        self.sandbox.tables = LocalTables(client, invent=invent_tables, kept=KEPT if keep_tables else None)
        self._gate, self._state = gate, State(self.feed, poller, client)
        self.deployment = self.sandbox.deploy(program)
        front = self.sandbox.front
        actions = Actions(self.sandbox.variables(), self.sandbox.outputs, gate.faults)
        page = stack.enter_context(PageServer(self.feed, actions, port=_next_free_port(PAGE_PORT)))
        self.running = RunningSandbox(os.getpid(), front.port, front.url, region, page.url)
        self.running.announce()
        stack.callback(self.running.withdraw)
        self.take_deployment([])
        thread = threading.Thread(target=self._publish, name="facts")
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._closed.set)

    def take_deployment(self, changed: Sequence[str]) -> None:
        """Publish that the program is deployed; at the first time, `changed` is empty."""
        outputs, is_first = self.deployment.outputs, self.feed.latest("deployed") is None
        for user in (self._recorder, self._gate, self._state):
            user.use(outputs)
        self.running.write_outputs(outputs)
        self.feed.publish("deployed", **deployed_fields(self.deployment), changed=list(changed), first=is_first)

    def look_for_edits(self) -> None:
        """Deploy the program again if its files have changed."""
        self._watcher.look()

    def redeploy(self) -> None:
        """Deploy the program again."""
        self._watcher.redeploy()

    def _publish(self) -> None:
        due = time.monotonic()
        while not self._closed.is_set():
            with contextlib.suppress(queue.Empty):
                fact = self._recorder.record(self._observed.get(timeout=0.2))
                if fact:
                    self._state.take(fact)
            if time.monotonic() >= due:
                self._state.publish()
                due = time.monotonic() + STATE_SECONDS

    def close(self) -> None:
        """Stop everything."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _next_free_port(first: int) -> int:
    """Return the first free port of the next PORTS_TRIED; if none is free, any free port."""
    for port in range(first, first + PORTS_TRIED):
        with contextlib.suppress(EmulatorError):
            return free_port(port)
    return free_port()
