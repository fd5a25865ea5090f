"""A consumer's function as an operator's command sees it."""

from typing import Any

import pytest

from ops.errors import explanation
from ops.function import FunctionError, FunctionState
from ops.stack import ConsumerOutputs

CONSUMER = ConsumerOutputs(function="mirror-1", role="r", log_group="g", mappings={})


class Functions:
    """A client of Lambda whose function has these variables."""

    def __init__(self, **variables: str) -> None:
        self._variables = variables

    def __call__(self, service: str) -> Any:
        return self

    def get_function_configuration(self, **_: Any) -> dict[str, Any]:
        return {"LastModified": "2026-01-01T00:00:00.000+0000", "Environment": {"Variables": self._variables}}


def test_the_settings_are_those_of_its_variables():
    state = FunctionState.read(Functions(WORKERS="3"), CONSUMER)
    assert state
    assert state.settings.workers == 3


def test_a_variable_with_an_invalid_value_is_a_line():
    for value in ("many", "0"):
        with pytest.raises(FunctionError) as caught:
            FunctionState.read(Functions(WORKERS=value), CONSUMER)
        assert (explanation(caught.value) or "").startswith("mirror-1 cannot start: its WORKERS is ")
