"""A stack's outputs: their sources, and the errors if they cannot be read."""

import stat
from pathlib import Path

import pytest
from botocore.exceptions import ProfileNotFound  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from ops import OpsError
from ops.stack import Stack

OUTPUTS = """{"tables": {"t": {"name": "t-1", "arn": "arn:aws:dynamodb:eu-west-3:1:table/t-1"}}, "consumers": {},
              "stores": {"failures": {"bucket": "b"}, "ledger": {"name": "l"}}}"""


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named pulumi, the only one on the PATH."""
    path = tmp_path / "pulumi"
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    return path


def test_the_cli_reads_the_stack_s_outputs(cli: Path):
    cli.write_text(f"#!/bin/sh\n[ \"$*\" = 'stack output --json --stack prod' ] && echo '{OUTPUTS}'\n")
    stack = Stack.load(None, "prod")
    assert stack.tables["t"].name == "t-1"
    assert stack.client("dynamodb").meta.region_name == "eu-west-3"


def test_an_error_of_the_cli_is_shown(cli: Path):
    cli.write_text("#!/bin/sh\necho 'error: no stack selected' >&2\nexit 255\n")
    with pytest.raises(OpsError, match="pulumi stack output --json failed: error: no stack selected"):
        Stack.load(None, None)


def test_without_the_cli_the_error_names_the_other_way(cli: Path):
    cli.unlink()
    message = "pulumi is not on the PATH: install the Pulumi CLI, or pass the outputs with --outputs"
    with pytest.raises(OpsError, match=message):
        Stack.load(None, None)


def test_outputs_of_another_program_are_refused(tmp_path: Path):
    (tmp_path / "outputs.json").write_text(OUTPUTS.replace("bucket", "bukket"))
    with pytest.raises(OpsError, match=r"for this program: stores\.failures\.bucket: Field required"):
        Stack.load(tmp_path / "outputs.json", None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(OpsError, match=r"nothing\.json cannot be read: No such file or directory"):
        Stack.load(tmp_path / "nothing.json", None)


def test_a_file_that_is_not_text_is_named(tmp_path: Path):
    (tmp_path / "outputs.json").write_bytes(b"\xff\xfe")
    with pytest.raises(OpsError, match=r"outputs\.json cannot be read: it is not UTF-8"):
        Stack.load(tmp_path / "outputs.json", None)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:port", "http://127.0.0.1:1"])
def test_an_endpoint_without_a_sandbox_is_named(monkeypatch: pytest.MonkeyPatch, endpoint: str):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(OpsError, match=f"{endpoint}.* export lines"):
        Stack.load(None, None)


def test_an_endpoint_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "sandbox")
    with pytest.raises(OpsError, match="Invalid endpoint: sandbox: correct AWS_ENDPOINT_URL, or unset it"):
        Stack.model_validate_json(OUTPUTS).client("dynamodb")


def test_clients_of_the_sandbox_ignore_the_profile_and_the_proxy_of_the_shell(monkeypatch: pytest.MonkeyPatch):
    shell = {"HTTP_PROXY": "http://127.0.0.1:9", "AWS_PROFILE": "nobody"}
    sandbox = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    for name, value in (shell | sandbox).items():
        monkeypatch.setenv(name, value)
    client = Stack.model_validate_json(OUTPUTS).client("dynamodb")
    assert (client.meta.endpoint_url, client.meta.config.proxies) == ("http://127.0.0.1:1", {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://proxy.example.com")
    with pytest.raises(ProfileNotFound):
        Stack.model_validate_json(OUTPUTS).client("dynamodb")
