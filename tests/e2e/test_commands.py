"""The commands of the sandbox: their output, their exit codes, and that they leave nothing running."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.emulator import Clients
from sandbox.program.deploy import Deployment
from tests.consumers.project import SAMPLE
from tests.local import LocalAws, environment_without_aws, is_listening, wait_for

NOWHERE = "http://127.0.0.1:9"
"""No server listens there."""


def start_command(
    *arguments: str, root: str | Path = SAMPLE, stdin: int | None = None, **variables: str
) -> "subprocess.Popen[str]":
    """Start `python -m sandbox …` without a terminal and without variables of AWS and Pulumi."""
    command, variables = [sys.executable, "-m", "sandbox", *arguments], {"COLUMNS": "80"} | variables
    pipes: dict[str, Any] = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment_without_aws() | variables, **pipes)


def run_command(*arguments: str, root: str | Path = SAMPLE, text: str = "", **variables: str) -> tuple[int, str, str]:
    """Run a command with this text on its standard input."""
    with start_command(*arguments, root=root, stdin=subprocess.PIPE, **variables) as process:
        try:
            out, error = process.communicate(text)
        finally:
            process.kill()
    return process.returncode, out, error


def assert_one_line(result: tuple[int, str, str], message: str, *, out: str = "") -> None:
    """Assert that a command failed with one line on its standard error, and with this output."""
    assert (result[0], result[1], result[2].count("\n")) == (1, out, 1)
    assert result[2].startswith(message)


@pytest.mark.timeout(300)
def test_the_demo_keeps_its_promises():
    code, out, error = run_command("demo")
    assert (code, error) == (0, ""), out
    lines = out.splitlines()
    assert lines[0] == "table-stream demo · embedded AWS, no account, no Docker"
    printed = "\n".join(lines)
    for expected in (
        r"✔ AWS up +\d+\.\d s",
        r"✔ \d+ resources deployed +\d+\.\d s +users, orders → 3 consumers",
        r"writing 240 changes to 40 orders, and 12 users",
        r"  users   #9   INSERT  welcome-email  ✖ no template for 'xx' → parked",
        r"  orders  #31  MODIFY  mirror         ✖ InternalServerError \(v3\) → held",
        r"  orders  #31  MODIFY  mirror         ‖ v4, v5, v6 wait for v3",
        r"  orders  #\d+ +MODIFY  mirror         ✔ v\d  other items go on",
        r"  orders  #31  MODIFY  mirror         ▶ released: v3, v4, v5, v6 done",
        r"✔ order      0 of 240 out of order      \(stock batch processor, same run: [1-9]\d*\)",
        r"✔ once       11 users, 11 mails         \(3 redeliveries absorbed\)",
        r"✔ complete   mirror equals orders       40 of 40",
        r"✔ kept       1 failure, whole, in the failure bucket",
        r"✔ prompt     others at most \d+\.\d s late  \(stock batch processor, same run: \d+\.\d s\)",
        r"template added, python -m ops redrive welcome-email --yes",
        r"✔ mended     12 users, 12 mails         \(1 failure redriven\)",
        r"Next: make sandbox, then edit handler/welcome_email.py",
    ):
        assert re.search(rf"^{expected}\s*$", printed, re.MULTILINE), expected
    assert max(map(len, lines)) <= 80


def read_exports(process: "subprocess.Popen[str]") -> dict[str, str]:
    """Return the variables that `up` prints before the line `ready`."""
    assert process.stdout
    variables: dict[str, str] = {}
    for line in process.stdout:
        if line == "ready\n":
            return variables
        if line.startswith("export "):
            [name, _, value] = shlex.split(line)[1].partition("=")
            variables[name] = value
    raise AssertionError(process.stderr.read() if process.stderr else "")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project that the test edits."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("handler", "infra", "sandbox"):
        shutil.copytree(SAMPLE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__main__.py", "Pulumi.yaml", "Pulumi.local.yaml"):
        shutil.copy(SAMPLE / name, root)
    for name in (".venv-aws", ".cache"):
        if (SAMPLE / name).exists():
            (root / name).symlink_to(SAMPLE / name)
    return root


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_up_shows_what_happens_and_deploys_edits_until_it_is_interrupted(copy: Path, tmp_path: Path):
    """A handler that is edited while it runs ends with the old code, as on AWS."""
    process = start_command("up", "--outputs", str(tmp_path / "outputs.json"), root=copy)
    assert process.stdout
    variables = read_exports(process)
    outputs = json.loads((tmp_path / "outputs.json").read_text(encoding="utf-8"))
    assert outputs["tables"]["users"]["name"].startswith("users-table-")
    names = ("ENDPOINT_URL", "REGION", "DEFAULT_REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    assert {f"AWS_{name}" for name in names} | {"NO_PROXY", "no_proxy"} <= set(variables)
    users = [{"id": "1", "email": "a@example.com"}, {"id": "2", "email": "b@example.com", "language": "xx"}]
    (tmp_path / "users.json").write_text(json.dumps(users[0]), encoding="utf-8")
    put, astray = ("put", "--table", "users"), {"HTTP_PROXY": NOWHERE, "AWS_PROFILE": "nobody"}
    assert run_command(*put, str(tmp_path / "users.json"), **variables, **astray)[::2] == (0, "")
    here = ("--port", variables["AWS_ENDPOINT_URL"].rpartition(":")[2])
    code, out, error = run_command(*put, "-", *here, root=copy, text=json.dumps(users[1]), **astray)
    assert (code, error) == (0, "")
    assert re.fullmatch(r"1 item written to users-table-[0-9a-f]{7}\n", out)
    printed = read_until(process, "raise NoTemplateError")
    for expected in (
        r"\d\d:\d\d:\d\d welcome-email +✉ to a@example.com: Welcome!$",
        r"\d\d:\d\d:\d\d welcome-email users +INSERT id=1  ✔ \d+ ms$",
        r"\d\d:\d\d:\d\d welcome-email users +INSERT id=2  ✖ NoTemplateError: no template for 'xx'; .* → parked$",
        r" +│ handler/welcome_email.py:\d+ in handler: raise NoTemplateError",
    ):
        assert re.search(rf"^{expected}", printed, re.MULTILINE), printed

    def read_line(pattern: str) -> str:
        while not re.search(pattern, line := process.stdout.readline()):  # pyright: ignore[reportOptionalMemberAccess]
            assert line
        return line[9:].rstrip()  # without the time of day

    def put_user(**user: str) -> None:
        (tmp_path / "users.json").write_text(json.dumps(user), encoding="utf-8")
        assert run_command("put", "--table", "users", str(tmp_path / "users.json"), **variables)[0] == 0

    def save(path: Path, old: str, new: str) -> str:
        edit(path, old, new)
        return read_line("deploy")

    aws = Clients(variables["AWS_ENDPOINT_URL"], variables["AWS_REGION"])
    before = json.loads((tmp_path / "outputs.json").read_text(encoding="utf-8"))
    module, sends = copy / "handler" / "welcome_email.py", "    user = change.new_image or {}"
    begins = f"pathlib.Path({str(tmp_path / 'begun')!r}).touch()"
    slow, raises = f"    import pathlib, time; {begins}; time.sleep(3)", "    raise OSError('no [mail] server')"
    assert save(module, sends, f"{slow}\n{sends}") == "✔ redeployed: welcome-email-function"
    put_user(id="11", email="a@example.com")
    wait_for((tmp_path / "begun").exists, "the slow invocation", timeout_seconds=60)
    assert save(module, slow, raises) == "✔ redeployed: welcome-email-function"
    assert re.fullmatch(r"welcome-email users +INSERT id=11  ✔ \d+ ms", read_line("welcome-email users"))
    put_user(id="12", email="b@example.com")
    assert "INSERT id=12  ‖ OSError: no [mail] server → held" in read_line("welcome-email users")
    assert save(module, f"{raises}\n", "") == "✔ redeployed: welcome-email-function"
    assert re.fullmatch(r"welcome-email +id=12  ▶ released after \d+ s, 1 change done", read_line("released"))

    message = "✖ not deployed: handler/welcome_email.py:31: SyntaxError: invalid syntax"
    assert save(module, sends, f"{sends}\n    if") == message
    assert save(module, f"{sends}\n    if", sends) == "nothing to redeploy"
    settings, stores = copy / "__main__.py", copy / "infra" / "stores.py"
    message = "✖ not deployed: __main__.py:19: NameError: name 'Setings' is not defined"
    assert save(settings, "settings = Settings", "settings = Setings") == message
    assert save(settings, "settings = Setings", "settings = Settings") == "nothing to redeploy"
    assert save(stores, '"id": "expiry"', '"id": "expires"') == "✔ redeployed: stores-failures-expiry"
    lost = save(copy / "Pulumi.local.yaml", "mailFrom: hello@example.com", "failureRetentionInDays: 9")
    assert lost.startswith("✖ not deployed: it would delete the consumer welcome-email, so everything stays as it is.")

    after = json.loads((tmp_path / "outputs.json").read_text(encoding="utf-8"))
    assert after == before
    items = aws("dynamodb").scan(TableName=after["tables"]["users"]["name"])["Items"]
    assert sorted(item["id"]["S"] for item in items) == ["1", "11", "12", "2"]
    interrupt(process)
    assert not is_listening(int(variables["AWS_ENDPOINT_URL"].rpartition(":")[2]))


def read_until(process: "subprocess.Popen[str]", part: str) -> str:
    """Return the lines that a process prints, up to the one with this part."""
    assert process.stdout
    lines: list[str] = []
    while part not in (line := process.stdout.readline()):
        assert line, "".join(lines)
        lines.append(line)
    return "".join([*lines, line])


def interrupt(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, "")


def test_up_ends_on_sigterm_while_it_is_still_deploying():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start_command("up", "--port", str(port))
    wait_for(lambda: is_listening(port), "the emulator", timeout_seconds=30)
    process.terminate()
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (0, "", "")
    assert not is_listening(port)


@pytest.fixture
def variables(aws: LocalAws) -> Mapping[str, str]:
    return aws.variables()


def test_a_taken_port_is_one_line(aws: LocalAws):
    port = aws.sandbox.front.port
    assert_one_line(run_command("up", "--port", str(port)), f"port {port} cannot be used")


def test_all_errors_of_a_configuration_are_printed_and_nothing_is_created():
    wrong = json.dumps({"table-stream:mailFrm": "x", "table-stream:failureRetention": "0"})
    code, out, error = run_command("up", PULUMI_CONFIG=wrong)
    assert (code, out) == (1, "")
    assert "Traceback" not in error
    assert "table-stream:mailFrm" in error
    assert "table-stream:failureRetention =" in error


def test_put_names_the_malformed_lines(aws: LocalAws, pipeline: Deployment, variables: dict[str, str], tmp_path: Path):
    file = tmp_path / "users.json"
    file.write_text('{"id": "put-1"}\n{oops\n{"id": "put-2"}\n', encoding="utf-8")
    table = pipeline.outputs["tables"]["users"]["name"]
    result = run_command("put", "--table", table, str(file), **variables)
    assert_one_line(result, f"{file}:2: not JSON: ", out=f"2 items written to {table}\n")
    assert {"put-1", "put-2"} <= {item["id"] for item in aws.items(table)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AWS_ENDPOINT_URL": NOWHERE}, f"nothing answers at {NOWHERE}: is python -m sandbox up running? python -m"),
        ({"AWS_ENDPOINT_URL": "foo"}, "nothing answers at foo: is"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:x"}, "http://127.0.0.1:x does not answer as a sandbox does:"),
        ({}, "there is no table nobody; there are "),
    ],
)
def test_put_prints_an_error_in_one_line(variables: dict[str, Any], change: dict[str, str], message: str):
    assert_one_line(run_command("put", "--table", "nobody", "/dev/null", **{**variables, **change}), message)
