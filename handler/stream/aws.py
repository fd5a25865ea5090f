"""Clients of AWS: one per service and execution environment, with time-outs below the handler's."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

from handler.stream.environment import current

RETRIED_FROM_SECONDS = 4.0
"""The handler time-out from which a client makes two attempts: botocore waits up to 1 s before the second one."""

_clients: dict[str, Any] = {}
_lock = threading.Lock()  # boto3 creates clients in one thread at a time; the clients themselves are thread-safe

LEDGER = "ledger"
"""The name of the ledger's own DynamoDB client, which has shorter time-outs than the handlers' clients."""


def client(service: str) -> Any:
    """Return the boto3 client of a service, which all threads share.

    All attempts of a call end within HANDLER_TIMEOUT_SECONDS (10 s by default), so that a service which hangs fails
    the change and not the whole invocation. The ledger's client gives up after 3 s, two attempts of 1.5 s each.
    """
    if service not in _clients:
        with _lock:
            if service not in _clients:
                _clients[service] = _make_client(service)
    return _clients[service]


@contextmanager
def use_clients(clients: Mapping[str, Any]) -> Generator[None]:
    """For tests: let `client` return these clients, by service."""
    before = dict(_clients)
    _clients.update(clients)
    try:
        yield
    finally:
        _clients.clear()
        _clients.update(before)


def _make_client(service: str) -> Any:
    # this import takes 0.1 s, which a consumer without AWS calls does not pay
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
    return _maker(service)(service, config=config)


def _maker(service: str) -> Callable[..., Any]:
    """Return the function that creates the client of a service.

    boto3 adds methods, such as `upload_file`, to the client of S3 and to no other. So botocore creates the others in
    0.07 s less.
    """
    if service == "s3":
        import boto3  # pyright: ignore[reportMissingTypeStubs] # it has none

        return cast(Any, boto3).client
    return _session().create_client


@cache
def _session() -> Any:
    from botocore import session  # pyright: ignore[reportMissingTypeStubs] # it has none

    return cast(Any, session).get_session()


def error_code(error: BaseException) -> str | None:
    """Return the AWS error code of a botocore ClientError, or None for any other error."""
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return None
    return cast(Mapping[str, Any], response).get("Error", {}).get("Code")
