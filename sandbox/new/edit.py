"""Makes the entry of a consumer in `__main__.py`: the call that makes it, and a table if it reads a new one."""

from sandbox import SandboxError
from sandbox.new import templates
from sandbox.new.program import READERS_OF_A_STREAM, Source, UnclearError
from sandbox.new.templates import ReadTable
from sandbox.new.text import Text

MODULES = {"StreamConsumer": "infra.consumer", "StreamTable": "infra.table"}
"""The components that a new entry uses, each with its module."""


class Entry:
    """A consumer for the program, and the table that it reads: one of the program's, or a new one.

    Raises
    ------
    SandboxError
        The program has the consumer already, has no such table, has the new table already, or the table has enough
        readers.
    """

    def __init__(self, source: Source, consumer: str, table: str, *, is_new: bool) -> None:
        self.source, self.consumer, self.makes_table = source, consumer, is_new
        if consumer in source.consumers:
            raise SandboxError(f"__main__.py has a consumer {consumer} already; choose another name")
        self.table = self._new_table(table) if is_new else self._table_to_read(table)

    def _new_table(self, name: str) -> ReadTable:
        variable = name.replace("-", "_")
        if name in self.source.tables:
            raise SandboxError(
                f"__main__.py has a table {name} already: read it with --from {name}, or name another with --table"
            )
        if variable in self.source.names:
            raise SandboxError(f"__main__.py uses the name {variable} for something else: name another with --table")
        return ReadTable(name, variable, {"id": '"1"'}, has_new_image=True)

    def _table_to_read(self, name: str) -> ReadTable:
        tables = self.source.tables
        table = tables.get(name) or tables.get(name.replace("_", "-"))
        free = [each for each, found in tables.items() if len(found.readers) < READERS_OF_A_STREAM]
        ways = [*(f"--from {each}" for each in free), "no --from, which makes a new table"]
        if table is None:
            raise SandboxError(
                f"__main__.py makes no table {name}; its tables are {', '.join(tables) or 'none'}: take "
                f"{' or '.join(ways)}"
            )
        if len(table.readers) >= READERS_OF_A_STREAM:
            line = table.statement.lineno
            raise SandboxError(
                f"{table.name} (__main__.py:{line}) has {' and '.join(table.readers)} as readers, and a stream serves "
                f"two well: take {table.variable}.changes() out of the reads= of one of them and run this "
                f"again, call your code from handler/{table.readers[0].replace('-', '_')}.py, or take "
                f"{' or '.join(ways)}"
            )
        return ReadTable(table.name, table.variable, table.keys, has_new_image=table.has_new_image)

    def parts(self) -> list[str]:
        """Return what `__main__.py` needs, as a user would add it by hand."""
        source, table = self.source, self.table
        settings, stores = source.variable_of("Settings"), source.variable_of("Stores") or "stores"
        package, key = source.variable_of("build") or "package", source.variable_of("EncryptionKey")
        made = [templates.text_of_table(table.name, settings, key)] if self.makes_table else []
        return [*made, templates.text_of_consumer(self.consumer, table, stores, package, settings)]

    def added(self) -> str:
        """Return the text of `__main__.py` with the consumer in the list of all consumers, and a new table exported.

        Raises
        ------
        UnclearError
            The file has no place of the usual form for a part.
        """
        source, text = self.source, Text(self.source.text)
        statement, consumers = source.consumer_list()
        for name, maker in (("stores", "Stores"), ("package", "build")):
            if source.variable_of(maker) is None:
                raise UnclearError(f"no variable has the {name}, as in {name} = {maker}(...)")
        *made, consumer = self.parts()
        text.add_element(consumers, consumer)
        if made:
            text.add_element(source.exported_tables(), self.table.variable)
            above = [each.statement for each in source.tables.values() if each.statement.lineno < statement.lineno]
            text.add_statement(made[0], max(above, key=lambda each: each.lineno, default=None), statement)
        elif source.tables[self.table.name].statement.lineno > statement.lineno:
            raise UnclearError(f"it makes the table {self.table.name} below the list of all consumers")
        for component in ("StreamConsumer", *(["StreamTable"] if made else [])):
            if component not in source.names:
                text.add_import(source.tree, MODULES[component], component)
        result = text.result()
        after = Source(result)
        if self.consumer not in after.consumers or set(after.tables) != {*source.tables, self.table.name}:
            raise UnclearError("its layout is unusual")
        return result
