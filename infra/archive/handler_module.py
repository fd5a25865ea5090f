"""Finds the module of handler/ that a consumer runs, and checks it without importing it."""

import ast
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

import pulumi

ENGINE_PACKAGE = "stream"
"""The package of handler/ that contains no consumer."""


def module_of(consumer: str, root: Path) -> str:
    """Return the name of the module that a consumer runs.

    `welcome-email` runs handler/welcome_email.py or handler/welcome_email/__init__.py.

    Raises
    ------
    pulumi.RunError
        No such module exists (the message suggests the nearest name), its syntax is invalid, or it defines no
        `handler` that Lambda can call.
    """
    modules = _modules(root / "handler")
    module = consumer.replace("-", "_")
    if module not in modules:
        near = get_close_matches(module, modules, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(modules)) or 'none'}"
        raise pulumi.RunError(f"no handler/{module}.py; {hint}")
    if consumer != module.replace("_", "-"):
        raise pulumi.RunError(f"a consumer's name has dashes: {module.replace('_', '-')}")
    _check_handler(modules[module], modules[module].relative_to(root).as_posix())
    return module


def claims_changes(consumer: str, root: Path) -> bool:
    """Return whether the consumer's module claims its changes: `@consumer(claim=True)` decorates its `handler`.

    False for a module that `module_of` refuses.
    """
    path = _modules(root / "handler").get(consumer.replace("-", "_"))
    try:
        tree = ast.parse(path.read_bytes()) if path else ast.Module([], [])
    except (SyntaxError, ValueError):
        return False
    match list(_bindings(tree.body)):
        case [*_, ast.FunctionDef(decorator_list=decorators)]:
            return any(map(_claims, decorators))
        case [*_, ast.Name() as name]:
            return any(_claims(function) for target, function in _assigned_calls(tree) if target is name)
        case _:
            return False


def _assigned_calls(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield each target of an assignment with the expression whose call it is assigned: (x, f()) for x = f()(g)."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=ast.Call(func=function)):
                yield from ((target, function) for target in targets)
            case ast.AnnAssign(target=target, value=ast.Call(func=function)):
                yield target, function
            case _:
                pass


def _claims(node: ast.expr) -> bool:
    """Return whether the expression is `consumer(claim=True)`, or the same with the module's name before it."""
    match node:
        case ast.Call(func=ast.Name(id="consumer") | ast.Attribute(attr="consumer"), keywords=keywords):
            claim = {keyword.arg: keyword.value for keyword in keywords}.get("claim")
            return isinstance(claim, ast.Constant) and claim.value is True
        case _:
            return False


def _modules(handler: Path) -> dict[str, Path]:
    """Return the file of each module by its name. As in Python, a package wins over a module of the same name."""
    modules = {path.stem: path for path in handler.glob("*.py") if path.stem != "__init__"}
    packages = {path.parent.name: path for path in handler.glob("*/__init__.py") if path.parent.name != ENGINE_PACKAGE}
    return modules | packages


def _check_handler(path: Path, name: str) -> None:
    try:
        tree = ast.parse(path.read_bytes(), filename=name)
    except SyntaxError as error:
        version = ".".join(map(str, sys.version_info[:2]))
        raise pulumi.RunError(f"{name}:{error.lineno or 1} is not Python {version}: {error.msg}") from error
    except ValueError as error:
        raise pulumi.RunError(f"{name} is not Python: {error}") from error
    bindings = list(_bindings(tree.body))
    if not bindings:
        raise pulumi.RunError(f"{name} defines no handler for Lambda to call: {_hint(tree)}")
    last = bindings[-1]
    if isinstance(last, ast.FunctionDef) and not last.decorator_list and not _takes_event_and_context(last):
        raise pulumi.RunError(
            f"{name}:{last.lineno} has a handler without @consumer, which Lambda would call with an event and a "
            "context: write @consumer in the line above def handler"
        )
    if isinstance(last, ast.FunctionDef) and _is_generator(last):
        raise pulumi.RunError(
            f"{name}:{last.lineno} has a handler with yield, whose body never runs: write it without yield"
        )
    if isinstance(last, ast.AsyncFunctionDef):
        raise pulumi.RunError(
            f"{name}:{last.lineno} has an async def handler, which Lambda calls but does not await: "
            "write def handler, with asyncio.run(...) inside"
        )


def _hint(tree: ast.Module) -> str:
    """Return what to do about a module without a handler: rename the function that is meant, or add one."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    decorated = [name for name, node in functions.items() if any(map(_is_consumer, node.decorator_list))]
    near = decorated[:1] or get_close_matches("handler", functions, n=1)
    if near:
        return f"did you mean {near[0]}, in line {functions[near[0]].lineno}? Its name must be handler"
    return "add one, as in @consumer def handler(change: Change) -> None"


def _is_consumer(node: ast.expr) -> bool:
    """Return whether the expression is `consumer` or a call of it, or the same with the module's name before it."""
    match node:
        case ast.Call(func=function):
            return _is_consumer(function)
        case ast.Name(id="consumer") | ast.Attribute(attr="consumer"):
            return True
        case _:
            return False


def _takes_event_and_context(function: ast.FunctionDef) -> bool:
    """Return whether Lambda can call the function itself, with an event and a context."""
    arguments = function.args
    return len(arguments.posonlyargs) + len(arguments.args) >= 2 or arguments.vararg is not None


def _is_generator(function: ast.FunctionDef) -> bool:
    """Return whether the function itself has a yield, and not only a function within it."""
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        match nodes.pop():
            case ast.Yield() | ast.YieldFrom():
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef() | ast.GeneratorExp():
                pass
            case node:
                nodes += ast.iter_child_nodes(node)
    return False


def _bindings(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield, in order, the nodes that bind the module's name `handler`. A star import may bind it."""
    for node in nodes:
        match node:
            case ast.FunctionDef(name="handler") | ast.AsyncFunctionDef(name="handler") | ast.ClassDef(name="handler"):
                yield node
            case ast.Name(id="handler", ctx=ast.Store()):
                yield node
            case ast.alias(name=name, asname=asname):
                if name == "*" or (asname or name.split(".")[0]) == "handler":
                    yield node
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda() | ast.AnnAssign(value=None):
                pass  # binds a name in its own scope, or no value at all
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                pass
            case _:
                yield from _bindings(ast.iter_child_nodes(node))
