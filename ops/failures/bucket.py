"""The failure bucket: lists, reads, copies and deletes failure records, each on the condition that it is unchanged."""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

from handler.stream.aws import error_code
from ops import OpsError
from ops.concurrency import concurrently, in_chunks
from ops.errors import GONE, unless_gone
from ops.stack import CONNECTIONS, Client

REDRIVEN = "redriven/"
"""The prefix of the copies of redriven objects."""
ENGINE, MAPPINGS = "engine/", "aws/lambda/"
"""The prefixes of the failures that the engine and the mappings write."""
MAX_DELETES = 1_000
"""Objects of one DeleteObjects (S3's limit)."""
DELETE_TRIES = 4
"""Most attempts to delete an object whose deletion S3 answers with a transient error."""
TRANSIENT = ("InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "ConditionalRequestConflict")


class Moved(Enum):
    """The result of a conditional copy or deletion of an object."""

    DONE = auto()
    CHANGED = auto()
    """Another failure record has replaced the object."""
    GONE = auto()
    """Another run has moved the object, or its lifetime has ended."""


@dataclass(frozen=True)
class Listed:
    """An object in a listing; `etag` names its content, and `modified` is its time, to the second."""

    key: str
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Body:
    """An object's content."""

    key: str
    etag: str
    modified: datetime
    text: bytes


class FailureObjects:
    """The objects of a failure bucket. Every method raises the error of boto3 if a call fails.

    Parameters
    ----------
    client
        Returns boto3's client of "s3".
    bucket
        The bucket's name.
    sleep
        Pauses for the given seconds.
    """

    def __init__(self, client: Client, bucket: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._s3, self._bucket, self._sleep = client("s3"), bucket, sleep
        self._pool = ThreadPoolExecutor(CONNECTIONS)

    def close(self) -> None:
        """Cancel calls that have not begun, and wait for the others."""
        self._pool.shutdown(cancel_futures=True)

    def now(self) -> datetime:
        """Return S3's time, to the second: the bucket's LastModified follows the same clock."""
        response = self._s3.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        date = response["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date).astimezone(UTC) if date else datetime.now(UTC).replace(microsecond=0)

    def folders(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the prefixes up to the next slash below a prefix, and the keys of the other objects there."""
        prefixes: list[str] = []
        keys: list[str] = []
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
            prefixes += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
            keys += [each["Key"] for each in page.get("Contents", ())]
        return prefixes, keys

    def pages(self, prefix: str) -> Iterator[list[Listed]]:
        """Yield the objects under a prefix in the order of their keys, up to 1,000 at once."""
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            yield [_listed(each) for each in page.get("Contents", ())]

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, Body | None]]:
        """Read objects concurrently; None for an object that has vanished since the listing."""
        return concurrently(self._pool, self.read, keys)

    def read(self, key: str) -> Body | None:
        """Read one object; None if there is none."""
        response = unless_gone(self._s3.get_object, Bucket=self._bucket, Key=key)
        if response is None:
            return None
        return Body(key, response["ETag"], response["LastModified"], response["Body"].read())

    def existing(self, keys: Sequence[str]) -> dict[str, Listed]:
        """Return those of the objects that exist, by key. `keys` are sorted.

        One listing finds the objects among the next 1,000 keys of the bucket; then it goes on at the next wanted key.
        """
        wanted, found, position = set(keys), dict[str, Listed](), 0
        while position < len(keys):
            response = self._s3.list_objects_v2(
                Bucket=self._bucket, Prefix=_shared(keys[0], keys[-1]), StartAfter=keys[position][:-1]
            )  # one character less sorts just before the key
            listed = [_listed(each) for each in response.get("Contents", ())]
            found |= {each.key: each for each in listed if each.key in wanted}
            if not response.get("IsTruncated"):
                break
            position = max(position + 1, bisect_right(keys, listed[-1].key))
        return found

    def copied_versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the ETags of the contents that have a copy under `redriven/`, by original key. `keys` are sorted."""
        copies = self.existing([f"{REDRIVEN}{key}" for key in keys])
        heads = concurrently(self._pool, self._copied_version, copies)
        return {key.removeprefix(REDRIVEN): etag for key, etag in heads if etag}

    def _copied_version(self, copy: str) -> str | None:
        response = unless_gone(self._s3.head_object, Bucket=self._bucket, Key=copy)
        return response["Metadata"].get("etag") if response else None

    def copy_all(self, objects: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Moved]]:
        """Copy objects, named by key and ETag, to `redriven/`; the copy's metadata have the ETag of the original."""
        return concurrently(self._pool, self._copy, objects)

    def _copy(self, key_and_etag: tuple[str, str]) -> Moved:
        key, etag = key_and_etag
        try:
            self._s3.copy_object(
                Bucket=self._bucket,
                Key=f"{REDRIVEN}{key}",
                CopySource={"Bucket": self._bucket, "Key": key},
                CopySourceIfMatch=etag,
                MetadataDirective="REPLACE",
                Metadata={"etag": etag.strip('"')},
                ContentType="application/json",
            )
        except Exception as error:
            if error_code(error) in GONE:
                return Moved.GONE
            if error_code(error) in ("PreconditionFailed", "412"):
                return Moved.CHANGED
            raise
        return Moved.DONE

    def delete_all(self, objects: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Moved]]:
        """Delete objects, named by key and ETag, each only if its content is still the same. Raises OpsError."""
        pending = dict(objects)
        for attempt in range(DELETE_TRIES):
            if attempt:
                self._sleep(0.5 * 2 ** (attempt - 1))
            refused: dict[str, str] = {}
            for some in in_chunks(pending.items(), MAX_DELETES):
                response = self._s3.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": key, "ETag": etag} for key, etag in some], "Quiet": True},
                )
                errors = {each["Key"]: each["Code"] for each in response.get("Errors", ())}
                yield from ((key, _moved(errors.get(key))) for key, _ in some if _is_final(errors.get(key)))
                refused |= {key: code for key, code in errors.items() if not _is_final(code)}
            pending = {key: pending[key] for key in refused}
            if not pending:
                return
            code = next(iter(refused.values()))
            if code not in TRANSIENT or attempt == DELETE_TRIES - 1:
                raise OpsError(
                    f"S3 does not delete {len(pending)} objects whose changes are done ({code}): run redrive again, "
                    "which continues there"
                )


def _listed(item: dict[str, Any]) -> Listed:
    # The embedded AWS adds milliseconds, by which an object would be newer than the second in which a plan begins.
    return Listed(item["Key"], item["ETag"], item["LastModified"].replace(microsecond=0))


def _shared(first: str, last: str) -> str:
    """Return the characters that both keys begin with: all keys that sort between them begin so, too."""
    length = next((index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    return first[:length]


def _is_final(code: str | None) -> bool:
    return code is None or code == "PreconditionFailed" or code in GONE


def _moved(code: str | None) -> Moved:
    if code is None:
        return Moved.DONE
    return Moved.GONE if code in GONE else Moved.CHANGED
