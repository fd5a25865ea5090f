"""The commands' edges: options, encodings, a reader that leaves, and Ctrl-C."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import ROOT, edges
from tests.local import environment_without_aws


def run_script(script: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, check=False)


def test_signs_have_substitutes_in_other_encodings():
    script = "from sandbox.edges import run; run(lambda: print('✖ a → b · 漢 … ▶ ↻ ✉ ⠋') or 0)"
    printed = {each: run_script(script, PYTHONIOENCODING=each).stdout for each in ("ascii", "latin-1", "utf-8")}
    assert printed == {
        "ascii": b"x a > b | ? ~ > * @ *\n",
        "latin-1": b"x a > b \xb7 ? ~ > * @ *\n",
        "utf-8": "✖ a → b · 漢 … ▶ ↻ ✉ ⠋\n".encode(),
    }


@pytest.mark.parametrize("module", ["sandbox", "ops", "bench", "tests.property"])
def test_each_command_substitutes_signs(module: str, tmp_path: Path):
    """The commands' own texts are wherever they are printed; here, a stand-in of each command's parser prints."""
    (tmp_path / "sitecustomize.py").write_text(
        "import argparse, typer\n"
        "def parse_args(parser): raise SystemExit(print('✖'))\n"
        "argparse.ArgumentParser.parse_args = parse_args\n",
        encoding="utf-8",
    )
    words = [sys.executable, "-m", module, *(["held", "✖", "--outputs", "/✖"] if module == "ops" else [])]
    variables = environment_without_aws() | {"PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr
    assert "x" in ended.stdout + ended.stderr


@pytest.mark.parametrize("text", ["0", "-5", "80000", "65536", "4566.0", "", "x", "٣"])
def test_a_number_that_is_no_port_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not a port: pass a number from 1 to 65535"):
        edges.port(text)
    assert [edges.port(each) for each in ("1", "65535")] == [1, 65535]


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path):
    assert edges.output_file(str(tmp_path / "made" / "x")) == tmp_path / "made" / "x"
    assert (tmp_path / "made").is_dir()
    (tmp_path / "file").touch()
    refusals = {
        "no/dir/x": f"{tmp_path / 'no'} does not exist: create it, or pass another file",
        "made": f"{tmp_path / 'made'} is a directory: pass a file",
        "file/x": "is not a file: ",
        "n" * 300 + "/x": "is not a file: ",
    }
    for name, message in refusals.items():
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            edges.output_file(str(tmp_path / name))
        assert message in str(caught.value)


PRINTS = "while True: print('line')"
WAITS = "print('line', flush=True)\nwhile True: edges.raise_if_unread()"
FAILS = "print('line', flush=True); raise BrokenPipeError"


@pytest.mark.parametrize("body", [PRINTS, WAITS])
def test_a_command_ends_quietly_when_the_reader_of_its_output_leaves(body: str):
    script = f"import sys\nfrom sandbox import edges\ndef main():\n    {body.replace(chr(10), chr(10) + '    ')}\n"
    script += "sys.exit(edges.run(main))"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout
        assert command.stderr
        assert command.stdout.readline() == b"line\n"
        command.stdout.close()
        assert (command.wait(30), command.stderr.read()) == (edges.PIPE_CLOSED, b"")


def test_a_broken_connection_is_not_a_reader_who_left():
    ended = run_script(f"from sandbox import edges\ndef main(): {FAILS}\nedges.run(main)")
    assert ended.stderr.endswith(b"BrokenPipeError\n")


@pytest.mark.parametrize("each", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_without_a_traceback(each: signal.Signals):
    script = f"import os, sys\nfrom sandbox import edges\nsys.exit(edges.run(lambda: os.kill(os.getpid(), {each})))"
    ended = run_script(script)
    assert (ended.returncode, ended.stderr) == (edges.INTERRUPTED, b"")


@pytest.mark.parametrize(("module", "first_import"), [("sandbox", "argparse"), ("ops", "typer")])
def test_ctrl_c_during_the_imports_ends_a_command_without_a_traceback(module: str, first_import: str, tmp_path: Path):
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / f"{first_import}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", module]
    variables = environment_without_aws() | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, b"")
