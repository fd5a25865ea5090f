"""Parking: the engine writes a change that it gives up to the failure bucket."""

from handler.stream.change import Change
from handler.stream.engine.invocation import Invocation
from handler.stream.failures import FailureStore, failure_body
from handler.stream.telemetry import log_failure


class Parking:
    """Parks the changes of one invocation; without a failure bucket it parks nothing."""

    def __init__(self, failures: FailureStore | None, invocation: Invocation) -> None:
        self._failures, self._invocation = failures, invocation

    def park(self, change: Change, error: BaseException, reason: str) -> bool:
        """Write a change to the failure bucket; return whether that succeeded."""
        if self._failures is None:
            return False
        try:
            body = failure_body(change, error, reason, self._invocation.context, self._invocation.clock())
            self._failures.park(change, body)
        except Exception as refused:
            log_failure("change cannot be parked", change, refused, reason=reason)
            return False
        self._invocation.count("ParkedChanges")
        log_failure("change parked", change, error, reason=reason)
        return True
