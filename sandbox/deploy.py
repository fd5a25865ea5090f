"""Deploys a Pulumi program in the emulator: every resource made real, and unmade again."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from sandbox import SandboxError
from sandbox.emulator import Emulator
from sandbox.poller import Invocation, Poller
from sandbox.program import ROOT, InvokeError, Registration, project, run, stack_config
from sandbox.resource import Aws, Resource
from sandbox.resources import answer, resource

STACK = "local"


class DeployError(SandboxError):
    """A resource could not be made or unmade, or the consumers do not come to rest."""


@dataclass(frozen=True)
class Made:
    """A resource that exists."""

    registration: Registration
    resource: Resource
    id: str
    outputs: dict[str, Any]


@dataclass
class Deployment:
    """What a program has made, and what it says of it; the backend that the program runs against."""

    aws: Aws
    made: list[Made] = field(default_factory=list[Made])
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        """Make a resource. Components and providers are only names here."""
        if not registration.custom or registration.type.startswith("pulumi:"):
            return registration.name, {}
        kind = resource(registration.type, registration.name, self.aws)
        inputs = kind.check(registration.name, registration.inputs)
        try:
            identity = kind.create(inputs)
            outputs = {**inputs, **(kind.read(identity) or {})}
        except Exception as error:
            raise DeployError(f"{registration.type} {registration.name} could not be made: {error}") from error
        self.made.append(Made(registration, kind, identity, outputs))
        return identity, outputs

    def invoke(self, token: str, args: dict[str, Any]) -> dict[str, Any]:
        """Answer a function of the provider."""
        try:
            return answer(token, args, self.aws)
        except ClientError as error:
            raise InvokeError(str(error)) from error

    def destroy(self) -> None:
        """Unmake everything, the newest first: what others depend on was made before them.

        Raises
        ------
        DeployError
            Something could not be unmade; the rest is.
        """
        failed: list[str] = []
        while self.made:
            made = self.made.pop()
            try:
                made.resource.delete(made.id, made.outputs)
            except Exception as error:
                failed.append(f"{made.registration.type} {made.id}: {error}")
        if failed:
            raise DeployError("could not be unmade: " + "; ".join(failed))


class Sandbox:
    """The emulator with the poller that does its mappings' work."""

    def __init__(
        self,
        region: str,
        observe: Callable[[Invocation], None],
        *,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.emulator = Emulator(region, port=port, environment=environment)
        self.poller = Poller(self.emulator.client, observe)
        self.aws = Aws(self.emulator.client, region, self.poller)

    def deploy(
        self, program: Callable[[], None] | Path = ROOT, *, stack: str = STACK, config: Mapping[str, str] | None = None
    ) -> Deployment:
        """Run a program and make what it registers. A run that fails leaves nothing.

        `config` is the stack file's unless given.
        """
        if config is None:
            config = stack_config(stack)
        self.verify_sender(config)
        deployment = Deployment(self.aws)
        try:
            deployment.outputs = run(program, stack=stack, config=config, backend=deployment)
        except BaseException as error:
            try:
                deployment.destroy()
            except DeployError as left:
                error.add_note(str(left))
            raise
        return deployment

    def verify_sender(self, config: Mapping[str, str]) -> None:
        """Verify the address that mail is sent from with SES: on AWS its owner does that."""
        if sender := config.get(f"{project()['name']}:mailFrom"):
            self.aws.client("sesv2").create_email_identity(EmailIdentity=sender)

    def settle(self, within: float = 60.0) -> None:
        """Wait until every change is processed, parked or discarded.

        Raises
        ------
        DeployError
            That takes longer than `within` seconds.
        """
        deadline = time.monotonic() + within
        while not self.poller.idle():
            self.emulator.check()
            if time.monotonic() > deadline:
                raise DeployError(f"the consumers have not come to rest within {within:.0f} s")
            time.sleep(0.02)

    def close(self) -> None:
        """Stop polling, and at once the emulator with all that is in it: nothing that runs is waited for."""
        polling = threading.Thread(target=self.poller.close)
        polling.start()
        self.emulator.close()
        polling.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
