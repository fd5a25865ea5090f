"""The commands `python -m sandbox new` and `python -m sandbox add-dependency`."""

import argparse
from typing import Protocol

from sandbox import ROOT
from sandbox.new.consumer import TABLE, NewConsumer
from sandbox.new.dependency import add_dependency


class AddsParser(Protocol):
    """What argparse's `add_subparsers` returns."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002 -- argparse's name
        """Add the parser of a command."""
        ...


def add_parsers(commands: AddsParser) -> None:
    """Add the commands to those of `python -m sandbox`."""
    parser = commands.add_parser("new", help="write a consumer: its module, its test and its entry in __main__.py")
    parser.add_argument("name", help="the consumer's name, as in stock-alert")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--from", dest="existing", metavar="TABLE", help="the table of the program that it reads")
    source.add_argument("--table", metavar="NAME", help=f"the new table that it reads otherwise (default: {TABLE})")
    parser = commands.add_parser("add-dependency", help="lock a package for the functions, the tests and the types")
    parser.add_argument("requirement", help="as pip takes it: httpx, or 'httpx>=0.28'")


def run(arguments: argparse.Namespace) -> int:
    """Run one of the commands; return 1 if the user must edit `__main__.py`."""
    if arguments.command == "add-dependency":
        print("\n".join(add_dependency(ROOT, arguments.requirement)))
        return 0
    new = NewConsumer.plan(ROOT, arguments.name, arguments.table, existing=arguments.existing)
    new.write()
    print("\n".join(new.summary()))
    return 0 if new.program else 1
