"""A consumer with its failure bucket, both in memory, and redrives over them."""

import itertools
import json
import threading
from collections.abc import Mapping
from typing import Any

from handler.stream.change import Change, PermanentError
from handler.stream.failures import failure_key
from ops.failures.bucket import FailureObjects
from ops.failures.flow import Limits, PutBack
from ops.failures.plan_file import PlanFile
from ops.failures.planning import Planner, Selection
from tests.fakes.aws import Clock
from tests.fakes.records import STREAM, record
from tests.fakes.s3 import MemoryS3
from tests.handler.harness import ConsumerHarness, Trouble
from tests.ops.engine import Functions, OpsHarness

POISON = PermanentError("no template")
UUID = "uuid-1"


class TickingClock(Clock):
    """A millisecond passes with each look at the clock."""

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class OneAtATime(Functions):
    """Functions that threads may invoke."""

    lock = threading.RLock()

    def invoke(self, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803 -- as boto3 has it
        with self.lock:
            return super().invoke(FunctionName, Payload)


class Failures:
    """One consumer, `mirror`, whose failures are put back; `fenced` says that its writes are fenced."""

    def __init__(
        self, trouble: Mapping[int, Trouble] | None = None, *, fenced: bool = True, as_json: bool = False
    ) -> None:
        self.engine = ConsumerHarness(trouble)
        self.engine.clock = TickingClock()
        self.bucket = MemoryS3()
        self.engine.s3 = self.bucket  # pyright: ignore[reportAttributeAccessIssue] -- both imitate boto3's client
        self.engine.dynamodb._keys["orders"] = ("id",)  # pyright: ignore[reportPrivateUsage]
        self.engine.engine = self.engine.environment()
        self.ops = OpsHarness(self.engine, as_json=as_json)
        self.ops.functions = OneAtATime(self.engine)
        self.ops.clients |= {"s3": self.bucket, "lambda": self.ops.functions}
        consumer = self.ops.stack.consumers["mirror"].model_copy(update={"fenced": fenced})
        self.ops.stack.consumers["mirror"] = consumer
        del self.ops.stack.consumers["bare"]  # it has the same mapping
        self.consumer = consumer
        self.planner: Planner

    def park(self, batch: str, start: int = 1) -> None:
        """Deliver a batch whose changes are all parked."""
        count = itertools.count(start)
        self.engine.trouble |= {number: POISON for number, _ in zip(count, batch, strict=False)}
        assert self.engine.deliver(batch, start=start) == []
        self.engine.mend()

    def discard(self, *records: Mapping[str, Any], key: str = f"aws/lambda/{UUID}/shard/one", **fields: Any) -> str:
        """Write a batch that the mapping has discarded."""
        context = {"condition": "RetryAttemptsExhausted", "functionArn": "arn:aws:lambda:r:1:function:mirror-1"}
        body = {
            "requestContext": context,
            "timestamp": "2027-01-15T08:00:00.000Z",
            "DDBStreamBatchInfo": {"streamArn": STREAM},
            "payload": json.dumps({"Records": records}),
        }
        self.bucket.put_object(Key=key, Body=json.dumps(body | fields).encode())
        return key

    def plan(self, selection: Selection | None = None) -> PlanFile:
        """Return the plan of all failures."""
        objects, plan = FailureObjects(self.ops.stack.client, "b"), PlanFile()
        self.planner = Planner(self.ops.stack, objects, {"mirror": self.consumer}, selection)
        self.planner.count()
        self.planner.run(plan)
        objects.close()
        return plan

    def redrive(self, *, selection: Selection | None = None, **limits: Any) -> tuple[int, dict[str, Any]]:
        """Put all failures back; return the exit code and the result."""
        plan = self.plan(selection)
        values: dict[str, Any] = {"canary": 0, "rate": None, "out_of_order": False, "force": False}
        objects = FailureObjects(self.ops.stack.client, "b", sleep=lambda seconds: None)
        put_back = PutBack(self.ops.session, "mirror", plan, objects, self.planner.began, Limits(**values | limits))
        try:
            put_back.screen()
            put_back.print_plan()
            return put_back.execute()
        finally:
            objects.close()
            plan.close()

    def sent(self) -> list[list[str]]:
        """Return the event ids of each redrive request."""
        requests = [each for each in self.ops.functions.requests if each["table-stream"] == "redrive"]
        return [[record["eventID"] for record in each["records"]] for each in requests]


def key_of(number: int, item: str = "a") -> str:
    """Return the key of a parked change."""
    return failure_key("consumer", Change(record(number, item)))
