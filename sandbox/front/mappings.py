"""Event source mappings as the sandbox's own mappings are: the emulator has them all disabled."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from sandbox.front.forwarding import Forward, Request, Response
from sandbox.front.signing import with_json
from sandbox.mapping.filters import FilterError
from sandbox.mapping.invocation import RefusalError
from sandbox.mapping.poller import Poller

FIXED = ("EventSourceArn", "StartingPosition", "Tags")
"""What UpdateEventSourceMapping cannot change."""


class MappingAnswers:
    """Answers GetEventSourceMapping, ListEventSourceMappings and UpdateEventSourceMapping.

    A mapping that the sandbox does not run, such as one of a queue, is as the emulator describes it.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller

    def get(self, request: Request, forward: Forward) -> Response:
        """Answer with the configuration, State and LastProcessingResult of the sandbox's mapping."""
        return _amended(forward(request), self._describe)

    def list(self, request: Request, forward: Forward) -> Response:
        """Answer like `get`, for each mapping of a page."""
        return _amended(forward(request), self._describe_all)

    def update(self, request: Request, forward: Forward) -> Response | None:
        """Change the sandbox's mapping, which keeps its position, and the emulator's, which stays disabled.

        The State of the answer is the one before the change takes effect, as on AWS: Enabling, Disabling or Updating.
        """
        uuid = unquote(urlsplit(request.target).path.rsplit("/", 1)[1])
        before = self._poller.describe(uuid)
        if before is None:
            return None
        try:
            changes = request.json()
        except ValueError:
            return Response.error("SerializationException", "Could not parse request body into json")
        changes = {name: value for name, value in changes.items() if name not in FIXED}
        try:
            self._poller.update(uuid, changes)
        except RefusalError as refusal:
            code, _, message = str(refusal).partition(": ")
            return Response.error(code, message, 404 if code == "ResourceNotFoundException" else 400)
        except FilterError as error:
            return Response.error("InvalidParameterValueException", str(error).partition(": ")[2] or str(error))
        except ValidationError as error:
            return Response.error("ValidationException", _constraint(error))
        response = _amended(forward(with_json(request, {**changes, "Enabled": False})), self._describe)
        if response.status >= 300:
            return response
        after = json.loads(response.body)
        state = "Updating"
        if before["Enabled"] != changes.get("Enabled", before["Enabled"]):
            state = "Enabling" if changes["Enabled"] else "Disabling"
        return replace(response, status=202, body=json.dumps({**after, "State": state}).encode())

    def _describe_all(self, page: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**page, "EventSourceMappings": [self._describe(each) for each in page["EventSourceMappings"]]}

    def _describe(self, mapping: Mapping[str, Any]) -> Mapping[str, Any]:
        described = self._poller.describe(mapping.get("UUID", ""))
        if described is None:
            return mapping
        hidden = ("Enabled", "FunctionName", "Tags")
        return {**mapping, **{name: value for name, value in described.items() if name not in hidden}}


def _amended(response: Response, amend: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Response:
    if response.status >= 300:
        return response
    return replace(response, body=json.dumps(amend(json.loads(response.body))).encode())


def _constraint(error: ValidationError) -> str:
    """Return Lambda's message for a value that is out of bounds."""
    [first, *_] = error.errors()
    name = ".".join(str(part)[0].lower() + str(part)[1:] for part in first["loc"])
    return (
        f"{error.error_count()} validation error detected: Value '{first['input']}' at '{name}' failed to satisfy "
        f"constraint: {first['msg']}"
    )
