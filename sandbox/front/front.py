"""The requests that the front answers, or of which it changes the emulator's response."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from sandbox.emulator import OUTPUTS_PATH
from sandbox.front.forwarding import Answer, Forward, ForwardingServer, Request, Response
from sandbox.front.invocations import invoke_with_log
from sandbox.front.mappings import MappingAnswers
from sandbox.front.mute_rules import MuteRules
from sandbox.front.schedules import ScheduleAnswers
from sandbox.front.streams import shard_iterator_at
from sandbox.mapping.invocation import Client
from sandbox.mapping.poller import Poller
from sandbox.scheduler import Scheduler

WRITES = (
    *("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"),
    *("ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"),
)
"""DynamoDB's operations that may change items."""

_MAPPING = re.compile(r"/2015-03-31/event-source-mappings/([^/?]+)")
_MAPPINGS = re.compile(r"/2015-03-31/event-source-mappings/?")
_INVOCATIONS = re.compile(r"/2015-03-31/functions/[^/]+/invocations")
_SCHEDULE = re.compile(r"/schedules/([^/?]+)")


class Front(ForwardingServer):
    """Serves the sandbox's address: forwards to the emulator, and adds what the emulator lacks.

    Parameters
    ----------
    upstream
        The emulator's port.
    client
        Returns the emulator's boto3 client of a service.
    outputs
        Returns the outputs of the running stack; None before the first deployment.
    take_log
        Called with the end of the log of each invocation by a client, on any thread.
    port
        The front's own port. Default: a free port.
    """

    def __init__(
        self,
        upstream: int,
        client: Client,
        poller: Poller,
        scheduler: Scheduler,
        outputs: Callable[[], Mapping[str, Any] | None],
        take_log: Callable[[str], None],
        *,
        region: str,
        port: int | None = None,
    ) -> None:
        self._outputs = outputs
        mappings, schedules, rules = MappingAnswers(poller), ScheduleAnswers(scheduler), MuteRules(region)
        self._rest: dict[tuple[str, str, re.Pattern[str]], Answer] = {
            ("lambda", "GET", _MAPPING): mappings.get,
            ("lambda", "PUT", _MAPPING): mappings.update,
            ("lambda", "GET", _MAPPINGS): mappings.list,
            ("lambda", "POST", _INVOCATIONS): partial(invoke_with_log, take_log),
            ("scheduler", "GET", _SCHEDULE): schedules.get,
            ("scheduler", "PUT", _SCHEDULE): schedules.update,
            ("", "GET", re.compile(OUTPUTS_PATH)): self._answer_outputs,
        }
        self._operations: dict[tuple[str, str], Answer] = {
            ("DynamoDBStreams_20120810", "GetShardIterator"): partial(shard_iterator_at, client),
            **{("GraniteServiceVersion20100801", name): answer for name, answer in rules.answers.items()},
        }
        self._operations |= {("DynamoDB_20120810", name): partial(_write, poller.wake) for name in WRITES}
        super().__init__(upstream, self._choose, port)

    def _choose(self, request: Request) -> Answer | None:
        if "x-amz-target" in request.headers:
            return self._operations.get(request.operation)
        called, path = (request.scope[1], request.method), urlsplit(request.target).path
        for (service, method, pattern), answer in self._rest.items():
            if called == (service, method) and pattern.fullmatch(path):
                return answer
        return None

    def _answer_outputs(self, request: Request, forward: Forward) -> Response:
        del request, forward
        outputs = self._outputs()
        if outputs is None:
            return Response.error("ResourceNotFoundException", "the sandbox has not deployed a program yet", 404)
        return Response.of(outputs)


def _write(wake: Callable[[], None], request: Request, forward: Forward) -> Response:
    """Let the mappings read at once what a client has written."""
    response = forward(request)
    wake()
    return response
