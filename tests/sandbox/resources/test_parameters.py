"""Secrets and parameters can be read as on AWS."""

import base64
import json

from tests.local import REGION, LocalAws
from tests.sandbox.making import ACCOUNT, ANYONE, Maker


def test_a_secret_and_its_values(maker: Maker, aws: LocalAws):
    made, arn, old = maker.make("Secret", description="old", recoveryWindowInDays=0, policy=json.loads(ANYONE))
    assert made.read(arn) == {"arn": arn}
    assert arn.startswith(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{old['name']}-")
    secrets = aws.client("secretsmanager")
    assert json.loads(secrets.get_resource_policy(SecretId=arn)["ResourcePolicy"]) == json.loads(ANYONE)
    made.update(arn, old, {"name": old["name"], "description": "new"})
    assert (secrets.describe_secret(SecretId=arn)["Description"], "policy" in old) == ("new", True)
    assert "ResourcePolicy" not in secrets.get_resource_policy(SecretId=arn)

    version, identity, first = maker.make("SecretVersion", secretId=arn, secretString="one")
    assert secrets.get_secret_value(SecretId=old["name"])["SecretString"] == "one"
    assert version.read(identity) == {"arn": arn, "versionId": identity.partition("|")[2]}
    assert set(first) <= version.replaced_by
    maker.make("SecretVersion", secretId=arn, secretBinary=base64.b64encode(b"\x00").decode())
    assert secrets.get_secret_value(SecretId=arn)["SecretBinary"] == b"\x00"
    value = "two"
    maker.make("SecretVersion", secretId=arn, secretStringWo=value, secretStringWoVersion=1)
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == value


def test_a_secret_that_is_deleted_keeps_its_name_for_a_while(maker: Maker, aws: LocalAws):
    made, arn, inputs = maker.make("Secret", recoveryWindowInDays=7, replicas=[{"region": "eu-central-1"}])
    assert made.unimitated(inputs) == ["replicas"]
    made.delete(arn, inputs)
    assert made.read(arn) is None
    assert "DeletedDate" in aws.client("secretsmanager").describe_secret(SecretId=arn)


def test_a_parameter(maker: Maker, aws: LocalAws):
    made, name, old = maker.make("Parameter", name="/app/limit", type="SecureString", value="1", description="d")
    assert made.read(name) == {"arn": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/app/limit", "version": 1}
    made.update(name, old, {**old, "value": "2"})
    found = aws.client("ssm").get_parameter(Name="/app/limit", WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Type"], found["Version"]) == ("2", "SecureString", 2)
    _, other, _ = maker.make("Parameter", type="StringList", insecureValue="a,b")
    assert aws.client("ssm").get_parameter(Name=other)["Parameter"]["Value"] == "a,b"
