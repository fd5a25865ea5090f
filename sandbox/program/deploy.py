"""Deploys a Pulumi program in the emulator, updates it, and deletes its resources."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from sandbox import SandboxError
from sandbox.program.code import CODE_PROPERTIES, digest_of_code
from sandbox.program.in_process import InvokeError, Program, Registration, run
from sandbox.program.lookups import GET_TABLE, look_up
from sandbox.program.unsupported import UnsupportedReport
from sandbox.resources.catalog import PlaceholderResource, resource
from sandbox.resources.resource_type import Aws, ResourceType, changed_properties
from sandbox.resources.tables import Table

TABLE = Table.type


class DeployError(SandboxError):
    """A resource cannot be created, changed or deleted, or the consumers do not become idle."""


class Tables(Protocol):
    """Makes the tables that a program only names, and fills the tables that the program makes."""

    def make(self, name: str) -> None:
        """Make a table unless it exists. Raises SandboxError, with a message that says how the table could be made."""
        ...

    def fill(self, name: str, table: str) -> None:
        """Fill a new table (physical name), before a function reads its stream; `name` is the one in the program."""
        ...

    def close(self) -> None:
        """Keep what is to be kept. A second call does nothing."""
        ...


@dataclass(frozen=True)
class DeployedResource:
    """A resource in the emulator."""

    registration: Registration
    resource_type: ResourceType
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    code: str = ""
    """The digest of the code that a function uses."""

    def must_be_replaced(self, registration: Registration, inputs: Mapping[str, Any]) -> bool:
        """Return whether the resource cannot take the inputs in place."""
        replacing = self.resource_type.replacement_properties.union(registration.replace_on_changes)
        differences = changed_properties(self.inputs, dict(inputs))
        return _is_triggered(self.registration, registration) or bool(differences & replacing)


@dataclass
class Deployment:
    """The resources and outputs of a program; the backend of each of its runs."""

    aws: Aws
    tables: Tables | None = None
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])
    unsupported: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Features of the latest run that the sandbox does not support: resource names by type, or by type and property."""
    unsupported_line: str = ""
    """The same as one line of text."""
    # By URN, in the order of the latest run.
    _resources: dict[str, DeployedResource] = field(default_factory=dict[str, DeployedResource])
    _registered: dict[str, Registration] = field(default_factory=dict[str, Registration])  # by URN, in this run
    _changes: list[str] = field(default_factory=list[str])
    _unsupported: UnsupportedReport = field(init=False)

    def __post_init__(self) -> None:
        self._unsupported = UnsupportedReport(self.aws.region)

    @property
    def resources(self) -> list[DeployedResource]:
        """All resources; each comes after those on which it depends."""
        return list(self._resources.values())

    def find(self, urn: str) -> DeployedResource | None:
        """Return the resource with this URN; None if there is none."""
        return self._resources.get(urn)

    def run(self, program: Program) -> list[str]:
        """Create or change what the program registers, and delete the other resources of earlier runs.

        Returns
        -------
        list[str]
            The changes: `orders-table created`, `orders-table` (changed), `orders-table deleted`.

        Raises
        ------
        Exception
            An error of the program, or a DeployError; resources that exist by then stay.
        """
        self._registered.clear()
        self._changes.clear()
        self._unsupported = UnsupportedReport(self.aws.region)
        self.outputs = run(program, self)
        self.unsupported, self.unsupported_line = self._unsupported.names, self._unsupported.line
        self._delete([deployed for urn, deployed in self._resources.items() if urn not in self._registered])
        return sorted(self._changes)

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        """Create a resource, or change the one of an earlier run; return its id and its outputs.

        Components and providers have no outputs. A resource of an unsupported type becomes a placeholder.

        Raises
        ------
        ResourceError
            The sandbox does not support the type or a property, and functions or tables may depend on it.
        DeployError
            The resource cannot be created or changed, or the program has already registered its URN.
        """
        register_once(self._registered, registration)
        if not registration.custom or registration.type.startswith("pulumi:"):
            self._unsupported.add_region(registration)
            return registration.name, {}
        resource_type = resource(registration.type, registration.name, self.aws)
        if isinstance(resource_type, PlaceholderResource):
            self._unsupported.add_placeholder(registration)
            inputs = resource_type.check(registration.name, registration.inputs)
            identity = resource_type.create(inputs)
            return identity, {**(resource_type.read(identity) or {}), **inputs}
        deployed = self._create_or_update(resource_type, registration)
        self._unsupported.add_deployed(registration, resource_type.list_unsupported(deployed.inputs))
        # A function may keep an older archive: the program sees its own, since an archive is no value of a message.
        own = {name: registration.inputs[name] for name in ("code",) if name in registration.inputs}
        return deployed.id, deployed.outputs | own

    def _create_or_update(self, type_: ResourceType, registration: Registration) -> DeployedResource:
        old = self._resources.get(registration.urn)
        inputs = checked_inputs(type_, registration, old)
        try:
            deployed = self._update(old, registration, inputs) if old else self._create(type_, registration, inputs)
        except Exception as error:
            raise DeployError(
                f"{registration.type} {registration.name} could not be {'changed' if old else 'created'}: {error}"
            ) from error
        self._resources.pop(registration.urn, None)
        self._resources[registration.urn] = deployed
        return deployed

    def _create(self, type_: ResourceType, registration: Registration, inputs: dict[str, Any]) -> DeployedResource:
        identity = type_.create(inputs)
        self._changes.append(f"{registration.name} created")
        if self.tables and registration.type == TABLE and not registration.is_of_stores:
            self.tables.fill(registration.name_in_program, identity)
        outputs = {**inputs, **(type_.read(identity) or {})}
        return DeployedResource(registration, type_, identity, inputs, outputs, digest_of_code(inputs))

    def _update(self, old: DeployedResource, registration: Registration, inputs: dict[str, Any]) -> DeployedResource:
        type_, code = old.resource_type, digest_of_code(inputs)
        if code and code == old.code:
            inputs |= {name: old.inputs[name] for name in CODE_PROPERTIES if name in old.inputs}
        if old.must_be_replaced(registration, inputs):
            self._delete([old])
            return self._create(type_, registration, type_.check(registration.name, registration.inputs))
        if not changed_properties(old.inputs, inputs):
            return replace(old, registration=registration)
        type_.update(old.id, old.inputs, inputs)
        self._changes.append(registration.name)
        outputs = {**inputs, **(type_.read(old.id) or {})}
        return DeployedResource(registration, type_, old.id, inputs, outputs, code)

    def invoke(self, token: str, args: dict[str, Any], provider: str) -> dict[str, Any]:
        """Return the result of a function, for any provider: the sandbox has one account and one Region."""
        del provider
        try:
            if self.tables and token == GET_TABLE:
                self.tables.make(args["name"])
            return look_up(token, args, self.aws)
        except (ClientError, SandboxError) as error:
            raise InvokeError(str(error)) from error

    def destroy(self) -> None:
        """Delete all resources, in the reverse order of their creation.

        Raises
        ------
        DeployError
            Some resources cannot be deleted; all others are deleted.
        """
        self._delete(self.resources)

    def _delete(self, unwanted: list[DeployedResource]) -> None:
        failures: list[str] = []
        for deployed in reversed(unwanted):
            try:
                deployed.resource_type.delete(deployed.id, deployed.inputs)
            except Exception as error:
                failures.append(f"{deployed.registration.type} {deployed.id}: {error}")
            else:
                del self._resources[deployed.registration.urn]
                self._changes.append(f"{deployed.registration.name} deleted")
        if failures:
            raise DeployError("could not be deleted: " + "; ".join(failures))


def register_once(registered: dict[str, Registration], registration: Registration) -> None:
    """Add a registration of this run by its URN. Raises DeployError if the program has already registered the URN."""
    if registered.setdefault(registration.urn, registration) is not registration:
        raise DeployError(
            f"{registration.urn} is registered twice: resources of one type and parent need different names"
        )


def checked_inputs(
    type_: ResourceType, registration: Registration, old: DeployedResource | None = None
) -> dict[str, Any]:
    """Return the inputs with defaults and a name, which is that of the deployed resource, if there is one."""
    name = type_.name_property
    existing_name = {name: old.inputs[name]} if old and name else {}
    return type_.check(registration.name, existing_name | registration.inputs)


def _is_triggered(old: Registration, new: Registration) -> bool:
    """Whether another replacement trigger replaces the resource; the first trigger does not, as in the engine."""
    triggers = old.replacement_trigger, new.replacement_trigger
    return None not in triggers and triggers[0] != triggers[1]
