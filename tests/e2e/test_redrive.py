"""python -m ops redrive: failures go back into their items' holds, and their objects move when they are done."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.stream.failures import read_failure
from sandbox import ROOT
from sandbox.program.deploy import Deployment
from tests.local import LocalAws, environment_without_aws

Run = tuple[int, str, str]


class Shop:
    """The sample program, deployed for one test, and the commands against it."""

    def __init__(self, aws: LocalAws, deployment: Deployment, directory: Path) -> None:
        self.aws, self.outputs, self._directory = aws, json.loads(json.dumps(deployment.outputs)), directory
        self.bucket = self.outputs["stores"]["failures"]["bucket"]
        self.functions = {name: each["function"] for name, each in self.outputs["consumers"].items()}
        self.tables = {name: each["name"] for name, each in self.outputs["tables"].items()}
        self.outputs["consumers"]["mirror"] |= {"fenced": True}
        [function] = [each for each in deployment.resources if each.registration.name == "mirror-function"]
        self.code = Path(function.inputs["code"].path).read_bytes()

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a command of ops."""
        path = self._directory / "outputs.json"
        path.write_text(json.dumps(self.outputs), encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, "-m", "ops", *arguments, "--outputs", str(path)],
            cwd=ROOT,
            env=environment_without_aws() | self.aws.variables(),
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
        )

    def run(self, *arguments: str) -> Run:
        """Run a command of ops to its end."""
        process = self.start(*arguments)
        out, error = process.communicate(timeout=100)
        return process.returncode, out, error

    def deploy(self, consumer: str, old: str, new: str) -> None:
        """Deploy the code with one change, as saving a file does."""
        changed = io.BytesIO()
        module = f"handler/{consumer.replace('-', '_')}.py"
        with zipfile.ZipFile(io.BytesIO(self.code)) as before, zipfile.ZipFile(changed, "w") as after:
            for info in before.infolist():
                content = before.read(info)
                if info.filename == module:
                    assert old.encode() in content
                    content = content.replace(old.encode(), new.encode())
                after.writestr(info, content)
        function = self.functions[consumer]
        with self.aws.sandbox.poller.pause(function):
            self.aws.client("lambda").update_function_code(FunctionName=function, ZipFile=changed.getvalue())

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        return self.aws.objects(self.bucket, prefix)

    def errors(self, prefix: str = "engine/") -> set[str | None]:
        return {read_failure(body).error for body in self.objects(prefix).values()}


@pytest.fixture
def shop(aws: LocalAws, deployed: Callable[..., Deployment], tmp_path: Path) -> Shop:
    return Shop(aws, deployed(), tmp_path)


def users(number: int, name: str, language: str = "xx") -> list[dict[str, Any]]:
    return [
        {"id": f"{name}-{each}", "email": f"{name}-{each}@example.com", "language": language} for each in range(number)
    ]


def mails_to(aws: LocalAws, name: str) -> list[str]:
    return sorted(mail["To"][0] for mail in aws.mails() if mail["To"][0].startswith(f"{name}-"))


def test_parked_changes_are_done_after_the_mend_and_their_objects_move(aws: LocalAws, shop: Shop) -> None:
    aws.write(shop.tables["users"], *users(12, "mended"))
    aws.wait_until_idle()
    parked = shop.objects("engine/")
    assert len(parked) == 12
    shop.deploy("welcome-email", "TEMPLATES = {", 'TEMPLATES = {"xx": Template("x", "x"), ')
    code, out, error = shop.run("redrive", "welcome-email", "--yes")
    print(out, error)
    assert (code, error) == (0, "")
    assert mails_to(aws, "mended") == sorted(user["email"] for user in users(12, "mended"))
    assert shop.objects("engine/") == {}
    assert shop.objects("redriven/") == {f"redriven/{key}": body for key, body in parked.items()}
