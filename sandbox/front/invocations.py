"""Invocations by clients: the front reads the log of each, for its metrics."""

import base64
from collections.abc import Callable
from dataclasses import replace

from sandbox.front.forwarding import Forward, Request, Response


def invoke_with_log(take_log: Callable[[str], None], request: Request, forward: Forward) -> Response:
    """Invoke a function as the client asks, and pass the tail of the invocation's log to `take_log`.

    Parameters
    ----------
    take_log
        Called with the last 4 KB, as Lambda returns them; with nothing if the invocation is asynchronous, or the client
        asks for no log.
    request, forward
        As for any answer (`sandbox.front.forwarding`).
    """
    response = forward(replace(request, headers={"x-amz-log-type": "Tail", **request.headers}))
    headers = dict(response.headers)
    take_log(base64.b64decode(headers.get("x-amz-log-result", "")).decode(errors="replace"))
    if request.headers.get("x-amz-log-type") != "Tail":
        headers.pop("x-amz-log-result", None)
    return replace(response, headers=headers)
