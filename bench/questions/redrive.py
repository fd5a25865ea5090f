"""Measures redrives: the plan's memory and speed, changes put back a second. Run it with: python -m bench redrive."""

import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from bench.question import at_least, at_most
from bench.questions.sizes import make_table
from handler.stream.change import Change
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.failures import failure_body, failure_key
from handler.stream.testing.dynamodb import MemoryDynamoDB
from ops.failures.bucket import FailureObjects
from ops.failures.plan_file import PLANNED, Failed, PlanFile
from ops.failures.planning import Planner
from ops.failures.redrive import SENDERS
from ops.failures.sending import MAX_RECORDS, Sender, in_requests
from ops.stack import ConsumerOutputs, Stack
from tests.fakes.aws import silence
from tests.fakes.records import FIRST, STREAM, record
from tests.fakes.s3 import ListingPages

OBJECTS, MOST_OBJECTS = 10_000, 1_000_000
"""Failure records of one change each: the plan's memory must stay flat from one number to the other."""
CHANGES = 10_000
"""Changes that are put back in one measurement."""
PAGE = 1_000
NOTE = """\
Good: the plan's process stays under 150 MB from 10,000 to 1,000,000 objects; 2,000 changes a second
are put back in requests of 100 changes of 10 items. The bucket is generated in memory, so that the plan's speed is the
planner's alone; a GET of S3 takes more. The embedded AWS is one process on this machine, which limits its figures."""
GOALS = {
    **{f"megabytes to plan {objects:,} objects": at_most(150) for objects in (OBJECTS, MOST_OBJECTS)},
    "changes put back a second, 100 changes of 10 items a request, in memory": at_least(2_000),
}
NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)


class GeneratedS3(ListingPages):
    """boto3's S3 client with so many parked changes, each generated when it is read. It only lists and reads."""

    def __init__(self, objects: int) -> None:
        self._objects = objects
        key = failure_key("mirror", Change(record(0)))
        self._folder = key.rpartition("/")[0]

    def _key(self, number: int) -> str:
        return f"{self._folder}/{FIRST + number:040}-event-{number}"

    def list_objects_v2(self, Prefix: str = "", **request: Any) -> dict[str, Any]:  # noqa: N803
        """List the parked changes."""
        headers = {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(NOW, usegmt=True)}}}
        if "Delimiter" in request:
            folders = {"": ["engine/"], "engine/": ["engine/mirror/"]}.get(Prefix, [])
            return headers | {"CommonPrefixes": [{"Prefix": each} for each in folders]}
        if request.get("MaxKeys") == 1 or not f"{self._folder}/".startswith(Prefix):
            return headers
        start = int(request.get("ContinuationToken", 0))
        numbers = range(start, min(start + PAGE, self._objects))
        page = [{"Key": self._key(number), "ETag": f'"{number}"', "LastModified": NOW} for number in numbers]
        is_last = numbers.stop >= self._objects
        return headers | {"Contents": page, "IsTruncated": not is_last, "NextContinuationToken": str(numbers.stop)}

    def get_object(self, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        """Return a failure record."""
        number = int(Key.rpartition("-")[2])
        text = failure_body(
            Change(record(number, f"item-{number}")), ValueError("down"), "GivenUp", None, NOW.timestamp()
        )
        return {"Body": io.BytesIO(text.encode()), "ETag": f'"{number}"', "LastModified": NOW}


CONSUMER = ConsumerOutputs(function="mirror-1", role="r", log_group="/g", mappings={}, ledger_name="mirror")


def plan(objects: int) -> dict[str, float]:
    """Plan a redrive of so many objects; return the seconds and the peak memory of this process in MB."""
    stack = Stack.model_validate(
        {
            "tables": {"orders": {"name": "orders", "arn": STREAM.partition("/stream/")[0]}},
            "consumers": {"mirror": CONSUMER.model_dump(by_alias=True)},
            "stores": {"failures": {"bucket": "b"}, "ledger": {"name": "ledger"}},
        }
    )
    client = GeneratedS3(objects)
    bucket, file = FailureObjects(lambda _: client, "b"), PlanFile()
    began = time.perf_counter()
    planner = Planner(stack, bucket, {"mirror": CONSUMER})
    planner.count()
    planner.run(file)
    file.queue_items(5)
    requests = sum(len(requests) for requests in in_requests(file.items(0)))
    seconds = time.perf_counter() - began
    found = file.count(PLANNED)
    bucket.close()
    file.close()
    if (found, requests) != (objects, -(-objects // MAX_RECORDS)):
        raise AssertionError(f"{found} changes in {requests} requests are planned, not all {objects}")
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def plan_in_a_process(objects: int) -> dict[str, float]:
    """Plan in a process of its own, so that its peak memory is the plan's."""
    code = f"import json; from {__name__} import plan; print(json.dumps(plan({objects})))"
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


class InProcess:
    """boto3's Lambda client, whose invocations run the engine in this process, one environment for each thread."""

    def __init__(self, dynamodb: Any) -> None:
        settings = Environment(ledger_table="ledger")
        self._engines = [Engine(lambda _: None, settings, client=lambda _: dynamodb) for _ in range(SENDERS)]

    def invoke(self, Payload: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803
        """Run a request in a free environment."""
        engine = self._engines.pop()
        answer = engine(json.loads(Payload))
        self._engines.append(engine)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


def changes_a_second(dynamodb: Any, changes: int, items_in_a_request: int) -> float:
    """Return the changes that are put back in a second."""
    file = PlanFile()
    each = MAX_RECORDS // items_in_a_request
    for number in range(changes):
        change = Change(record(number, f"item-{number // each}"))
        file.add_change(Failed("mirror", failure_key("mirror", change), change, "cause", "", 0.0))
    file.queue_items(0)
    functions = InProcess(dynamodb)
    sender = Sender(lambda _: functions, CONSUMER, None)
    requests = [(request, file.records(request)) for some in in_requests(file.items(0)) for request in some]
    with silence(), ThreadPoolExecutor(SENDERS) as pool:
        began = time.perf_counter()
        running = [pool.submit(sender.send, request, records, is_whole=True) for request, records in requests]
        answers = [each.result() for each in running]
        took = time.perf_counter() - began
    file.close()
    if sum(len(answer.held) for answer in answers) != changes:
        raise AssertionError("some changes were refused")
    return changes / took


def in_emulator(measure: Callable[[Any], float]) -> float:
    """Return the figure with the embedded AWS."""
    from sandbox.emulator import Emulator

    with Emulator("eu-central-1") as emulator:
        make_table(emulator, "ledger", "pk", "sk")
        return measure(emulator.client("dynamodb"))


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return every figure; if `quick`, of 10,000 objects and a fifth of the changes."""
    figures: dict[str, float] = {}
    for objects in (OBJECTS,) if quick else (OBJECTS, MOST_OBJECTS):
        result = plan_in_a_process(objects)
        figures[f"megabytes to plan {objects:,} objects"] = result["megabytes"]
        figures[f"objects planned a second, of {objects:,}"] = objects / result["seconds"]
    changes = CHANGES // 5 if quick else CHANGES
    for items in (10, 100):
        name = f"changes put back a second, 100 changes of {items} items a request"
        figures[f"{name}, in memory"] = changes_a_second(MemoryDynamoDB(), changes, items)
        figures[f"{name}, in the embedded AWS"] = in_emulator(lambda each, n=items: changes_a_second(each, changes, n))
    return figures
