"""The program in the root of the repository, with each of its stack files: what holds for every program.

These tests name no consumer and no table. A stack file with an encrypted value is skipped, since only the CLI reads it.
"""

import json
import re
from collections import Counter

import pytest

from sandbox import ROOT
from sandbox.program.in_process import read_project, stack_config
from sandbox.program.values import ProgramError
from tests.program import recording as kinds
from tests.program.policy_lint import cfn_lint, complaints, documents
from tests.program.recording import RecordingBackend, record_program, stacks

INLINE_POLICIES_CHARACTERS = 10_240
"""Of all inline policies of a role, white space not counted (IAM's quota)."""


@pytest.fixture(scope="module", params=[(s, e) for s in stacks(ROOT) for e in ("aws", "customer")], ids="-".join)
def program(request: pytest.FixtureRequest) -> tuple[str, RecordingBackend]:
    """A stack and what the program registers in it, with and without a customer managed key."""
    stack, encryption = request.param
    return stack, record_program(ROOT, stack, encryption=encryption, **config_of(stack, "target"))


def config_of(stack: str, *keys: str) -> dict[str, str]:
    """These settings of a stack, as its file or Pulumi.yaml has them."""
    name = read_project(ROOT)["name"]
    try:
        config = stack_config(stack, ROOT)
    except ProgramError as error:
        if "is encrypted" in str(error):
            pytest.skip(str(error))
        raise
    return {key: config[f"{name}:{key}"] for key in keys if f"{name}:{key}" in config}


def test_the_outputs_name_every_consumer_and_table(program: tuple[str, RecordingBackend]) -> None:
    """`python -m sandbox` and `python -m ops` find the resources by these outputs."""
    _, recording = program
    for output, component in (("consumers", kinds.STREAM_CONSUMER), ("tables", kinds.STREAM_TABLE)):
        names = {each.name for each in recording.of_type(component)}
        assert set(recording.outputs.get(output, ())) == names, f'pulumi.export("{output}", …) in __main__.py'


def test_each_consumer_has_one_function_and_one_mapping_for_each_table(program: tuple[str, RecordingBackend]) -> None:
    _, recording = program
    counts = Counter((each.parent, each.type) for each in recording.of_components())
    for consumer in recording.of_type(kinds.STREAM_CONSUMER):
        tables = recording.outputs["consumers"][consumer.name]["mappings"]
        assert tables.keys() <= {each.name for each in recording.of_type(kinds.STREAM_TABLE)}
        assert (counts[consumer.urn, kinds.FUNCTION], counts[consumer.urn, kinds.MAPPING]) == (1, len(tables))


def test_a_protected_stack_protects_each_resource_of_a_component(program: tuple[str, RecordingBackend]) -> None:
    """All but alarms, which hold no data."""
    stack, recording = program
    alarms = {each.urn for each in recording.of_type(kinds.ALARMS)}
    resources = [each for each in recording.of_components() if not alarms & {each.urn, each.parent}]
    if json.loads(config_of(stack, "protect").get("protect", "false")):
        assert [each.name for each in resources if not each.protect] == []
    for each in resources:
        if each.type == kinds.TABLE:
            assert each.inputs["deletionProtectionEnabled"] is bool(each.protect), each.name
        if each.type == kinds.BUCKET:
            assert each.inputs["forceDestroy"] is not bool(each.protect), each.name


@pytest.mark.parametrize("stack", stacks(ROOT))
def test_the_default_tags_name_the_project_and_the_stack(stack: str) -> None:
    """The roles in docs/roles may use only keys with these tags. A stack of the sandbox needs no role."""
    if config_of(stack, "target").get("target") == "host":
        return
    tags = json.loads(stack_config(stack, ROOT).get("aws:defaultTags", "{}")).get("tags", {})
    needed = {"project": read_project(ROOT)["name"], "stack": stack}
    assert needed.items() <= tags.items(), f"Pulumi.{stack}.yaml: set aws:defaultTags to {{tags: {needed}}}"


def test_no_policy_has_a_wildcard_without_a_reason(program: tuple[str, RecordingBackend]) -> None:
    """The resources of a consumer's permissions are left to infra/rules, which know what the program accepts."""
    _, recording = program
    policies = documents(recording)
    assert [
        f"{name}: {complaint}"
        for name, kind, document in policies
        for statement in document["Statement"]
        for complaint in complaints(statement, kind)
        if not (kind == "permissions" and complaint.startswith("Resource "))
    ] == []
    assert cfn_lint(policies) == []


def test_the_policies_of_each_role_fit_the_quota(program: tuple[str, RecordingBackend]) -> None:
    _, recording = program
    sizes = Counter[str]()
    for each in recording.of_type(kinds.POLICY):
        sizes[each.inputs["role"]] += len(re.sub(r"\s", "", each.inputs["policy"]))
    assert [role for role, size in sizes.items() if size > INLINE_POLICIES_CHARACTERS] == []
