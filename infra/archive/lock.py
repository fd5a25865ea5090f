"""handler/requirements.in and its lock, read for a target: which of their lines apply there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from infra.archive.targets import Target, environment

RUNTIME_SDK: Mapping[str, tuple[str, str]] = {
    "boto3": ("1.35.0", "1.999"),
    "botocore": ("1.35.0", "1.999"),
    "s3transfer": ("0.10.0", "0.999"),
}
"""The SDK that Lambda's runtime brings along, between which versions.

Which one depends on Region and day (AWS Lambda's Developer Guide, "Runtime-included SDK versions", November 2026).
Which was the first with Python 3.13 is not documented: 1.35 was current when Python 3.13 came, in November 2024.
"""


@dataclass(frozen=True)
class Lock:
    """The lines that apply to a target."""

    requirements: tuple[Requirement, ...]  # by requirements.in
    inapplicable: tuple[Requirement, ...]  # names that requirements.in asks for, but not on the target
    pip_input: str  # the lock for pip: no comments, no markers, and not the runtime's own SDK
    other_markers: Mapping[str, str]  # markers of the lock's other lines by name


def read(handler: Path, target: Target) -> Lock:
    """The lock of `handler` for `target`. Without a requirements.in, the lock's own lines are what is asked for.

    Raises
    ------
    pulumi.RunError
        A line is not a requirement.
    """
    entries = list(_read_entries(handler / "requirements.txt"))
    direct = handler / "requirements.in"
    every = [line for line, _ in (_read_entries(direct) if direct.exists() else entries) if line]
    requirements = tuple(line for line in every if applies(line, target))
    names = {canonicalize_name(line.name) for line in requirements}
    excluded_sdk = set[str]() if names & RUNTIME_SDK.keys() else RUNTIME_SDK.keys()
    kept = [
        (line, options)
        for line, options in entries
        if not line or (applies(line, target) and canonicalize_name(line.name) not in excluded_sdk)
    ]
    return Lock(
        requirements=requirements,
        inapplicable=tuple(line for line in every if canonicalize_name(line.name) not in names),
        pip_input="".join(f"{_without_marker(line)} {options}".strip() + "\n" for line, options in kept),
        other_markers={
            canonicalize_name(line.name): str(line.marker) for line, _ in entries if line and not applies(line, target)
        },
    )


def applies(requirement: Requirement, target: Target, extra: str = "") -> bool:
    """Whether `requirement` is one on `target`, for those who ask for `extra` of the package that has it."""
    return requirement.marker is None or requirement.marker.evaluate({**environment(target), "extra": extra})


def met_by_runtime(requirement: Requirement) -> bool:
    """Whether every version that Lambda's runtime may have is one that `requirement` takes."""
    versions = RUNTIME_SDK.get(canonicalize_name(requirement.name), ())
    return bool(versions) and all(allows(requirement.specifier, version) for version in versions)


def allows(specifier: SpecifierSet, version: str) -> bool:
    """Whether `specifier` takes `version`, a pre-release too: a lock that names one means it."""
    return specifier.contains(version, prereleases=True)


def _read_entries(path: Path) -> Iterator[tuple[Requirement | None, str]]:
    """Each requirement of a file with its options; None with those that stand alone, such as an index."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in filter(None, (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())):
        if include := re.fullmatch(r"(?:-r|--requirement)[\s=]*(.+)", line):
            yield from _read_entries(path.parent / include[1])
        elif line.startswith("-"):
            yield None, line
        else:
            requirement, dashes, options = re.sub(r"\s+", " ", line).partition(" --")
            try:
                yield Requirement(requirement), f"{dashes}{options}".strip()
            except InvalidRequirement as error:
                raise pulumi.RunError(
                    f"handler/{path.name}: {requirement!r} is not a requirement, such as name==1.0 or name @ URL: "
                    f"{str(error).splitlines()[0]}"
                ) from error


def _without_marker(requirement: Requirement | None) -> str:
    """`requirement` without its marker, which pip would judge for the interpreter that it runs on."""
    if requirement is None:
        return ""
    copy = Requirement(str(requirement))
    copy.marker = None
    return str(copy)
