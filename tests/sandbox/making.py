"""What the tests of resource types share: a maker, and what does the work of mappings in their stead."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.program.values import Archive, Bundle
from sandbox.resources.catalog import TYPES
from sandbox.resources.resource_type import Aws, ResourceType
from tests.local import REGION

ACCOUNT = "000000000000"
STATEMENT = {"Sid": "one", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})
ANYONE = json.dumps({"Version": "2012-10-17", "Statement": []})
STREAM = {"streamEnabled": True, "streamViewType": "NEW_AND_OLD_IMAGES"}

Made = tuple[ResourceType, str, dict[str, Any]]


@dataclass
class Mappings:
    """Keeps what it is told to do, and does none of it."""

    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list[tuple[str, Mapping[str, Any]]])
    refuses: bool = False

    def attach(self, uuid: str, request: Mapping[str, Any]) -> None:
        if self.refuses:
            raise ValueError("no such stream")
        self.told.append(("attach", request))

    def update(self, uuid: str, request: Mapping[str, Any]) -> None:
        self.told.append(("update", request))

    def detach(self, uuid: str) -> None:
        self.told.append(("detach", {}))

    def schedule(self, function_arn: str, input_text: str, *, enabled: bool) -> None:
        if self.refuses:
            raise ValueError("no such function")
        self.told.append(("schedule", {"arn": function_arn, "input": input_text, "enabled": enabled}))

    def unschedule(self, function_arn: str) -> None:
        self.told.append(("unschedule", {"arn": function_arn}))

    def pause(self, function_name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@dataclass
class Maker:
    """Makes resources by their short type names, and unmakes at the end what a test has left."""

    aws: Aws
    mappings: Mappings
    made: list[Made] = field(default_factory=list[Made])

    def of(self, kind: str) -> ResourceType:
        return next(made for made in TYPES.values() if made.__name__ == kind)(self.aws)

    def make(self, kind: str, name: str = "thing", /, **inputs: Any) -> Made:
        made = self.of(kind)
        inputs = made.check(name, inputs)
        self.made.append((made, made.create(inputs), inputs))
        return self.made[-1]

    def table(self, **inputs: Any) -> Made:
        keys = {"attributes": [{"name": "id", "type": "S"}], "hashKey": "id", "billingMode": "PAY_PER_REQUEST"}
        return self.make("Table", **keys | inputs)

    def function(self, code: Archive | Bundle, **inputs: Any) -> Made:
        role = self.of("Role").read(self.make("Role", assumeRolePolicy=ANYONE)[1])
        assert role
        given = {"role": role["arn"], "handler": "m.handler", "runtime": "python3.11", "code": code, "timeout": 5}
        return self.make("Function", **given | inputs)


def nowhere() -> Aws:
    """Where nothing is made."""
    return Aws(lambda service: None, REGION, Mappings(), Mappings())
