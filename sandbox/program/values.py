"""Converts the values of the SDK's messages to Python: unwraps secrets, reads assets, locates archives."""

from pathlib import Path
from typing import Any, cast

from pulumi.runtime import rpc

from sandbox import SandboxError
from sandbox.resources.assets import Archive, Asset, Bundle

# The SDK's markers of values that JSON cannot express (pulumi/runtime/rpc.py).
_SIGNATURE = "4dabf18193072939515e22adb298388d"  # pragma: allowlist secret
_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"  # pragma: allowlist secret
_ASSET = "c44067f5952c0a294b673a41bacd8c17"  # pragma: allowlist secret
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 -- a constant of the SDK  # pragma: allowlist secret

UNKNOWN = rpc.UNKNOWN
"""The value, in a preview, of an input that only the update makes known."""


class ProgramError(SandboxError):
    """The program needs the Pulumi CLI, or its stack file cannot be read."""


def to_python(value: Any) -> Any:
    """Convert a value of a message: whole numbers become int, and properties that are None are left out.

    Raises
    ------
    ProgramError
        An asset cannot be read, or an asset or archive is not a file, a directory, a text or an AssetArchive.
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
                f"the sandbox does not support assets or archives of {kinds}: use pulumi.FileAsset or FileArchive"
            )
