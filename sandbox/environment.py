"""Makes a virtual environment from lock files: python3 sandbox/environment.py DIRECTORY LOCK [LOCK ...].

Standard library only, in words that Python 2 can parse too, so that the wrong Python gets a sentence and no traceback.
"""

import os
import subprocess
import sys

OLDEST = (3, 11)


def main(directory, locks):
    # type: (str, list[str]) -> str | None
    """Create what is missing of `directory` and install `locks` into it; the sentence to stop with, if it failed."""
    if sys.version_info < OLDEST:
        return "Python %d.%d or newer is needed, this is %s: name one, as in make PYTHON=python3.13" % (
            OLDEST + (".".join(str(part) for part in sys.version_info[:3]),)
        )
    python = os.path.join(directory, "bin", "python")
    if not os.path.exists(python):
        made = subprocess.run([sys.executable, "-m", "venv", directory], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if made.returncode:
            detail = made.stdout.decode().strip().splitlines()
            return "%s could not be made: %s. On Debian and Ubuntu: apt install python3-venv" % (directory, detail[-1:])
    command = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile"]
    command += ["--require-hashes"]
    for lock in locks:
        command += ["-r", lock]
    print("installing %s into %s (once)" % (" and ".join(locks), directory))
    sys.stdout.flush()
    installed = subprocess.run(command, stderr=subprocess.PIPE)
    if installed.returncode:
        errors = [line for line in installed.stderr.decode().splitlines() if line.startswith("ERROR")]
        return "%s is not complete: %s. Is the package index reachable? Then run make again." % (
            directory,
            errors[-1] if errors else "pip failed with code %d" % installed.returncode,
        )
    open(os.path.join(directory, ".installed"), "w").close()
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
