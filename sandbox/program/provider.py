"""The sandbox's resources behind Pulumi's provider protocol, for the real engine."""

# ruff: noqa: ARG002, D102, N802 -- the protocol's names and arguments; provider.proto says what each call is for

import contextlib
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Protocol, cast

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc
from pulumi.runtime.proto.provider_pb2 import DiffResponse

from sandbox.emulator import HOST
from sandbox.program.imported import inputs_of
from sandbox.program.in_process import THREADS
from sandbox.program.lookups import answer
from sandbox.program.values import UNKNOWN, plain
from sandbox.resources.catalog import resource
from sandbox.resources.functions import EventSourceMapping
from sandbox.resources.resource_type import Aws, Inputs, ResourceType, changed

Context = grpc.ServicerContext

_SIGN = "4dabf18193072939515e22adb298388d"  # pragma: allowlist secret
_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"  # pragma: allowlist secret
_CONTENT = {"path", "text", "assets"}
"""How the engine tells what a file or an archive holds, where it is to be read."""


class Named(Protocol):
    """What every request about a resource says of it."""

    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Answers for the package `aws`. Messages are handed back with what is new: the engine's archives stay as they are.

    As the AWS plugin does, a preview of an update takes every computed output to stay what it was. A refresh sees what
    is gone, what was computed anew, and of the inputs those that a resource reads: a function's code by its hash, and
    what a role has besides what it may have. Tables, functions and mappings can be imported
    (`sandbox.program.imported`); unlike on AWS, a mapping then begins at its starting position.
    """

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self._adopted = set[str]()

    def Attach(self, request: plugin_pb2.PluginAttach, context: Context) -> Empty:
        return Empty()

    def Cancel(self, request: Empty, context: Context) -> Empty:
        return Empty()

    def GetPluginInfo(self, request: Empty, context: Context) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=version("pulumi-aws"))

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Context) -> DiffResponse:
        return DiffResponse(changes=DiffResponse.DIFF_NONE)

    def Configure(self, request: provider_pb2.ConfigureRequest, context: Context) -> provider_pb2.ConfigureResponse:
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Invoke(self, request: provider_pb2.InvokeRequest, context: Context) -> provider_pb2.InvokeResponse:
        reply = provider_pb2.InvokeResponse()
        getattr(reply, "return").update(answer(request.tok, _decoded(request.args), self.aws))
        return reply

    def Check(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        kind, given = self._kind(request), _decoded(request.news)
        kept = {name: value for name, value in MessageToDict(request.olds).items() if name == kind.named_by}
        inputs = kind.check(request.name, kept | given)
        reply = provider_pb2.CheckResponse(inputs=request.news)
        reply.inputs.update({name: value for name, value in inputs.items() if given.get(name) != value})
        return reply

    def Diff(self, request: provider_pb2.DiffRequest, context: Context) -> DiffResponse:
        differing = changed(*_old_and_new(request))
        return DiffResponse(
            changes=DiffResponse.DIFF_SOME if differing else DiffResponse.DIFF_NONE,
            diffs=sorted(differing),
            replaces=sorted(differing & self._kind(request).replaced_by),
        )

    def Create(self, request: provider_pb2.CreateRequest, context: Context) -> provider_pb2.CreateResponse:
        kind = self._kind(request)
        reply = provider_pb2.CreateResponse(properties=request.properties)
        if request.preview:
            given = MessageToDict(request.properties)
            reply.properties.update({name: UNKNOWN for name in kind.outputs if name not in given})
        else:
            reply.id = kind.create(_decoded(request.properties))
            reply.properties.update(kind.read(reply.id) or {})
        return reply

    def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:
        kind = self._kind(request)
        found = kind.read(request.id)
        if found is None:
            return provider_pb2.ReadResponse()
        if not request.inputs and not request.properties:
            return self._imported(kind, request.id, found)
        reply = provider_pb2.ReadResponse(id=request.id, inputs=request.inputs, properties=request.properties)
        reply.properties.update(found)
        given = MessageToDict(request.inputs)
        reply.inputs.update({name: value for name, value in found.items() if not _same(given.get(name, value), value)})
        return reply

    def _imported(self, kind: ResourceType, identity: str, outputs: Inputs) -> provider_pb2.ReadResponse:
        inputs = inputs_of(kind, identity)
        if isinstance(kind, EventSourceMapping) and identity not in self._adopted:
            self.aws.mappings.attach(identity, kind.request(inputs))
            self._adopted.add(identity)
        reply = provider_pb2.ReadResponse(id=identity)
        reply.inputs.update(inputs)
        reply.properties.update({**inputs, **outputs})
        return reply

    def Update(self, request: provider_pb2.UpdateRequest, context: Context) -> provider_pb2.UpdateResponse:
        kind = self._kind(request)
        reply = provider_pb2.UpdateResponse(properties=request.news)
        if request.preview:
            before, given = MessageToDict(request.olds), MessageToDict(request.news)
            reply.properties.update({name: before.get(name) for name in kind.outputs if name not in given})
        else:
            kind.update(request.id, *_old_and_new(request))
            reply.properties.update(kind.read(request.id) or {})
        return reply

    def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> Empty:
        self._kind(request).delete(request.id, _decoded(request.old_inputs))
        return Empty()

    def _kind(self, request: Named) -> ResourceType:
        return resource(request.type, request.name, self.aws)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; lists are sets to the resources that read their inputs."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(cast("list[Any]", one)) == sorted(cast("list[Any]", other))
    return one == other


def _old_and_new(request: provider_pb2.DiffRequest | provider_pb2.UpdateRequest) -> tuple[Inputs, Inputs]:
    new = MessageToDict(request.news)
    files = {value["hash"]: value for value in new.values() if _is_file(value) and _CONTENT & value.keys()}
    return _decoded(request.old_inputs, files), _decoded(request.news)


def _decoded(message: Struct, files: Mapping[str, dict[str, Any]] | None = None) -> Inputs:
    """Plain Python. Of a file that need not be read the engine tells the hash alone: one of `files`, or one of none."""
    values = MessageToDict(message)
    for name, value in values.items():
        if _is_file(value) and not _CONTENT & value.keys():
            elsewhere = "path" if value[_SIGN] == _ARCHIVE else "text"
            values[name] = (files or {}).get(value["hash"], {**value, elsewhere: value["hash"]})
    return plain(values)


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and "hash" in value


@contextlib.contextmanager
def serving(aws: Aws) -> Generator[str]:
    """The provider on a free port of loopback; yields the value of PULUMI_DEBUG_PROVIDERS that leads there."""
    server = grpc.server(ThreadPoolExecutor(THREADS, "provider"))
    cast("Any", provider_pb2_grpc).add_ResourceProviderServicer_to_server(Provider(aws), server)
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    try:
        yield f"aws:{port}"
    finally:
        server.stop(grace=None).wait()
