"""The policy pack's process, by the calls that Pulumi's engine makes. tests/engine runs the engine itself."""

import subprocess
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime import rpc
from pulumi.runtime.proto import analyzer_pb2 as proto
from pulumi.runtime.proto.analyzer_pb2_grpc import AnalyzerStub

from infra.rules import RULES, STACK_RULES, Level
from infra.rules.view import Type
from sandbox.program.in_process import Registration
from tests.consumers.project import SAMPLE
from tests.program.recording import record_program

PACK = Path(__file__).parents[2] / "policy"
UNSAFE = {
    "startingPosition": "LATEST",
    "maximumRecordAgeInSeconds": 60,
    "maximumRetryAttempts": 3,
    "destinationConfig": None,
}


@pytest.fixture(scope="module")
def pack() -> Generator[Any]:
    """Start the pack as the engine does. The pack prints the port on which it listens."""
    python = PACK / ".venv" / "bin" / "python"
    assert python.exists(), "the pack is not installed (policy/.venv is missing): run make check"
    with subprocess.Popen(
        [python, "-u", "-m", "pulumi.policy", "127.0.0.1:1", "."], cwd=PACK, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
            yield AnalyzerStub(channel)  # whose stub leaves out its messages' types
        process.terminate()


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::shop::{kind}::{name}"


def resource(
    kind: str, name: str, inputs: Mapping[str, Any], links: Mapping[str, Iterable[str]] | None = None
) -> proto.AnalyzerResource:
    new = proto.AnalyzerResource(type=kind, name=name, urn=urn(kind, name))
    new.properties.update(inputs)
    for name_, urns in (links or {}).items():
        new.propertyDependencies[name_].urns.extend(urns)
    return new


def asked(resources: Sequence[proto.AnalyzerResource], pack: Any) -> list[proto.AnalyzeDiagnostic]:
    """Return the pack's diagnostics about each resource, and then about all together."""
    said: list[proto.AnalyzeDiagnostic] = []
    for each in resources:
        request = proto.AnalyzeRequest(type=each.type, name=each.name, urn=each.urn, properties=each.properties)
        said += pack.Analyze(request).diagnostics
    return [*said, *pack.AnalyzeStack(proto.AnalyzeStackRequest(resources=resources)).diagnostics]


def as_asked(registration: Registration, *, preview: bool) -> proto.AnalyzerResource:
    """Return a registered resource. A preview does not know properties with outputs of new resources."""
    links = {name: sorted(urns) for name, urns in registration.property_dependencies.items()}
    left_out = {"code", "runtime"}  # the one has no JSON, and the other's rule depends on the day
    inputs = {name: value for name, value in registration.inputs.items() if name not in left_out}
    known = {name: rpc.UNKNOWN if preview and links.get(name) else value for name, value in inputs.items()}
    new = resource(registration.type, registration.name, known, links)
    new.urn = registration.urn
    return new


def test_every_rule_is_a_policy_at_its_level(pack: Any) -> None:
    info = pack.GetAnalyzerInfo(Empty())
    assert {policy.name: policy.enforcementLevel for policy in info.policies} == {
        rule.name: proto.ADVISORY if rule.level is Level.ADVICE else proto.MANDATORY
        for rule in (*RULES, *STACK_RULES)
        if not rule.program_only
    }


@pytest.mark.parametrize("preview", [True, False])
def test_the_program_breaks_no_rule(pack: Any, preview: bool) -> None:
    for stack in ("prod", "local"):
        recording = record_program(SAMPLE, stack, mailFrom="shop@example.com", encryption="customer")
        said = asked([as_asked(each, preview=preview) for each in recording.registered.values()], pack)
        assert {each.policyName for each in said} == set()


def test_a_message_names_the_resource_and_how_it_is_enforced(pack: Any) -> None:
    table, function, mapping = urn(Type.TABLE, "items"), urn(Type.FUNCTION, "slow"), urn(Type.MAPPING, "late")
    links = {"eventSourceArn": [table], "functionName": [function]}
    said = asked(
        [
            resource(Type.TABLE, "items", {"pointInTimeRecovery": {"enabled": True}}),
            resource(Type.FUNCTION, "slow", {"timeout": 60}),
            resource(Type.MAPPING, "late", dict.fromkeys(links, rpc.UNKNOWN) | UNSAFE, links),
        ],
        pack,
    )
    assert [(each.policyName, each.urn, each.enforcementLevel) for each in said] == [
        ("table-without-protection", table, proto.ADVISORY),
        ("mapping-without-destination", mapping, proto.MANDATORY),
        ("position-latest", mapping, proto.MANDATORY),
        ("counted-retries", mapping, proto.MANDATORY),
        ("no-bisect", mapping, proto.MANDATORY),
        ("no-partial-responses", mapping, proto.ADVISORY),
        ("no-second-try", mapping, proto.MANDATORY),
    ]
    assert said[-1].message == (
        "The maximum record age leaves time for a second try after a timeout.\n"
        "late: maximumRecordAgeInSeconds 60: one try may take 60 s (maximumBatchingWindowInSeconds 0, timeout 60), so "
        "the mapping discards a change that times out once without a second try; raise the age, or lower the window or "
        "the timeout"
    )


def test_what_is_not_known_yet_breaks_no_rule(pack: Any) -> None:
    """Each input that a rule checks is unknown, in each type of resource that a rule is about."""
    looked_at = """destinationConfig maximumRecordAgeInSeconds startingPosition maximumRetryAttempts policy policyArn
        bisectBatchOnFunctionError
        functionResponseTypes eventSourceArn filterCriteria runtime pointInTimeRecovery deletionProtectionEnabled
        retentionInDays name bucket timeout visibilityTimeoutSeconds fifoQueue arn hashKey rangeKey ttl attributes
        replicas environment memorySize batchSize reservedConcurrentExecutions inlinePolicies managedPolicyArns roles
        importTable streamEnabled enabled"""
    for kind in {kind for rule in RULES for kind in rule.types}:
        assert asked([resource(kind, "new", dict.fromkeys(looked_at.split(), rpc.UNKNOWN))], pack)[1:] == []


def test_the_pack_s_configuration_decides_how_a_rule_is_enforced(pack: Any) -> None:
    request = proto.ConfigureAnalyzerRequest()
    request.policyConfig["table-without-protection"].enforcementLevel = proto.MANDATORY
    request.policyConfig["table-without-recovery"].enforcementLevel = proto.DISABLED
    pack.Configure(request)
    try:
        said = asked([resource(Type.TABLE, "items", {})], pack)
    finally:
        pack.Configure(proto.ConfigureAnalyzerRequest())
    assert [(each.policyName, each.enforcementLevel) for each in said] == [
        ("table-without-protection", proto.MANDATORY)
    ]
