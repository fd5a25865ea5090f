"""Runs a Pulumi program in this process, without the Pulumi CLI: a backend receives every registered resource."""

import asyncio
import contextlib
import contextvars
import gc
import json
import logging
import runpy
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import grpc
import pulumi
import pulumi.runtime
import yaml
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.mocks import MockEngine, MockMonitor
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import SETTINGS, Settings, _get_rpc_manager, configure  # pyright: ignore[reportPrivateUsage]
from pulumi.runtime.sync_await import _sync_await  # pyright: ignore[reportPrivateUsage]

from sandbox import ROOT
from sandbox.program.values import ProgramError, to_python

STACK = "local"
"""The stack of the sandbox."""
STACK_TYPE = "pulumi:pulumi:Stack"
NAME = "table-stream"
"""The project of a program that is a function."""

THREADS = 16


class InvokeError(grpc.RpcError):
    """A function of the provider has failed. A backend raises it; the SDK raises its own error in the program."""

    def code(self) -> grpc.StatusCode:
        """Return the status of an error without a more specific one."""
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        """Return the provider's message."""
        return str(self.args[0])


@dataclass(frozen=True)
class Registration:
    """A resource as the program registers it."""

    type: str
    name: str
    custom: bool
    urn: str
    inputs: dict[str, Any]
    """The inputs as plain Python."""
    parent: str
    provider: str
    protect: bool
    retain_on_delete: bool
    delete_before_replace: bool
    aliases: tuple[str, ...]
    """The URN or the name of each alias."""
    dependencies: frozenset[str]
    property_dependencies: Mapping[str, frozenset[str]]
    ignore_changes: frozenset[str]
    replace_on_changes: frozenset[str]
    replacement_trigger: Any
    """The trigger as plain Python; None if the resource has none."""

    @property
    def name_in_program(self) -> str:
        """The name of the StreamTable or StreamConsumer, for its table or function; for others, the resource's own."""
        *_, type_, name = f"::{self.parent}".split("::")
        return name if type_.endswith((":StreamTable", ":StreamConsumer")) else self.name

    @property
    def is_of_stores(self) -> bool:
        """Whether the resource is a part of the stores, as the ledger is."""
        return ":Stores::" in self.parent

    @classmethod
    def from_request(cls, request: Any, urn: str) -> "Registration":
        """Read the SDK's message (RegisterResourceRequest)."""
        trigger = MessageToDict(request.replacement_trigger) if request.HasField("replacement_trigger") else None
        return cls(
            type=request.type,
            name=request.name,
            custom=request.custom,
            urn=urn,
            inputs=_decode(request.object),
            parent=request.parent,
            provider=request.provider,
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            delete_before_replace=request.deleteBeforeReplace,
            aliases=tuple(alias.urn or alias.spec.name for alias in request.aliases),
            dependencies=frozenset(request.dependencies),
            property_dependencies={name: frozenset(each.urns) for name, each in request.propertyDependencies.items()},
            ignore_changes=frozenset(request.ignoreChanges),
            replace_on_changes=frozenset(request.replaceOnChanges),
            replacement_trigger=to_python(trigger),
        )


class Backend(Protocol):
    """Creates registered resources. The calls for independent resources are concurrent, on different threads."""

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        """Create a resource or a component; return its id and its outputs, to which the inputs are added.

        In a preview, an empty id means an unknown id.
        """
        ...

    def invoke(self, token: str, args: dict[str, Any], provider: str) -> dict[str, Any]:
        """Return the result of a function such as aws:dynamodb/getTable:getTable; the default `provider` is ""."""
        ...


def read_project(root: Path = ROOT) -> dict[str, Any]:
    """Return the content of Pulumi.yaml."""
    return _read_yaml(root / "Pulumi.yaml")


def namespaced(config: Mapping[str, Any], project_name: str) -> dict[str, Any]:
    """Return `config` with full keys: a key without a namespace belongs to the project, as in the CLI."""
    return {key if ":" in key else f"{project_name}:{key}": value for key, value in config.items()}


def stack_config(stack: str, root: Path = ROOT) -> dict[str, str]:
    """Return Pulumi.<stack>.yaml with the defaults of Pulumi.yaml, as the CLI passes them in PULUMI_CONFIG.

    Raises
    ------
    ProgramError
        The file is missing, has an encrypted value or a scalar that the CLI would rewrite, or lacks a key that
        Pulumi.yaml declares without a default.
    """
    project = read_project(root)
    config = namespaced(_read_yaml(root / f"Pulumi.{stack}.yaml").get("config") or {}, project["name"])
    missing: list[str] = []
    for key, declaration in namespaced(project.get("config") or {}, project["name"]).items():
        default = declaration.get("default", declaration.get("value"))
        if key not in config and default is not None:
            config[key] = default
        elif key not in config and key.startswith(f"{project['name']}:"):
            missing.append(key)
    if missing:
        raise ProgramError(f"Pulumi.{stack}.yaml lacks {', '.join(missing)}, and Pulumi.yaml has no default for it")
    return {key: _to_config_value(f"Pulumi.{stack}.yaml: {key}", value) for key, value in config.items()}


class Program:
    """A Pulumi program, with the stack and the configuration that it runs with.

    Parameters
    ----------
    source
        A function, or the directory of a project.
    stack
        The stack's name.
    config
        The configuration, as the CLI passes it in PULUMI_CONFIG. Default: the project's stack file.
    """

    def __init__(
        self, source: Callable[[], None] | Path = ROOT, stack: str = STACK, config: Mapping[str, str] | None = None
    ) -> None:
        self.source, self.stack = source, stack
        config = stack_config(stack, self.directory or ROOT) if config is None else config
        self.config = namespaced(config, self.project)

    @property
    def directory(self) -> Path | None:
        """The directory of the project; None for a function."""
        return self.source.resolve() if isinstance(self.source, Path) else None

    @property
    def project(self) -> str:
        """The project's name."""
        return read_project(self.directory)["name"] if self.directory else NAME

    def execute(self) -> None:
        """Run the source: register its resources and exports."""
        if isinstance(self.source, Path):
            runpy.run_path(str(self.directory), run_name="__main__")
        else:
            self.source()


def run(program: Program, backend: Backend, *, preview: bool = False) -> dict[str, Any]:
    """Run a program against a backend and return its stack outputs.

    An exception of the program or of the backend is raised as it is, after all calls to the backend have ended.
    """
    monitor = _Monitor(backend)
    options = {"project": program.project, "stack": program.stack, "dry_run": preview, "organization": "organization"}
    with contextlib.chdir(program.directory or Path.cwd()), _without_garbage_collection():
        contextvars.copy_context().run(_run, program, monitor, options)
    return monitor.stack_outputs


def _run(program: Program, monitor: "_Monitor", options: Mapping[str, Any]) -> None:
    pulumi.runtime.reset_options()
    pulumi.runtime.set_all_config(dict(program.config), [])
    configure(Settings(**options, monitor=monitor, engine=MockEngine(logging.getLogger("pulumi"))))

    def main() -> None:
        program.execute()
        _sync_await(_wait_for_outputs())

    with asyncio.Runner() as runner, ThreadPoolExecutor(THREADS) as pool:
        loop = runner.get_loop()
        loop.set_default_executor(pool)
        # run_in_stack raises the failure; the loop would also log each task that waits for the failed one.
        loop.set_exception_handler(lambda _loop, _context: None)
        try:
            runner.run(pulumi.runtime.run_in_stack(main))
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _without_garbage_collection() -> Generator[None]:
    """Disable garbage collection: a run keeps its objects until its end, and searching them takes half of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def _wait_for_outputs() -> None:
    """Wait until all calls and outputs are complete, or one has failed.

    The SDK's own wait checks every pending output after each completed one, which takes seconds in a large program.
    """
    manager: Any = _get_rpc_manager()
    pause = 0.001
    while manager.unhandled_exception is None:
        outputs = list(cast("Any", SETTINGS).outputs)
        if any(output.done() for output in outputs):  # a failed output: the SDK removes those that succeed
            return
        if not outputs and all(rpc.done() for rpc in manager.rpcs):
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.05)


class _Monitor(MockMonitor):
    """The SDK's mock monitor, with a backend in place of the mocks."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(cast("Any", None))
        self.backend = backend
        self.stack_outputs: dict[str, Any] = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Return the URN as the engine does: unlike in the SDK's mocks, the stack is not part of a child's type."""
        return super().make_urn("" if f"::{STACK_TYPE}::" in parent else parent, type_, name)

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:  # noqa: N802 -- the protocol's name
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        registration = Registration.from_request(request, urn)
        identity, outputs = self.backend.register(registration)
        reply = resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=request.object)
        inputs = registration.inputs
        reply.object.update({key: value for key, value in outputs.items() if inputs.get(key) != value})
        return reply

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> Empty:  # noqa: N802 -- the protocol's name
        if f"::{STACK_TYPE}::" in request.urn:
            self.stack_outputs = _decode(request.outputs)
        return Empty()

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:  # noqa: N802 -- the protocol's name
        raise ProgramError(
            f"{request.type} {request.name}: the sandbox does not support .get(); use a function (get_…)"
        )

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:  # noqa: N802 -- the protocol's name
        reply = resource_pb2.ResourceInvokeResponse()
        getattr(reply, "return").update(self.backend.invoke(request.tok, _decode(request.args), request.provider))
        return reply


def _decode(message: Struct) -> dict[str, Any]:
    return to_python(MessageToDict(message))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content: object = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ProgramError(f"there is no {path.name}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ProgramError(f"{path.name}:{line}: this is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ProgramError(f"{path.name}: this is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ProgramError(f"{path.name}: its content is not an object with keys such as config")
    return cast("dict[str, Any]", content)


def _to_config_value(where: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(cast("dict[str, Any]", value)) == {"secure"}:
        raise ProgramError(f"{where} is encrypted, and only the Pulumi CLI can decrypt it: set a plain value")
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
    except TypeError as error:
        raise ProgramError(f"{where} is a scalar that the CLI would rewrite, such as a date: quote it") from error
