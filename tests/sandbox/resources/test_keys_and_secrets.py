"""Functions read secrets and parameters as on AWS."""

import base64
import json

from tests.local import REGION, LocalAws
from tests.sandbox.resource_factory import ACCOUNT, ANYONE, ResourceFactory

TWO = "two"


def test_a_secret_and_its_values(factory: ResourceFactory, aws: LocalAws):
    policy = json.loads(ANYONE)
    resource_type, arn, old = factory.create("Secret", description="old", recoveryWindowInDays=0, policy=policy)
    assert resource_type.read(arn) == {"arn": arn}
    assert arn.startswith(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{old['name']}-")
    secrets = aws.client("secretsmanager")
    assert json.loads(secrets.get_resource_policy(SecretId=arn)["ResourcePolicy"]) == policy
    resource_type.update(arn, old, {"name": old["name"], "description": "new"})
    assert (secrets.describe_secret(SecretId=arn)["Description"], "policy" in old) == ("new", True)
    assert "ResourcePolicy" not in secrets.get_resource_policy(SecretId=arn)

    version, identity, first = factory.create("SecretVersion", secretId=arn, secretString="one")
    assert secrets.get_secret_value(SecretId=old["name"])["SecretString"] == "one"
    assert version.read(identity) == {"arn": arn, "versionId": identity.partition("|")[2]}
    assert set(first) <= version.replacement_properties
    factory.create("SecretVersion", secretId=arn, secretBinary=base64.b64encode(b"\x00").decode())
    assert secrets.get_secret_value(SecretId=arn)["SecretBinary"] == b"\x00"
    factory.create("SecretVersion", secretId=arn, secretStringWo=TWO, secretStringWoVersion=1)
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == TWO


def test_a_deleted_secret_stays_for_its_recovery_window(factory: ResourceFactory, aws: LocalAws):
    resource_type, arn, inputs = factory.create("Secret", recoveryWindowInDays=7, replicas=[{"region": "eu-central-1"}])
    assert resource_type.list_unsupported(inputs) == ["replicas"]
    resource_type.delete(arn, inputs)
    assert resource_type.read(arn) is None
    assert "DeletedDate" in aws.client("secretsmanager").describe_secret(SecretId=arn)


def test_a_parameter(factory: ResourceFactory, aws: LocalAws):
    inputs = {"name": "/app/limit", "type": "SecureString", "value": "1", "description": "d"}
    resource_type, name, old = factory.create("Parameter", **inputs)
    assert resource_type.read(name) == {"arn": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/limit", "version": 1}
    resource_type.update(name, old, {**old, "value": "2"})
    current = aws.client("ssm").get_parameter(Name="/app/limit", WithDecryption=True)["Parameter"]
    assert (current["Value"], current["Type"], current["Version"]) == ("2", "SecureString", 2)
    _, other, _ = factory.create("Parameter", type="StringList", insecureValue="a,b")
    assert aws.client("ssm").get_parameter(Name=other)["Parameter"]["Value"] == "a,b"
