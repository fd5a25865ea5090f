"""Claims: each effect outside DynamoDB happens once, and again only if the function dies before it marks the claim."""

import os
from types import SimpleNamespace
from typing import Any

from aws_lambda_powertools.shared.functions import strtobool
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyPersistenceLayerError

from handler.stream.change import Change
from handler.stream.engine.batch import Function, call
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.telemetry import emit_counts, logger

LONGEST_RUN_MILLIS = 900_000
"""Lambda's longest invocation in ms: the time that a claim is held if the context has no remaining time."""


class ClaimsDisabledError(Exception):
    """A variable makes Powertools skip claims, which would silently repeat effects."""


class _HandlerError(Exception):
    """Wraps a handler's error: Powertools deletes a claim after an Exception, but not after a SystemExit."""


class _ClaimedRun:
    """One run of a handler under a claim, and its result, also if Powertools cannot update the claim."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.done = False
        self.error: BaseException | None = None


class _ClaimStore(DynamoDBPersistenceLayer):
    """Powertools' persistence layer on the ledger, with a partition per claim instead of one partition for all.

    It calls `put_item` with a condition, `update_item` and `delete_item`.
    """

    def _get_key(self, idempotency_key: str) -> dict[str, Any]:
        return {"pk": {"S": idempotency_key}, "sk": {"S": "claim"}}

    def _generate_hash(self, data: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] # event ids are text
        return data


class Claims:
    """The claims of one consumer: partition `claim#<consumer>#<event id>`, sort key `claim`.

    A claim expires after `remember_seconds`, which is longer than Lambda can deliver its change or an operator can
    redrive it.

    Raises
    ------
    ClaimsDisabledError
        If POWERTOOLS_IDEMPOTENCY_DISABLED is set.
    """

    def __init__(self, dynamodb: Any, table: str, consumer: str, remember_seconds: float) -> None:
        if strtobool(os.environ.get("POWERTOOLS_IDEMPOTENCY_DISABLED", "false")):
            raise ClaimsDisabledError(
                f"POWERTOOLS_IDEMPOTENCY_DISABLED is on, and {consumer} claims its changes: unset it"
            )
        self._consumer = consumer
        self._config = IdempotencyConfig(expires_after_seconds=int(remember_seconds), raise_on_no_idempotency_key=True)
        self._ledger = _ClaimStore(table, key_attr="pk", expiry_attr="expiry", boto3_client=dynamodb)

    def begin(self, context: Any) -> None:
        """Limit the claims of this invocation to the time that it has left."""
        if not hasattr(context, "get_remaining_time_in_millis"):
            context = SimpleNamespace(get_remaining_time_in_millis=lambda: LONGEST_RUN_MILLIS)
        self._config.register_lambda_context(context)

    def wrap(self, function: Function) -> Function:
        """Return a function that claims each change before it runs `function`.

        The returned function raises the error of `function`. It raises Powertools' errors if another invocation holds
        the claim or the claim cannot be written. If the claim cannot be marked as done after the effect, the change
        still counts as done.
        """

        def effect(*, event_id: str, attempt: _ClaimedRun) -> None:  # noqa: ARG001 - Powertools reads event_id by name
            try:
                call(function, attempt.change)
            except SimulatedCrash:
                raise
            except BaseException as error:
                attempt.error = error
                raise _HandlerError from error
            attempt.done = True

        once = idempotent_function(
            effect,
            data_keyword_argument="event_id",
            persistence_store=self._ledger,
            config=self._config,
            key_prefix=f"claim#{self._consumer}",
        )

        def run(change: Change) -> None:
            attempt = _ClaimedRun(change)
            try:
                once(event_id=change.event_id, attempt=attempt)
            except (IdempotencyPersistenceLayerError, _HandlerError) as error:
                if not attempt.done and attempt.error is None:
                    raise
                if isinstance(error, IdempotencyPersistenceLayerError):
                    emit_counts({"FailedMarks": 1})
                    logger.exception("the claim cannot be marked", event_id=change.event_id)
            if attempt.error is not None:
                raise attempt.error

        return run
