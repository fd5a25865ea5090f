"""Pulumi's assets and archives: files among the inputs of a resource."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Archive:
    """A zip file or a directory, by its absolute path."""

    path: str


@dataclass(frozen=True)
class Asset:
    """The content of a file or of a text."""

    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Bundle:
    """An archive of assets and archives, by the path of each in the archive."""

    members: Mapping[str, "Archive | Asset | Bundle"]


def zipped(archive: Archive | Bundle) -> bytes:
    """Return the bytes of an archive's zip file; equal files make equal bytes."""
    if isinstance(archive, Archive) and Path(archive.path).is_file():
        return Path(archive.path).read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive_file:
        for name, content in _list_files(archive):
            archive_file.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def _list_files(archive: Archive | Bundle) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file in the archive."""
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
