"""The resources of a program, and the rules' check of them: the rules see what is registered."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import pulumi
import pulumi_aws as aws
from pulumi.runtime.settings import get_monitor

from infra import rules
from infra.internal.inputs import known_inputs, resolved, resolved_inputs, urn_of
from infra.internal.statements import Statement, policy_document
from infra.rules import Finding, Level
from infra.rules.view import ResourceView, Type

Child = TypeVar("Child", bound=pulumi.Resource)
Inputs = ParamSpec("Inputs")

MONITOR_ATTRIBUTE = "_table_stream_registry"
"""The attribute of a run's monitor that keeps the registry. Each run has its own monitor."""


@dataclass(frozen=True)
class Entry:
    """A resource with the arguments that it is registered with."""

    resource: pulumi.Resource
    arguments: Mapping[str, Any]
    parent: pulumi.Resource | None
    protect: bool
    sandbox_only: bool

    @cached_property
    def view(self) -> asyncio.Future[ResourceView]:
        """The resource as the rules see it, once the value of each input is known, or unknown until the update."""
        return asyncio.ensure_future(self._resolve())

    async def _resolve(self) -> ResourceView:
        kind, name = self.resource.pulumi_resource_type, self.resource.pulumi_resource_name
        inputs, origins = await resolved_inputs(self.arguments)
        if isinstance(self.resource, aws.dynamodb.Table):
            inputs["arn"] = await resolved(self.resource.arn, set())
        # A mapping is registered after the check, so the check cannot wait for its URN. No rule needs this URN.
        urn = f"{kind}::{name}" if kind == Type.MAPPING else await urn_of(self.resource)
        parent = await urn_of(self.parent) if self.parent else ""
        return ResourceView(
            *(kind, name, inputs, urn, origins, parent), protect=self.protect, sandbox_only=self.sandbox_only
        )


@dataclass
class Registry:
    """The resources that the components of a run register, and the findings about them."""

    entries: list[Entry] = field(default_factory=list[Entry])
    existing: list[ResourceView] = field(default_factory=list[ResourceView])  # tables that other programs made
    refusals: list[str] = field(default_factory=list[str])
    _names: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    _component_ends: list[int] = field(default_factory=list[int])  # the count of entries after each complete component
    _checked_count: int = 0
    _error: pulumi.RunError | None = None
    _warned: set[str] = field(default_factory=set[str])

    @classmethod
    def of_this_run(cls) -> Self:
        """Return the registry of the program that is running."""
        monitor: Any = get_monitor()
        if not hasattr(monitor, MONITOR_ATTRIBUTE):
            setattr(monitor, MONITOR_ATTRIBUTE, cls())
        return getattr(monitor, MONITOR_ATTRIBUTE)

    def reserve_name(self, parent: pulumi.Resource, kind: str, name: str) -> None:
        """Reserve the name of a resource for its component.

        Raises
        ------
        pulumi.RunError
            Another component of the same type has a resource of this type and name.
        """
        key, component = (parent.pulumi_resource_type, kind, name), parent.pulumi_resource_name
        other = self._names.setdefault(key, component)
        if other != component:
            raise pulumi.RunError(f"{component} and {other} would both make {name}: rename one of them")

    def refuse(self, messages: Iterable[str]) -> None:
        """Refuse the program with these messages, in addition to the rules' findings.

        Raises
        ------
        pulumi.RunError
            There is a message, and this is an update. In a preview, `check` raises all messages as one error.
        """
        if pulumi.runtime.is_dry_run():
            self.refusals += messages
        elif text := "\n".join(messages):
            raise pulumi.RunError(text)

    def check_before_registering(self, resource: ResourceView) -> None:
        """Check a resource by the inputs that are known before it is registered.

        Raises
        ------
        pulumi.RunError
            A rule refuses the resource, and this is an update. In a preview, `check` raises all findings as one error.
        """
        if not pulumi.runtime.is_dry_run():
            self._raise_or_warn(rules.resource_findings([resource]), warn=False)

    def check(self) -> None:
        """Check all resources that are registered by now, as soon as their inputs are known.

        Each component calls this when it is complete. The check fails the program with one pulumi.RunError, which
        lists all findings that are errors.
        """
        self._component_ends.append(len(self.entries))
        pulumi.Output.from_input(self._check_first(len(self.entries)))

    def once_checked(self, *resources: pulumi.Resource) -> pulumi.Input[Sequence[pulumi.Resource]]:
        """Return the resources that the next mapping depends on, available once the rules accept the program.

        In an update, that is after the check of the mapping and of all resources before it. None of these depends on
        the mapping. A preview creates nothing, so it does not wait.
        """
        if pulumi.runtime.is_dry_run():
            return resources
        return pulumi.Output.from_input(self._once_checked(len(self.entries) + 1, resources))

    async def _once_checked(self, count: int, resources: Sequence[pulumi.Resource]) -> Sequence[pulumi.Resource]:
        await self._check_first(count)
        return resources

    async def _check_first(self, count: int) -> None:
        """Check the first `count` entries. A preview, where nothing waits for the check, checks all entries.

        The check includes later components that are complete and known, so that fewer checks are needed.
        """
        if pulumi.runtime.is_dry_run():
            count = len(self.entries)
        await asyncio.gather(*(entry.view for entry in self.entries[:count]))
        if count > self._checked_count:
            views = [entry.view for entry in self.entries]
            known = next((number for number, view in enumerate(views) if not view.done()), len(views))
            count = max([count, *(end for end in self._component_ends if end <= known)])
            self._checked_count = count
            self._raise_or_warn(rules.findings([*self.existing, *(view.result() for view in views[:count])]), warn=True)
        elif self._error:
            raise self._error

    def _raise_or_warn(self, findings: Iterable[Finding], *, warn: bool) -> None:
        all_findings = list(findings)
        errors = [message for level, resource, message in all_findings if _is_error(level, resource)]
        if errors or self.refusals:
            # All checks raise the same error. Its message grows with later findings.
            self._error = self._error or pulumi.RunError("")
            self._error.args = ("\n".join(dict.fromkeys([*self.refusals, *errors])),)
            raise self._error
        for _, _, message in all_findings if warn else ():
            if message not in self._warned:
                self._warned.add(message)
                pulumi.log.warn(message)


class Children:
    """Makes the resources of a component, and shows each to the rules with the arguments that it is registered with.

    `sandbox_only` is a fact about the resources that the rules look at (`ResourceView.sandbox_only`).
    """

    def __init__(self, component: pulumi.ComponentResource, *, protect: bool, sandbox_only: bool = False) -> None:
        self.component = component
        self.protect = protect
        self.sandbox_only = sandbox_only
        self.registry = Registry.of_this_run()

    def make(
        self, kind: Callable[Concatenate[str, Inputs], Child], name: str, /, *_: Inputs.args, **inputs: Inputs.kwargs
    ) -> Child:
        """Make a resource of these inputs and options.

        Raises
        ------
        pulumi.RunError
            Another component has the name, or a rule refuses the resource (`Registry.check_before_registering`).
        """
        if _:
            raise TypeError(f"{name}: pass each input by its name, so that the rules see it")
        return self._make(kind, name, inputs)

    def make_policy(
        self, name: str, role: aws.iam.Role, statements: Sequence[pulumi.Input[Statement | None]]
    ) -> aws.iam.RolePolicy:
        """Make a policy of a role. A preview does not know its text, so the rules see its statements."""
        inputs = {"role": role.name, "policy": policy_document(statements)}
        return self._make(aws.iam.RolePolicy, name, inputs, policy={"Statement": statements})

    def _make(self, kind: Callable[..., Child], name: str, inputs: Mapping[str, Any], **shown_instead: object) -> Child:
        resource_type = cast("str", kind.pulumi_type)  # pyright: ignore[reportFunctionMemberAccess] -- each class has it
        self.registry.reserve_name(self.component, resource_type, name)
        own = {key: value for key, value in inputs.items() if key != "opts"}
        opts = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(parent=self.component), inputs.get("opts"))
        arguments = own | shown_instead
        view = ResourceView(
            *(resource_type, name, known_inputs(arguments)), protect=self.protect, sandbox_only=self.sandbox_only
        )
        self.registry.check_before_registering(view)
        resource = kind(name, **own, opts=opts)
        self.describe(resource, arguments, self.component)
        return resource

    def describe(
        self, resource: pulumi.Resource, arguments: Mapping[str, Any], parent: pulumi.Resource | None = None
    ) -> None:
        """Show the rules a resource, made here or elsewhere, by these arguments."""
        self.registry.entries.append(Entry(resource, arguments, parent, self.protect, self.sandbox_only))


def _is_error(level: Level, resource: ResourceView) -> bool:
    return level is Level.REFUSED or (level is Level.UNSAFE and resource.protect)
