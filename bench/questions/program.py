"""Measures a run of the whole program without the Pulumi CLI and without AWS. Run it with: python -m bench program."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

from bench.question import QUICK_ROUNDS, ROUNDS, at_most
from sandbox import ROOT

NOTE = """\
The program of __main__.py as stack `local`, in fresh processes that take their turn; medians. The plain program
registers as many log groups of pulumi_aws, without components and rules: the floor of Pulumi's SDK. A backend in memory
answers for the engine and AWS. The first run also imports the program's modules; a second run in the same process, as
after an edit in the sandbox, does not. Good is at most 1.5 s CPU for the first run, 0.75 s for the second, and in the
second 5 times the plain program, since components, policies and rules cost their part."""
SECOND = "second run, CPU time, times the plain program's"
GOALS = {"first run, s CPU": at_most(1.5), "second run, s CPU": at_most(0.75), SECOND: at_most(5)}

Timed = dict[str, float]


def timed(run: Callable[[], Any], prefix: str) -> Timed:
    """Return the seconds and the CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {f"{prefix}, s": time.perf_counter() - wall, f"{prefix}, s CPU": time.process_time() - cpu}


def run_once(kind: str, resources: int = 0) -> Timed:
    """Import Pulumi's SDK and run a program twice in this process; return its times and the number of resources."""
    loading = timed(_load, "import of Pulumi and pulumi_aws")
    from sandbox.program.in_process import Program, run, stack_config
    from tests.program.recording import RecordingBackend

    counts: list[int] = []

    def once() -> None:
        backend = RecordingBackend(lenient=True)
        config = stack_config("local", ROOT)
        source = ROOT if kind == "program" else partial(_plain, resources)
        run(Program(source, config=config), backend)
        counts.append(len(backend.registered))

    return loading | timed(once, "first run") | timed(once, "second run") | {"resources": counts[0]}


def _load() -> None:
    import pulumi_aws

    from sandbox.program import in_process

    _ = in_process.run, pulumi_aws.cloudwatch.LogGroup  # its modules are imported when they are named


def _plain(resources: int) -> None:
    from pulumi_aws.cloudwatch import LogGroup

    for number in range(resources):
        LogGroup(f"group-{number}", retention_in_days=7)


def in_a_process(kind: str, resources: int = 0) -> Timed:
    """Return `run_once` of a fresh process."""
    code = f"import json; from {__name__} import run_once; print(json.dumps(run_once({kind!r}, {resources})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(*, quick: bool = False) -> Mapping[str, float]:
    """Return every figure."""
    resources = int(in_a_process("program")["resources"])  # which also compiles the modules
    whole, plain = list[Timed](), list[Timed]()
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        whole.append(in_a_process("program"))
        plain.append(in_a_process("plain", resources))
    mine = {name: median(each[name] for each in whole) for name in whole[0]}
    first, second = "first run, s CPU", "second run, s CPU"
    ratios = [one[second] / other[second] for one, other in zip(whole, plain, strict=True)]
    return {
        **mine,
        "first run, ms CPU a resource": mine[first] / resources * 1000,
        "second run, ms CPU a resource": mine[second] / resources * 1000,
        "the plain program's first run, s CPU": median(each[first] for each in plain),
        "the plain program's second run, s CPU": median(each[second] for each in plain),
        SECOND: median(ratios),
    }
