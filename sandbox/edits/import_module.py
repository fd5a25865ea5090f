"""Imports a module as a new process of its function does, and prints the error. The functions' Python runs this file.

The standard input is a JSON object with `path`, which are the first folders of `sys.path`, and `module`. The output is
a JSON object with the error's `type`, `message` and `frames`, outermost first; or null.
"""

import importlib
import json
import os
import sys
import traceback


def main() -> None:
    """Import the module; what it prints meanwhile is not shown."""
    asked = json.loads(sys.stdin.readline())
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.path[:0] = asked["path"]
    failure = None
    try:
        importlib.import_module(asked["module"])
    except BaseException as error:
        frames = [[frame.filename, frame.lineno or 1] for frame in traceback.extract_tb(error.__traceback__)]
        message = str(error)
        if isinstance(error, SyntaxError) and error.filename:
            frames.append([error.filename, error.lineno or 1])
            message = error.msg
        failure = {"type": type(error).__name__, "message": message, "frames": frames}
    print(json.dumps(failure), file=answer, flush=True)
    os._exit(0)  # threads that the module has started must not keep the process


main()
