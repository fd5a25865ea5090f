"""Builds the functions' code: handler/ and its locked dependencies as one zip, byte for byte the same everywhere."""

import base64
import contextlib
import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi

from infra.archive import lock, wheels, zip_file
from infra.archive.bytecode import Compiler, find_compiler
from infra.archive.sources import ROOT, Source, read_sources
from infra.archive.targets import Target, architecture, display_name, runtime, tag
from infra.archive.wheels import Wheel
from infra.archive.zip_file import Member

FORMAT_VERSION = "2"
"""Part of every cache key. Raise it when a change of this package makes another zip from the same inputs."""

MIB = 1 << 20
MAX_UPLOAD_BYTES = 50 * MIB
MAX_UNZIPPED_BYTES = 250 * MIB
"""Lambda's limits, from its own error messages: "Zipped size must be smaller than 52428800 bytes" (recorded on AWS by
LocalStack in November 2023) and "Unzipped size must be smaller than 262144000 bytes" (July 2024).

The first limit is for a zip in the request itself. The request's own limit of 70,167,211 bytes never matters, because a
zip of 50 MiB in base64 leaves 256 KiB of the request for everything else. Layers count toward the second limit (API
reference, AccountLimit, November 2026).
"""
KEPT_ARCHIVES = 5
KEPT_SECONDS = 15 * 60
"""How long an archive stays that is not among the newest: an update of another process may upload it."""
MAX_ORIGINS_NAMED = 5  # in the message about an archive that is too large


@dataclass(frozen=True)
class Package:
    """A zip for Lambda, with the runtime and the architecture that it needs."""

    path: Path
    sha256: str  # base64, the encoding that Lambda reports
    runtime: str
    architecture: str
    target: Target
    root: Path  # the project's directory, which contains the consumers' modules


def build(target: Target, root: Path = ROOT, *, bytecode: bool = False) -> Package:
    """Build the package for `target`, or take it from the cache if its inputs have not changed.

    Concurrent builds are safe: each writes a temporary file and renames it.

    With `bytecode`, the archive also has each module compiled for the Python of `target`. Lambda's code directory is
    read-only, so without bytecode Python compiles every module at every cold start.

    Raises
    ------
    pulumi.RunError
        There is no interpreter that compiles for `target`;
        handler/ contains a link that the archive cannot hold; its dependencies cannot be downloaded, or the lock lacks
        some of them; or the archive exceeds a limit of Lambda. The message says what to do.
    """
    handler, cache = root / "handler", root / ".cache"
    compiler = find_compiler(target) if bytecode else None
    requirements = lock.read(handler, target)
    for requirement in requirements.inapplicable:
        pulumi.log.info(
            f"handler/requirements.in: {requirement} is left out: its marker excludes {display_name(target)}"
        )
    files = read_sources(handler)
    inputs = [FORMAT_VERSION, requirements.pip_input, target, tag(target), *map(str, requirements.requirements)]
    compiled_by = [compiler.version] if compiler else []
    path = cache / f"{_digest(*inputs, *compiled_by, *_digest_parts(files))}.zip"
    try:
        os.utime(path)  # used today, so _delete_unused_archives keeps it
    except FileNotFoundError:
        downloaded = wheels.download(requirements, target, cache / f"wheels-{_digest(*inputs)}")
        wheels.check_requirements(requirements, downloaded, target)
        _write_archive(files, downloaded, target, path, compiler)
        _delete_unused_archives(cache)
    return Package(
        path=path,
        sha256=base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode(),
        runtime=runtime(target),
        architecture=architecture(target),
        target=target,
        root=root,
    )


def _digest_parts(files: Sequence[Source]) -> list[str | bytes]:
    return [part for source in files for part in (source.name, source.data, str(source.executable))]


def _write_archive(
    files: Sequence[Source], downloaded: Sequence[Wheel], target: Target, path: Path, compiler: Compiler | None
) -> None:
    members: dict[str, Member] = {}
    origins: dict[str, str] = {}  # the wheel or the part of handler/ that each member belongs to
    for wheel in downloaded:
        for name, member in zip_file.wheel_members(wheel.path):
            members[name], origins[name] = member, str(wheel)
    for source in files:
        members[source.name] = zip_file.stored_member(source.data, executable=source.executable)
        origins[source.name] = "/".join(source.name.split("/")[:2])
    if compiler:
        for name, data in compiler.compile(members).items():
            members[name], origins[name] = zip_file.stored_member(data), "bytecode"
    _check_size(members, origins, target)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".zip")
    with os.fdopen(handle, "wb") as file:
        zip_file.write_zip(members, file)
    Path(temporary).replace(path)


def _check_size(members: Mapping[str, Member], origins: Mapping[str, str], target: Target) -> None:
    problems: list[str] = []
    archive = f"the archive for {display_name(target)}"
    if len(members) > zip_file.MAX_MEMBERS:
        largest = _largest(Counter(origins.values()), "{:,} files".format)
        problems.append(f"{archive} has {len(members):,} files, but a zip can hold {zip_file.MAX_MEMBERS:,}: {largest}")
    compressed, uncompressed = Counter[str](), Counter[str]()
    for name, member in members.items():
        compressed[origins[name]] += member.compressed_size
        uncompressed[origins[name]] += member.size
    if (size := zip_file.zip_size(members)) >= MAX_UPLOAD_BYTES:
        problems.append(
            f"{archive} is {_in_mib(size)}, but an upload to Lambda must be below {_in_mib(MAX_UPLOAD_BYTES)}: "
            f"{_largest(compressed, _in_mib)}. Files of handler/ are not compressed: compress large data, or read "
            "it from S3; put large packages into a layer"
        )
    if (size := uncompressed.total()) >= MAX_UNZIPPED_BYTES:
        problems.append(
            f"{archive} is {_in_mib(size)} when unzipped, but code and layers of a function must be below "
            f"{_in_mib(MAX_UNZIPPED_BYTES)}: {_largest(uncompressed, _in_mib)}. Require fewer packages in "
            "handler/requirements.in, or read large data from S3"
        )
    if problems:
        raise pulumi.RunError("\n".join(problems))


def _largest(sizes: Counter[str], format_size: Callable[[int], str]) -> str:
    """Name the largest parts of the archive, each with its size, and the size of all others together."""
    named = sizes.most_common(MAX_ORIGINS_NAMED)
    others = sizes.total() - sum(size for _, size in named)
    rest = [(f"{len(sizes) - len(named)} others", others)] if others else []
    return ", ".join(f"{name} ({format_size(size)})" for name, size in [*named, *rest])


def _in_mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"


def _delete_unused_archives(cache: Path) -> None:
    """Delete all archives but the newest, unless a build has just used them: each change of a handler leaves one."""
    used_at: dict[Path, float] = {}
    for path in cache.glob("*.zip"):
        with contextlib.suppress(FileNotFoundError):  # another build may delete it at the same time
            used_at[path] = path.stat().st_mtime
    for path in sorted(used_at, key=used_at.__getitem__, reverse=True)[KEPT_ARCHIVES:]:
        if used_at[path] < time.time() - KEPT_SECONDS:
            path.unlink(missing_ok=True)


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:32]
