"""What a backend receives from a program, what the program gets from the backend, and how errors surface."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from sandbox.program.in_process import Program, Registration, run, stack_config
from sandbox.program.values import UNKNOWN, ProgramError
from sandbox.resources.assets import Archive, Asset, Bundle

PREFIX = "urn:pulumi:local::table-stream::"


Answer = Callable[[Registration], tuple[str, dict[str, Any]]]


def named(registration: Registration) -> tuple[str, dict[str, Any]]:
    return registration.name, {"arn": f"arn:{registration.name}"}


class RecordingBackend:
    """Records registrations by name; returns the name as the id, and an `arn`. It does not check properties."""

    def __init__(self, answer: Answer = named) -> None:
        self.answer = answer
        self.registrations: dict[str, Registration] = {}
        self.invoked: list[tuple[str, dict[str, Any]]] = []

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        self.registrations[registration.name] = registration
        return self.answer(registration)

    def invoke(self, token: str, args: dict[str, Any], provider: str) -> dict[str, Any]:
        self.invoked.append((token, args))
        return {**args, "id": "id", "streamArn": "arn:looked-up", "writeCapacity": 3}


def deploy(program: Callable[[], None], backend: RecordingBackend, **options: Any) -> dict[str, Any]:
    return run(Program(program, config={}), backend, **options)


def test_the_backend_gets_every_option_of_a_resource():
    def program() -> None:
        parent = pulumi.ComponentResource("table-stream:index:Thing", "thing")
        topic = aws.sns.Topic("topic", opts=pulumi.ResourceOptions(parent=parent))
        aws.sqs.Queue(
            "queue",
            name=topic.arn,
            delay_seconds=3,
            fifo_queue=False,
            opts=pulumi.ResourceOptions(
                parent=parent,
                protect=True,
                retain_on_delete=True,
                delete_before_replace=True,
                ignore_changes=["tags"],
                replace_on_changes=["name"],
                aliases=[pulumi.Alias(name="old"), f"{PREFIX}aws:sqs/queue:Queue::older"],
                depends_on=[topic],
            ),
        )

    backend = RecordingBackend()
    deploy(program, backend)

    registration = backend.registrations["queue"]
    topic_urn = f"{PREFIX}table-stream:index:Thing$aws:sns/topic:Topic::topic"
    assert registration.urn == f"{PREFIX}table-stream:index:Thing$aws:sqs/queue:Queue::queue"
    assert registration.inputs == {"name": "arn:topic", "delaySeconds": 3, "fifoQueue": False}
    assert (registration.type, registration.name) == ("aws:sqs/queue:Queue", "queue")
    assert registration.parent == f"{PREFIX}table-stream:index:Thing::thing"
    assert (registration.protect, registration.retain_on_delete, registration.delete_before_replace) == (True,) * 3
    assert registration.aliases == ("old", f"{PREFIX}aws:sqs/queue:Queue::older")
    assert registration.dependencies == registration.property_dependencies["name"] == {topic_urn}
    assert registration.replace_on_changes == {"name"}
    assert (registration.custom, backend.registrations["thing"].custom) == (True, False)


def test_outputs_are_inputs_and_what_the_backend_adds():
    def program() -> None:
        queue = aws.sqs.Queue("queue", name="q", tags={"n": "1"})
        pulumi.export("queue", {"arn": queue.arn, "name": queue.name, "tags": queue.tags, "id": queue.id})

    assert deploy(program, RecordingBackend()) == {
        "queue": {"arn": "arn:queue", "name": "q", "tags": {"n": "1"}, "id": "queue"}
    }


def test_secrets_and_archives_come_as_plain_python(tmp_path: Path):
    def program() -> None:
        aws.lambda_.Function(
            "f",
            role=pulumi.Output.secret("r"),
            code=pulumi.FileArchive("code.zip"),
            memory_size=256,
            environment={"variables": {"A": pulumi.Output.secret("a")}},
        )

    backend = RecordingBackend()
    deploy(program, backend)
    inputs = backend.registrations["f"].inputs
    assert inputs["role"] == "r"
    assert inputs["environment"] == {"variables": {"A": "a"}}
    assert inputs["code"] == Archive(str(Path("code.zip").resolve()))
    assert repr(inputs["memorySize"]) == "256"


def test_assets_come_with_their_content(tmp_path: Path):
    (tmp_path / "words").write_bytes(b"from a file")

    def program() -> None:
        aws.s3.BucketObjectv2("file", bucket="b", source=pulumi.FileAsset(str(tmp_path / "words")))
        aws.s3.BucketObjectv2("text", bucket="b", source=pulumi.StringAsset("from a text"))
        members: dict[str, pulumi.Asset | pulumi.Archive] = {
            "a": pulumi.StringAsset("x"),
            "b": pulumi.FileArchive(str(tmp_path)),
        }
        aws.lambda_.Function("f", role="r", code=pulumi.AssetArchive(members))

    backend = RecordingBackend()
    deploy(program, backend)
    assert backend.registrations["file"].inputs["source"] == Asset(b"from a file")
    assert backend.registrations["text"].inputs["source"] == Asset(b"from a text")
    assert backend.registrations["f"].inputs["code"] == Bundle(
        {"a": Asset(b"x"), "b": Archive(str(tmp_path.resolve()))}
    )


@pytest.mark.parametrize(
    ("asset", "message"),
    [
        (pulumi.RemoteAsset("https://example.com/a"), "the sandbox does not support assets or archives of uri"),
        (pulumi.FileAsset("nowhere"), "the asset nowhere cannot be read: No such file or directory"),
    ],
)
def test_an_unsupported_or_missing_asset_is_named(asset: pulumi.Asset, message: str):
    def program() -> None:
        aws.s3.BucketObjectv2("object", bucket="b", source=asset)

    with pytest.raises(ProgramError, match=message):
        deploy(program, RecordingBackend())


def test_a_function_of_the_provider_is_answered_in_the_constructor():
    seen: list[str] = []

    def program() -> None:
        table = aws.dynamodb.get_table(name="users")
        seen.append(table.stream_arn)

    backend = RecordingBackend()
    deploy(program, backend)
    assert seen == ["arn:looked-up"]
    assert backend.invoked == [("aws:dynamodb/getTable:getTable", {"name": "users"})]


@pytest.mark.parametrize("error", [pulumi.RunError("no tables"), KeyError("x")])
def test_an_error_of_the_program_surfaces_as_itself(error: Exception):
    def program() -> None:
        aws.sqs.Queue("queue")
        raise error

    with pytest.raises(type(error)) as raised:
        deploy(program, RecordingBackend())
    assert raised.value is error


def test_an_error_of_the_backend_surfaces_as_itself_after_all_calls():
    """A slow call ends before the caller gets the failure of another, so that the caller can undo both."""
    started, failed, done = threading.Event(), threading.Event(), threading.Event()
    refused = RuntimeError("no queues here")

    def answer(registration: Registration) -> tuple[str, dict[str, Any]]:
        if registration.name == "bad":
            assert started.wait(10)
            failed.set()
            raise refused
        started.set()
        assert failed.wait(10)
        time.sleep(0.05)  # time for the failure to surface, if it did not wait for this call
        done.set()
        return registration.name, {}

    def program() -> None:
        bad = aws.sqs.Queue("bad")
        aws.sqs.Queue("slow")
        aws.sqs.Queue("after", name=bad.arn)

    backend = RecordingBackend(answer)
    with pytest.raises(RuntimeError) as raised:
        deploy(program, backend)
    assert raised.value is refused
    assert done.is_set()
    assert set(backend.registrations) == {"bad", "slow"}


def test_a_preview_knows_no_ids():
    known: list[bool] = []

    def program() -> None:
        known.append(pulumi.runtime.is_dry_run())
        queue = aws.sqs.Queue("queue")
        aws.sns.Topic("topic", display_name=queue.arn)

    backend = RecordingBackend(lambda registration: ("", {}))
    deploy(program, backend, preview=True)
    assert known == [True]
    assert backend.registrations["topic"].inputs == {"displayName": UNKNOWN}


def test_one_run_leaves_nothing_to_the_next():
    def program() -> None:
        aws.sqs.Queue("queue", name=pulumi.Config().get("name"))

    first, second = RecordingBackend(), RecordingBackend()
    run(Program(program, stack="one", config={"name": "n"}), first)
    run(Program(program, stack="two", config={}), second)
    assert first.registrations["queue"].inputs == {"name": "n"}
    assert second.registrations["queue"].inputs == {}
    assert second.registrations["queue"].urn.startswith("urn:pulumi:two::")


PROGRAM = """
import os, pulumi
pulumi.export("in", os.getcwd())
pulumi.export("project", pulumi.get_project())
"""


def test_a_project_runs_in_its_directory(tmp_path: Path):
    (tmp_path / "Pulumi.yaml").write_text("name: shop\n", encoding="utf-8")
    (tmp_path / "__main__.py").write_text(PROGRAM, encoding="utf-8")
    assert run(Program(tmp_path, config={}), RecordingBackend()) == {"in": str(tmp_path.resolve()), "project": "shop"}
    assert Path.cwd() != tmp_path


PROJECT = """
name: shop
config:
  limit: {description: how many, default: 5}
  aws:region: {value: eu-west-1}
  needed: {description: without a default}
"""


@pytest.fixture
def stack_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "Pulumi.yaml").write_text(PROJECT, encoding="utf-8")
        (tmp_path / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_stack_config_equals_the_cli_s(stack_file: Callable[[str], Path]):
    root = stack_file("config:\n  shop:needed: true\n  shop:id: '012'\n  n: 7\n  shop:o: {b: [1, x], a: null}\n")
    assert stack_config("dev", root) == {
        "shop:needed": "true",
        "shop:id": "012",
        "shop:n": "7",
        "shop:o": '{"a":null,"b":[1,"x"]}',
        "shop:limit": "5",
        "aws:region": "eu-west-1",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config: {}", "Pulumi.dev.yaml lacks shop:needed"),
        ("config: {'shop:needed': 2020-01-01}", "shop:needed is a scalar that the CLI would rewrite"),
        ("config: {'shop:needed': {secure: abc}}", "shop:needed is encrypted"),
        ("config: {", "Pulumi.dev.yaml:1: this is not YAML: "),
        ("config: \0", "Pulumi.dev.yaml: this is not YAML: "),
        ("config", "Pulumi.dev.yaml: its content is not an object"),
    ],
)
def test_a_stack_file_that_cannot_be_used(stack_file: Callable[[str], Path], text: str, message: str):
    with pytest.raises(ProgramError, match=message):
        stack_config("dev", stack_file(text))


def test_a_stack_without_a_file(stack_file: Callable[[str], Path]):
    with pytest.raises(ProgramError, match=r"there is no Pulumi\.prod\.yaml"):
        stack_config("prod", stack_file(""))
