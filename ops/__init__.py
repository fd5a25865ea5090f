"""Operators' commands for a deployed stack, on AWS or in the sandbox."""


class OpsError(Exception):
    """An error that the operator can fix; the command prints it on one line, without a traceback."""
