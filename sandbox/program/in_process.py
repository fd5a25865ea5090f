"""Runs a Pulumi program in this process, without the Pulumi CLI: every resource it registers goes to a backend."""

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
from google.protobuf.struct_pb2 import Struct, Value
from pulumi.runtime.mocks import MockEngine, MockMonitor
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import SETTINGS, Settings, _get_rpc_manager, configure  # pyright: ignore[reportPrivateUsage]
from pulumi.runtime.sync_await import _sync_await  # pyright: ignore[reportPrivateUsage]

from infra.archive.sources import files
from sandbox import ROOT
from sandbox.program.values import ProgramError, plain

STACK_TYPE = "pulumi:pulumi:Stack"
THREADS = 16


class InvokeError(grpc.RpcError):
    """A provider's function has failed: raised by a backend, it reaches the program as an error of the SDK's own."""

    def code(self) -> grpc.StatusCode:
        """As providers answer when nothing says more."""
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        """What the provider said."""
        return str(self.args[0])


@dataclass(frozen=True)
class Registration:
    """One resource as the program registered it: its inputs as plain Python, and every option that matters."""

    type: str
    name: str
    custom: bool
    inputs: dict[str, Any]
    urn: str
    parent: str
    provider: str
    protect: bool | None
    retain_on_delete: bool | None
    delete_before_replace: bool | None
    aliases: tuple[str | dict[str, Any], ...]
    dependencies: frozenset[str]
    property_dependencies: dict[str, frozenset[str]]
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    replacement_trigger: Any


class Backend(Protocol):
    """What makes registered resources real. Independent resources arrive at once, each on a thread of its own."""

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        """Id and outputs of a resource, components included; inputs that the outputs do not name are kept.

        In a preview an empty id means an id that is not known yet.
        """
        ...

    def invoke(self, token: str, args: dict[str, Any], provider: str) -> dict[str, Any]:
        """Result of a provider's function, such as aws:dynamodb/getTable:getTable; the default provider is empty."""
        ...


def project(root: Path = ROOT) -> dict[str, Any]:
    """Pulumi.yaml as it stands."""
    return _yaml(root / "Pulumi.yaml")


def namespaced(config: Mapping[str, Any], project_name: str) -> dict[str, Any]:
    """`config` by full keys: the CLI takes a key without a namespace as one of the project."""
    return {key if ":" in key else f"{project_name}:{key}": value for key, value in config.items()}


def stack_config(stack: str, root: Path = ROOT) -> dict[str, str]:
    """Pulumi.<stack>.yaml, over the defaults of Pulumi.yaml, as the CLI hands it to the program in PULUMI_CONFIG.

    Raises
    ------
    ProgramError
        The file is missing, holds an encrypted value, a scalar that the CLI would rewrite, or lacks a key that
        Pulumi.yaml declares without a default.
    """
    about = project(root)
    config = namespaced(_yaml(root / f"Pulumi.{stack}.yaml").get("config") or {}, about["name"])
    missing: list[str] = []
    for key, declaration in namespaced(about.get("config") or {}, about["name"]).items():
        given = declaration.get("default", declaration.get("value"))
        if key not in config and given is not None:
            config[key] = given
        elif key not in config and key.startswith(f"{about['name']}:"):
            missing.append(key)
    if missing:
        raise ProgramError(f"Pulumi.{stack}.yaml lacks {', '.join(missing)}, and Pulumi.yaml has no default for it")
    return {key: _scalar(f"Pulumi.{stack}.yaml: {key}", value) for key, value in config.items()}


def versions(stack: str, root: Path = ROOT) -> dict[Path, int]:
    """The files that make a program what it is, with when they changed (ns): what differs calls for another run.

    Modules of infra are none of them: a process imports them once. Of handler/ it is what the archive holds, and the
    lock; a link changes with the file that it leads to.
    """
    handler = root / "handler"
    requirements = (handler / "requirements.in", handler / "requirements.txt")
    found: dict[Path, int] = {}
    for path in (root / "__main__.py", root / f"Pulumi.{stack}.yaml", *requirements, *files(handler)):
        with contextlib.suppress(FileNotFoundError):  # editors save by renaming
            itself_and_target = [path.lstat(), *([path.stat()] if path.exists() else [])]
            # Not the time of the last write, which a file keeps that is made executable.
            found[path] = max(each.st_ctime_ns for each in itself_and_target)
    return found


def run(
    program: Callable[[], None] | Path,
    *,
    stack: str,
    config: Mapping[str, str],
    backend: Backend,
    preview: bool = False,
) -> dict[str, Any]:
    """Run `program` (a function, or the directory of a project) and return its stack outputs.

    An exception of the program or the backend surfaces as itself, when no call to the backend is under way any more.
    """
    monitor = _Monitor(backend)
    context = contextvars.copy_context()
    program = program.resolve() if isinstance(program, Path) else program
    directory = program if isinstance(program, Path) else Path.cwd()
    name = project(program if isinstance(program, Path) else ROOT)["name"]
    with contextlib.chdir(directory), _no_collection():
        context.run(
            *(_run, program, monitor, namespaced(config, name)),
            project=name,
            stack=stack,
            dry_run=preview,
            organization="organization",
        )
    return monitor.stack_outputs


def _run(program: Callable[[], None] | Path, monitor: "_Monitor", config: Mapping[str, str], **options: Any) -> None:
    pulumi.runtime.reset_options()
    pulumi.runtime.set_all_config(dict(config), [])
    configure(Settings(**options, monitor=monitor, engine=MockEngine(logging.getLogger("pulumi"))))

    def main() -> None:
        if isinstance(program, Path):
            runpy.run_path(str(program), run_name="__main__")
        else:
            program()
        _sync_await(_quiet())

    with asyncio.Runner() as runner, ThreadPoolExecutor(THREADS) as pool:
        loop = runner.get_loop()
        loop.set_default_executor(pool)
        # What failed is raised by run_in_stack; the loop would tell of each task that waited for it as well.
        loop.set_exception_handler(lambda _loop, _context: None)
        try:
            runner.run(pulumi.runtime.run_in_stack(main))
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _no_collection() -> Generator[None]:
    """Collect no garbage: what a run makes lives until its end, and looking through it would take half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def _quiet() -> None:
    """Wait until nothing is under way, or something has failed.

    The SDK waits so, too, but it looks at every pending output each time that one of them is done, which takes seconds
    in a large program.
    """
    manager: Any = _get_rpc_manager()
    pause = 0.001
    while manager.unhandled_exception is None:
        outputs = list(cast("Any", SETTINGS).outputs)
        if any(output.done() for output in outputs):  # it has failed: those that succeed are taken out
            return
        if not outputs and all(rpc.done() for rpc in manager.rpcs):
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.05)


class _Monitor(MockMonitor):
    """The SDK's mock monitor, with the backend in the place of its mocks."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(cast("Any", None))
        self.backend = backend
        self.stack_outputs: dict[str, Any] = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine makes it: the stack is no part of a child's type, as it is in the SDK's mocks."""
        return super().make_urn("" if f"::{STACK_TYPE}::" in parent else parent, type_, name)

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:  # noqa: N802 -- the protocol's name
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs = _decoded(request.object)
        identity, outputs = self.backend.register(_registration(request, urn, inputs))
        reply = resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=request.object)
        reply.object.update({key: value for key, value in outputs.items() if inputs.get(key) != value})
        return reply

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> Empty:  # noqa: N802 -- the protocol's name
        if f"::{STACK_TYPE}::" in request.urn:
            self.stack_outputs = _decoded(request.outputs)
        return Empty()

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:  # noqa: N802 -- the protocol's name
        raise ProgramError(f"{request.type} {request.name}: .get() is not known here; read it with a function (get_…)")

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:  # noqa: N802 -- the protocol's name
        reply = resource_pb2.ResourceInvokeResponse()
        getattr(reply, "return").update(self.backend.invoke(request.tok, _decoded(request.args), request.provider))
        return reply


def _registration(request: resource_pb2.RegisterResourceRequest, urn: str, inputs: dict[str, Any]) -> Registration:
    return Registration(
        type=request.type,
        name=request.name,
        custom=request.custom,
        inputs=inputs,
        urn=urn,
        parent=request.parent,
        provider=request.provider,
        protect=request.protect if request.HasField("protect") else None,
        retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
        delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
        aliases=tuple(_alias(alias) for alias in cast("Any", request).aliases),  # the SDK's stub lacks its type
        dependencies=frozenset(request.dependencies),
        property_dependencies={key: frozenset(of.urns) for key, of in request.propertyDependencies.items()},
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        replacement_trigger=_decoded(request.replacement_trigger) if request.HasField("replacement_trigger") else None,
    )


def _alias(alias: Any) -> str | dict[str, Any]:
    return alias.urn or {field: value for field, value in MessageToDict(alias.spec).items() if value}


def _decoded(message: Struct | Value) -> Any:
    return plain(MessageToDict(message))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ProgramError(f"there is no {path.name}") from error
    except yaml.YAMLError as error:
        raise ProgramError(f"{path.name} is not YAML: {error}") from error


def _scalar(where: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(cast("dict[str, Any]", value)) == {"secure"}:
        raise ProgramError(f"{where} is encrypted, which only the Pulumi CLI can read: give a plain value here")
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
    except TypeError as error:
        raise ProgramError(f"{where} holds a scalar that the CLI would rewrite, such as a date: quote it") from error
