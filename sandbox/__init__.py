"""AWS on this machine: an emulator, the program deployed in it, and mappings that behave as AWS's do."""


class SandboxError(Exception):
    """What the sandbox's user can mend: told in one line, without a traceback."""
