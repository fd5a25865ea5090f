"""AWS on this machine: an emulator, the program deployed in it, and event source mappings that behave as on AWS."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The project's directory."""


class SandboxError(Exception):
    """An error that the user can fix. The commands print its message in one line, without a traceback."""
