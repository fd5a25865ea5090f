"""The functions' code: handler/ and its pinned dependencies as one zip, the same byte for byte wherever it is built."""

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
from infra.archive.sources import ROOT, Source, read_sources
from infra.archive.targets import Target, architecture, display_name, runtime, tag
from infra.archive.wheels import Wheel
from infra.archive.zip_file import Member

FORMAT_VERSION = "2"
"""Part of every cache key: raise it when the same inputs are to make another zip."""

MIB = 1 << 20
MAX_UPLOAD_BYTES = 50 * MIB
MAX_UNZIPPED_BYTES = 250 * MIB
"""What Lambda takes must be smaller, by its own messages: "Zipped size must be smaller than 52428800 bytes" (which
LocalStack recorded on AWS in November 2023) and "Unzipped size must be smaller than 262144000 bytes" (July 2024).

The first is for a zip in the request itself. The limit of the request, 70,167,211 bytes, does not matter beside it: the
zip in base64 leaves 256 KiB of it for everything else. Layers count toward the second (API reference, AccountLimit,
November 2026).
"""
MAX_ORIGINS_NAMED = 5  # in the message of an archive that is too large


@dataclass(frozen=True)
class Package:
    """A zip for Lambda and what it was built for."""

    path: Path
    sha256: str  # in base64, as Lambda reports it
    runtime: str
    architecture: str
    target: Target
    root: Path  # the project's directory, where consumers' modules are


def build(target: Target, root: Path = ROOT) -> Package:
    """The package for `target`, from the cache where its inputs are unchanged.

    Two builds at once are safe: each writes aside and renames.

    Raises
    ------
    pulumi.RunError
        handler/ has a link that cannot be followed; its dependencies could not be downloaded, are not complete or not
        locked; or the archive is larger than Lambda takes. The message names the way out.
    """
    handler, cache = root / "handler", root / ".cache"
    requirements = lock.read(handler, target)
    for requirement in requirements.inapplicable:
        pulumi.log.info(f"handler/requirements.in: {requirement} is left out for {display_name(target)}, by its marker")
    files = read_sources(handler)
    inputs = [FORMAT_VERSION, requirements.pip_input, target, tag(target), *map(str, requirements.requirements)]
    path = cache / f"{_digest(*inputs, *_digest_parts(files))}.zip"
    try:
        os.utime(path)  # asked for today
    except FileNotFoundError:
        downloaded = wheels.download(requirements, target, cache / f"wheels-{_digest(*inputs)}")
        wheels.check_requirements(requirements, downloaded, target)
        _write_archive(files, downloaded, target, path)
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


def _write_archive(files: Sequence[Source], downloaded: Sequence[Wheel], target: Target, path: Path) -> None:
    members: dict[str, Member] = {}
    origins: dict[str, str] = {}  # who a member's room is counted for
    for wheel in downloaded:
        for name, member in zip_file.wheel_members(wheel.path):
            members[name], origins[name] = member, str(wheel)
    for source in files:
        members[source.name] = zip_file.stored_member(source.data, executable=source.executable)
        origins[source.name] = "/".join(source.name.split("/")[:2])
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
        problems.append(f"{archive} has {len(members):,} files, and a zip takes {zip_file.MAX_MEMBERS:,}: {largest}")
    compressed, uncompressed = Counter[str](), Counter[str]()
    for name, member in members.items():
        compressed[origins[name]] += member.compressed_size
        uncompressed[origins[name]] += member.size
    if (size := zip_file.zip_size(members)) >= MAX_UPLOAD_BYTES:
        problems.append(
            f"{archive} has {_in_mib(size)}, and Lambda takes less than {_in_mib(MAX_UPLOAD_BYTES)} in an upload: "
            f"{_largest(compressed, _in_mib)}. Files of handler/ are not compressed: compress large data, or read it "
            "from S3; put large packages into a layer"
        )
    if (size := uncompressed.total()) >= MAX_UNZIPPED_BYTES:
        problems.append(
            f"{archive} has {_in_mib(size)} when unzipped, and Lambda takes less than {_in_mib(MAX_UNZIPPED_BYTES)}, "
            f"layers included: {_largest(uncompressed, _in_mib)}. Ask for less in "
            "handler/requirements.in, or read large data from S3"
        )
    if problems:
        raise pulumi.RunError("\n".join(problems))


def _largest(sizes: Counter[str], format_size: Callable[[int], str]) -> str:
    """Who takes the most room, and how much all others take."""
    named = sizes.most_common(MAX_ORIGINS_NAMED)
    others = sizes.total() - sum(size for _, size in named)
    rest = [(f"{len(sizes) - len(named)} others", others)] if others else []
    return ", ".join(f"{name} ({format_size(size)})" for name, size in [*named, *rest])


def _in_mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"


def _delete_unused_archives(cache: Path) -> None:
    """Each change of a handler leaves a zip behind: those go that nobody has asked for in a day."""
    for path in cache.glob("*.zip"):
        with contextlib.suppress(FileNotFoundError):  # another build forgets at the same time
            if path.stat().st_mtime < time.time() - 86_400:
                path.unlink()


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:32]
