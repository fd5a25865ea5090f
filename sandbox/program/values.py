"""What a program registers, as plain Python: secrets unwrapped, files and archives read or found."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

from pulumi.runtime import rpc

from sandbox import SandboxError

# How the SDK marks what JSON has no word for (pulumi/runtime/rpc.py).
_SIGNATURE = "4dabf18193072939515e22adb298388d"  # pragma: allowlist secret
_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"  # pragma: allowlist secret
_ASSET = "c44067f5952c0a294b673a41bacd8c17"  # pragma: allowlist secret
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 -- a marker, the same for everybody  # pragma: allowlist secret

UNKNOWN = rpc.UNKNOWN
"""What an input holds in a preview where its value will be known after the update only."""


class ProgramError(SandboxError):
    """The program asks for something that only the Pulumi CLI can do, or its stack file cannot be read."""


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


def to_python(value: Any) -> Any:
    """Plain Python of a value off the wire: whole numbers as int, and nothing that is None.

    Raises
    ------
    ProgramError
        An asset or archive is elsewhere than on this machine.
    """
    match value:
        case float():
            return int(value) if value.is_integer() else value
        case list():
            return [to_python(item) for item in cast("list[Any]", value)]
        case dict() if _SIGNATURE in value:
            return _from_signed(cast("dict[str, Any]", value))
        case dict():
            items = cast("dict[str, Any]", value).items()
            return {key: to_python(item) for key, item in items if item is not None}
        case _:
            return value


def _from_signed(value: dict[str, Any]) -> Any:
    match value:
        case {"value": secret} if value[_SIGNATURE] == _SECRET:
            return to_python(secret)
        case {"path": str(path)} if value[_SIGNATURE] == _ARCHIVE:
            return Archive(str(Path(path).resolve()))
        case {"assets": members} if value[_SIGNATURE] == _ARCHIVE:
            return Bundle(to_python(members))
        case {"path": str(path)} if value[_SIGNATURE] == _ASSET:
            try:
                return Asset(Path(path).read_bytes())
            except OSError as error:
                raise ProgramError(f"the asset {path} cannot be read: {error.strerror}") from error
        case {"text": str(text)} if value[_SIGNATURE] == _ASSET:
            return Asset(text.encode())
        case _:
            kinds = ", ".join(key for key in value if key != _SIGNATURE)
            raise ProgramError(
                f"an asset or archive made of {kinds} is not known here: use pulumi.FileAsset or pulumi.FileArchive"
            )


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
