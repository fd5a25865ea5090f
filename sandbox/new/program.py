"""Reads `__main__.py` without running it: its tables, its consumers, and the places where another one goes."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sandbox import SandboxError

EXAMPLES = {"str": '"1"', "int": "1", "Decimal": "1", "bytes": 'b"1"'}
"""A value for a key of each type, as Python source."""

READERS_OF_A_STREAM = 2
"""The number of readers that the program accepts for one stream."""


class UnclearError(SandboxError):
    """`__main__.py` is valid, but has no place of the usual form for a part."""


@dataclass(frozen=True)
class TableStatement:
    """A table that `__main__.py` makes or reads, and the statement that assigns it to a variable.

    Attributes
    ----------
    keys
        The key attributes, each with an example of its value as Python source.
    readers
        The names of the consumers that read it.
    """

    name: str
    variable: str
    statement: ast.stmt
    keys: Mapping[str, str]
    has_new_image: bool
    readers: Sequence[str]


class Source:
    """The source of `__main__.py`.

    Raises
    ------
    SandboxError
        The file is not Python.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.tree = ast.parse(text, "__main__.py")
        except (SyntaxError, ValueError) as error:
            line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
            raise SandboxError(f"__main__.py{line} is not Python: {error}; mend it first") from error

    @cached_property
    def tables(self) -> Mapping[str, TableStatement]:
        """The tables by their names in the program."""
        found: dict[str, TableStatement] = {}
        for variable, statement, value in self._assignments():
            for call in calls_of(value, "StreamTable"):
                if name := text_of(argument(call, 0, "name")):
                    view = argument(call, None, "view_type")
                    has_new = called(call) == "StreamTable" and (view is None or "NEW" in (text_of(view) or ""))
                    readers = [reader for reader, variables in self._readers.items() if variable in variables]
                    found[name] = TableStatement(name, variable, statement, keys_of(call), has_new, readers)
        return found

    @cached_property
    def _readers(self) -> Mapping[str, set[str]]:
        """The variables of the tables that each consumer reads, by the consumer's name."""
        readers: dict[str, set[str]] = {}
        for call in calls_of(self.tree, "StreamConsumer"):
            name, reads = text_of(argument(call, 0, "name")), argument(call, None, "reads")
            if name and reads:
                readers[name] = {
                    node.value.id
                    for node in ast.walk(reads)
                    if isinstance(node, ast.Attribute) and node.attr == "changes" and isinstance(node.value, ast.Name)
                }
        return readers

    @property
    def consumers(self) -> Sequence[str]:
        """The names of the consumers."""
        return list(self._readers)

    @cached_property
    def names(self) -> set[str]:
        """Every name that the module binds or uses."""
        imported = {
            (alias.asname or alias.name).partition(".")[0]
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        return imported | {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}

    def variable_of(self, name: str) -> str | None:
        """Return the first variable whose value comes from a call of `name`, such as Stores."""
        return next((variable for variable, _, value in self._assignments() if any(calls_of(value, name))), None)

    def consumer_list(self) -> tuple[ast.stmt, ast.List]:
        """Return the list of all consumers, and the statement that makes it.

        Raises
        ------
        UnclearError
            No list of the module's own is passed to Alarms, and none has the name `consumers`.
        """
        passed = [argument(call, None, "consumers") for call in calls_of(self.tree, "Alarms")]
        if len(passed) > 1:
            raise UnclearError("several Alarms watch consumers")
        variables = [node.id for node in passed if isinstance(node, ast.Name)] if passed else ["consumers"]
        for variable, statement, value in self._assignments():
            if variable in variables and isinstance(value, ast.List):
                return statement, value
        raise UnclearError("it has no list of all consumers, such as consumers = [...]")

    def exported_tables(self) -> ast.Tuple | ast.List:
        """Return the tables that `pulumi.export("tables", ...)` names.

        Raises
        ------
        UnclearError
            They are not in a tuple or a list of this statement or of a variable.
        """
        values = {variable: value for variable, _, value in self._assignments()}
        for call in calls_of(self.tree, "export"):
            if text_of(argument(call, 0, "name")) != "tables":
                continue
            value = argument(call, 1, "value")
            if isinstance(value, ast.DictComp):
                tables = value.generators[0].iter
                tables = values.get(tables.id) if isinstance(tables, ast.Name) else tables
                if isinstance(tables, ast.Tuple | ast.List):
                    return tables
        raise UnclearError('it has no pulumi.export("tables", {... for table in (...)})')

    def _assignments(self) -> Iterator[tuple[str, ast.stmt, ast.expr]]:
        """Yield the variable, the statement and the value of each assignment of the module."""
        for statement in self.tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=variable)], value=value):
                    yield variable, statement, value
                case ast.AnnAssign(target=ast.Name(id=variable), value=ast.expr() as value):
                    yield variable, statement, value
                case _:
                    pass


def calls_of(node: ast.AST, name: str) -> Iterator[ast.Call]:
    """Yield the calls of `name` within a node, also as `module.name` or as `name.method`."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and name in (called(call), _owner(call)):
            yield call


def called(call: ast.Call) -> str:
    """Return the last part of the name that is called; empty if it has no name."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _owner(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name
        case _:
            return ""


def argument(call: ast.Call, position: int | None, name: str) -> ast.expr | None:
    """Return an argument of a call, by position or name."""
    if position is not None and len(call.args) > position:
        return call.args[position]
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def text_of(node: ast.expr | None) -> str | None:
    """Return the value of a literal text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keys_of(call: ast.Call) -> Mapping[str, str]:
    """Return the key attributes of a table's call, each with an example; `id` if the call does not name them."""
    keys: dict[str, str] = {}
    for node in (argument(call, None, "key"), argument(call, None, "sort")):
        match node:
            case ast.Constant(value=str(name)):
                keys[name] = EXAMPLES["str"]
            case ast.Tuple(elts=[ast.Constant(value=str(name)), ast.Name(id=kind)]):
                keys[name] = EXAMPLES.get(kind, EXAMPLES["str"])
            case _:
                pass
    return keys or {"id": EXAMPLES["str"]}
