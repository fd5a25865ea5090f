"""Makes calls of AWS concurrently, and keeps account of what could not be read."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from botocore import exceptions  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from handler.stream.aws import error_code
from handler.stream.ledger.writes import LedgerBusyError
from ops.errors import DENIED, EXPIRED, GONE, INVALID
from ops.status.facts import MISSING, Unread

THREADS = 24
NOT_FOUND = (
    *(*GONE, "NoSuchBucket", "NoSuchLifecycleConfiguration", "NoSuchEntity"),
    *("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
)
FATAL = (
    *(exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.TokenRetrievalError),
    *(exceptions.UnauthorizedSSOTokenError, exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError),
)
"""Errors that every other call would have as well."""
ACCESS_DENIED = "access denied"
REASONS = {
    **dict.fromkeys((*DENIED, "403"), ACCESS_DENIED),
    "KMSAccessDeniedException": "access denied to the key",
    "LedgerBusyError": "DynamoDB throttles the ledger",
}

Call = Future[Any]
"""A call under way. Its result is the value, MISSING, or None if the value could not be read.

The result raises an error of boto3 that every call has: no credentials, expired credentials, no network.
"""


class Calls:
    """The calls of one run of status."""

    def __init__(self) -> None:
        self._unread: list[Unread] = []
        self._pool = ThreadPoolExecutor(THREADS, "status")

    @property
    def unread(self) -> tuple[Unread, ...]:
        """The facts that could not be read so far, each once."""
        return tuple(dict.fromkeys(self._unread))

    def start(self, consumer: str | None, what: str, call: Callable[[], Any], *, is_optional: bool = False) -> Call:
        """Make a call in another thread.

        Parameters
        ----------
        consumer, what
            The fact's name for the operator, if it cannot be read.
        is_optional
            Whether to say nothing if the operator lacks the permission for it.
        """

        def read() -> Any:
            try:
                return call()
            except FATAL:
                raise
            except (exceptions.ClientError, exceptions.BotoCoreError, LedgerBusyError) as error:
                code = error_code(error) or type(error).__name__
                if code in (*EXPIRED, *INVALID):
                    raise
                if code in NOT_FOUND:
                    return MISSING
                if not (is_optional and code in DENIED):
                    self._unread.append(Unread(consumer, what, REASONS.get(code, code)))
                return None

        return self._pool.submit(read)

    def close(self) -> None:
        """Drop the calls that have not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
