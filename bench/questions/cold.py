"""Measures the CPU time that a cold start needs for imports, beside the imports of Powertools.

Run it with: python -m bench cold. Each start is a new process of the embedded AWS's Python, with the functions' archive
in a directory that it cannot write, as in Lambda.
"""

import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.question import at_most
from infra.archive import build
from sandbox.emulator import PYTHON

STARTS, QUICK_STARTS = 21, 5
BARE, LOGGER = "nothing", "Powertools: Logger"
BATCH = "from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response\n"
IDEMPOTENCY = """\
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
DynamoDBPersistenceLayer(table_name="ledger")
"""
NEW_LOGGER = "from aws_lambda_powertools import Logger\nLogger()\n"
CONSUMER = "from handler.stream import Change, client, consumer\nconsumer(print)\n"
CLIENT = "import boto3\nboto3.client('dynamodb')\n"
CODE = {
    BARE: "",
    LOGGER: NEW_LOGGER,
    "a consumer": CONSUMER,
    "Powertools: Logger, batch": NEW_LOGGER + BATCH,
    "a client of boto3": CLIENT,
    "a consumer with a ledger": CONSUMER + "client('ledger')\n",
    "a consumer with claims": CONSUMER + "client('ledger')\nclient('dynamodb')\nimport handler.stream.claims\n",
    "Powertools: Logger, batch, idempotency, client": NEW_LOGGER + BATCH + IDEMPOTENCY,
}
"""What a function's module imports and makes when it starts, by name."""
NOTE = """\
Milliseconds of CPU for the imports of a new process, over an interpreter that imports nothing; medians of all starts,
which alternate. Lambda cannot write bytecode beside the code, so it compiles the archive at every cold start, unless
the archive has bytecode (table-stream:bytecode). The standard library and boto3 have bytecode in both columns."""
MILLISECONDS, OF_LOGGER = "a consumer: ms with bytecode", "a consumer: times the Logger"
GOALS = {MILLISECONDS: at_most(60), OF_LOGGER: at_most(1.4)}


def cpu_seconds(code: str, directory: Path, packages: Path) -> float:
    """Return the CPU seconds of a new process that runs some code with the archive's content in `directory`."""
    variables = {
        "PYTHONPATH": f"{directory}{os.pathsep}{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",  # since the directory's mode does not stop root
        "AWS_DEFAULT_REGION": "eu-central-1",
        "POWERTOOLS_SERVICE_NAME": "cold",
    }
    process = subprocess.Popen([PYTHON, "-S", "-c", code], env=variables, cwd=directory)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, code)
    return usage.ru_utime + usage.ru_stime


def measure(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the table's rows."""
    command = [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    with tempfile.TemporaryDirectory() as temporary:
        directories = (Path(temporary, "bytecode"), Path(temporary, "sources"))
        for directory in directories:
            with zipfile.ZipFile(build("host", bytecode=directory.name == "bytecode").path) as archive:
                archive.extractall(directory)
        took: dict[tuple[str, Path], list[float]] = {(name, each): [] for name in CODE for each in directories}
        starts = QUICK_STARTS if quick else STARTS
        for _ in range(starts + 1):  # the first one fills the cache of the file system
            for (name, directory), seconds in took.items():
                seconds.append(cpu_seconds(CODE[name], directory, packages))
    bytecode, sources = ({name: median(took[name, each][1:]) for name in CODE} for each in directories)
    return [
        {
            "imports": name,
            "ms": 1_000 * (bytecode[name] - bytecode[BARE]),
            "of Logger": _over(bytecode, name),
            "ms without bytecode": 1_000 * (sources[name] - sources[BARE]),
            "of Logger then": _over(sources, name),
        }
        for name in CODE
        if name != BARE
    ]


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of a consumer that have goals."""
    consumer = next(row for row in rows if row["imports"] == "a consumer")
    return {MILLISECONDS: consumer["ms"], OF_LOGGER: consumer["of Logger"]}


def _over(seconds: dict[str, float], name: str) -> float:
    return (seconds[name] - seconds[BARE]) / (seconds[LOGGER] - seconds[BARE])
