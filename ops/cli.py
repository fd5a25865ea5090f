"""The parts that all commands share: options, the session with its console, the confirmation and the exit codes."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, cast

import typer

from ops import OpsError

if TYPE_CHECKING:
    from rich.console import Console

    from ops.stack import Stack

# Commands import boto3, Rich and their own modules when they run, so that --help answers at once.

DONE, LEFT_TO_DO, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all is well; something is left to do; the command could not run; a signal interrupted it."""

Arguments = ParamSpec("Arguments")

StackOption = Annotated[
    str | None, typer.Option("--stack", help="Stack whose outputs the Pulumi CLI reads; default: the selected stack.")
]
OutputsOption = Annotated[
    Path | None, typer.Option("--outputs", help="File with the stack's outputs as JSON; - is standard input.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print only the result, as JSON, on standard output.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask to confirm.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop; nothing is written.")]
READING: dict[str, tuple[Any, Any]] = {"stack": (StackOption, None), "outputs": (OutputsOption, None)}
EXECUTING: dict[str, tuple[Any, Any]] = {"yes": (YesOption, False), "dry_run": (DryRunOption, False)}
PRINTING: dict[str, tuple[Any, Any]] = {"as_json": (JsonOption, False)}
"""The options of a session, each with its default. Only commands that execute a plan have those of EXECUTING."""
ConsumerArgument = Annotated[str, typer.Argument(metavar="CONSUMER", help="The consumer's name in the program.")]
AnyConsumerArgument = Annotated[
    str | None, typer.Argument(metavar="CONSUMER", help="The consumer's name in the program; default: all.")
]
ItemOption = Annotated[
    str | None, typer.Option("--item", help="An item's key, as in customer_id=c7,order_id=31, or its digest.")
]


@dataclass(frozen=True)
class Session:
    """One run of a command: the stack that it works on, and how it talks to the operator."""

    stack: "Stack"
    console: "Console"
    """Where people read: standard output, or standard error if `as_json`."""
    as_json: bool = False
    assume_yes: bool = False
    is_dry_run: bool = False
    options: str = ""
    """The options that a suggested command needs to find the same stack, such as ` --stack prod`."""

    @classmethod
    def open(
        cls, stack: str | None, outputs: Path | None, *, as_json: bool, yes: bool = False, dry_run: bool = False
    ) -> "Session":
        """Read the stack's outputs; take the options of the command line. Raises OpsError (Stack.load)."""
        from rich.console import Console

        from ops.stack import Stack

        console = Console(stderr=as_json, highlight=False, soft_wrap=True, markup=False, emoji=False)
        options = f" --stack {stack}" if stack else f" --outputs {outputs}" if outputs and str(outputs) != "-" else ""
        return cls(Stack.load(outputs, stack), console, as_json, yes, dry_run, options)

    def should_execute(self) -> bool:
        """Return whether to execute the plan that the command has just printed; ask the operator if necessary.

        Raises
        ------
        OpsError
            Standard input is not a terminal, and neither --yes nor --dry-run is given.
        """
        if not self.is_dry_run and self.confirm("Continue?"):
            return True
        self.console.print(f"nothing was changed{' (--dry-run)' if self.is_dry_run else ''}", style="dim")
        return False

    def end_without_executing(self, plan: Any) -> int:
        """Print for --json the plan that `should_execute` has declined, and return the exit code."""
        self.print_json(plan)
        return DONE if self.is_dry_run else COULD_NOT_RUN

    def confirm(self, question: str) -> bool:
        """Ask the person at the terminal; return whether the answer is yes. Raises OpsError like `should_execute`."""
        if self.assume_yes:
            return True
        if not sys.stdin.isatty():
            raise OpsError(
                "standard input is not a terminal: pass --yes to execute the plan, or --dry-run to only print it"
            )
        _forget_typed()
        try:
            answer = self.console.input(f"{question} [y/N] ", markup=False)
        except EOFError:  # Ctrl-D
            answer = ""
            self.console.print()
        return answer.strip().lower() in ("y", "yes")

    def print_json(self, result: Any) -> None:
        """Print the result on standard output if the command runs with --json."""
        import json

        if self.as_json:
            print(json.dumps(result, default=str), flush=True)


def _forget_typed() -> None:
    """Drop what the person typed before the question: it cannot be the answer."""
    import io
    import termios

    with contextlib.suppress(termios.error, io.UnsupportedOperation):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _in_lines(text: str) -> str:
    """Return an error's text in lines as long as the terminal's, and in one line where no terminal is."""
    import shutil
    import textwrap

    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def command(*, executes: bool) -> Callable[[Callable[Concatenate[Session, Arguments], int]], Callable[..., None]]:
    """Return a decorator that makes a command of a function, which takes a session and returns an exit code.

    The command has the options of a session after those of the function; `executes` adds --yes and --dry-run. A
    function that has a parameter `as_json` describes --json itself. Errors that the operator can fix become one line.
    """

    def decorate(run: Callable[Concatenate[Session, Arguments], int]) -> Callable[..., None]:
        _, *own = inspect.signature(run).parameters.values()
        names = {each.name for each in own}
        of_session = READING | (EXECUTING if executes else {}) | PRINTING
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
            for name, (option, default) in of_session.items()
            if name not in names
        ]

        @functools.wraps(run)
        def execute(**options: Any) -> None:
            try:
                session = Session.open(**{name: options[name] for name in of_session})
                code = cast("Any", run)(session, **{name: options[name] for name in names})
            except KeyboardInterrupt:
                print("interrupted: nothing is lost, and you may run the command again", file=sys.stderr)
                code = INTERRUPTED
            except Exception as error:
                from ops.errors import explanation

                text = explanation(error)
                if text is None:
                    raise
                print(_in_lines(text), file=sys.stderr)
                code = COULD_NOT_RUN
            raise typer.Exit(code)

        cast("Any", execute).__signature__ = inspect.Signature([*own, *shared])
        return execute

    return decorate
