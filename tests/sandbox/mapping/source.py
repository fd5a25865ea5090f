"""A table and a function in the emulator, with a poller that maps the table's stream to the function."""

from typing import Any

from sandbox.mapping.invocation import ObservedInvocation
from sandbox.mapping.poller import Poller
from tests.local import REGION, LocalAws, wait_for, zip_module

# Reports the key "bad" as failed, raises for "boom", takes 1 s for "slow", and logs 100 kB for "long". It holds "held"
# until its third retry run.
FUNCTION = """
import json, pathlib, time
runs = pathlib.Path(f"runs-of-{__file__.replace('/', '-')}")
def handler(event, context):
    if "table-stream" in event:
        tried = len(runs.read_text()) if runs.exists() else 0
        runs.write_text("x" * (tried + 1))
        return {"held": 1 if tried < 2 else 0}
    names = {r["dynamodb"]["SequenceNumber"]: r["dynamodb"]["Keys"]["id"]["S"] for r in event["Records"]}
    for name in names.values():
        print(json.dumps({"seen": name}))
    if "slow" in names.values():
        time.sleep(1)
        print("the end of a slow one")
    if "long" in names.values():
        print("x" * 100_000)
    if "held" in names.values():
        print(json.dumps({"message": "item held"}))
    if "boom" in names.values():
        raise ValueError("boom")
    return {"batchItemFailures": [{"itemIdentifier": number} for number, name in names.items() if name == "bad"]}
"""


class Source:
    """`invocations` has every invocation in the order of the answers; `request` is the mapping's configuration."""

    def __init__(self, aws: LocalAws, name: str, **options: Any) -> None:
        self.client, self.name = aws.client, name
        self.table, self.function = f"table-{name}", f"function-{name}"
        self.invocations: list[ObservedInvocation] = []
        self.poller = Poller(aws.client, self.invocations.append)
        images = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        stream = aws.create_table(self.table, StreamSpecification=images)
        self.create_function()
        request = {"EventSourceArn": stream, "FunctionName": self.function, "StartingPosition": "TRIM_HORIZON"}
        self.request = request | options

    def create_function(self) -> None:
        self.client("lambda").create_function(
            FunctionName=self.function,
            Runtime="python3.11",
            Role="arn:aws:iam::000000000000:role/r",
            Handler="m.handler",
            Code={"ZipFile": zip_module(FUNCTION)},
        )

    @property
    def function_arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:000000000000:function:{self.function}"

    @property
    def result(self) -> str:
        return self.poller.last_processing_result(self.name)

    @property
    def batches(self) -> list[list[str]]:
        """The keys of each invocation's records."""
        return [[record["dynamodb"]["Keys"]["id"]["S"] for record in each.records] for each in self.invocations]

    def attach(self, **options: Any) -> None:
        self.poller.attach(self.name, self.request | options)

    def put(self, *keys: str) -> None:
        for key in keys:
            self.client("dynamodb").put_item(TableName=self.table, Item={"id": {"S": key}, "b": {"B": b"\x00"}})

    def settle(self) -> None:
        wait_for(self.poller.is_idle, "the mapping is drained", timeout_seconds=30)

    def close(self) -> None:
        self.poller.close()
        self.client("lambda").delete_function(FunctionName=self.function)
        self.client("dynamodb").delete_table(TableName=self.table)

    def deliver(self, *keys: str) -> None:
        """Attach the mapping, put items, and settle."""
        self.attach()
        self.put(*keys)
        self.settle()
