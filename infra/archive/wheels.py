"""Downloads the wheels of a lock for a target and checks that together they meet each other's requirements."""

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pulumi
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from infra.archive.lock import RUNTIME_SDK, Lock, allows, applies, met_by_runtime
from infra.archive.targets import Target, display_name, pip_options

INVALID_METADATA = "since it has invalid metadata"
"""In pip's log if pip (since 24.1) ignores a wheel, such as one that requires what is no valid requirement."""
MAX_FILES_NAMED = 3  # in the message about a release that has no wheel for the target


@dataclass(frozen=True)
class Wheel:
    """A wheel and the metadata that it contains."""

    path: Path
    name: str
    version: str
    requires: tuple[Requirement, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def download(lock: Lock, target: Target, directory: Path) -> list[Wheel]:
    """Download the packages of `lock` into `directory`, unless it exists already, and return their wheels.

    Raises
    ------
    pulumi.RunError
        pip is missing, the index cannot be reached, a hash does not match, or a package has no wheel for `target`.
    """
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as work:
            downloads = Path(work, "wheels")
            downloads.mkdir()
            _pip_download(lock, target, Path(work))
            try:
                downloads.rename(directory)
            except OSError:
                if not directory.exists():  # if it exists, another build was first, with the same wheels
                    raise
    return [_read_wheel(path) for path in sorted(directory.glob("*.whl"))]


def check_requirements(lock: Lock, wheels: Sequence[Wheel], target: Target) -> None:
    """Check that the wheels meet every requirement of handler/requirements.in, and of each other, on `target`.

    Raises
    ------
    pulumi.RunError
        Neither a wheel nor Lambda's runtime meets a requirement; the message names each, and the package that has it.
    """
    by_name = {wheel.name: wheel for wheel in wheels}
    todo: list[tuple[Wheel | None, Requirement]] = [(None, requirement) for requirement in lock.requirements]
    todo += [(wheel, Requirement(wheel.name)) for wheel in wheels]
    seen = set[tuple[str, str]]()
    unmet = set[str]()
    while todo:
        requirer, requirement = todo.pop()
        wheel = by_name.get(canonicalize_name(requirement.name))
        if wheel and allows(requirement.specifier, wheel.version):
            for extra in {"", *requirement.extras} - {extra for name, extra in seen if name == wheel.name}:
                seen.add((wheel.name, extra))
                todo += [(wheel, each) for each in wheel.requires if applies(each, target, extra)]
        elif wheel or not requirer or not met_by_runtime(requirement):
            unmet.add(_unmet(requirer, requirement, wheel, lock, target))
    if unmet:
        raise pulumi.RunError("\n".join(sorted(unmet)))


def _unmet(requirer: Wheel | None, requirement: Requirement, wheel: Wheel | None, lock: Lock, target: Target) -> str:
    name = canonicalize_name(requirement.name)
    who = f"{requirer} needs" if requirer else "handler/requirements.in asks for"
    if wheel:
        return f"{who} {requirement}, but handler/requirements.txt has {wheel}: run make lock"
    if name in lock.other_markers:
        where = f"which handler/requirements.txt has only where {lock.other_markers[name]}"
        return f"{who} {requirement}, {where}, not for {display_name(target)}: run make lock"
    if requirer and name in RUNTIME_SDK:
        oldest, _ = RUNTIME_SDK[name]
        runtime = f"but Lambda's runtime may have any {name} from {oldest} on"
        return f"{who} {requirement}, {runtime}: add {name} to handler/requirements.in, to ship it, and run make lock"
    return (
        f"{who} {requirement}, which handler/requirements.txt lacks for {display_name(target)}: run make lock; if that "
        "does not help, add it to handler/requirements.in"
    )


def _pip_download(lock: Lock, target: Target, work: Path) -> None:
    """Download the packages of `lock` with pip, into the directory `wheels` within `work`."""
    requirements, log = work / "requirements.txt", work / "log"
    requirements.write_text(lock.pip_input, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(requirements)]
    command += ["-d", str(work / "wheels"), "--log", str(log), *pip_options(target)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if not process.returncode:
        return
    not_found = re.search(r"satisfies the requirement ([\w.-]+)(?:\[.*\])?==([\w.!+-]+)", process.stderr)
    logged = log.read_text("utf-8", "replace") if not_found else ""
    if not_found and INVALID_METADATA in logged:
        raise pulumi.RunError(
            f"{not_found[1]} {not_found[2]} of handler/requirements.txt has invalid metadata, so that pip ignores it: "
            "use another version"
        )
    if not_found and (files := _release_files(not_found[1], Version(not_found[2]), logged)):
        others = f" and {len(files) - MAX_FILES_NAMED} more" if len(files) > MAX_FILES_NAMED else ""
        raise pulumi.RunError(
            f"{not_found[1]} {not_found[2]} of handler/requirements.txt has no wheel for {display_name(target)}, and "
            f"the archive can only contain wheels; the index has {', '.join(files[:MAX_FILES_NAMED])}{others}. Use a "
            "version that has such a wheel, or build one (pip wheel) and serve it from your own index"
        )
    lines = process.stderr.splitlines() or ["nothing"]
    error = next((line for line in lines if line.startswith("ERROR")), lines[-1])
    raise pulumi.RunError(
        f"pip could not download handler/requirements.txt for {target}: {error}\n"
        f"Check that the package index is reachable, that {sys.executable} has pip, and that the lock is complete "
        "(make lock)"
    )


def _release_files(name: str, version: Version, log: str) -> list[str]:
    """Return the files of a release that pip's log mentions."""
    files = {unquote(file) for file in re.findall(r"[^/\s]+(?:\.whl|\.tar\.gz|\.zip)\b", log)}
    return sorted(file for file in files if _release(file) == (canonicalize_name(name), version))


def _release(file: str) -> tuple[str, Version] | None:
    """Return the name and version of a wheel or source distribution, or None if `file` is neither."""
    try:
        return parse_wheel_filename(file)[:2] if file.endswith(".whl") else parse_sdist_filename(file)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def _read_wheel(path: Path) -> Wheel:
    wheel_name, version, *_ = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        metadata = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        lines = parse_email(archive.read(metadata))[0].get("requires_dist", [])
    return Wheel(
        path=path, name=wheel_name, version=str(version), requires=tuple(_parse_requirements(path.name, lines))
    )


def _parse_requirements(wheel: str, lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        try:
            yield Requirement(line)
        except InvalidRequirement as error:
            raise pulumi.RunError(
                f"{wheel} requires {line!r}, which is not a valid requirement: use another version"
            ) from error
