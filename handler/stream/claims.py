"""Claims: an effect outside DynamoDB done once, and once more only where its holder dies in between."""

import os
from typing import Any, cast

from aws_lambda_powertools.shared.functions import strtobool
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyPersistenceLayerError

from handler.stream.change import Change
from handler.stream.engine.batch import Function, call
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.telemetry import emit_counts, logger

LONGEST_RUN_MILLIS = 900_000
"""Lambda's longest invocation: how long a claim is held where no context tells the time that is left."""


class ClaimsDisabledError(Exception):
    """Powertools was told to skip claims, which would repeat effects without a word."""


class _HandlerError(Exception):
    """Carries what a handler raised past Powertools, which gives a claim back for an Exception only, no SystemExit."""


class _ClaimedRun:
    """One run of a handler under its claim: what really happened, whatever becomes of the claim."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.done = False
        self.error: BaseException | None = None


class _ClaimStore(DynamoDBPersistenceLayer):
    """Powertools' layer on a ledger with a sort key: a partition a claim, where Powertools would fill one for all.

    Its calls: `put_item` under a condition, which answers with the claim that stands in its way, `update_item`,
    `delete_item`.
    """

    def _get_key(self, idempotency_key: str) -> dict[str, Any]:
        return {"pk": {"S": idempotency_key}, "sk": {"S": "claim"}}

    def _generate_hash(self, data: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] # event ids are text
        return data


class Claims:
    """The claims of one consumer: partition `claim#<consumer>#<event id>`, sort key `claim`.

    A claim is kept for `remember` seconds: longer than its change can come again. Raises ClaimsDisabledError.
    """

    def __init__(self, dynamodb: Any, table: str, consumer: str, remember: float) -> None:
        if strtobool(os.environ.get("POWERTOOLS_IDEMPOTENCY_DISABLED", "false")):
            raise ClaimsDisabledError(
                f"POWERTOOLS_IDEMPOTENCY_DISABLED is on, and {consumer} claims its changes: unset it"
            )
        self._consumer = consumer
        self._config = IdempotencyConfig(expires_after_seconds=int(remember), raise_on_no_idempotency_key=True)
        self._ledger = _ClaimStore(table, key_attr="pk", expiry_attr="expiry", boto3_client=dynamodb)

    def begin(self, context: Any) -> None:
        """Hold claims no longer than this invocation can last."""
        timed = context if hasattr(context, "get_remaining_time_in_millis") else _NoContext()
        self._config.register_lambda_context(cast(Any, timed))

    def wrap(self, function: Function) -> Function:
        """The function, run once a change.

        What it returns raises what the function raised, or Powertools' errors where the claim is another's or cannot be
        written. A claim that cannot be marked done counts as done here: the effect has happened.
        """

        def effect(*, event_id: str, attempt: _ClaimedRun) -> None:  # noqa: ARG001 - Powertools reads it by its name
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


class _NoContext:
    def get_remaining_time_in_millis(self) -> int:
        return LONGEST_RUN_MILLIS
