"""The demo: deploys the whole system, writes changes of which some fail, checks every promise, and mends a failure."""

import json
import queue
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.markup import escape

from handler.stream.failures import read_failure
from sandbox import SandboxError
from sandbox.demo.baseline import TimedEvent, run_baseline
from sandbox.demo.mend import REDRIVE, add_template, redrive
from sandbox.demo.output import DemoOutput
from sandbox.demo.proxy import Proxy
from sandbox.demo.workload import (
    FAILING_ORDER,
    FAILING_USER,
    FAILING_VERSION,
    GROUP_SIZE,
    ORDERS,
    USERS,
    VERSIONS,
    WRITE_FAILURE_SECONDS,
    MirrorWrites,
    Version,
    WriteFailure,
    count_out_of_order,
    expected_versions,
    failing_group,
    max_delay_of_others,
    order_groups,
    sequence_of,
    user_items,
    version_of,
    version_of_event,
)
from sandbox.emulator import free_port
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import STACK, Program, stack_config
from sandbox.program.sandbox import Sandbox
from sandbox.report import HELD, Event, Names, report_of

REDELIVERIES = 3
START_TIMEOUT_SECONDS, IDLE_TIMEOUT_SECONDS = 120, 180
"""Busy machines take so long; an idle one takes a second, and five."""
GROUP_PAUSE_SECONDS = 0.3
"""The pause between two groups of orders, so that later groups come while FAILING_ORDER is held."""
REQUIRED_OUTPUTS = {"tables": {"users", "orders", "orders-mirror"}, "consumers": {"welcome-email", "mirror"}}
CONFIG = {
    "mailFrom": "hello@example.com",
    # One group of orders is one batch, on machines of any speed: the window is longer than the writes of a group take.
    "tuning": json.dumps({"mirror": {"batchSize": GROUP_SIZE * VERSIONS, "maximumBatchingWindowInSeconds": 60}}),
}


class DemoError(SandboxError):
    """The program lacks tables or consumers that the demo needs, or does not process changes."""


class Demo:
    """One run of the demo."""

    sandbox: Sandbox
    deployment: Deployment
    names: Names

    def __init__(self, console: Console, started_at: float) -> None:
        self.output = DemoOutput(console)
        self.started_at = started_at
        self.mirror_writes = MirrorWrites()
        self.written_at: dict[Version, float] = {}  # the time of each write, in epoch seconds
        self.measured_since = 0.0
        self._observed: queue.SimpleQueue[tuple[float, ObservedInvocation]] = queue.SimpleQueue()
        self._invocations: list[ObservedInvocation] = []

    def run(self) -> bool:
        """Deploy the program, write the workload, wait until everything is processed, and check the promises.

        Returns
        -------
        bool
            Whether every promise is kept.

        Raises
        ------
        DemoError
            The program lacks a table or consumer, or processes no change.
        """
        self.output.print_line("[bold]table-stream demo[/] · embedded AWS, no account, no Docker")
        program, port = Program(config=stack_config(STACK) | CONFIG), free_port()
        with Proxy(port, self.mirror_writes.refuses) as proxy:
            functions = {"AWS_ENDPOINT_URL": proxy.url}
            region = program.config["aws:region"]
            with Sandbox(region, self._observe, emulator_port=port, environment=functions) as self.sandbox:
                self._deploy(program)
                first = self._write() - self.started_at
                self._show_until_idle()
                kept = self.check_promises()
        self.output.print_line(f"{time.monotonic() - self.started_at:.1f} s, the first change after {first:.1f} s")
        self.output.print_line("Next: make sandbox, then edit handler/welcome_email.py")
        return kept

    def _observe(self, invocation: ObservedInvocation) -> None:
        self._observed.put((time.monotonic(), invocation))

    def _deploy(self, program: Program) -> None:
        before = time.monotonic()
        with self.output.console.status("starting AWS, deploying the program"):
            self.deployment = self.sandbox.deploy(program)
        took = time.monotonic() - before
        outputs = self.deployment.outputs
        for kind, names in REQUIRED_OUTPUTS.items():
            if missing := names - outputs.get(kind, {}).keys():
                raise DemoError(f"the demo needs {', '.join(sorted(missing))} among the {kind} of __main__.py")
        self.names = Names.from_outputs(outputs)
        self.mirror_writes.table = outputs["tables"]["orders-mirror"]["name"]
        self.output.print_step("AWS up", self.sandbox.emulator.boot_seconds)
        aside = f"users, orders → {len(outputs['consumers'])} consumers"
        self.output.print_step(f"{len(self.deployment.resources)} resources deployed", took, aside)
        if text := self.deployment.unsupported_line:
            self.output.console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    def _write(self) -> float:
        """Write users and orders; return the time when the first change was processed.

        The users and the first group of orders start the functions. The delay is measured with the other groups.
        """
        self.output.print_line(f"writing {ORDERS * VERSIONS} changes to {ORDERS} orders, and {USERS} users")
        failing = f"  [dim]one order cannot be written for {WRITE_FAILURE_SECONDS:.0f} s[/]"
        self.output.print_line(failing, "[dim]· one user's language has no template[/]")
        starting, *others = order_groups()
        self._write_batch("users", user_items())
        self._write_orders(starting)
        first = self._show_next(timeout_seconds=START_TIMEOUT_SECONDS)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while first is None or len(self.mirror_writes.written_at) < GROUP_SIZE * VERSIONS:
            if time.monotonic() > deadline:
                raise DemoError(f"no change is processed after {START_TIMEOUT_SECONDS} s: run python -m sandbox up")
            first = self._show_next(timeout_seconds=0.05) or first
        self.measured_since = time.time()
        for group in others:
            self._write_orders(group)
            self._show_for(GROUP_PAUSE_SECONDS)
        return first

    def _write_orders(self, group: list[list[dict[str, Any]]]) -> None:
        for batch in group:
            self.written_at |= dict.fromkeys(map(version_of, batch), time.time())
            self._write_batch("orders", batch)

    def _write_batch(self, table: str, items: list[dict[str, Any]]) -> None:
        requests = [{"PutRequest": {"Item": item}} for item in items]
        name = self.deployment.outputs["tables"][table]["name"]
        self.sandbox.aws.client("dynamodb").batch_write_item(RequestItems={name: requests})

    def _show_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._show_next(timeout_seconds=left)

    def _show_until_idle(self) -> None:
        pool = ThreadPoolExecutor(1)
        idle = pool.submit(self.sandbox.wait_until_idle, IDLE_TIMEOUT_SECONDS)
        pool.shutdown(wait=False)  # an interrupt does not wait for the thread
        while not (idle.done() and self._observed.empty()):
            self._show_next(timeout_seconds=0.05)
        idle.result()

    def _show_next(self, timeout_seconds: float) -> float | None:
        """Print the report of the next invocation and return when it ended; None if there is none within the time."""
        try:
            at, invocation = self._observed.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        self._invocations.append(invocation)
        report = report_of(invocation, self.names)
        self.output.print_report(report)
        if report.consumer == "mirror" and report.entries_of(HELD):
            self.mirror_writes.hold_is_seen = True
        return at

    def check_promises(self) -> bool:
        """Print each promise and whether it is kept; return whether all are."""
        baseline = self._run_baseline()
        checks = [self._check_order(baseline), self._check_once(), self._check_complete(), self._check_kept()]
        return all([*checks, self._check_prompt(baseline), self._check_mended()])

    def _run_baseline(self) -> list[TimedEvent]:
        """Run the baseline with the same changes, written at the same times."""
        mapping = next(each for each in self.deployment.resources if each.registration.name == "mirror-orders")
        failure = WriteFailure()
        return run_baseline(
            [(self.written_at[version_of_event(event)], event) for event in self._events("mirror")],
            mapping.resource_type.request(mapping.registration.inputs),
            refuses=lambda event, now: failure.refuses(version_of_event(event), now),
            refused_write_seconds=self.mirror_writes.refused_write_seconds,
        )

    def _check_order(self, baseline: list[TimedEvent]) -> bool:
        """Check that the mirror got every version of every order, none after a later one, although one write failed."""
        versions, expected = self.mirror_writes.versions, expected_versions()
        late = count_out_of_order(versions)
        holds = late == 0 and set(versions) == set(expected) and self.mirror_writes.failure.began_at is not None
        aside = (
            f"(stock batch processor, same run: {count_out_of_order(version_of_event(event) for _, event in baseline)})"
        )
        return self.output.print_check("order", f"{late} of {len(expected)} out of order", aside, holds=holds)

    def _check_prompt(self, baseline: list[TimedEvent]) -> bool:
        """Check that the other orders' changes in the batch of the failing change were applied before it succeeded."""
        arrived, applied = self.mirror_writes.written_at, dict[Version, float]()
        for at, event in baseline:
            applied.setdefault(version_of_event(event), at)
        measured = {version: at for version, at in self.written_at.items() if at >= self.measured_since}
        failing, late = arrived[FAILING_ORDER, FAILING_VERSION], max_delay_of_others(measured, arrived)
        aside = f"(stock batch processor, same run: {max_delay_of_others(measured, applied):.1f} s)"
        holds = all(arrived[version] < failing for version in failing_group())
        return self.output.print_check("prompt", f"others at most {late:.1f} s late", aside, holds=holds)

    def _check_once(self) -> bool:
        """Check that each user with a template got one mail, also after their changes are delivered again."""
        welcome = [event for event in self._events("welcome-email") if version_of_event(event)[0] != FAILING_USER]
        before = len(self.sandbox.emulator.mails())
        response = self.sandbox.aws.client("lambda").invoke(
            FunctionName=self.deployment.outputs["consumers"]["welcome-email"]["function"],
            Payload=json.dumps({"Records": welcome[:REDELIVERIES]}),
        )
        accepted = json.load(response["Payload"]) == {"batchItemFailures": []}
        mails = Counter(mail["To"][0] for mail in self.sandbox.emulator.mails())
        expected = Counter(user["email"]["S"] for user in user_items() if user["id"]["S"] != FAILING_USER)
        absorbed = REDELIVERIES - (mails.total() - before) if accepted else 0
        text, aside = f"{len(expected)} users, {mails.total()} mails", f"({absorbed} redeliveries absorbed)"
        return self.output.print_check("once", text, aside, holds=mails == expected and absorbed == REDELIVERIES)

    def _check_complete(self) -> bool:
        """Check that the mirror equals the table."""
        source, mirror = self._items("orders"), self._items("orders-mirror")
        equal = sum(mirror.get(order) == item for order, item in source.items())
        holds = source == mirror and len(source) == ORDERS
        return self.output.print_check("complete", "mirror equals orders", f"{equal} of {len(source)}", holds=holds)

    def _check_kept(self) -> bool:
        """Check that the change without a template is in the failure bucket, as it was in the stream."""
        bucket, s3 = self._failure_bucket, self.sandbox.aws.client("s3")
        failures = [read_failure(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in self._failure_keys()]
        kept = [record["dynamodb"]["NewImage"] for failure in failures for record in failure.records]
        holds = kept == [user for user in user_items() if user["id"]["S"] == FAILING_USER]
        text = f"{len(kept)} failure{'' if len(kept) == 1 else 's'}, {'whole, ' if holds else ''}in the failure bucket"
        return self.output.print_check("kept", text, holds=holds)

    def _check_mended(self) -> bool:
        """Mend the failure; check that now each user got one mail, and that the bucket has the failure as redriven."""
        self.output.print_line(f"template added, {' '.join(REDRIVE)}")
        failed = self._failure_keys()
        with self.output.console.status("redriving"):
            function = self.deployment.outputs["consumers"]["welcome-email"]["function"]
            add_template(next(each for each in self.deployment.resources if each.id == function), self.sandbox.poller)
            problem = redrive(self.sandbox.variables())
        mails = Counter(mail["To"][0] for mail in self.sandbox.emulator.mails())
        kept = self._failure_keys()
        redriven = sum(key.startswith("redriven/") for key in kept)
        every_user_once = mails == Counter(user["email"]["S"] for user in user_items())
        text = f"{USERS} users, {mails.total()} mails"
        aside = problem or f"({redriven} failure{'' if redriven == 1 else 's'} redriven)"
        holds = problem is None and every_user_once and kept == [f"redriven/{key}" for key in failed]
        return self.output.print_check("mended", text, escape(aside), holds=holds)

    @property
    def _failure_bucket(self) -> str:
        return self.deployment.outputs["stores"]["failures"]["bucket"]

    def _failure_keys(self) -> list[str]:
        """Return the keys of all objects in the failure bucket."""
        listed = self.sandbox.aws.client("s3").list_objects_v2(Bucket=self._failure_bucket)
        return [each["Key"] for each in listed.get("Contents", ())]

    def _events(self, consumer: str) -> list[Event]:
        """Return the changes that a consumer's mapping has delivered, each once, in the order of the stream."""
        function = self.deployment.outputs["consumers"][consumer]["function"]
        records = (record for each in self._invocations if each.function == function for record in each.records)
        return sorted({sequence_of(record): record for record in records}.values(), key=sequence_of)

    def _items(self, table: str) -> dict[str, Any]:
        """Return the items of a table by order id, without the attributes that put_if_newer adds."""
        name = self.deployment.outputs["tables"][table]["name"]
        found = self.sandbox.aws.client("dynamodb").scan(TableName=name, ConsistentRead=True)["Items"]
        fence = {"change_version", "expiry"}
        return {item["order_id"]["S"]: {key: item[key] for key in item.keys() - fence} for item in found}
