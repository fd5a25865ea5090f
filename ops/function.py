"""A consumer's function: its configuration, and requests to it, since it acts where order matters."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handler.stream.environment import Environment, VariableError
from ops import OpsError
from ops.errors import unless_gone
from ops.stack import Client, ConsumerOutputs


class FunctionError(OpsError):
    """The function did not answer a request, or cannot start."""


@dataclass(frozen=True)
class FunctionState:
    """A consumer's function as it is deployed now."""

    changed_at: datetime
    """When its code or its configuration changed last."""
    settings: Environment

    @classmethod
    def read(cls, client: Client, consumer: ConsumerOutputs) -> "FunctionState | None":
        """Return the state of a consumer's function; None if the function is gone.

        Raises the error of boto3, and FunctionError if a variable of the function has an invalid value.
        """
        answer = unless_gone(client("lambda").get_function_configuration, FunctionName=consumer.function)
        if answer is None:
            return None
        changed_at = datetime.fromisoformat(answer["LastModified"].replace("+0000", "+00:00"))
        try:
            settings = Environment.read(answer.get("Environment", {}).get("Variables", {}))
        except VariableError as error:
            raise FunctionError(f"{consumer.function} cannot start: its {error}; deploy the program again") from error
        return cls(changed_at, settings)


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
