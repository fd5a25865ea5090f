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

from infra.archive import lock, wheels, zipped
from infra.archive.sources import ROOT, Source, sources
from infra.archive.targets import Target, architecture, described, runtime, tag
from infra.archive.wheels import Wheel
from infra.archive.zipped import Member

FORMAT = "2"
"""Part of every cache key: raise it when the same inputs are to make another zip."""

MIB = 1 << 20
UPLOADED = 50 * MIB
UNZIPPED = 250 * MIB
"""What Lambda takes must be smaller, by its own messages: "Zipped size must be smaller than 52428800 bytes" (which
LocalStack recorded on AWS in November 2023) and "Unzipped size must be smaller than 262144000 bytes" (July 2024).

The first is for a zip in the request itself. The limit of the request, 70,167,211 bytes, does not matter beside it: the
zip in base64 leaves 256 KiB of it for everything else. Layers count toward the second (API reference, AccountLimit,
November 2026).
"""
NAMED = 5  # in the message of an archive that is too large


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
    wanted = lock.read(handler, target)
    for requirement in wanted.left_out:
        pulumi.log.info(f"handler/requirements.in: {requirement} is left out for {described(target)}, by its marker")
    own = sources(handler)
    inputs = [FORMAT, wanted.text, target, tag(target), *map(str, wanted.asked)]
    path = cache / f"{_digest(*inputs, *_parts(own))}.zip"
    try:
        os.utime(path)  # asked for today
    except FileNotFoundError:
        downloaded = wheels.download(wanted, target, cache / f"wheels-{_digest(*inputs)}")
        wheels.check(wanted, downloaded, target)
        _write(own, downloaded, target, path)
        _forget_old(cache)
    return Package(
        path=path,
        sha256=base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode(),
        runtime=runtime(target),
        architecture=architecture(target),
        target=target,
        root=root,
    )


def _parts(own: Sequence[Source]) -> list[str | bytes]:
    return [part for source in own for part in (source.name, source.data, str(source.executable))]


def _write(own: Sequence[Source], downloaded: Sequence[Wheel], target: Target, path: Path) -> None:
    members: dict[str, Member] = {}
    origins: dict[str, str] = {}  # who a member's room is counted for
    for wheel in downloaded:
        for name, member in zipped.unpacked(wheel.path):
            members[name], origins[name] = member, str(wheel)
    for source in own:
        members[source.name] = zipped.stored(source.data, executable=source.executable)
        origins[source.name] = "/".join(source.name.split("/")[:2])
    _check_size(members, origins, target)
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".zip")
    with os.fdopen(handle, "wb") as file:
        zipped.write(members, file)
    Path(aside).replace(path)


def _check_size(members: Mapping[str, Member], origins: Mapping[str, str], target: Target) -> None:
    found: list[str] = []
    archive = f"the archive for {described(target)}"
    if len(members) > zipped.MOST_MEMBERS:
        room = _largest(Counter(origins.values()), "{:,} files".format)
        found.append(f"{archive} has {len(members):,} files, and a zip takes {zipped.MOST_MEMBERS:,}: {room}")
    packed, unpacked = Counter[str](), Counter[str]()
    for name, member in members.items():
        packed[origins[name]] += member.packed
        unpacked[origins[name]] += member.size
    if (size := zipped.length(members)) >= UPLOADED:
        found.append(
            f"{archive} has {_mib(size)}, and Lambda takes less than {_mib(UPLOADED)} in an upload: "
            f"{_largest(packed, _mib)}. Files of handler/ are not compressed: compress large data, or read it from S3; "
            "put large packages into a layer"
        )
    if (size := unpacked.total()) >= UNZIPPED:
        found.append(
            f"{archive} has {_mib(size)} when unzipped, and Lambda takes less than {_mib(UNZIPPED)}, layers included: "
            f"{_largest(unpacked, _mib)}. Ask for less in handler/requirements.in, or read large data from S3"
        )
    if found:
        raise pulumi.RunError("\n".join(found))


def _largest(room: Counter[str], written: Callable[[int], str]) -> str:
    """Who takes the most room, and how much all others take."""
    named = room.most_common(NAMED)
    others = room.total() - sum(size for _, size in named)
    rest = [(f"{len(room) - len(named)} others", others)] if others else []
    return ", ".join(f"{name} ({written(size)})" for name, size in [*named, *rest])


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"


def _forget_old(cache: Path) -> None:
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
