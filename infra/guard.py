"""What becomes of the rules' findings in the program: an error that names them all, or warnings."""

from collections.abc import Iterable

import pulumi

from infra.resource import Resource
from infra.rules import Level, name_too_long

Finding = tuple[Level, str]


def judge(findings: Iterable[Finding], *, protect: bool) -> list[str]:
    """What is left to warn of, where nothing is refused.

    Raises
    ------
    pulumi.RunError
        Something cannot work, or may lose data that `protect` is to keep; the message lists everything at once.
    """
    found = list(findings)
    errors = [message for level, message in found if level is Level.REFUSED or (level is Level.UNSAFE and protect)]
    if errors:
        raise pulumi.RunError("\n".join(errors))
    return [message for _, message in found]


def check_name(kind: str, name: str) -> None:
    """Refuse a name that would be too long for AWS with what Pulumi adds to it."""
    judge([(Level.REFUSED, f"{name}: {message}") for message in name_too_long(Resource(kind, name))], protect=False)
