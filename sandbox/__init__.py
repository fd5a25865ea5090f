"""AWS on this machine: an emulator, the program deployed in it, and mappings that behave as AWS's do."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The project's directory."""


class SandboxError(Exception):
    """What the sandbox's user can mend: told in one line, without a traceback."""
