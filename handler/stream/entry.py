"""@consumer: a function of a Change → a Lambda entry point."""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, overload

from handler.stream import aws
from handler.stream.failures import Bucket
from handler.stream.processor import Function, KeyOrderedProcessor


class AsyncConsumerError(TypeError):
    """An `async def` was given to `@consumer`, which runs plain functions, in threads."""


class Consumer:
    """What Lambda calls: `handler(event, context)`."""

    def __init__(self, function: Function, *, claim: bool) -> None:
        if inspect.iscoroutinefunction(function):
            raise AsyncConsumerError(f"{function.__qualname__} is async; write a plain function")
        functools.update_wrapper(self, function)
        self.function, self.claim = function, claim

    @functools.cached_property
    def _processor(self) -> KeyOrderedProcessor:
        bucket = os.environ.get("FAILURE_BUCKET")
        name = os.environ.get("POWERTOOLS_SERVICE_NAME", "")
        return KeyOrderedProcessor(failures=Bucket(lambda: aws.client("s3"), bucket, name) if bucket else None)

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Process one batch; the answer names the records that are to come again."""
        with self._processor(event.get("Records"), self.function, context) as processor:
            processor.process()
        return processor.response()


@overload
def consumer(function: Function, /) -> Consumer: ...
@overload
def consumer(*, claim: bool = False) -> Callable[[Function], Consumer]: ...
def consumer(function: Function | None = None, /, *, claim: bool = False) -> Consumer | Callable[[Function], Consumer]:
    """Make a function of one `Change` the entry point of a Lambda function."""
    if function is None:
        return functools.partial(Consumer, claim=claim)
    return Consumer(function, claim=claim)
