"""Operators' commands: what is done to a stack after it is deployed, on AWS and in the sandbox alike."""


class OpsError(Exception):
    """What the operator can mend: told in one line, without a traceback."""
