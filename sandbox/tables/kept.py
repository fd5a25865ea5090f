"""Writes the items of tables to files while they change, so that the next sandbox has them."""

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox import SandboxError
from sandbox.mapping.invocation import error_code
from sandbox.tables.making import key_of
from sandbox.tables.table_file import Item, TableContent, read, write

CHECK_SECONDS = 2.0
"""Seconds between two looks for changes: what a sandbox that is killed loses, at most, of a small table."""
SHARE = 0.1
"""The share of the time that writing one table may take: a table with many items is written less often."""

_log = logging.getLogger(__name__)


@dataclass
class _Kept:
    name: str
    table: str
    iterator: str = ""
    has_changed: bool = False
    next_write: float = 0.0


class KeptTables:
    """Keeps tables in a folder: a file for each, by its name in the program, in the format of `table_file`.

    Streams tell which tables have changed; a table without a stream is written again and again.

    Raises
    ------
    SandboxError
        Another sandbox uses the folder.
    """

    def __init__(self, client: Callable[[str], Any], folder: Path) -> None:
        self._client, self._folder = client, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = (folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            raise SandboxError("another sandbox keeps the tables of this program: end it, or omit --keep") from error
        self._tables: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kept tables", daemon=True)
        self._thread.start()

    def read(self, name: str) -> TableContent | None:
        """Return what is kept of a table; None if nothing is."""
        path = self._path(name)
        return read(path) if path.exists() else None

    def items_for(self, name: str, description: Mapping[str, Any]) -> list[Item]:
        """Return the kept items for a new table; none if its keys are others, and the file is then set aside."""
        content = self.read(name)
        if content is None or content.description is None:
            return []
        if key_of(content.description) != key_of(description):
            aside = self._path(name).with_suffix(".old")
            self._path(name).replace(aside)
            _log.warning("%s has other keys than before: its kept items are in %s", name, aside)
            return []
        return content.items

    def keep(self, name: str, table: str) -> None:
        """Keep a table (physical name) from now on."""
        kept = _Kept(name, table)
        self._renew(kept)
        with self._lock:
            self._tables[name] = kept

    def close(self) -> None:
        """Write the tables that have changed. A second call does nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.join()
        self._check(lambda _: True)
        self._lock_file.close()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json.gz"

    def _run(self) -> None:
        while not self._stopped.wait(CHECK_SECONDS):
            self._check(lambda kept: time.monotonic() >= kept.next_write)

    def _check(self, is_due: Callable[[_Kept], bool]) -> None:
        with self._lock:
            tables = list(self._tables.values())
        for kept in tables:
            try:
                kept.has_changed |= self._reads_change(kept)
                if kept.has_changed and is_due(kept):
                    self._write(kept)
            except (ClientError, BotoCoreError, OSError) as error:
                if error_code(error) == "ResourceNotFoundException":
                    self._forget(kept)
                elif not self._stopped.is_set():
                    _log.warning("%s is not kept: %s", kept.name, error)

    def _forget(self, kept: _Kept) -> None:
        """Keep a deleted table no more, unless another one has its name now; its file stays."""
        with self._lock:
            if self._tables.get(kept.name) is kept:
                del self._tables[kept.name]

    def _write(self, kept: _Kept) -> None:
        started, dynamodb = time.monotonic(), self._client("dynamodb")
        kept.has_changed = False
        description = dynamodb.describe_table(TableName=kept.table)["Table"]
        wanted = ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "LocalSecondaryIndexes")
        parts = {name: description[name] for name in (*wanted, "StreamSpecification") if description.get(name)}
        pages = dynamodb.get_paginator("scan").paginate(TableName=kept.table, ConsistentRead=True)
        try:
            write(self._path(kept.name), parts, (item for page in pages for item in page["Items"]))
        except BaseException:
            kept.has_changed = True
            raise
        now = time.monotonic()
        kept.next_write = now + (now - started) / SHARE

    def _reads_change(self, kept: _Kept) -> bool:
        """Return whether the table's stream has a record since the last call; True if the table has no stream."""
        if not kept.iterator:
            self._renew(kept)
            return True
        try:
            answer = self._client("dynamodbstreams").get_records(ShardIterator=kept.iterator, Limit=1_000)
        except ClientError:
            kept.iterator = ""
            return True
        kept.iterator = answer.get("NextShardIterator") or ""
        return bool(answer["Records"]) or not kept.iterator

    def _renew(self, kept: _Kept) -> None:
        """Read the table's stream from now on, if it has one."""
        arn = self._client("dynamodb").describe_table(TableName=kept.table)["Table"].get("LatestStreamArn")
        if not arn:
            return
        streams = self._client("dynamodbstreams")
        shards = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        if shards:  # one shard, as every stream of the emulator
            kept.iterator = streams.get_shard_iterator(
                StreamArn=arn, ShardId=shards[0]["ShardId"], ShardIteratorType="LATEST"
            )["ShardIterator"]
