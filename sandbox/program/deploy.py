"""Deploys a Pulumi program in the emulator: every resource made real, and unmade again."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from sandbox import ROOT, SandboxError
from sandbox.emulator import Emulator
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.mapping.poller import Poller
from sandbox.program.in_process import InvokeError, Registration, namespaced, project, run, stack_config
from sandbox.program.lookups import answer
from sandbox.program.not_imitated import Asides, PassedOver
from sandbox.resources.catalog import resource
from sandbox.resources.resource_type import Aws, ResourceType, changed
from sandbox.schedule import MINUTE_SECONDS
from sandbox.scheduler import Scheduler

STACK = "local"


class DeployError(SandboxError):
    """A resource could not be made or unmade, or the consumers do not come to rest."""


@dataclass(frozen=True)
class Made:
    """A resource that exists."""

    registration: Registration
    resource: ResourceType
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass
class Deployment:
    """What a program has made, and what it says of it; the backend that the program runs against, again and again."""

    aws: Aws
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])
    passed_over: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What the latest run asked for and the sandbox does not imitate: the names of resources by their type, which is
    passed over, or by their type and a property of it."""
    not_imitated: str = ""
    """The same as one line for people."""
    _made: dict[str, Made] = field(default_factory=dict[str, Made])  # by URN, in the order of the latest run
    _registered: dict[str, Registration] = field(default_factory=dict[str, Registration])  # by URN, in this run
    _done: list[str] = field(default_factory=list[str])
    _asides: Asides = field(init=False)

    def __post_init__(self) -> None:
        self._asides = Asides(self.aws.region)

    @property
    def made(self) -> list[Made]:
        """Every resource that exists, what others depend on before them."""
        return list(self._made.values())

    def run(self, program: Callable[[], None] | Path, *, stack: str, config: Mapping[str, str]) -> list[str]:
        """Make true what a program registers, and unmake what earlier runs have made and it registers no more.

        Returns
        -------
        list[str]
            The resources that are not as they were before: `orders-table`, `orders-table unmade`.

        Raises
        ------
        Exception
            The program's own, or DeployError; what exists by then stays.
        """
        self._registered.clear()
        self._done.clear()
        self._asides = Asides(self.aws.region)
        self.outputs = run(program, stack=stack, config=config, backend=self)
        self.passed_over, self.not_imitated = self._asides.names, self._asides.line
        self._unmake([made for urn, made in self._made.items() if urn not in self._registered])
        return sorted(self._done)

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        """Make a resource, or change the one that an earlier run has made.

        Components and providers are only names. A resource that the pipeline does not need is passed over.

        Raises
        ------
        ResourceError
            The sandbox does not know the resource's type, or a property of it, and cannot go on without.
        DeployError
            The resource cannot be made or changed, or the program has registered its URN before.
        """
        if self._registered.setdefault(registration.urn, registration) is not registration:
            raise DeployError(
                f"{registration.urn} is registered twice: resources of one type and parent need different names"
            )
        if not registration.custom or registration.type.startswith("pulumi:"):
            self._asides.placed(registration)
            return registration.name, {}
        kind = resource(registration.type, registration.name, self.aws)
        if isinstance(kind, PassedOver):
            self._asides.passed_over(registration)
            inputs = kind.check(registration.name, registration.inputs)
            identity = kind.create(inputs)
            return identity, {**(kind.read(identity) or {}), **inputs}
        made = self._make(kind, registration)
        self._asides.made(registration, kind.unimitated(made.inputs))
        return made.id, made.outputs

    def _make(self, kind: ResourceType, registration: Registration) -> Made:
        old = self._made.get(registration.urn)
        named = {kind.named_by: old.inputs[kind.named_by]} if old and kind.named_by else {}
        inputs = kind.check(registration.name, named | registration.inputs)
        try:
            made = self._changed(old, registration, inputs) if old else self._created(kind, registration, inputs)
        except Exception as error:
            raise DeployError(
                f"{registration.type} {registration.name} could not be {'changed' if old else 'made'}: {error}"
            ) from error
        self._made.pop(registration.urn, None)
        self._made[registration.urn] = made
        return made

    def _created(self, kind: ResourceType, registration: Registration, inputs: dict[str, Any]) -> Made:
        identity = kind.create(inputs)
        self._done.append(f"{registration.name} made")
        return Made(registration, kind, identity, inputs, {**inputs, **(kind.read(identity) or {})})

    def _changed(self, old: Made, registration: Registration, inputs: dict[str, Any]) -> Made:
        kind = old.resource
        differing = changed(old.inputs, inputs)
        triggers = old.registration.replacement_trigger, registration.replacement_trigger
        triggered = None not in triggers and triggers[0] != triggers[1]  # as the engine has it
        if not differing and not triggered:
            return replace(old, registration=registration)
        if triggered or differing & kind.replaced_by.union(registration.replace_on_changes):
            self._unmake([old])
            return self._created(kind, registration, kind.check(registration.name, registration.inputs))
        kind.update(old.id, old.inputs, inputs)
        self._done.append(registration.name)
        return Made(registration, kind, old.id, inputs, {**inputs, **(kind.read(old.id) or {})})

    def invoke(self, token: str, args: dict[str, Any], provider: str) -> dict[str, Any]:
        """Answer a function of the provider, whichever it is: there is one account and one Region here."""
        del provider
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
        self._unmake(self.made)

    def _unmake(self, unwanted: list[Made]) -> None:
        failed: list[str] = []
        for made in reversed(unwanted):
            try:
                made.resource.delete(made.id, made.inputs)
            except Exception as error:
                failed.append(f"{made.registration.type} {made.id}: {error}")
            else:
                del self._made[made.registration.urn]
                self._done.append(f"{made.registration.name} unmade")
        if failed:
            raise DeployError("could not be unmade: " + "; ".join(failed))


class Sandbox:
    """The emulator with the poller that does the work of its mappings and schedules.

    A second stands for a minute of the retry schedule: in the poller, and by MINUTE_SECONDS in every function.
    """

    def __init__(
        self,
        region: str,
        observe: Callable[[ObservedInvocation], None],
        *,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        quick = {"MINUTE_SECONDS": f"{MINUTE_SECONDS:g}"}
        self.emulator = Emulator(region, port=port, environment=quick | dict(environment or {}))
        self.poller = Poller(self.emulator.client, observe)
        self.scheduler = Scheduler(self.poller)
        self.aws = Aws(self.emulator.client, region, self.poller, self.scheduler)

    def deploy(
        self, program: Callable[[], None] | Path = ROOT, *, stack: str = STACK, config: Mapping[str, str] | None = None
    ) -> Deployment:
        """Run a program and make what it registers. A run that fails leaves nothing.

        `config` is the stack file's unless given.
        """
        deployment = Deployment(self.aws)
        try:
            self._run(deployment, program, stack, config)
        except BaseException as error:
            try:
                deployment.destroy()
            except DeployError as left:
                error.add_note(str(left))
            raise
        return deployment

    def redeploy(
        self,
        deployment: Deployment,
        program: Callable[[], None] | Path = ROOT,
        *,
        stack: str = STACK,
        config: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Run a program again over what it has made, and let what is held be tried at once; what the run changes.

        A run that fails leaves what there is.
        """
        done = self._run(deployment, program, stack, config)
        self.scheduler.make_all_due()
        return done

    def _run(
        self,
        deployment: Deployment,
        program: Callable[[], None] | Path,
        stack: str,
        config: Mapping[str, str] | None,
    ) -> list[str]:
        config = stack_config(stack) if config is None else namespaced(config, project()["name"])
        self.verify_sender(config)
        return deployment.run(program, stack=stack, config=config)

    def verify_sender(self, config: Mapping[str, str]) -> None:
        """Verify the address that mail is sent from with SES: on AWS its owner does that."""
        if sender := config.get(f"{project()['name']}:mailFrom"):
            self.aws.client("sesv2").create_email_identity(EmailIdentity=sender)

    def settle(self, within: float = 60.0, *, released: bool = True) -> None:
        """Wait until every change is processed, parked or discarded: also what was held, unless `released` is false.

        Raises
        ------
        DeployError
            That takes longer than `within` seconds.
        """
        deadline = time.monotonic() + within
        conditions = [self.scheduler.is_idle] if released else []
        while not self.poller.is_idle(*conditions):
            self.emulator.check()
            if time.monotonic() > deadline:
                held = self.scheduler.held_items().items()
                holding = [f"{name} ({items} items at its last run)" for name, items in held]
                still = f"; held by {', '.join(sorted(holding))}" if released and holding else ""
                raise DeployError(f"the consumers have not come to rest within {within:.0f} s{still}")
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
