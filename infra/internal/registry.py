"""The resources of a program, made and judged by the rules: what is judged is what is registered."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import pulumi
import pulumi_aws as aws
from pulumi._types import is_input_type
from pulumi.output import Unknown as PulumiUnknown
from pulumi.runtime.settings import get_monitor
from pydantic.alias_generators import to_camel

from infra import rules
from infra.internal import statements as policies
from infra.rules import Finding, Level
from infra.rules.view import MAPPING, UNKNOWN, ResourceView, Unknown

Made = TypeVar("Made", bound=pulumi.Resource)
Inputs = ParamSpec("Inputs")

MONITOR_ATTRIBUTE = "_table_stream_registry"
"""Where the monitor of a run, of which each run has its own, keeps the registry."""

DATA_ARGUMENTS = {"policy", "tags", "variables"}
"""Arguments whose own keys are data, not names of pulumi_aws."""


@dataclass(frozen=True)
class Entry:
    """A resource with the arguments that it is registered with."""

    resource: pulumi.Resource
    arguments: Mapping[str, Any]
    parent: pulumi.Resource | None
    protect: bool
    sandbox_only: bool
    _view: list[asyncio.Future[ResourceView]] = field(default_factory=list[asyncio.Future[ResourceView]])

    def view(self) -> asyncio.Future[ResourceView]:
        """What the rules see of it, once its inputs are known, or known to come with the update."""
        if not self._view:
            self._view.append(asyncio.ensure_future(self._resolve_view()))
        return self._view[0]

    async def _resolve_view(self) -> ResourceView:
        inputs: dict[str, Any] = {}
        dependencies: dict[str, set[str]] = {}
        for name, value, camel in _members(self.arguments, camel=True):
            inputs[name] = await _resolved(value, dependencies.setdefault(name, set()), camel=camel)
        if isinstance(self.resource, aws.dynamodb.Table):
            inputs["arn"] = await _resolved(self.resource.arn, set())
        # A mapping waits for the rules; they need no URN of it.
        kind, own_name = self.resource.pulumi_resource_type, self.resource.pulumi_resource_name
        urn = f"{kind}::{own_name}" if kind == MAPPING else await _urn(self.resource)
        parent = await _urn(self.parent) if self.parent else ""
        return ResourceView(
            *(kind, own_name, inputs, urn, dependencies, parent),
            protect=self.protect,
            sandbox_only=self.sandbox_only,
        )


@dataclass
class Registry:
    """What a run of a program registers by its components, and what the rules say of it."""

    entries: list[Entry] = field(default_factory=list[Entry])
    existing: list[ResourceView] = field(default_factory=list[ResourceView])  # tables that other programs made
    refusals: list[str] = field(default_factory=list[str])
    _names: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    _component_ends: list[int] = field(default_factory=list[int])  # how many entries there were as each component ended
    _checked_count: int = 0
    _error: pulumi.RunError | None = None
    _warned: set[str] = field(default_factory=set[str])

    @classmethod
    def of_this_run(cls) -> Self:
        """The registry of the program that is running."""
        monitor: Any = get_monitor()
        if not hasattr(monitor, MONITOR_ATTRIBUTE):
            setattr(monitor, MONITOR_ATTRIBUTE, cls())
        return getattr(monitor, MONITOR_ATTRIBUTE)

    def reserve_name(self, parent: pulumi.Resource, kind: str, name: str) -> None:
        """Give a resource its name.

        Raises
        ------
        pulumi.RunError
            Another component has given it to a resource of the same type.
        """
        key, component = (parent.pulumi_resource_type, kind, name), parent.pulumi_resource_name
        other = self._names.setdefault(key, component)
        if other != component:
            raise pulumi.RunError(f"{component} and {other} would both make {name}: rename one of them")

    def check_before_registering(
        self, kind: str, name: str, arguments: Mapping[str, Any], *, protect: bool, sandbox_only: bool
    ) -> None:
        """Let a resource be registered of which no output is known yet.

        Raises
        ------
        pulumi.RunError
            In an update: a rule refuses it by what is known. A preview tells everything at once, in `check`.
        """
        if not pulumi.runtime.is_dry_run():
            resource = ResourceView(kind, name, _known(arguments), protect=protect, sandbox_only=sandbox_only)
            self._raise_or_warn(rules.resource_findings([resource]), warn=False)

    def refuse(self, messages: Iterable[str]) -> None:
        """Refuse the program, beside what the rules find.

        Raises
        ------
        pulumi.RunError
            In an update. A preview tells everything at once, in `check`.
        """
        if pulumi.runtime.is_dry_run():
            self.refusals += messages
        elif refused := list(messages):
            raise pulumi.RunError("\n".join(refused))

    def check(self) -> None:
        """Have all that is registered by then judged, once its inputs are known, or known to come with the update.

        The program ends with a pulumi.RunError where something cannot work, or is unsafe and protected. Its message
        lists all of that. A component asks for the check when it is complete.
        """
        self._component_ends.append(len(self.entries))
        pulumi.Output.from_input(self._check_first(len(self.entries)))

    def once_checked(self, *needed: pulumi.Resource) -> pulumi.Input[Sequence[pulumi.Resource]]:
        """What a mapping that is registered next depends on: `needed`, once the rules have passed it.

        In an update that is when all that was declared before it, and the mapping itself, is judged: none of it can
        depend on the mapping. A preview makes nothing, so there nothing waits.
        """
        if pulumi.runtime.is_dry_run():
            return needed
        return pulumi.Output.from_input(self._once_checked(len(self.entries) + 1, needed))

    async def _once_checked(self, count: int, needed: Sequence[pulumi.Resource]) -> Sequence[pulumi.Resource]:
        await self._check_first(count)
        return needed

    async def _check_first(self, count: int) -> None:
        """Judge the first `count` entries, and in a preview, where none waits for the verdict, all of them.

        Complete components behind them that are known are judged with them, so that few verdicts do for all.
        """
        if pulumi.runtime.is_dry_run():
            count = len(self.entries)
        await asyncio.gather(*(entry.view() for entry in self.entries[:count]))
        if count > self._checked_count:
            seen = [entry.view() for entry in self.entries]
            done = next((number for number, each in enumerate(seen) if not each.done()), len(seen))
            known = max([count, *(end for end in self._component_ends if end <= done)])
            self._checked_count = known
            self._raise_or_warn(rules.findings([*self.existing, *(each.result() for each in seen[:known])]), warn=True)
        elif self._error:
            raise self._error

    def _raise_or_warn(self, findings: Iterable[Finding], *, warn: bool) -> None:
        found = list(findings)
        errors = [message for level, resource, message in found if _is_error(level, resource)]
        if errors or self.refusals:
            # One error for all that wait for it, which grows with what is found later.
            self._error = self._error or pulumi.RunError("")
            self._error.args = ("\n".join(dict.fromkeys([*self.refusals, *errors])),)
            raise self._error
        for _, _, message in found if warn else ():
            if message not in self._warned:
                self._warned.add(message)
                pulumi.log.warn(message)


class Children:
    """Makes the resources of a component, each one judged by what it is registered with.

    `only_here` is whether they are for the sandbox alone (`ResourceView.only_here`).
    """

    def __init__(self, component: pulumi.ComponentResource, *, protect: bool, sandbox_only: bool = False) -> None:
        self.component = component
        self.protect = protect
        self.sandbox_only = sandbox_only
        self.registry = Registry.of_this_run()

    def make(
        self, kind: Callable[Concatenate[str, Inputs], Made], name: str, /, *_: Inputs.args, **inputs: Inputs.kwargs
    ) -> Made:
        """Make a resource of these inputs, its options among them, and have it judged.

        Raises
        ------
        pulumi.RunError
            The name is taken, or a rule refuses it (`Registry.admit`).
        """
        if _:
            raise TypeError(f"{name}: inputs are given by name, so that the rules see them")
        return self._make(kind, name, inputs)

    def make_policy(
        self,
        name: str,
        role: aws.iam.Role,
        statements: Sequence[pulumi.Input[policies.Statement | None]],
    ) -> aws.iam.RolePolicy:
        """Make a policy within a role. A preview does not know its text, so its statements are judged."""
        inputs = {"role": role.name, "policy": policies.policy_document(statements)}
        return self._make(aws.iam.RolePolicy, name, inputs, {"policy": {"Statement": statements}})

    def _make(
        self,
        kind: Callable[..., Made],
        name: str,
        inputs: Mapping[str, Any],
        judged: Mapping[str, Any] | None = None,
    ) -> Made:
        resource_type = cast("str", kind.pulumi_type)  # pyright: ignore[reportFunctionMemberAccess] -- of every resource class
        self.registry.reserve_name(self.component, resource_type, name)
        own = {key: value for key, value in inputs.items() if key != "opts"}
        opts = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(parent=self.component), inputs.get("opts"))
        arguments = own | dict(judged or {})
        self.registry.check_before_registering(
            resource_type, name, arguments, protect=self.protect, sandbox_only=self.sandbox_only
        )
        made = kind(name, **own, opts=opts)
        self.describe(made, arguments, self.component)
        return made

    def describe(
        self, made: pulumi.Resource, arguments: Mapping[str, Any], parent: pulumi.Resource | None = None
    ) -> None:
        """Tell the rules of a resource, made here or elsewhere, what they look at of it."""
        self.registry.entries.append(Entry(made, arguments, parent, self.protect, self.sandbox_only))


def _is_error(level: Level, resource: ResourceView) -> bool:
    return level is Level.REFUSED or (level is Level.UNSAFE and resource.protect)


async def _urn(resource: pulumi.Resource) -> str:
    return await resource.urn.future() or ""


def _known(value: Any, *, camel: bool = True) -> Any:
    """Plain Python of an argument, an Unknown for each output."""
    if isinstance(value, (pulumi.Output, Awaitable, PulumiUnknown)):
        return UNKNOWN
    if isinstance(value, Mapping) or _is_args(value):
        return {key: _known(part, camel=free) for key, part, free in _members(value, camel=camel)}
    if isinstance(value, (list, tuple)):
        return [_known(part, camel=camel) for part in cast("Sequence[Any]", value)]
    return value


async def _resolved(value: Any, origins: set[str], *, camel: bool = True) -> Any:
    """The same, each output awaited; `made_of` takes the URNs of the resources that the outputs come from."""
    if isinstance(value, pulumi.Output):
        output = cast("pulumi.Output[Any]", value)
        urns = {await _urn(each) for each in await output.resources()}
        origins |= urns
        known = await output.is_known()
        return await _resolved(await output.future(), origins, camel=camel) if known else Unknown(frozenset(urns))
    if isinstance(value, Awaitable):
        return await _resolved(await cast("Awaitable[Any]", value), origins, camel=camel)
    if isinstance(value, PulumiUnknown):
        return UNKNOWN
    if isinstance(value, Mapping) or _is_args(value):
        return {key: await _resolved(part, origins, camel=free) for key, part, free in _members(value, camel=camel)}
    if isinstance(value, (list, tuple)):
        return [await _resolved(part, origins, camel=camel) for part in cast("Sequence[Any]", value)]
    return value


def _is_args(value: object) -> bool:
    return is_input_type(type(value))


def _members(value: Any, *, camel: bool) -> Iterator[tuple[str, Any, bool]]:
    """Names as the engine has them, values, and whether the names within are Pulumi's, too."""
    items = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else vars(value)).items()
    yield from (
        (to_camel(key) if camel else key, part, camel and key not in DATA_ARGUMENTS)
        for key, part in items
        if part is not None
    )
