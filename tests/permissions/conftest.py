"""The sample program in an emulator that enforces IAM."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from sandbox.program.in_process import stack_config
from tests.consumers.project import SAMPLE
from tests.local import LocalAws
from tests.permissions.enforcing import UNSCOPED, allow, statements

ENFORCED = {
    "AUTH": "true",
    "CLOUDTRAIL_RECORDING": "1",
    "CLOUDTRAIL_MAX_EVENTS": "100000",
    "AWS_ACCESS_KEY_ID": "sandbox",
}
PATIENT = {"timeout": 600, "handlerTimeout": 100}
"""No time-out ends a call on a slow machine: a change that times out is held or reported, too."""


@pytest.fixture(scope="session")
def guarded() -> Generator[LocalAws]:
    """Start an emulator that asks IAM before each call, and records the calls."""
    local = LocalAws(ENFORCED)
    yield local
    local.close()


@pytest.fixture(scope="session")
def outputs(guarded: LocalAws) -> dict[str, Any]:
    """Return the outputs of the sample program, which goes with its emulator."""
    tuning = json.dumps(dict.fromkeys(("change-log", "mirror", "welcome-email"), PATIENT))
    changes = {"encryption": "customer", "tuning": tuning}
    outputs = guarded.deploy(config=stack_config("local", SAMPLE) | changes).outputs
    role = outputs["consumers"]["welcome-email"]["role"]
    allowed = [action for statement in statements(guarded, role) for action in statement["Action"]]
    allow(guarded, role, "anywhere", [action for action in allowed if action in UNSCOPED], "*")
    return outputs


@pytest.fixture(scope="session")
def tls_only(guarded: LocalAws, outputs: dict[str, Any]) -> str:
    """Return the failure bucket's policy, and take its TLS statement out: the emulator has only plain HTTP."""
    s3, bucket = guarded.client("s3"), outputs["stores"]["failures"]["bucket"]
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    document = json.loads(policy)
    document["Statement"] = [each for each in document["Statement"] if each["Sid"] != "TlsOnly"]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
    return policy
