"""python -m ops: commands for a deployed stack. AWS_ENDPOINT_URL directs them to the sandbox."""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a command runs, Ctrl-C ends this process at once: the imports take a while, and each has its traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import typer

from ops.commands.failures import failures
from ops.commands.held import held
from ops.commands.pause import pause, resume
from ops.commands.redrive import redrive
from ops.commands.replay import replay
from ops.commands.retry import retry
from ops.commands.skip import skip
from ops.commands.smoke import smoke
from ops.commands.status import status
from ops.commands.tail import tail
from sandbox.edges import end_on_signals, print_in_any_encoding

app = typer.Typer(
    help="Commands for a deployed stack, on AWS or in the sandbox (AWS_ENDPOINT_URL).\n\n"
    "Exit codes: 0, all is well; 1, something is left to do; 2, the command could not run.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich would make --help twice as slow
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Let a cancelled job, which receives SIGTERM, clean up as after Ctrl-C, and print in any encoding."""
    end_on_signals()
    print_in_any_encoding()


COMMANDS = (status, held, retry, skip, failures, redrive, replay, pause, resume, tail, smoke)

for each in COMMANDS:
    app.command()(each)

if __name__ == "__main__":
    app(prog_name="python -m ops")
