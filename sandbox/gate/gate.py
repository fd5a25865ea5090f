"""The proxy through which the sandbox's functions call AWS."""

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.front.forwarding import Answer, Forward, ForwardingServer, Request, Response
from sandbox.gate.calls import APP_ID_LENGTH, Call
from sandbox.gate.faults import Faults, kill_client
from sandbox.gate.permissions import Permissions, Refusals
from sandbox.gate.sent import sent_by
from sandbox.mapping.invocation import Client
from sandbox.watch.feed import Feed


class Gate(ForwardingServer):
    """Forwards every call of a function to the emulator, and publishes what the function sends.

    Parameters
    ----------
    upstream
        The emulator's port.
    client
        Returns the emulator's boto3 client of a service.
    wake
        Called after a handler has written to a table, so that the table's readers need not wait.

    Attributes
    ----------
    faults
        What a user provokes.
    """

    def __init__(self, upstream: int, client: Client, feed: Feed, region: str, wake: Callable[[], None]) -> None:
        self._client, self._feed, self._region, self._wake = client, feed, region, wake
        self.faults = Faults(lambda faults: feed.publish("faults", faults=faults))
        self._refusals = Refusals(self._permissions, self._report)
        self._consumers: dict[str, str] = {}  # by function
        self._roles: dict[str, str] = {}  # by consumer
        self._ledger = self._failures = ""
        super().__init__(upstream, self._choose)

    def use(self, outputs: Mapping[str, Any]) -> None:
        """Take the names of functions, roles and stores from a stack's outputs."""
        consumers: Mapping[str, Any] = outputs.get("consumers") or {}
        stores: Mapping[str, Any] = outputs.get("stores") or {}
        self._consumers = {each["function"][:APP_ID_LENGTH]: name for name, each in consumers.items()}
        self._roles = {name: each["role"] for name, each in consumers.items() if "role" in each}
        self._ledger = stores.get("ledger", {}).get("name", "")
        self._failures = stores.get("failures", {}).get("bucket", "")
        self._refusals.forget()

    def _choose(self, request: Request) -> Answer | None:
        call = Call.of(request)
        consumer = self._consumers.get(call.function)
        if consumer is None or self._is_of_engine(call):
            return None

        def answer(request: Request, forward: Forward) -> Response:
            self._refusals.check(consumer, call)
            failure = self.faults.apply(consumer, call, lambda: kill_client(request.client_port))
            if failure:
                return failure
            response = forward(request)
            if call.service == "dynamodb" and not call.is_read:
                self._wake()
            if response.status < 300:
                for kind, fields in sent_by(call):
                    self._feed.publish(kind, consumer=consumer, **fields)
            return response

        return answer

    def _is_of_engine(self, call: Call) -> bool:
        match call.service:
            case "dynamodb":
                return call.tables == {self._ledger}
            case "s3":
                return call.arguments.get("Bucket") == self._failures
            case service:
                return (service, call.operation) == ("lambda", "Invoke") and self._is_itself(call)

    def _is_itself(self, call: Call) -> bool:
        return str(call.arguments["FunctionName"]).rpartition(":")[2][:APP_ID_LENGTH] == call.function

    def _permissions(self, consumer: str) -> Permissions | None:
        try:
            return Permissions(self._client, self._roles[consumer], self._region)
        except (ClientError, KeyError):
            return None  # a role or a policy that the emulator does not have, such as AWS's own policies

    def _report(self, consumer: str, action: str, resource: str) -> None:
        where = f" on {resource}" if resource else ""
        text = (
            f"AWS would refuse {action}{where}: the role of {consumer} does not allow it. Add a grant to environment="
        )
        self._feed.publish("refused", consumer=consumer, action=action, resource=resource, text=text)
