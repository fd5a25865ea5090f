"""A bucket in memory with the calls of boto3's S3 client that the operators' commands and the engine make."""

import io
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import md5
from typing import Any, Self

from tests.fakes.aws import refusal

START = datetime(2027, 1, 15, 8, tzinfo=UTC)
PAGE = 1_000


class ListingPages:
    """A client that pages the listings of its `list_objects_v2`; boto3 has a paginator for that."""

    list_objects_v2: Callable[..., dict[str, Any]]

    def get_paginator(self, name: str) -> Self:
        assert name == "list_objects_v2"
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self.list_objects_v2(**request)
            yield page
            if not page.get("IsTruncated"):
                return
            request = request | {"ContinuationToken": page["NextContinuationToken"]}


class MemoryS3(ListingPages):
    """One bucket.

    A second passes with each write. Not imitated: versions, encryption, and other headers than those used here. A
    listing with a delimiter is one page.

    Attributes
    ----------
    failing : dict of list
        Errors by call, such as "copy_object"; each call raises one of them until none is left.
    delete_errors : list of str
        Codes with which DeleteObjects answers for its objects, one per call, until none is left.
    page : int
        Objects of a page of a listing.
    """

    def __init__(self) -> None:
        self.contents: dict[str, tuple[bytes, str, datetime, dict[str, str]]] = {}
        self.now = START
        self.failing: dict[str, list[BaseException]] = {}
        self.delete_errors: list[str] = []
        self.calls: list[str] = []
        self.page = PAGE
        self._lock = threading.RLock()

    @property
    def objects(self) -> dict[str, bytes]:
        """The content of each object."""
        return {key: content[0] for key, content in self.contents.items()}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if errors := self.failing.get(name):
            raise errors.pop(0)

    def _write(self, key: str, body: bytes, metadata: dict[str, str]) -> None:
        self.now += timedelta(seconds=1)
        etag = f'"{md5(body + str(self.now).encode(), usedforsecurity=False).hexdigest()}"'
        self.contents[key] = body, etag, self.now, metadata

    def put_object(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._called("put_object")
            if request.get("IfNoneMatch") == "*" and request["Key"] in self.contents:
                raise refusal("PreconditionFailed")
            self._write(request["Key"], request["Body"], {})
            return {}

    def get_object(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._called("get_object")
            body, etag, modified, _ = self._content(request["Key"], "NoSuchKey")
            return {"Body": io.BytesIO(body), "ETag": etag, "LastModified": modified}

    def head_object(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._called("head_object")
            return {"Metadata": self._content(request["Key"], "404")[3]}

    def _content(self, key: str, missing: str) -> tuple[bytes, str, datetime, dict[str, str]]:
        if key not in self.contents:
            raise refusal(missing)
        return self.contents[key]

    def copy_object(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._called("copy_object")
            body, etag, _, _ = self._content(request["CopySource"]["Key"], "NoSuchKey")
            if etag != request["CopySourceIfMatch"]:
                raise refusal("PreconditionFailed")
            assert request["MetadataDirective"] == "REPLACE"
            self._write(request["Key"], body, request["Metadata"])
            return {}

    def delete_objects(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._called("delete_objects")
            code = self.delete_errors.pop(0) if self.delete_errors else None
            errors: list[dict[str, str]] = []
            for each in request["Delete"]["Objects"]:
                key = each["Key"]
                if code:
                    errors.append({"Key": key, "Code": code})
                elif key not in self.contents:
                    errors.append({"Key": key, "Code": "NoSuchKey"})
                elif self.contents[key][1] != each["ETag"]:
                    errors.append({"Key": key, "Code": "PreconditionFailed"})
                else:
                    del self.contents[key]
            return {"Errors": errors}

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._called("list_objects_v2")
            prefix = request.get("Prefix", "")
            after = request.get("ContinuationToken") or request.get("StartAfter", "")
            keys = sorted(key for key in self.contents if key.startswith(prefix) and key > after)
            headers = {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.now, usegmt=True)}}}
            if "Delimiter" in request:
                below = {key: key[len(prefix) :].partition("/") for key in keys}
                folders = sorted({prefix + first + slash for first, slash, _ in below.values() if slash})
                return headers | {
                    "CommonPrefixes": [{"Prefix": each} for each in folders],
                    "Contents": [self._listed(key) for key, (_, slash, _) in below.items() if not slash],
                }
            page = keys[: self.page]
            return headers | {
                "Contents": [self._listed(key) for key in page],
                "IsTruncated": len(page) < len(keys),
                "NextContinuationToken": page[-1] if page else "",
            }

    def _listed(self, key: str) -> dict[str, Any]:
        _, etag, modified, _ = self.contents[key]
        return {"Key": key, "ETag": etag, "LastModified": modified}
