"""Serves the sandbox's resources to the Pulumi engine, by the protocol of providers."""

# ruff: noqa: ARG002, D102, N802 -- names and arguments of the protocol, which provider.proto documents

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
from sandbox.program.imported import read_inputs
from sandbox.program.in_process import THREADS
from sandbox.program.lookups import look_up
from sandbox.program.values import UNKNOWN, to_python
from sandbox.resources.catalog import resource
from sandbox.resources.functions import EventSourceMapping
from sandbox.resources.resource_type import Aws, Inputs, ResourceType, changed_properties

Context = grpc.ServicerContext

_SIGNATURE = "4dabf18193072939515e22adb298388d"  # pragma: allowlist secret
_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"  # pragma: allowlist secret
_CONTENT_KEYS = {"path", "text", "assets"}
"""The keys with the content of an asset or archive; without them, the engine sends the hash only."""


class ResourceRequest(Protocol):
    """The fields of every request about a resource."""

    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The provider of the package `aws`. Its responses extend the requests' values, so that archives stay as they are.

    As with the AWS plugin, a preview of an update expects every computed output to keep its value. A refresh detects
    deleted resources, changed outputs, and changes of the inputs that a resource reads: the hash of a function's code,
    and additional policies of a role. Tables, functions and mappings can be imported (`sandbox.program.imported`);
    unlike on AWS, an imported mapping reads from its starting position.
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
        getattr(reply, "return").update(look_up(request.tok, _decode(request.args), self.aws))
        return reply

    def Check(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        resource_type, news = self._resource_type(request), _decode(request.news)
        existing_name = {
            name: value for name, value in MessageToDict(request.olds).items() if name == resource_type.name_property
        }
        inputs = resource_type.check(request.name, existing_name | news)
        reply = provider_pb2.CheckResponse(inputs=request.news)
        reply.inputs.update({name: value for name, value in inputs.items() if news.get(name) != value})
        return reply

    def Diff(self, request: provider_pb2.DiffRequest, context: Context) -> DiffResponse:
        differences = changed_properties(*_old_and_new(request))
        return DiffResponse(
            changes=DiffResponse.DIFF_SOME if differences else DiffResponse.DIFF_NONE,
            diffs=sorted(differences),
            replaces=sorted(differences & self._resource_type(request).replacement_properties),
        )

    def Create(self, request: provider_pb2.CreateRequest, context: Context) -> provider_pb2.CreateResponse:
        resource_type = self._resource_type(request)
        reply = provider_pb2.CreateResponse(properties=request.properties)
        if request.preview:
            inputs = MessageToDict(request.properties)
            reply.properties.update({name: UNKNOWN for name in resource_type.outputs if name not in inputs})
        else:
            reply.id = resource_type.create(_decode(request.properties))
            reply.properties.update(resource_type.read(reply.id) or {})
        return reply

    def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:
        resource_type = self._resource_type(request)
        outputs = resource_type.read(request.id)
        if outputs is None:
            return provider_pb2.ReadResponse()
        if not request.inputs and not request.properties:
            return self._imported(resource_type, request.id, outputs)
        reply = provider_pb2.ReadResponse(id=request.id, inputs=request.inputs, properties=request.properties)
        reply.properties.update(outputs)
        inputs = MessageToDict(request.inputs)
        reply.inputs.update(
            {name: value for name, value in outputs.items() if not _equal(inputs.get(name, value), value)}
        )
        return reply

    def _imported(self, resource_type: ResourceType, identity: str, outputs: Inputs) -> provider_pb2.ReadResponse:
        inputs = read_inputs(resource_type, identity)
        if isinstance(resource_type, EventSourceMapping) and identity not in self._adopted:
            self.aws.mappings.attach(identity, resource_type.request(inputs))
            self._adopted.add(identity)
        reply = provider_pb2.ReadResponse(id=identity)
        reply.inputs.update(inputs)
        reply.properties.update({**inputs, **outputs})
        return reply

    def Update(self, request: provider_pb2.UpdateRequest, context: Context) -> provider_pb2.UpdateResponse:
        resource_type = self._resource_type(request)
        reply = provider_pb2.UpdateResponse(properties=request.news)
        if request.preview:
            before, inputs = MessageToDict(request.olds), MessageToDict(request.news)
            reply.properties.update({name: before.get(name) for name in resource_type.outputs if name not in inputs})
        else:
            resource_type.update(request.id, *_old_and_new(request))
            reply.properties.update(resource_type.read(request.id) or {})
        return reply

    def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> Empty:
        self._resource_type(request).delete(request.id, _decode(request.old_inputs))
        return Empty()

    def _resource_type(self, request: ResourceRequest) -> ResourceType:
        return resource(request.type, request.name, self.aws)


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal; the order of lists does not matter to resources that read their inputs."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(cast("list[Any]", one)) == sorted(cast("list[Any]", other))
    return one == other


def _old_and_new(request: provider_pb2.DiffRequest | provider_pb2.UpdateRequest) -> tuple[Inputs, Inputs]:
    new = MessageToDict(request.news)
    files = {value["hash"]: value for value in new.values() if _is_file(value) and _CONTENT_KEYS & value.keys()}
    return _decode(request.old_inputs, files), _decode(request.news)


def _decode(message: Struct, files: Mapping[str, dict[str, Any]] | None = None) -> Inputs:
    """Convert a message to Python. A file that has only a hash becomes the one of `files` with that hash, if any."""
    values = MessageToDict(message)
    for name, value in values.items():
        if _is_file(value) and not _CONTENT_KEYS & value.keys():
            elsewhere = "path" if value[_SIGNATURE] == _ARCHIVE else "text"
            values[name] = (files or {}).get(value["hash"], {**value, elsewhere: value["hash"]})
    return to_python(values)


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and "hash" in value


@contextlib.contextmanager
def serve_provider(aws: Aws) -> Generator[str]:
    """Serve the provider on a free port of loopback; yield its value of PULUMI_DEBUG_PROVIDERS."""
    server = grpc.server(ThreadPoolExecutor(THREADS, "provider"))
    cast("Any", provider_pb2_grpc).add_ResourceProviderServicer_to_server(Provider(aws), server)
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    try:
        yield f"aws:{port}"
    finally:
        server.stop(grace=None).wait()
