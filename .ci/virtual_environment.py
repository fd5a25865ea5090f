"""Creates a virtual environment from lock files: python3 .ci/virtual_environment.py DIRECTORY LOCK [LOCK ...].

It uses the standard library only, and syntax that older Pythons can parse, so that an unsupported Python prints one
sentence instead of a traceback.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
PIP_INSTALL = [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--no-input",
    "--disable-pip-version-check",
    "--no-compile",
    "--require-hashes",
]


def main(directory: Path, locks: list[Path]) -> str | None:
    """Create `directory` if necessary and install `locks` into it; return the error message if that fails."""
    if sys.version_info < OLDEST:
        needed, current = (".".join(map(str, version)) for version in (OLDEST, sys.version_info[:3]))
        return f"Python {needed} or newer is needed, but this is {current}: choose one, as in make PYTHON=python3.13"
    python = directory / "bin" / "python"
    if not python.exists():
        process = run([sys.executable, "-m", "venv", str(directory)])
        if process.returncode:
            cause = process.stdout.strip().splitlines()[-1]
            return f"{directory} could not be created: {cause}. On Debian and Ubuntu: apt install python3-venv"
    print(f"installing {' and '.join(map(str, locks))} into {directory} (once)", flush=True)
    process = run([str(python), *PIP_INSTALL, *(word for lock in locks for word in ("-r", str(lock)))])
    if process.returncode:
        errors = [line for line in process.stdout.splitlines() if line.startswith("ERROR: ")]
        cause = errors[-1][len("ERROR: ") :].rstrip(".") if errors else f"pip failed with code {process.returncode}"
        reachable = "Is the package index reachable? " if "No matching distribution" in cause else ""
        return f"{directory} is incomplete: {cause}. {reachable}Fix this and run make again."
    (directory / ".installed").touch()
    return None


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `command`; `stdout` of the result contains everything that it prints."""
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(lock) for lock in sys.argv[2:]]))
