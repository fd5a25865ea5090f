"""A consumer whose engine runs in memory, as the operators' commands see it."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from ops.cli import Session
from ops.held.ledger import HeldItems
from ops.stack import Stack
from tests.fakes.records import STREAM
from tests.handler.harness import ConsumerHarness

CONSUMER = {
    "function": "mirror-1",
    "role": "r",
    "logGroup": "/logs",
    "mappings": {"orders": "uuid-1"},
    "ledgerName": "consumer",
    "schedule": "mirror-retry",
    "alarms": ["mirror-late", "mirror-page"],
}


class Functions:
    """boto3's Lambda client for one function, whose invocations run in the test's engine."""

    def __init__(self, harness: ConsumerHarness, variables: Mapping[str, str] | None = None) -> None:
        self.harness, self.variables = harness, dict(variables or {})
        self.requests: list[dict[str, Any]] = []
        self.failing: dict[str, str] | None = None
        """The error of the function's invocations, as Lambda answers it."""

        self.refusal: Exception | None = None
        """The error with which AWS refuses each call."""

    def get_function_configuration(self, FunctionName: str) -> Any:  # noqa: N803 -- as boto3 has it
        if self.refusal:
            raise self.refusal
        return {"LastModified": "2027-01-15T08:00:00.000+0000", "Environment": {"Variables": self.variables}}

    def invoke(self, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803
        if self.refusal:
            raise self.refusal
        request = json.loads(Payload)
        self.requests.append(request)
        if self.failing:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(self.failing).encode())}
        return {"Payload": io.BytesIO(json.dumps(self.harness.invoke(request)).encode())}


class Tables:
    """boto3's DynamoDB client: the ledger in memory, and the key of the table `orders`."""

    def __init__(self, harness: ConsumerHarness) -> None:
        self._ledger = harness.dynamodb

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def describe_table(self, TableName: str) -> Any:  # noqa: N803
        definitions = [{"AttributeName": "id", "AttributeType": "S"}]
        return {"Table": {"AttributeDefinitions": definitions, "KeySchema": [{"AttributeName": "id"}]}}


class OpsHarness:
    """A stack with one consumer, `mirror`, and what its commands print."""

    def __init__(self, harness: ConsumerHarness, *, assume_yes: bool = True, as_json: bool = False) -> None:
        self.harness, self.functions = harness, Functions(harness)
        self.clients: dict[str, Any] = {"dynamodb": Tables(harness), "lambda": self.functions}
        self.stack = InMemory.model_validate(
            {
                "tables": {"orders": {"name": "orders", "arn": STREAM.partition("/stream/")[0]}},
                "consumers": {"mirror": CONSUMER, "bare": {**CONSUMER, "ledgerName": None}},
                "stores": {"failures": {"bucket": "b"}, "ledger": {"name": "ledger"}},
            }
        )
        self.stack.bind(self.clients.__getitem__)
        self._shown = io.StringIO()
        console = Console(file=self._shown, width=80, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self.session = Session(self.stack, console, as_json, assume_yes)

    @property
    def reader(self) -> HeldItems:
        """Reads the consumer's held items."""
        return HeldItems(self.stack, "mirror", self.stack.client, sleep=lambda seconds: None)

    def shown(self) -> list[str]:
        """Return the lines printed since the last call."""
        lines = self._shown.getvalue().splitlines()
        self._shown.seek(0)
        self._shown.truncate()
        assert all(len(line) <= 80 for line in lines), "a screen has 80 columns"
        return lines


class InMemory(Stack):
    """A stack whose clients are the test's."""

    def bind(self, client: Callable[[str], Any]) -> None:
        """Set the function that returns the clients."""
        object.__setattr__(self, "client", client)
