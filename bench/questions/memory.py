"""Measures the memory of one large batch over that of a bare interpreter. Run it with: python -m bench memory."""

import json
import subprocess
import sys
from functools import partial

from bench.question import at_most, in_turn
from tests.fakes.records import record

RECORDS, EVENT_BYTES = 10_000, 6_000_000
"""The largest batch of a mapping: of records, and of bytes of its text."""
STARTS, QUICK_STARTS = 5, 1
GOALS = {"ours, new_image: MB over bare": at_most(160)}
NOTE = """\
The peak of a process's resident memory with 10,000 records of 6 MB together, over that of a bare interpreter: imports,
the text, the parsed event and the batch. Each way has processes of its own; the figures are medians. `json.loads` is
the floor: it only parses the text. The last way shows what a handler adds that keeps every image."""

PEAK = """
import re
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024)
"""
"""Linux's own peak of this process; `getrusage` also counts the process that started it."""
OURS = """
import json, sys
from bench.ways import EmptyLedger
from handler.stream.entry import Engine
from handler.stream.environment import Environment
client, kept = EmptyLedger(), []
engine = Engine(lambda change: %s, Environment(ledger_table="ledger"), client=lambda _: client)
answer = engine(json.loads(sys.stdin.read()))
assert answer == {"batchItemFailures": []}
"""
BY_HAND = """
import json, sys
from boto3.dynamodb.types import TypeDeserializer
deserialize = TypeDeserializer().deserialize
for each in json.loads(sys.stdin.read())["Records"]:
    image = {name: deserialize(value) for name, value in each["dynamodb"]["NewImage"].items()}
"""
WAYS = {
    "json.loads": "import json, sys; event = json.loads(sys.stdin.read())",
    "by hand, new_image": BY_HAND,
    "ours, nothing": OURS % "None",
    "ours, new_image": OURS % "change.new_image and None",
    "ours, every new_image kept": OURS % "kept.append(change.new_image)",
}
"""Programs that process the batch, whose text comes by standard input."""


def payload() -> str:
    """Return the text of the largest batch."""
    rows = list[str]()
    for number in range(RECORDS):
        image = {"id": {"S": f"item-{number}"}, **{f"n{each}": {"N": str(number + each)} for each in range(6)}}
        row = record(number, f"item-{number}", name="INSERT", NewImage=image)
        image["text"] = {"S": ""}
        image["text"] = {"S": "x" * (EVENT_BYTES // RECORDS - 1 - len(_compact(row)))}
        rows.append(_compact(row))
    return f'{{"Records":[{",".join(rows)}]}}'


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _peak_megabytes(code: str, text: str) -> float:
    command = [sys.executable, "-c", code + PEAK]
    return float(subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return the peaks over bare in MB, by way."""
    text, codes = payload(), {"bare": ""} | WAYS
    starts = QUICK_STARTS if quick else STARTS
    figures = in_turn({name: partial(_peak_megabytes, code, text) for name, code in codes.items()}, starts)
    return {f"{name}: MB over bare": figures[name] - figures["bare"] for name in WAYS}
