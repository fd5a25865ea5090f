"""Concurrent calls of AWS, and inputs in chunks of the size that one call takes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from ops.stack import CONNECTIONS

Input = TypeVar("Input")
Output = TypeVar("Output")


def concurrently(
    pool: ThreadPoolExecutor, function: Callable[[Input], Output], inputs: Iterable[Input]
) -> Iterator[tuple[Input, Output]]:
    """Yield each input with the function's result, in order; at most 64 calls wait or run at the same time."""
    running = deque[tuple[Input, Future[Output]]]()
    for each in inputs:
        running.append((each, pool.submit(function, each)))
        if len(running) >= 2 * CONNECTIONS:
            first, future = running.popleft()
            yield first, future.result()
    for each, future in running:
        yield each, future.result()


def in_chunks(values: Iterable[Input], size: int) -> Iterator[list[Input]]:
    """Yield the values in lists of at most `size`."""
    left = iter(values)
    while chunk := list(islice(left, size)):
        yield chunk
