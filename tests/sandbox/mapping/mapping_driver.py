"""Drives a mapping over a stream in memory; its function is a Python function whose invocations take no time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from sandbox.mapping.configuration import Assumptions, Configuration
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.protocol import Discard, InvocationResult, Invoke, Returned
from tests.fakes.records import STREAM, number_of, sequence
from tests.fakes.stream import Stream, StreamReader, change, drive

Function = Callable[[list[int]], InvocationResult]
DELAYED = Assumptions(back_off=lambda tries: 1.0)
PARTIAL: dict[str, Any] = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}


def succeed(_: list[int]) -> InvocationResult:
    return Returned(None)


def partial(*failing: int) -> Function:
    """Return a function that reports those of `failing` that are in its batch."""

    def function(numbers: list[int]) -> InvocationResult:
        reported = [{"itemIdentifier": sequence(each)} for each in numbers if each in failing]
        return Returned({"batchItemFailures": reported})

    return function


def filled(count: int) -> Stream:
    """Return a stream with one record of each of `count` items."""
    stream = Stream()
    stream.put(*(change(number, item=f"item-{number}") for number in range(1, count + 1)))
    return stream


def configuration(**options: Any) -> Configuration:
    request = {"EventSourceArn": STREAM, "FunctionName": "f", "StartingPosition": "TRIM_HORIZON"}
    return Configuration.model_validate({**request, **options})


class Driver:
    """A mapping with its stream, its function and a clock that jumps from one due moment to the next."""

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        function: Function = succeed,
        assumptions: Assumptions = DELAYED,
        stream: Stream | None = None,
        poll: float = 0.25,
        now: float = 0.0,
    ) -> None:
        self.now = now
        self.stream = stream or Stream()
        self.function = function
        self.options = dict(options or {})
        self.mapping = MappingMachine(configuration(**self.options), assumptions, poll)
        self.invoked: list[list[int]] = []
        self.attempts: list[tuple[float, int]] = []  # the time, and the mapping's count
        self.discarded: list[Discard] = []
        self.held: list[Invoke] = []  # invocations without an answer
        self.hold = False
        self._reader = StreamReader(self.stream)

    @property
    def discards(self) -> list[tuple[str, list[int], int]]:
        """Each discard's condition, records and count of invocations."""
        return [(each.condition, numbers_of([each])[0], each.invocations) for each in self.discarded]

    def configure(self, **options: Any) -> None:
        self.options |= options
        self.mapping.configure(configuration(**self.options))

    def run(self, *changes: dict[str, Any], until: float, **options: Any) -> Self:
        """Put changes into the stream, change options, and do everything that is due up to a moment (epoch seconds)."""
        self.stream.put(*changes)
        if options:
            self.configure(**options)
        while True:
            for action in drive(self.mapping, self._reader, self.now):
                if isinstance(action, Discard):
                    self.discarded.append(action)
                else:
                    self._invoke(action)
            due = self.mapping.due()
            if due is None or due > until:
                self.now = until
                return self
            self.now = max(due, self.now)

    def answer(self, invocation: Invoke) -> None:
        self.held.remove(invocation)
        self.mapping.complete(invocation, self.function(numbers_of([invocation])[0]), self.now)

    def _invoke(self, invocation: Invoke) -> None:
        self.invoked += numbers_of([invocation])
        self.attempts.append((self.now, invocation.attempt))
        self.held.append(invocation)
        if not self.hold:
            self.answer(invocation)


def numbers_of(actions: Sequence[Invoke | Discard]) -> list[list[int]]:
    return [[number_of(each.event) for each in action.records] for action in actions]
