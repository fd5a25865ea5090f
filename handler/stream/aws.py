"""boto3 clients: made when first needed, once an environment, with time-outs below a handler's time."""

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from handler.stream.environment import current

RETRIED_FROM_SECONDS = 4.0
"""Of a handler's time: with less there is one attempt, since botocore waits up to a second before another."""

_clients: dict[str, Any] = {}
_lock = threading.Lock()  # boto3 makes clients one at a time; made clients are free of threads


LEDGER = "ledger"
"""The name of the ledger's own DynamoDB client, whose time-outs are shorter than those of a handler's clients."""


def client(service: str) -> Any:
    """The boto3 client of a service, shared by all threads.

    Its attempts, two where there is time for them, together end within HANDLER_TIMEOUT_SECONDS (10 unless set): a
    hanging service is then a failure that can be tried again, not the function's time-out. The ledger's client gives
    up after 3 s: two attempts of at most 1.5 s, so that the reserve at an invocation's end holds a call.
    """
    if service not in _clients:
        with _lock:
            if service not in _clients:
                _clients[service] = _make_client(service)
    return _clients[service]


@contextmanager
def use_clients(clients: Mapping[str, Any]) -> Generator[None]:
    """Let tests' own clients, by service, be what `client` gives."""
    before = dict(_clients)
    _clients.update(clients)
    try:
        yield
    finally:
        _clients.clear()
        _clients.update(before)


def _make_client(service: str) -> Any:
    # 0.2 s, which a consumer without AWS calls does not pay
    import boto3  # pyright: ignore[reportMissingTypeStubs] # it has none
    from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs] # it has none

    settings = current()
    seconds = settings.handler_timeout_seconds
    attempts = 2 if seconds >= RETRIED_FROM_SECONDS else 1
    each = (seconds - 1) / 2 if attempts == 2 else 0.8 * seconds
    connect = min(1.0, each / 2)
    if service == LEDGER:
        service, attempts, connect, each = "dynamodb", 2, 0.5, 1.5
    config = Config(
        connect_timeout=connect,
        read_timeout=each - connect,
        max_pool_connections=max(10, settings.workers),
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    return cast(Any, boto3).client(service, config=config)


def error_code(error: BaseException) -> str | None:
    """The AWS error code of a botocore ClientError; None for any other error."""
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return None
    return cast(Mapping[str, Any], response).get("Error", {}).get("Code")
