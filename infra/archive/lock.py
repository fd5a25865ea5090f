"""Reads handler/requirements.in and its lock for a target, and selects the lines that apply there."""

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
"""Packages of the SDK that Lambda's runtime includes, each with the oldest and the newest version to expect.

The version depends on the Region and the day (AWS Lambda's Developer Guide, "Runtime-included SDK versions", November
2026). AWS does not document the first version that came with Python 3.13; 1.35 was current when Lambda added Python
3.13, in November 2024.
"""


@dataclass(frozen=True)
class Lock:
    """The requirements that apply to a target."""

    requirements: tuple[Requirement, ...]  # direct ones, from requirements.in
    inapplicable: tuple[Requirement, ...]  # from requirements.in; their markers exclude the target
    pip_input: str  # the lock without comments, markers and the runtime's SDK
    other_markers: Mapping[str, str]  # of locked packages that do not apply to the target, by name


def read(handler: Path, target: Target) -> Lock:
    """Read the lock of `handler` for `target`. Without a requirements.in, every line of the lock counts as direct.

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
    """Return whether the marker of `requirement` includes `target`; `extra` is the extra that the requirer selects."""
    return requirement.marker is None or requirement.marker.evaluate({**environment(target), "extra": extra})


def met_by_runtime(requirement: Requirement) -> bool:
    """Return whether `requirement` allows every version of the SDK that Lambda's runtime may include."""
    versions = RUNTIME_SDK.get(canonicalize_name(requirement.name), ())
    return bool(versions) and all(allows(requirement.specifier, version) for version in versions)


def allows(specifier: SpecifierSet, version: str) -> bool:
    """Return whether `specifier` allows `version`. A pre-release in a lock is deliberate, so it is allowed."""
    return specifier.contains(version, prereleases=True)


def _read_entries(path: Path) -> Iterator[tuple[Requirement | None, str]]:
    """Yield each requirement of a file with its options. An option line, such as an index URL, yields None first."""
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
                    f"handler/{path.name}: {requirement!r} is not a valid requirement such as name==1.0 or name @ URL: "
                    f"{str(error).splitlines()[0]}"
                ) from error


def _without_marker(requirement: Requirement | None) -> str:
    """Return `requirement` without its marker, which pip would evaluate for its own interpreter, not the target."""
    if requirement is None:
        return ""
    copy = Requirement(str(requirement))
    copy.marker = None
    return str(copy)
