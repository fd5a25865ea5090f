"""The module that a consumer runs: found, and read without importing it."""

import sys
from pathlib import Path

import pulumi
import pytest

from infra.archive.handler_module import claims_changes, module_of


def module(root: Path, text: str | bytes, name: str = "mirror.py") -> Path:
    path = root / "handler" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def refusal(consumer: str, root: Path) -> str:
    with pytest.raises(pulumi.RunError) as caught:
        module_of(consumer, root)
    return str(caught.value)


def test_an_error_about_a_missing_module_names_the_nearest(tmp_path: Path) -> None:
    module(tmp_path, "handler = 1")
    module(tmp_path, "", "__init__.py")
    module(tmp_path, "handler = 1", "stream/__init__.py")
    module(tmp_path, "handler = 1", "send_mail/__init__.py")
    module(tmp_path, "", "data/x.py")
    assert module_of("mirror", tmp_path) == "mirror"
    assert module_of("send-mail", tmp_path) == "send_mail"
    assert refusal("miror", tmp_path) == "no handler/miror.py; did you mean mirror?"
    assert refusal("x", tmp_path) == "no handler/x.py; there are mirror, send_mail"
    assert refusal("stream", tmp_path) == "no handler/stream.py; there are mirror, send_mail"
    assert refusal("send_mail", tmp_path) == "a consumer's name has dashes: send-mail"
    assert refusal("x", tmp_path / "empty") == "no handler/x.py; there are none"


def test_a_package_is_what_python_imports_where_there_is_a_module_too(tmp_path: Path) -> None:
    module(tmp_path, "handler = 1")
    module(tmp_path, "", "mirror/__init__.py")
    assert refusal("mirror", tmp_path).startswith("handler/mirror/__init__.py defines no handler")


@pytest.mark.parametrize(
    "text",
    [
        "@consumer\ndef handler(change): ...",
        "class handler: ...",
        "handler = make()",
        "handler: Handler = make()",
        "first, (handler, *rest) = make()",
        "import handler",
        "import handler.stream",
        "from lab import handler",
        "from lab import run as handler",
        "from lab import *",
        "if True:\n    def handler(event, context): ...",
        "def handler(*arguments): ...",
        "def handler(change): ...\nhandler = consumer(handler)",
        "@consumer\ndef handler(change):\n    def parts(): yield 1\n    return (part for part in parts())",
        "try:\n    from lab import handler\nexcept ImportError:\n    raise",
        "try:\n    pass\nexcept ImportError:\n    def handler(event, context): ...",
        "with make() as handler:\n    pass",
        "for handler in make():\n    pass",
        "print(handler := make())",
        "async def handler(change): ...\nhandler = run(handler)",
        "raise SystemExit  # what importing it would do\nhandler = 1",
    ],
)
def test_whatever_binds_the_name_will_do(tmp_path: Path, text: str) -> None:
    assert module_of("mirror", module(tmp_path, text)) == "mirror"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def process(change): ...",
        "import lab.handler",
        "import lab.handler as lab",
        "from handler import stream",
        "handler: Handler",
        "print(handler)",
        "def make():\n    handler = 1\n    def handler(change): ...",
        "class Mirror:\n    def handler(self, change): ...",
        "[handler for handler in make()]",
        "lambda: (handler := 1)",
        "mirror.handler = 1",
        "def run(handler): ...",
    ],
)
def test_a_module_without_a_handler_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal("mirror", module(tmp_path, text)) == (
        "handler/mirror.py defines no handler for Lambda to call: add one, as in "
        "@consumer def handler(change: Change) -> None"
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("def handle(change): ...", "did you mean handle, in line 1? Its name must be handler"),
        ("\n\n@consumer\ndef process(change): ...", "did you mean process, in line 4? Its name must be handler"),
        ("@consumer(claim=True)\ndef lambda_handler(change): ...", "did you mean lambda_handler, in line 2? Its"),
        ("@stream.consumer\nasync def run(change): ...\ndef hander(): ...", "did you mean run, in line 2? Its name"),
    ],
)
def test_a_handler_of_another_name_is_named(tmp_path: Path, text: str, hint: str) -> None:
    message = refusal("mirror", module(tmp_path, text))
    assert message.startswith(f"handler/mirror.py defines no handler for Lambda to call: {hint}")


@pytest.mark.parametrize("text", ["\ndef handler(change): ...", "handler = 1\ndef handler(change, *, x=1): ..."])
def test_a_handler_without_the_decorator_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal("mirror", module(tmp_path, text)) == (
        "handler/mirror.py:2 has a handler without @consumer, which Lambda would call with an event and a context: "
        "write @consumer in the line above def handler"
    )


@pytest.mark.parametrize(
    "text", ["@consumer\ndef handler(change):\n    yield", "@consumer\ndef handler(change):\n    x = [(yield)]"]
)
def test_a_handler_that_is_a_generator_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal("mirror", module(tmp_path, text)) == (
        "handler/mirror.py:2 has a handler with yield, whose body never runs: write it without yield"
    )


@pytest.mark.parametrize("text", ["\nasync def handler(change): ...", "handler = 1\nasync def handler(change): ..."])
def test_an_async_handler_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal("mirror", module(tmp_path, text)) == (
        "handler/mirror.py:2 has an async def handler, which Lambda calls but does not await: write def handler, "
        "with asyncio.run(...) inside"
    )


def test_a_module_that_is_no_python_is_refused_with_the_line(tmp_path: Path) -> None:
    version = f"3.{sys.version_info.minor}"
    message = refusal("mirror", module(tmp_path, "handler = 1\n\ndef f(:\n"))
    assert message.startswith(f"handler/mirror.py:3 is not Python {version}: invalid syntax")
    message = refusal("mirror", module(tmp_path, b"handler = '\xff'"))
    assert message.startswith("handler/mirror.py:1 is not Python ")
    message = refusal("mirror", module(tmp_path, "handler = 1\0"))
    assert "source code string cannot contain null bytes" in message


def test_the_encoding_is_the_module_s_own(tmp_path: Path) -> None:
    text = "# -*- coding: latin-1 -*-\nhandler = 'ä'".encode("latin-1")
    assert module_of("mirror", module(tmp_path, text)) == "mirror"


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("@consumer(claim=True)\ndef handler(change): ...", True),
        ("@handler.stream.consumer(claim=True)\ndef handler(change): ...", True),
        ("@traced\n@consumer(claim=True)\ndef handler(change): ...", True),
        ("handler = consumer(claim=True)(send)", True),
        ("handler: Consumer = consumer(claim=True)(send)", True),
        ("if True:\n    handler = consumer(claim=True)(send)", True),
        ("@consumer\ndef handler(change): ...", False),
        ("@consumer(claim=False)\ndef handler(change): ...", False),
        ("@consumer(claim=CLAIM)\ndef handler(change): ...", False),
        ("@other(claim=True)\ndef handler(change): ...", False),
        ("@consumer(claim=True)\ndef send(change): ...\nhandler = consumer(send)", False),
        ("@consumer(claim=True)\ndef handler(change): ...\n@consumer\ndef handler(change): ...", False),
        ("from lab import handler", False),
        ("", False),
        ("def handler(", False),
    ],
)
def test_a_module_claims_its_changes_by_the_decorator_of_its_last_handler(
    text: str, claims: bool, tmp_path: Path
) -> None:
    assert claims_changes("mirror", module(tmp_path, text)) is claims
    assert not claims_changes("gone", tmp_path)
