"""What every command of the project does at its edges: values of options, any encoding, a closed pipe, Ctrl-C."""

import argparse
import codecs
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

INTERRUPTED = 128 + signal.SIGINT
"""The exit code of a command that Ctrl-C ended, as shells have it."""
PIPE_CLOSED = 128 + signal.SIGPIPE
"""The exit code of a command whose output nobody reads any more, as shells have it."""
HIGHEST_PORT = 65_535

SPINNER = "".join(map(chr, range(0x2800, 0x2900)))
SIGNS = str.maketrans("✔✖→…·—‖▶↻µ✉○│⚠" + SPINNER, "+x>~|-=>*u@o|!" + "*" * len(SPINNER))
"""Substitutes for signs that a terminal's encoding lacks; any other such character becomes a question mark."""


def port(text: str) -> int:
    """Return the number of a port. Raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST_PORT):
        raise argparse.ArgumentTypeError(f"{text} is not a port: pass a number from 1 to {HIGHEST_PORT}")
    return int(text)


def output_file(text: str) -> Path:
    """Return the path of a file that the command writes later; make its directory, but not those above.

    Raises
    ------
    argparse.ArgumentTypeError
        The file cannot be written.
    """
    path = Path(text)
    try:
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{path} is a directory: pass a file")
        path.parent.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        above = path.parent.parent
        raise argparse.ArgumentTypeError(f"{above} does not exist: create it, or pass another file") from error
    except OSError as error:  # no right, or a name that is too long
        raise argparse.ArgumentTypeError(f"{text!r} is not a file: {error}") from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be written: change its permissions, or pass another file")
    return path


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end].translate(SIGNS)
    return "".join(each if each.isascii() else "?" for each in signs), error.end


def print_in_any_encoding() -> None:
    """Let the command print signs that the encoding of its output lacks, as `SIGNS` has them."""
    codecs.register_error("table-stream", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="table-stream")


def end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM, which a cancelled job receives, raise KeyboardInterrupt, so that the command cleans up.

    A process that was started with SIGINT ignored, as a shell starts those in the background, still ignores it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run(main: Callable[[], int]) -> int:
    """Run a command's main function and return the exit code.

    The output may have any encoding, and its reader may leave, as `head` does. After Ctrl-C or SIGTERM, the code is
    `INTERRUPTED`, unless the function returns another.
    """
    end_on_signals()
    print_in_any_encoding()
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        unread = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
        if not unread:
            raise  # a connection of the command, and not its output
        for stream in unread:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes its streams when it ends
        return PIPE_CLOSED


def raise_if_unread() -> None:
    """Raise BrokenPipeError if nobody reads the output any more: for a command that waits without printing."""
    if _is_unread(sys.stdout):
        raise BrokenPipeError("nobody reads the output any more")


def _is_unread(stream: IO[str]) -> bool:
    """Return whether a stream is a pipe whose reader has left."""
    try:
        output = stream.fileno()
    except (OSError, ValueError):  # a test's buffer has none
        return False
    poll = select.poll()
    poll.register(output, 0)  # which reports errors only
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
