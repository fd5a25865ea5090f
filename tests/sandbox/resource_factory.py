"""A factory of resources, and a recorder of mappings, for the tests of resource types."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.program.lookups import look_up
from sandbox.resources.assets import Archive, Bundle
from sandbox.resources.catalog import TYPES
from sandbox.resources.resource_type import Aws, ResourceType
from tests.local import REGION

ACCOUNT = "000000000000"
STATEMENT = {"Sid": "one", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})
ANYONE = json.dumps({"Version": "2012-10-17", "Statement": []})
STREAM = {"streamEnabled": True, "streamViewType": "NEW_AND_OLD_IMAGES"}

Created = tuple[ResourceType, str, dict[str, Any]]


@dataclass
class RecordedMappings:
    """Records the calls and does no work."""

    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list[tuple[str, Mapping[str, Any]]])
    fails: bool = False

    def attach(self, uuid: str, request: Mapping[str, Any]) -> None:
        if self.fails:
            raise ValueError("no such stream")
        self.calls.append(("attach", request))

    def update(self, uuid: str, changes: Mapping[str, Any]) -> None:
        self.calls.append(("update", changes))

    def detach(self, uuid: str) -> None:
        self.calls.append(("detach", {}))

    def schedule(self, function_arn: str, input_text: str, *, enabled: bool) -> None:
        if self.fails:
            raise ValueError("no such function")
        self.calls.append(("schedule", {"arn": function_arn, "input": input_text, "enabled": enabled}))

    def unschedule(self, function_arn: str) -> None:
        self.calls.append(("unschedule", {"arn": function_arn}))

    def pause(self, function_name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@dataclass
class ResourceFactory:
    """Creates resources by their short type names; the fixture deletes them after the test."""

    aws: Aws
    mappings: RecordedMappings
    created: list[Created] = field(default_factory=list[Created])

    def type_named(self, kind: str) -> ResourceType:
        return next(each for each in TYPES.values() if each.__name__ == kind)(self.aws)

    def create(self, kind: str, name: str = "thing", /, **inputs: Any) -> Created:
        resource_type = self.type_named(kind)
        inputs = resource_type.check(name, inputs)
        self.created.append((resource_type, resource_type.create(inputs), inputs))
        return self.created[-1]

    def outputs(self, created: Created) -> dict[str, Any]:
        return created[0].read(created[1]) or {}

    def describe_table(self, name: str) -> dict[str, Any]:
        """Return the description of a table by the provider's function."""
        return look_up("aws:dynamodb/getTable:getTable", {"name": name}, self.aws)

    def create_table(self, **inputs: Any) -> Created:
        keys = {"attributes": [{"name": "id", "type": "S"}], "hashKey": "id", "billingMode": "PAY_PER_REQUEST"}
        return self.create("Table", **keys | inputs)

    def create_function(self, code: Archive | Bundle, **inputs: Any) -> Created:
        role = self.outputs(self.create("Role", assumeRolePolicy=ANYONE))["arn"]
        required = {"role": role, "handler": "m.handler", "runtime": "python3.11", "code": code, "timeout": 5}
        return self.create("Function", **required | inputs)


def disconnected_aws() -> Aws:
    """Return an account without an emulator."""
    return Aws(lambda service: None, REGION, RecordedMappings(), RecordedMappings())
