"""The tables of a sandbox that come from files: those that the program only names, and those that are kept."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from sandbox import ROOT, SandboxError
from sandbox.tables.kept import KeptTables
from sandbox.tables.making import fill, invented, make_table
from sandbox.tables.table_file import TableContent, read

SEEDS = ROOT / "sandbox" / "seed"
"""The folder with the files of tables that the program only names."""
KEPT = ROOT / ".cache" / "kept"
"""The folder in which items survive a restart."""
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
"""How the names of files end that are read."""


class MissingTableError(SandboxError):
    """The program names a table that no file describes."""


class LocalTables:
    """Makes the tables that a program only names, and fills the tables that it makes with what was kept of them.

    Parameters
    ----------
    client
        Returns the emulator's boto3 client of a service.
    seeds
        The folder with descriptions and items. `invoices.json`, each `invoices.*` and each file below the folder
        `invoices` are of the table `invoices`.
    invent
        Make a table that no file describes with a key that its items suggest, or `id`.
    kept
        The folder in which the items of all tables survive a restart. Default: nothing survives.

    Raises
    ------
    SandboxError
        Another sandbox keeps its tables in `kept`.
    """

    def __init__(
        self, client: Callable[[str], Any], seeds: Path = SEEDS, *, invent: bool = False, kept: Path | None = None
    ) -> None:
        self._client, self._seeds, self._invent = client, seeds, invent
        self._kept = KeptTables(client, kept) if kept else None

    def make(self, name: str) -> None:
        """Make a table that the program names, unless it exists.

        Raises
        ------
        SandboxError
            No file describes the table, and it may not be invented; or a file cannot be read.
        """
        dynamodb = self._client("dynamodb")
        with contextlib.suppress(ClientError):
            dynamodb.describe_table(TableName=name)
            return
        kept = self._kept.read(f"existing/{name}") if self._kept else None
        content = kept or self._read_seed(name)
        if content.description is None:
            content.description = invented(content.items)
        make_table(dynamodb, name, content)
        if self._kept:
            self._kept.keep(f"existing/{name}", name)

    def fill(self, name: str, table: str) -> None:
        """Fill a new table (physical name) with the items kept of it, by its `name` in the program."""
        if self._kept:
            items = self._kept.items_for(name, self._client("dynamodb").describe_table(TableName=table)["Table"])
            if items:
                fill(self._client("dynamodb"), table, items)
            self._kept.keep(name, table)

    def close(self) -> None:
        """Write what is to be kept. A second call does nothing."""
        if self._kept:
            self._kept.close()

    def _read_seed(self, name: str) -> TableContent:
        content = TableContent()
        for path in [*sorted(self._seeds.glob(f"{name}.*")), *sorted((self._seeds / name).rglob("*"))]:
            if path.name.endswith(SUFFIXES) and path.is_file():
                content.add(read(path))
        if content.description is None and not self._invent:
            count, file = len(content.items), self._seeds / f"{name}.json"
            missing = f"{count} items of it, but not its keys" if count else "no description of it"
            shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
            raise MissingTableError(
                f"the sandbox has {missing}. Either describe it: aws dynamodb describe-table --table-name {name} > "
                f"{shown}; or have the sandbox invent it: python -m sandbox up --invent-tables"
            )
        return content
