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

ATTRIBUTE = "_table_stream_registry"
"""Where the monitor of a run, of which each run has its own, keeps the registry."""

FREE = {"policy", "tags", "variables"}
"""Arguments whose own keys are data, not names of pulumi_aws."""


@dataclass(frozen=True)
class Entry:
    """A resource with the arguments that it is registered with."""

    made: pulumi.Resource
    type: str
    name: str
    arguments: Mapping[str, Any]
    parent: pulumi.Resource | None
    protect: bool
    only_here: bool
    _seen: list[asyncio.Future[ResourceView]] = field(default_factory=list[asyncio.Future[ResourceView]])

    def seen(self) -> asyncio.Future[ResourceView]:
        """What the rules see of it, once its inputs are known, or known to come with the update."""
        if not self._seen:
            self._seen.append(asyncio.ensure_future(self._registered()))
        return self._seen[0]

    async def _registered(self) -> ResourceView:
        inputs: dict[str, Any] = {}
        dependencies: dict[str, set[str]] = {}
        for name, value, camel in _members(self.arguments, camel=True):
            inputs[name] = await _resolved(value, dependencies.setdefault(name, set()), camel=camel)
        if isinstance(self.made, aws.dynamodb.Table):
            inputs["arn"] = await _resolved(self.made.arn, set())
        # A mapping waits for the rules; they need no URN of it.
        urn = f"{self.type}::{self.name}" if self.type == MAPPING else await _urn(self.made)
        parent = await _urn(self.parent) if self.parent else ""
        return ResourceView(
            *(self.type, self.name, inputs, urn, dependencies, parent),
            protect=self.protect,
            only_here=self.only_here,
        )


@dataclass
class Registry:
    """What a run of a program registers by its components, and what the rules say of it."""

    entries: list[Entry] = field(default_factory=list[Entry])
    existing: list[ResourceView] = field(default_factory=list[ResourceView])  # tables that other programs made
    refusals: list[str] = field(default_factory=list[str])
    _names: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    _complete: list[int] = field(default_factory=list[int])  # how many entries there were as each component ended
    _judged: int = 0
    _error: pulumi.RunError | None = None
    _warned: set[str] = field(default_factory=set[str])

    @classmethod
    def of_this_run(cls) -> Self:
        """The registry of the program that is running."""
        monitor: Any = get_monitor()
        if not hasattr(monitor, ATTRIBUTE):
            setattr(monitor, ATTRIBUTE, cls())
        return getattr(monitor, ATTRIBUTE)

    def name(self, parent: pulumi.Resource, kind: str, name: str) -> None:
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

    def admit(self, kind: str, name: str, arguments: Mapping[str, Any], *, protect: bool, only_here: bool) -> None:
        """Let a resource be registered of which no output is known yet.

        Raises
        ------
        pulumi.RunError
            In an update: a rule refuses it by what is known. A preview tells everything at once, in `check`.
        """
        if not pulumi.runtime.is_dry_run():
            resource = ResourceView(kind, name, _known(arguments), protect=protect, only_here=only_here)
            self._judge(rules.of_each([resource]), warn=False)

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
        self._complete.append(len(self.entries))
        pulumi.Output.from_input(self._judge_first(len(self.entries)))

    def cleared(self, *needed: pulumi.Resource) -> pulumi.Input[Sequence[pulumi.Resource]]:
        """What a mapping that is registered next depends on: `needed`, once the rules have passed it.

        In an update that is when all that was declared before it, and the mapping itself, is judged: none of it can
        depend on the mapping. A preview makes nothing, so there nothing waits.
        """
        if pulumi.runtime.is_dry_run():
            return needed
        return pulumi.Output.from_input(self._cleared(len(self.entries) + 1, needed))

    async def _cleared(self, count: int, needed: Sequence[pulumi.Resource]) -> Sequence[pulumi.Resource]:
        await self._judge_first(count)
        return needed

    async def _judge_first(self, count: int) -> None:
        """Judge the first `count` entries, and in a preview, where none waits for the verdict, all of them.

        Complete components behind them that are known are judged with them, so that few verdicts do for all.
        """
        if pulumi.runtime.is_dry_run():
            count = len(self.entries)
        await asyncio.gather(*(entry.seen() for entry in self.entries[:count]))
        if count > self._judged:
            seen = [entry.seen() for entry in self.entries]
            done = next((number for number, each in enumerate(seen) if not each.done()), len(seen))
            known = max([count, *(end for end in self._complete if end <= done)])
            self._judged = known
            self._judge(rules.findings([*self.existing, *(each.result() for each in seen[:known])]), warn=True)
        elif self._error:
            raise self._error

    def _judge(self, findings: Iterable[Finding], *, warn: bool) -> None:
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

    def __init__(self, component: pulumi.ComponentResource, *, protect: bool, only_here: bool = False) -> None:
        self.component = component
        self.protect = protect
        self.only_here = only_here
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
        inputs = {"role": role.name, "policy": policies.policy(statements)}
        return self._make(aws.iam.RolePolicy, name, inputs, {"policy": {"Statement": statements}})

    def _make(
        self,
        kind: Callable[..., Made],
        name: str,
        inputs: Mapping[str, Any],
        judged: Mapping[str, Any] | None = None,
    ) -> Made:
        kind_of = cast("str", kind.pulumi_type)  # pyright: ignore[reportFunctionMemberAccess] -- of every resource class
        self.registry.name(self.component, kind_of, name)
        own = {key: value for key, value in inputs.items() if key != "opts"}
        opts = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(parent=self.component), inputs.get("opts"))
        arguments = own | dict(judged or {})
        self.registry.admit(kind_of, name, arguments, protect=self.protect, only_here=self.only_here)
        made = kind(name, **own, opts=opts)
        self.tell(made, arguments, self.component)
        return made

    def tell(self, made: pulumi.Resource, arguments: Mapping[str, Any], parent: pulumi.Resource | None = None) -> None:
        """Tell the rules of a resource, made here or elsewhere, what they look at of it."""
        kind_of, name = made.pulumi_resource_type, made.pulumi_resource_name
        self.registry.entries.append(Entry(made, kind_of, name, arguments, parent, self.protect, self.only_here))


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


async def _resolved(value: Any, made_of: set[str], *, camel: bool = True) -> Any:
    """The same, each output awaited; `made_of` takes the URNs of the resources that the outputs come from."""
    if isinstance(value, pulumi.Output):
        output = cast("pulumi.Output[Any]", value)
        urns = {await _urn(each) for each in await output.resources()}
        made_of |= urns
        known = await output.is_known()
        return await _resolved(await output.future(), made_of, camel=camel) if known else Unknown(frozenset(urns))
    if isinstance(value, Awaitable):
        return await _resolved(await cast("Awaitable[Any]", value), made_of, camel=camel)
    if isinstance(value, PulumiUnknown):
        return UNKNOWN
    if isinstance(value, Mapping) or _is_args(value):
        return {key: await _resolved(part, made_of, camel=free) for key, part, free in _members(value, camel=camel)}
    if isinstance(value, (list, tuple)):
        return [await _resolved(part, made_of, camel=camel) for part in cast("Sequence[Any]", value)]
    return value


def _is_args(value: object) -> bool:
    return is_input_type(type(value))


def _members(value: Any, *, camel: bool) -> Iterator[tuple[str, Any, bool]]:
    """Names as the engine has them, values, and whether the names within are Pulumi's, too."""
    items = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else vars(value)).items()
    yield from (
        (to_camel(key) if camel else key, part, camel and key not in FREE) for key, part in items if part is not None
    )
