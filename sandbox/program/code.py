"""Finds the part of the functions' archive that one function uses, so that other edits need not update the function.

On AWS, an update gives the whole archive to every function, so any edit updates all of them. In the sandbox, a function
keeps its archive while the part that it uses stays the same. Its processes stay warm then, and its `codeSha256` is that
of the archive that it has.
"""

import ast
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.resources.assets import Archive

CODE_PROPERTIES = ("code", "codeSha256", "sourceCodeHash")
"""The properties of a function that differ if its archive does."""
ENGINE = "handler/stream/"
"""The package that every consumer imports."""

_DYNAMIC = frozenset({"__import__", "__file__", "__path__", "importlib", "runpy", "pkgutil", "exec", "eval"})
"""Names in a module that may read other files of handler/ than its import statements say."""


def digest_of_code(inputs: Mapping[str, Any]) -> str:
    """Return a digest of the part of its archive that a function uses; empty if its code is no zip file."""
    code = inputs.get("code")
    if not isinstance(code, Archive) or not zipfile.is_zipfile(code.path):
        return ""
    with zipfile.ZipFile(code.path) as packed:
        members = {info.filename: info for info in packed.infolist()}
        files = {name: packed.read(name) for name in members if name.startswith("handler/")}
    used = used_files(files, str(inputs.get("handler", "")).rpartition(".")[0])
    parts = [
        (name, info.CRC, info.file_size, info.external_attr)
        for name, info in sorted(members.items())
        if name in used or name not in files
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def used_files(files: Mapping[str, bytes], module: str) -> frozenset[str]:
    """Return the names of the files of handler/ that a module may use, from the import statements.

    Every module uses the engine and the files that are not Python. A module that may import others in another way than
    by import statements uses all files, and so does a module whose syntax is invalid.

    Parameters
    ----------
    files
        The content of each file of handler/ by its name, as in handler/mirror.py.
    module
        The module with the function's handler, as in handler.mirror.
    """
    modules = {_module_name(name): name for name in sorted(files) if name.endswith(".py")}
    used = {name for name in files if name.startswith(ENGINE) or not name.endswith(".py")}
    if module not in modules:
        return frozenset(files)
    todo = [module]
    while todo:
        name = todo.pop()
        file = modules.get(name)
        if file is None or file in used:
            continue
        used.add(file)
        try:
            tree = ast.parse(files[file])
        except (SyntaxError, ValueError):
            return frozenset(files)
        if any(map(_is_dynamic, ast.walk(tree))):
            return frozenset(files)
        package = name if file.endswith("/__init__.py") else name.rpartition(".")[0]
        todo += [name.rpartition(".")[0], *_imported(tree, package, modules)]
    return frozenset(used)


def _module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(tree: ast.Module, package: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Yield the modules that a module of `package` may import; more of them than it does import are no harm."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield from _with_packages(alias.name)
            case ast.ImportFrom(module=base, names=names, level=level):
                above = package.split(".")[: 1 - level or None] if level else []
                base = ".".join([*above, *([base] if base else [])])
                yield from _with_packages(base)
                for alias in names:
                    if alias.name == "*":
                        yield from (each for each in modules if each.startswith(f"{base}."))
                    else:
                        yield f"{base}.{alias.name}"
            case _:
                pass


def _with_packages(module: str) -> Iterator[str]:
    while module:
        yield module
        module = module.rpartition(".")[0]


def _is_dynamic(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _DYNAMIC
        case ast.Import(names=names):
            return any(alias.name.partition(".")[0] in _DYNAMIC for alias in names)
        case ast.ImportFrom(module=str(name)):
            return name.partition(".")[0] in _DYNAMIC
        case _:
            return False
