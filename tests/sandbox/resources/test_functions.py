"""Functions, their layers and their mappings in the emulator."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.mapping.configuration import Configuration
from sandbox.resources.assets import Archive, Asset, Bundle
from sandbox.resources.resource_type import ResourceError
from tests.local import REGION, LocalAws
from tests.sandbox.resource_factory import ACCOUNT, STREAM, Created, ResourceFactory


def test_a_function_and_its_next_version(factory: ResourceFactory, aws: LocalAws, code: Callable[[str], Archive]):
    resource_type, name, old = factory.create_function(code("one"), reservedConcurrentExecutions=3, memorySize=256)
    new = {**old, "code": code("two"), "memorySize": 512, "environment": {"variables": {"A": "b"}}}
    new.pop("reservedConcurrentExecutions")
    client = aws.client("lambda")
    assert client.invoke(FunctionName=name)["Payload"].read() == b'"one"'
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 3
    resource_type.update(name, old, new)
    assert client.invoke(FunctionName=name)["Payload"].read() == b'"two"'
    configuration = resource_type.describe(name)
    assert (configuration["MemorySize"], configuration["Environment"]["Variables"]) == (512, {"A": "b"})
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    assert (resource_type.read(name) or {})["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def mapping(factory: ResourceFactory, code: Archive, **inputs: Any) -> Created:
    return factory.create(
        "EventSourceMapping",
        eventSourceArn=factory.outputs(factory.create_table(**STREAM))["streamArn"],
        functionName=factory.create_function(code)[1],
        startingPosition="TRIM_HORIZON",
        filterCriteria={"filters": [{"pattern": "{}"}]},
        destinationConfig={"onFailure": {"destinationArn": "arn:aws:s3:::b"}},
        **inputs,
    )


def test_a_mapping_is_disabled_in_the_emulator_and_attached(
    factory: ResourceFactory, aws: LocalAws, code: Callable[[str], Archive]
):
    resource_type, uuid, old = mapping(factory, code("x"), enabled=True)
    asked = {
        "EventSourceArn": old["eventSourceArn"],
        "FunctionName": old["functionName"],
        "StartingPosition": "TRIM_HORIZON",
        "FilterCriteria": {"Filters": [{"Pattern": "{}"}]},
        "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::b"}},
        "BatchSize": 100,
        "Enabled": True,
    }
    assert factory.mappings.calls == [("attach", asked)]
    described = aws.client("lambda").get_event_source_mapping(UUID=uuid)
    assert (described["State"], described["BatchSize"]) == ("Disabled", 100)
    resource_type.update(uuid, old, {**old, "batchSize": 7})
    assert factory.mappings.calls[1:] == [("update", {"BatchSize": 7})]
    assert aws.client("lambda").get_event_source_mapping(UUID=uuid)["State"] == "Disabled"


def test_a_mapping_that_cannot_be_attached_is_deleted(
    factory: ResourceFactory, aws: LocalAws, code: Callable[[str], Archive]
):
    factory.mappings.fails = True
    with pytest.raises(ValueError, match="no such stream"):
        mapping(factory, code("x"))
    functions = [identity for resource_type, identity, _ in factory.created if resource_type.service == "lambda"]
    listed = aws.client("lambda").list_event_source_mappings(FunctionName=functions[0])
    assert listed["EventSourceMappings"] == []


def test_a_mapping_of_another_source_is_an_error(factory: ResourceFactory, code: Callable[[str], Archive]):
    _, name, _ = factory.create_function(code("x"))
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
    with pytest.raises(ResourceError, match=f"supports mappings of DynamoDB streams only, not of {queue}$"):
        factory.create("EventSourceMapping", eventSourceArn=queue, functionName=name)


def test_a_mapping_with_a_customer_key(factory: ResourceFactory, code: Callable[[str], Archive]):
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
    mapping(factory, code("x"), kmsKeyArn=key)
    [(_, request)] = factory.mappings.calls
    assert Configuration.model_validate(request).kms_key_arn == key


def answer_of(aws: LocalAws, name: str) -> Any:
    return json.load(aws.client("lambda").invoke(FunctionName=name)["Payload"])


def test_another_hash_updates_the_code(
    factory: ResourceFactory, aws: LocalAws, tmp_path: Path, code: Callable[[str], Archive]
):
    """The name of the file stays the same; as in the plugin, the hash that Lambda reports decides."""
    resource_type, name, old = factory.create_function(code("one"))
    first = (resource_type.read(name) or {})["codeSha256"]
    known = {**old, "codeSha256": first}
    Path(old["code"].path).write_bytes(Path(code("two").path).read_bytes())
    resource_type.update(name, known, {**known, "memorySize": 256})
    assert answer_of(aws, name) == "one"
    resource_type.update(name, known, {**known, "codeSha256": "another"})
    assert answer_of(aws, name) == "two"
    assert (resource_type.read(name) or {})["codeSha256"] != first


def test_code_from_a_directory_from_texts_and_from_a_bucket(
    factory: ResourceFactory, aws: LocalAws, tmp_path: Path, code: Callable[[str], Archive]
):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "m.py").write_text("def handler(event, context): return 'directory'\n", encoding="utf-8")
    resource_type, name, old = factory.create_function(Archive(str(tmp_path / "app")))
    assert answer_of(aws, name) == "directory"
    text = Bundle({"m.py": Asset(b"def handler(event, context): return 'text'\n")})
    resource_type.update(name, old, {**old, "code": text})
    assert answer_of(aws, name) == "text"
    _, bucket, _ = factory.create("Bucket", forceDestroy=True)
    packed = Asset(Path(code("bucket").path).read_bytes())
    _, where, _ = factory.create("BucketObjectv2", bucket=bucket, key="code.zip", source=packed)
    assert where == f"{bucket}/code.zip"
    elsewhere = {key: value for key, value in old.items() if key != "code"}
    resource_type.update(name, old, {**elsewhere, "s3Bucket": bucket, "s3Key": "code.zip"})
    assert answer_of(aws, name) == "bucket"


def test_a_layer_is_found_by_the_function(factory: ResourceFactory, aws: LocalAws):
    files = Bundle({"python": Bundle({"shared.py": Asset(b"WORD = 'shared'\n")})})
    runtimes = ["python3.11"]
    layer, arn, inputs = factory.create("LayerVersion", layerName="shared", code=files, compatibleRuntimes=runtimes)
    assert (layer.read(arn) or {})["version"] == arn.rpartition(":")[2]
    assert set(inputs) <= layer.replacement_properties
    handler = Bundle({"m.py": Asset(b"def handler(event, context):\n    from shared import WORD\n    return WORD\n")})
    resource_type, name, old = factory.create_function(handler, layers=[arn])
    assert answer_of(aws, name) == "shared"
    assert resource_type.list_unsupported(old) == []
    resource_type.update(name, old, {key: value for key, value in old.items() if key != "layers"})
    assert answer_of(aws, name)["errorType"]


def test_properties_with_an_effect_on_aws_only_are_reported(
    factory: ResourceFactory, aws: LocalAws, code: Callable[[str], Archive]
):
    elsewhere = f"arn:aws:lambda:{REGION}:123456789012:layer:theirs:7"
    properties: dict[str, Any] = {
        "vpcConfig": {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]},
        "ephemeralStorage": {"size": 1024},
        "snapStart": {"applyOn": "PublishedVersions"},
        "deadLetterConfig": {"targetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"},
        "fileSystemConfig": {"arn": "arn:aws:elasticfilesystem:x", "localMountPath": "/mnt/x"},
        "tracingConfig": {"mode": "Active"},
        "loggingConfig": {"logFormat": "JSON", "applicationLogLevel": "DEBUG", "systemLogLevel": "WARN"},
        "layers": [elsewhere],
        "publish": True,
        "tags": {"team": "a"},
    }
    resource_type, name, old = factory.create_function(code("x"), **properties)
    assert resource_type.list_unsupported(old) == [
        *("deadLetterConfig", "ephemeralStorage.size", "fileSystemConfig", "publish", "snapStart.applyOn"),
        *("tracingConfig.mode", "vpcConfig.subnetIds", f"layer {elsewhere}"),
    ]
    described = aws.client("lambda").get_function_configuration(FunctionName=name)
    assert described["LoggingConfig"]["ApplicationLogLevel"] == "DEBUG"
    usual: dict[str, Any] = {
        "vpcConfig": {"subnetIds": [], "securityGroupIds": []},
        "ephemeralStorage": {"size": 512},
        "snapStart": {"applyOn": "None"},
        "tracingConfig": {"mode": "PassThrough"},
        "publish": False,
    }
    less = {key: value for key, value in {**old, **usual}.items() if key not in properties.keys() - usual.keys()}
    resource_type.update(name, old, less)
    described = aws.client("lambda").get_function_configuration(FunctionName=name)
    assert (described["VpcConfig"]["SubnetIds"], described["TracingConfig"]["Mode"]) == ([], "PassThrough")
    assert described.get("Layers", []) == []
    assert resource_type.list_unsupported(less) == []


def test_removed_properties_get_empty_values(factory: ResourceFactory, code: Callable[[str], Archive]):
    variables = {"variables": {"A": "b"}}
    resource_type, name, old = factory.create_function(code("x"), environment=variables, description="d")
    less = {key: value for key, value in old.items() if key not in ("environment", "description")}
    resource_type.update(name, old, less)
    described = resource_type.describe(name)
    assert (described["Environment"]["Variables"], described["Description"]) == ({}, "")
