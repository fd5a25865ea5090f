"""The provider implements Pulumi's protocol, and its command starts and ends. No test needs the Pulumi CLI."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc
from pulumi.runtime.proto.provider_pb2 import DiffResponse

from sandbox import ROOT
from sandbox.program.provider import serve_provider
from sandbox.program.values import UNKNOWN
from tests.local import REGION, LocalAws, is_listening, zip_module

QUEUE = "aws:sqs/queue:Queue"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"


@pytest.fixture
def stub(aws: LocalAws) -> Generator[Any]:
    """A client of the protocol, attached and configured."""
    with (
        serve_provider(aws.sandbox.aws) as address,
        grpc.insecure_channel(f"127.0.0.1:{address.partition(':')[2]}") as channel,
    ):
        stub = cast("Any", provider_pb2_grpc).ResourceProviderStub(channel)
        stub.Attach(plugin_pb2.PluginAttach(address="127.0.0.1:1"))
        configured = stub.Configure(provider_pb2.ConfigureRequest())
        assert configured == provider_pb2.ConfigureResponse(supportsPreview=True)
        yield stub


def struct(values: Mapping[str, Any]) -> Struct:
    message = Struct()
    message.update(values)
    return message


def of(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "name": "engine", "urn": f"urn:pulumi:local::p::{kind}::engine"} | fields


def test_a_resource_is_created_read_changed_and_deleted(stub: Any, aws: LocalAws) -> None:
    news = struct({"retentionInDays": 30})
    checked = stub.Check(provider_pb2.CheckRequest(**of(LOG_GROUP, news=news))).inputs
    name = checked["name"]
    assert MessageToDict(checked) == {"retentionInDays": 30, "name": name}
    assert stub.Check(provider_pb2.CheckRequest(**of(LOG_GROUP, news=news, olds=checked))).inputs == checked

    foreseen = stub.Create(provider_pb2.CreateRequest(**of(LOG_GROUP, properties=checked, preview=True)))
    assert (foreseen.id, foreseen.properties["arn"]) == ("", UNKNOWN)
    created = stub.Create(provider_pb2.CreateRequest(**of(LOG_GROUP, properties=checked)))
    arn = f"arn:aws:logs:{REGION}:000000000000:log-group:{name}"
    assert (created.id, MessageToDict(created.properties)) == (name, MessageToDict(checked) | {"arn": arn})
    read = stub.Read(provider_pb2.ReadRequest(**of(LOG_GROUP, id=name, properties=created.properties, inputs=checked)))
    assert (read.id, read.properties, read.inputs) == (name, created.properties, checked)

    changed = struct({"retentionInDays": 7, "name": name})
    old = {"id": name, "olds": created.properties, "old_inputs": checked}
    assert stub.Diff(provider_pb2.DiffRequest(**of(LOG_GROUP, news=checked, **old))).changes == DiffResponse.DIFF_NONE
    diff = stub.Diff(provider_pb2.DiffRequest(**of(LOG_GROUP, news=changed, **old)))
    assert (diff.changes, list(diff.diffs), list(diff.replaces)) == (DiffResponse.DIFF_SOME, ["retentionInDays"], [])
    foreseen = stub.Update(provider_pb2.UpdateRequest(**of(LOG_GROUP, news=changed, preview=True, **old)))
    assert MessageToDict(foreseen.properties) == MessageToDict(changed) | {"arn": arn}
    assert stub.Update(provider_pb2.UpdateRequest(**of(LOG_GROUP, news=changed, **old))) == foreseen
    [group] = aws.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert group["retentionInDays"] == 7

    stub.Delete(provider_pb2.DeleteRequest(**of(LOG_GROUP, id=name, properties=created.properties, old_inputs=checked)))
    assert stub.Read(provider_pb2.ReadRequest(**of(LOG_GROUP, id=name))).id == ""


def test_what_cannot_be_changed_in_place_is_replaced(stub: Any) -> None:
    old, new = struct({"name": "a", "delaySeconds": 1}), struct({"name": "b", "delaySeconds": 2})
    diff = stub.Diff(provider_pb2.DiffRequest(**of(QUEUE, id="a", olds=old, old_inputs=old, news=new)))
    assert (list(diff.diffs), list(diff.replaces)) == (["delaySeconds", "name"], ["name"])


def test_an_archive_with_the_same_hash_is_unchanged(stub: Any, tmp_path: Path) -> None:
    """The engine sends the path of a new file, and only the hash of a known one."""
    code = tmp_path / "code.zip"
    code.write_bytes(zip_module("def handler(event, context): return 1\n"))
    function = "aws:lambda/function:Function"
    role = "arn:aws:iam::000000000000:role/engine"

    def inputs(**archive: str) -> Struct:
        sign = {"4dabf18193072939515e22adb298388d": "0def7320c3a5731c473e5ecbe6d01bc7"}  # pragma: allowlist secret
        rest = {"name": "engine-code", "role": role, "handler": "m.handler", "runtime": "python3.11"}
        return struct({"code": sign | archive, **rest})

    new, kept = inputs(hash="a", path=str(code)), inputs(hash="a")
    created = stub.Create(provider_pb2.CreateRequest(**of(function, properties=new)))
    old = {"id": created.id, "olds": kept, "old_inputs": kept}
    assert stub.Diff(provider_pb2.DiffRequest(**of(function, news=kept, **old))).changes == DiffResponse.DIFF_NONE
    assert list(stub.Diff(provider_pb2.DiffRequest(**of(function, news=inputs(hash="b"), **old))).diffs) == ["code"]
    reply = stub.Update(provider_pb2.UpdateRequest(**of(function, news=new, **old)))
    assert reply.properties["code"]["path"] == str(code)
    stub.Delete(provider_pb2.DeleteRequest(**of(function, id=created.id, properties=kept, old_inputs=kept)))


def test_functions_have_results_and_unsupported_types_are_named(stub: Any) -> None:
    reply = stub.Invoke(provider_pb2.InvokeRequest(tok="aws:index/getRegion:getRegion"))
    assert getattr(reply, "return")["region"] == REGION
    with pytest.raises(grpc.RpcError, match="the sandbox does not support resources of type aws:lambda/alias:Alias"):
        stub.Check(provider_pb2.CheckRequest(**of("aws:lambda/alias:Alias")))


def test_an_unsupported_type_becomes_a_placeholder(stub: Any) -> None:
    alarm, arn = (
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        f"arn:aws:cloudwatch:{REGION}:000000000000:metricAlarm/engine",
    )
    checked = stub.Check(provider_pb2.CheckRequest(**of(alarm, news=struct({"threshold": 1})))).inputs
    assert MessageToDict(checked) == {"threshold": 1, "name": "engine"}
    created = stub.Create(provider_pb2.CreateRequest(**of(alarm, properties=checked)))
    assert (created.id, MessageToDict(created.properties)) == ("engine", MessageToDict(checked) | {"arn": arn})
    stub.Delete(
        provider_pb2.DeleteRequest(**of(alarm, id=created.id, properties=created.properties, old_inputs=checked))
    )


def test_a_refresh_detects_added_policies(stub: Any, aws: LocalAws) -> None:
    """A preview then finds inputs that differ from the program's, as with the AWS plugin."""
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    role, policy = "engine-role", json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam = aws.client("iam")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=policy)
    iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=policy)
    exclusive = "aws:iam/rolePoliciesExclusive:RolePoliciesExclusive"
    only = struct({"roleName": role, "policyNames": ["own"]})
    created = stub.Create(provider_pb2.CreateRequest(**of(exclusive, properties=only)))
    state = {"id": created.id, "properties": created.properties, "inputs": only}
    assert stub.Read(provider_pb2.ReadRequest(**of(exclusive, **state))).inputs == only
    iam.put_role_policy(RoleName=role, PolicyName="by-hand", PolicyDocument=policy)
    seen = stub.Read(provider_pb2.ReadRequest(**of(exclusive, **state))).inputs
    assert MessageToDict(seen)["policyNames"] == ["by-hand", "own"]
    news = {"id": created.id, "olds": created.properties, "old_inputs": seen, "news": only}
    assert list(stub.Diff(provider_pb2.DiffRequest(**of(exclusive, **news))).diffs) == ["policyNames"]
    stub.Update(provider_pb2.UpdateRequest(**of(exclusive, **news)))
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["own"]
    iam.delete_role_policy(RoleName=role, PolicyName="own")
    iam.delete_role(RoleName=role)


def test_a_table_is_imported_with_its_inputs(stub: Any, aws: LocalAws) -> None:
    index = {"KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}
    aws.client("dynamodb").create_table(
        TableName="imported",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "a")],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[{"IndexName": "by-a", **index}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=False,
    )
    read = stub.Read(provider_pb2.ReadRequest(**of("aws:dynamodb/table:Table", id="imported")))
    assert MessageToDict(read.inputs) == {
        "name": "imported",
        "attributes": [{"name": "id", "type": "S"}, {"name": "a", "type": "S"}],
        "hashKey": "id",
        "billingMode": "PAY_PER_REQUEST",
        "globalSecondaryIndexes": [{"name": "by-a", "hashKey": "a", "projectionType": "ALL"}],
        "pointInTimeRecovery": {"enabled": False},
        "ttl": {"enabled": False},
    }
    assert read.properties["arn"] == f"arn:aws:dynamodb:{REGION}:000000000000:table/imported"


def test_a_function_and_its_mapping_are_imported_with_their_inputs(stub: Any, aws: LocalAws) -> None:
    keys_only = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    stream = aws.create_table("imported-source", StreamSpecification=keys_only)
    role = "arn:aws:iam::000000000000:role/engine"
    aws.client("lambda").create_function(
        FunctionName="imported-code",
        Role=role,
        Handler="m.handler",
        Runtime="python3.11",
        Code={"ZipFile": zip_module("def handler(event, context): return 1\n")},
        Environment={"Variables": {"A": "b"}},
    )
    mapping = aws.client("lambda").create_event_source_mapping(
        EventSourceArn=stream,
        FunctionName="imported-code",
        StartingPosition="TRIM_HORIZON",
        BatchSize=7,
        Enabled=False,
        FilterCriteria={"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]},
    )["UUID"]

    read = stub.Read(provider_pb2.ReadRequest(**of("aws:lambda/function:Function", id="imported-code")))
    inputs = MessageToDict(read.inputs)
    known = {"name": "imported-code", "role": role, "handler": "m.handler", "environment": {"variables": {"A": "b"}}}
    assert inputs.items() >= known.items()
    assert not inputs.keys() & {"code", "packageType", "ephemeralStorage"}
    for _ in range(2):  # a preview, and the import
        read = stub.Read(provider_pb2.ReadRequest(**of("aws:lambda/eventSourceMapping:EventSourceMapping", id=mapping)))
    assert MessageToDict(read.inputs) == {
        "eventSourceArn": stream,
        "functionName": "imported-code",
        "startingPosition": "TRIM_HORIZON",
        "batchSize": 7,
        "enabled": False,
        "filterCriteria": {"filters": [{"pattern": '{"eventName": ["INSERT"]}'}]},
    }
    stub.Delete(provider_pb2.DeleteRequest(**of("aws:lambda/eventSourceMapping:EventSourceMapping", id=mapping)))


def test_other_types_are_not_imported(stub: Any, aws: LocalAws) -> None:
    aws.client("logs").create_log_group(logGroupName="imported-log")
    with pytest.raises(grpc.RpcError, match=f"imported-log: the sandbox cannot import resources of type {LOG_GROUP}"):
        stub.Read(provider_pb2.ReadRequest(**of(LOG_GROUP, id="imported-log")))


def test_a_preview_keeps_the_inputs_that_are_outputs_too(stub: Any) -> None:
    """The hash of a function's code is an input and an output."""
    function = "aws:lambda/function:Function"
    new, old = struct({"name": "f", "codeSha256": "b"}), struct({"name": "f", "codeSha256": "a", "arn": "arn"})
    foreseen = stub.Create(provider_pb2.CreateRequest(**of(function, properties=new, preview=True)))
    assert (foreseen.properties["codeSha256"], foreseen.properties["arn"]) == ("b", UNKNOWN)
    request = {"id": "f", "olds": old, "old_inputs": old, "news": new, "preview": True}
    changed = stub.Update(provider_pb2.UpdateRequest(**of(function, **request)))
    assert (changed.properties["codeSha256"], changed.properties["arn"]) == ("b", "arn")


def test_the_package_is_the_program_s(stub: Any) -> None:
    lock = (ROOT / "requirements.txt").read_text()
    assert f"pulumi-aws=={stub.GetPluginInfo(Empty()).version} " in lock


def test_the_command_runs_until_it_is_interrupted() -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
    command = [sys.executable, "-m", "sandbox", "serve"]
    with subprocess.Popen(command, cwd=ROOT, env=inherited, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        variables: dict[str, str] = {}
        while (line := process.stdout.readline()) != "ready\n":
            if line.startswith("export "):
                name, _, variables[name] = shlex.split(line)[1].partition("=")
        ports = [int(variables[name].rpartition(":")[2]) for name in ("AWS_ENDPOINT_URL", "PULUMI_DEBUG_PROVIDERS")]
        assert variables["PULUMI_DEBUG_PROVIDERS"] == f"aws:{ports[1]}"
        assert [is_listening(port) for port in ports] == [True, True]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [is_listening(port) for port in ports] == [False, False]
