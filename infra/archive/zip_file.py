"""Writes a zip with the same bytes on every machine: compressed members of wheels are copied, other files are stored.

Nothing is compressed here, because the compressed bytes differ between versions of the compression library. The hash of
a wheel pins its compressed bytes. The layout follows PKWARE's APPNOTE.TXT 6.3, without ZIP64.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")

NEEDS = 20  # version 2.0: deflate
MADE_BY = 3 << 8 | NEEDS  # Unix on every machine, because the members have Unix modes
UTF8 = 0x800
TIME, DATE = 0, 1 << 5 | 1  # 1980-01-01, the earliest date in a zip
MAX_MEMBERS = 0xFFFF


@dataclass(frozen=True)
class Member:
    """A file in the zip, before it is written."""

    size: int
    compressed_size: int  # in the zip
    method: int
    checksum: int
    executable: bool
    read: Callable[[], bytes]  # the member's bytes in the zip, compressed or stored


def stored_member(data: bytes, *, executable: bool = False) -> Member:
    """Return a member that is not compressed."""
    return Member(len(data), len(data), zipfile.ZIP_STORED, zlib.crc32(data), executable, lambda: data)


def wheel_members(wheel: Path) -> Iterator[tuple[str, Member]]:
    """Yield the files of a wheel by their installed paths, without scripts and headers, which no function needs."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            parts = entry.filename.split("/")
            if parts[0].endswith(".data"):
                if parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            if parts[-1] and "__pycache__" not in parts:
                yield "/".join(parts), _wheel_member(archive, wheel, entry)


def zip_size(members: Mapping[str, Member]) -> int:
    """Return the size of the zip that `write_zip` makes of `members`."""
    headers = sum(LOCAL.size + CENTRAL.size + 2 * len(name.encode()) for name in members)
    return headers + sum(member.compressed_size for member in members.values()) + END.size


def write_zip(members: Mapping[str, Member], file: BinaryIO) -> None:
    """Write `members`, keyed by their names in the zip, to an empty `file`."""
    directory = bytearray()
    for name, member in sorted(members.items()):
        offset, encoded = file.tell(), name.encode()
        flags = 0 if name.isascii() else UTF8
        header = (
            NEEDS,
            flags,
            member.method,
            TIME,
            DATE,
            member.checksum,
            member.compressed_size,
            member.size,
            len(encoded),
            0,
        )
        mode = stat.S_IFREG | (0o755 if member.executable else 0o644)
        file.write(LOCAL.pack(b"PK\3\4", *header) + encoded)
        file.write(member.read())
        directory += CENTRAL.pack(b"PK\1\2", MADE_BY, *header, 0, 0, 0, mode << 16, offset) + encoded
    offset = file.tell()
    file.write(directory)
    file.write(END.pack(b"PK\5\6", 0, 0, len(members), len(members), len(directory), offset, 0))


def _wheel_member(archive: zipfile.ZipFile, wheel: Path, entry: zipfile.ZipInfo) -> Member:
    mode = entry.external_attr >> 16
    executable = stat.S_ISREG(mode) and bool(mode & 0o111)  # the same test as pip's
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Lambda supports no other method
        return stored_member(archive.read(entry), executable=executable)
    return Member(
        size=entry.file_size,
        compressed_size=entry.compress_size,
        method=entry.compress_type,
        checksum=entry.CRC,
        executable=executable,
        read=lambda: _raw_bytes(wheel, entry),
    )


def _raw_bytes(wheel: Path, entry: zipfile.ZipInfo) -> bytes:
    """Read the bytes of `entry` from the wheel, past its local header, whose name and extra field have own lengths."""
    with wheel.open("rb") as file:
        file.seek(entry.header_offset + LOCAL.size - 4)
        name, extra = struct.unpack("<2H", file.read(4))
        file.seek(name + extra, 1)
        return file.read(entry.compress_size)
