"""The emulator with all that makes a sandbox of it, and the deployments in it."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from sandbox.emulator import Emulator, client_variables, free_port
from sandbox.front.front import Front
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.mapping.poller import Poller
from sandbox.metrics import MetricsPublisher
from sandbox.program.deploy import DeployError, Deployment, Tables
from sandbox.program.in_process import Program
from sandbox.resources.resource_type import Aws
from sandbox.schedule import MINUTE_SECONDS
from sandbox.scheduler import Scheduler


class Sandbox:
    """The emulator, the poller that does the work of its mappings and schedules, and the front for clients.

    The retry schedule runs in seconds instead of minutes, in the poller and (by MINUTE_SECONDS) in every function.

    Parameters
    ----------
    region
        The Region of all resources.
    observe
        Called after each invocation by a mapping or a schedule, on any thread.
    port, emulator_port
        Ports on loopback: of the front, and of the emulator behind it. Default: free ports.
    environment
        Environment variables of every function.

    Attributes
    ----------
    tables
        Makes and fills tables of the deployments that follow. Default: a table that does not exist is an error, and
        each new table is empty.

    Raises
    ------
    sandbox.emulator.EmulatorError
        A port is taken, or .venv-aws is missing.
    """

    def __init__(
        self,
        region: str,
        observe: Callable[[ObservedInvocation], None],
        *,
        port: int | None = None,
        emulator_port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._deployments: list[Deployment] = []
        self.tables: Tables | None = None
        fast_schedule = {"MINUTE_SECONDS": f"{MINUTE_SECONDS:g}"}
        port = free_port(port)  # before the emulator takes a free one
        self.emulator = Emulator(region, port=emulator_port, environment=fast_schedule | dict(environment or {}))
        self.poller = Poller(self.emulator.client, observe)
        self.scheduler = Scheduler(self.poller)
        self.aws = Aws(self.emulator.client, region, self.poller, self.scheduler)
        self.metrics = MetricsPublisher(self.emulator.client)
        self.poller.observers.append(self.metrics.observe)
        self.poller.counters.append(self.metrics.count)
        self.front = Front(
            self.emulator.port,
            self.emulator.client,
            self.poller,
            self.scheduler,
            self.outputs,
            self.metrics.add_log,
            region=region,
            port=port,
        )

    def variables(self) -> dict[str, str]:
        """Return the environment variables that point any AWS client at the front."""
        return client_variables(self.front.url, self.aws.region)

    def outputs(self) -> Mapping[str, Any] | None:
        """Return the outputs of the latest deployment that has resources; None if there is none."""
        return next((each.outputs for each in reversed(self._deployments) if each.resources), None)

    def deploy(self, program: Program) -> Deployment:
        """Run a program and create what it registers. If the run fails, delete everything that it has created."""
        deployment = Deployment(self.aws, self.tables)
        try:
            self._run(deployment, program)
        except BaseException as error:
            try:
                deployment.destroy()
            except DeployError as leftovers:
                error.add_note(str(leftovers))
            raise
        self._deployments.append(deployment)
        return deployment

    def redeploy(self, deployment: Deployment, program: Program) -> list[str]:
        """Run a program again on its deployment, then retry held items at once; return what the run has changed.

        If the run fails, the resources stay as they are.
        """
        changes = self._run(deployment, program)
        self.scheduler.make_all_due()
        return changes

    def _run(self, deployment: Deployment, program: Program) -> list[str]:
        self.verify_sender(program.config)
        return deployment.run(program)

    def verify_sender(self, config: Mapping[str, str]) -> None:
        """Verify the sender's address with SES; on AWS, the owner of the address does that."""
        for sender in (value for key, value in config.items() if key.rpartition(":")[2] == "mailFrom" and value):
            self.aws.client("sesv2").create_email_identity(EmailIdentity=sender)

    def wait_until_idle(self, timeout_seconds: float = 60.0, *, include_held: bool = True) -> None:
        """Wait until every change is processed, parked or discarded; with `include_held`, also until no item is held.

        Raises
        ------
        DeployError
            The time is over.
        """
        deadline = time.monotonic() + timeout_seconds
        conditions = [self.scheduler.is_idle] if include_held else []
        self.poller.wake()
        while not self.poller.is_idle(*conditions):
            self.emulator.raise_if_dead()
            if time.monotonic() > deadline:
                held_items = self.scheduler.held_items().items()
                holding = [f"{name} ({items} items at its last run)" for name, items in held_items]
                held = f"; held by {', '.join(sorted(holding))}" if include_held and holding else ""
                raise DeployError(f"the consumers are not idle after {timeout_seconds:.0f} s{held}")
            time.sleep(0.02)

    def close(self) -> None:
        """Stop the front, keep the tables, and stop all others at the same time, without waiting for functions."""
        self.front.close()
        if self.tables:
            self.tables.close()
        closing = [threading.Thread(target=each.close) for each in (self.poller, self.metrics)]
        for thread in closing:
            thread.start()
        self.emulator.close()
        for thread in closing:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
