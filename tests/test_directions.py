"""Who may import whom: each fact has one home, and knowledge flows one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The user's own code, in __main__.py and handler/, may import what it likes.
ROOMS = ("infra", "handler", "sandbox", "ops", "policy", "bench", "tests")
# By room, the packages that its modules may import; "=" allows the package itself and none of its modules.
MAY_IMPORT = {
    "infra": ("infra",),
    "infra.rules": ("infra.rules", "infra.engine"),
    "infra.archive": ("infra.archive",),
    "handler.stream": ("handler.stream",),
    "sandbox.mapping": ("sandbox.mapping",),
    "sandbox": ("sandbox", "infra.archive.sources", "handler.stream.codec", "handler.stream.failures"),
    "sandbox.new": ("sandbox.new", "=sandbox"),  # and nothing else, so that it runs before the first installation
    "sandbox.front": ("sandbox.front", "sandbox.emulator", "sandbox.mapping", "sandbox.scheduler"),
    "sandbox.resources": ("sandbox.resources", "=sandbox", "sandbox.emulator", "sandbox.gate.calls"),
    "sandbox.gate": (
        *("sandbox.gate", "sandbox.emulator", "sandbox.front.forwarding", "sandbox.mapping.invocation"),
        "sandbox.watch.feed",
    ),
    "sandbox.watch": (
        *("sandbox.watch", "=sandbox", "sandbox.emulator", "sandbox.mapping", "sandbox.report", "sandbox.running"),
    ),
    "sandbox.program": (
        *("sandbox.program", "sandbox.resources", "=sandbox", "sandbox.emulator", "sandbox.mapping"),
        *("sandbox.schedule", "sandbox.scheduler", "sandbox.front", "sandbox.metrics"),
    ),
    "sandbox.edits": (
        "sandbox.edits",
        "sandbox.program",
        "sandbox.resources.assets",
        "=sandbox",
        "sandbox.emulator",
        "infra.archive.sources",
    ),
    "sandbox.tables": ("sandbox.tables", "=sandbox", "sandbox.mapping.invocation", "handler.stream.codec"),
    "sandbox.demo": (
        *("sandbox.demo", "sandbox.program", "=sandbox", "sandbox.emulator", "sandbox.mapping", "sandbox.report"),
        *("sandbox.front.forwarding", "sandbox.resources.assets", "sandbox.page.commands", "handler.stream.failures"),
    ),
    "sandbox.page": (
        *("sandbox.page", "=sandbox", "sandbox.emulator", "sandbox.front.loopback", "sandbox.put"),
        *("sandbox.watch.feed", "handler.stream.codec"),
    ),
    # The operator's commands read what the engine has written, so they share its formats; and filters are AWS's.
    "ops": (
        *("ops", "handler.stream.aws", "handler.stream.change", "handler.stream.codec", "handler.stream.failures"),
        *("handler.stream.engine.batch", "handler.stream.environment", "handler.stream.ledger"),
        *("sandbox.mapping.filters", "sandbox.mapping.records", "sandbox.edges"),
    ),
    "policy": ("policy", "infra.rules"),
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imported(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Every module of this project that `source` imports, `from a import b` told apart by whether a.b is a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: None if is_package and node.level == 1 else -node.level or None]
            base = ".".join([*parents, *([node.module] if node.module else [])]) if node.level else node.module or ""
            names = [f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if any(within(name, room) for room in ROOMS))


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def breaches(source: str, module: str, *, is_package: bool = False) -> list[str]:
    room = max((room for room in MAY_IMPORT if within(module, room)), key=len)
    return [
        f"{module} imports {name}"
        for name in imported(source, module, is_package=is_package)
        if not any(name == allowed[1:] if allowed[0] == "=" else within(name, allowed) for allowed in MAY_IMPORT[room])
    ]


def test_every_module_imports_only_what_its_room_may_know() -> None:
    found_in = {
        path
        for room in MAY_IMPORT
        for path in ROOT.glob(f"{room.replace('.', '/')}/**/*.py")
        if ".venv" not in path.parts
    }
    found = {
        breach
        for path in found_in
        for breach in breaches(path.read_text(), module_name(path), is_package=path.name == "__init__.py")
    }
    assert found == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("infra.consumer", "import handler.mirror"),
        ("infra.consumer", "from handler import mirror"),
        ("handler.stream.entry", "from handler.mirror import handler"),
        ("handler.stream.entry", "from .. import mirror"),
        ("sandbox.demo.run", "from handler.stream import processor"),
        ("sandbox.demo.run", "def late():\n    from infra import settings"),
        ("sandbox.resources.tables", "from sandbox.program.values import to_python"),
        ("sandbox.resources.tables", "from sandbox import report"),
        ("sandbox.program.deploy", "from sandbox.demo import run"),
        ("sandbox.demo.run", "from sandbox.resources import catalog"),
        ("sandbox.mapping.poller", "from sandbox.schedule import Schedule"),
        ("sandbox.page.server", "from sandbox.program.sandbox import Sandbox"),
        ("infra.rules.tables", "from infra.internal import registry"),
        ("infra.archive.wheels", "from infra import settings"),
        ("policy.pack", "from infra import consumer"),
        ("ops.redrive", "from handler.stream.held_items import retry"),
        ("ops.redrive", "from sandbox.mapping import poller"),
    ],
)
def test_a_breach_of_the_rule_would_be_seen(module: str, source: str) -> None:
    assert breaches(source, module)
