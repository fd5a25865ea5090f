"""Requests to a consumer's function, which acts where order matters."""

import json
from typing import Any

from ops import OpsError
from ops.stack import Client, ConsumerOutputs


class FunctionError(OpsError):
    """The function did not answer a request."""


def request(client: Client, consumer: ConsumerOutputs, event: dict[str, Any]) -> dict[str, Any]:
    """Invoke a consumer's function with a request (`Engine.__call__`), and return its answer.

    Raises
    ------
    FunctionError
        The function failed; the message has its error.
    """
    response = client("lambda").invoke(FunctionName=consumer.function, Payload=json.dumps(event).encode())
    answer = json.load(response["Payload"])
    if "FunctionError" in response:
        raise FunctionError(
            f"{consumer.function} failed: {answer.get('errorType')}: {answer.get('errorMessage')}; its log, "
            f"{consumer.log_group}, says more"
        )
    return answer
