"""Drives a mapping over a stream in memory: the function is a Python function, its run takes no time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sandbox.mapping.configuration import Assumptions, Configuration
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.protocol import Describe, Discard, InvocationResult, Invoke, Position, Read, Returned
from tests.fakes.stream import ARN, Stream, TrimmedError, number, sequence

Function = Callable[[list[int]], InvocationResult]
DELAYED = Assumptions(back_off=lambda tries: 1.0)


def succeed(_: list[int]) -> InvocationResult:
    return Returned(None)


def partial(*failing: int) -> Function:
    """A function that reports those of `failing` that it is given."""

    def function(numbers: list[int]) -> InvocationResult:
        reported = [{"itemIdentifier": sequence(each)} for each in numbers if each in failing]
        return Returned({"batchItemFailures": reported})

    return function


def configuration(**options: Any) -> Configuration:
    request = {"EventSourceArn": ARN, "FunctionName": "f", "StartingPosition": "TRIM_HORIZON"}
    return Configuration.model_validate({**request, **options})


class Driver:
    """A mapping with its stream, its function and a clock that only goes where something is due."""

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        function: Function = succeed,
        assumptions: Assumptions = DELAYED,
        stream: Stream | None = None,
        poll: float = 0.25,
    ) -> None:
        self.now = 0.0
        self.stream = stream or Stream()
        self.function = function
        self.options = dict(options or {})
        self.mapping = MappingMachine(configuration(**self.options), assumptions, poll)
        self.invoked: list[list[int]] = []
        self.attempts: list[tuple[float, int]] = []  # when, and the mapping's count
        self.discarded: list[Discard] = []
        self.held: list[Invoke] = []  # given out and not answered
        self.hold = False
        self._iterators: dict[str, tuple[Position, int]] = {}

    @property
    def gone(self) -> list[tuple[str, list[int], int]]:
        """Of each discard: its condition, its records, its count of invocations."""
        return [(each.condition, [number(r.event) for r in each.records], each.invocations) for each in self.discarded]

    def configure(self, **options: Any) -> None:
        self.options |= options
        self.mapping.configure(configuration(**self.options))

    def run(self, until: float) -> None:
        """Do all that is due up to a moment, in epoch seconds."""
        while True:
            while actions := self.mapping.advance(self.now):
                for action in actions:
                    self._do(action)
            due = self.mapping.due()
            if due is None or due > until:
                self.now = until
                return
            self.now = max(due, self.now)

    def answer(self, invocation: Invoke) -> None:
        self.held.remove(invocation)
        numbers = [number(record.event) for record in invocation.records]
        self.mapping.complete(invocation, self.function(numbers), self.now)

    def _do(self, action: object) -> None:
        match action:
            case Describe():
                self.mapping.discover(self.stream.lineage())
            case Read():
                self._read(action)
            case Invoke():
                self.invoked.append([number(record.event) for record in action.records])
                self.attempts.append((self.now, action.attempt))
                self.held.append(action)
                if not self.hold:
                    self.answer(action)
            case Discard():
                self.discarded.append(action)
            case _:
                raise AssertionError(action)

    def _read(self, action: Read) -> None:
        position, place = self._iterators.pop(action.shard, (None, 0))
        list(self.stream.trim(self.now))
        try:
            if position != action.position:
                place = self.stream.resolve(action.shard, action.position)
            page, ended = self.stream.read(action.shard, place)
        except TrimmedError:
            self.mapping.skip_trimmed(action)
            return
        after = Position("AFTER_SEQUENCE_NUMBER", sequence(number(page[-1]))) if page else action.position
        self._iterators[action.shard] = (after, place + len(page))
        self.mapping.receive(action, page, self.now, ended=ended)


def numbers_of(invocations: Sequence[Invoke]) -> list[list[int]]:
    return [[number(record.event) for record in invocation.records] for invocation in invocations]
