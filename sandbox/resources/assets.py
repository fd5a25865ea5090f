"""Pulumi's assets and archives: files among a resource's inputs."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Archive:
    """A zip file or a directory among a resource's inputs, by its absolute path."""

    path: str


@dataclass(frozen=True)
class Asset:
    """What a file or a text among a resource's inputs holds."""

    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Bundle:
    """An archive that the program puts together: assets and archives by the place that each one has in it."""

    members: Mapping[str, "Archive | Asset | Bundle"]


def zipped(archive: Archive | Bundle) -> bytes:
    """The zip file that an archive is or makes, the same bytes for the same files."""
    if isinstance(archive, Archive) and Path(archive.path).is_file():
        return Path(archive.path).read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive_file:
        for name, content in _list_files(archive):
            archive_file.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def _list_files(archive: Archive | Bundle) -> Iterator[tuple[str, bytes]]:
    """Each file's name in the archive, and what it holds."""
    if isinstance(archive, Bundle):
        for place, member in sorted(archive.members.items()):
            if isinstance(member, Asset):
                yield place, member.content
            else:
                yield from ((str(PurePosixPath(place, name)), content) for name, content in _list_files(member))
    elif (directory := Path(archive.path)).is_dir():
        for file in sorted(path for path in directory.rglob("*") if path.is_file()):
            yield file.relative_to(directory).as_posix(), file.read_bytes()
    else:
        with zipfile.ZipFile(archive.path) as packed:
            yield from ((name, packed.read(name)) for name in packed.namelist() if not name.endswith("/"))
