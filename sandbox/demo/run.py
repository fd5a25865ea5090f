"""The first five minutes: the whole system deployed, real changes, a failure, and whether the promises were kept."""

import json
import queue
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.markup import escape

from handler.stream.failures import read_failure
from sandbox import SandboxError
from sandbox.demo.baseline import Timed, stock_writes
from sandbox.demo.proxy import Proxy
from sandbox.demo.workload import (
    ODD_ORDER,
    ODD_USER,
    ODD_VERSION,
    ORDERS,
    OUTAGE_SECONDS,
    TOGETHER,
    USERS,
    VERSIONS,
    Arrivals,
    Outage,
    Version,
    latest_of_others,
    orders,
    out_of_order,
    users,
    version_of,
    written,
)
from sandbox.emulator import free_port
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.deploy import STACK, Deployment, Sandbox
from sandbox.program.in_process import stack_config
from sandbox.report import (
    HELD,
    PARKED,
    RELEASED,
    RETRY_FAILED,
    WAIT,
    Event,
    InvocationReport,
    LogEntry,
    Names,
    report_of,
)

REDELIVERED = 3
FIRST_WITHIN_SECONDS = 30
PAUSE_SECONDS = 0.3
"""Between two groups of orders, so that the later ones come while the odd order is held."""
NEEDED = {"tables": {"users", "orders", "orders-mirror"}, "consumers": {"welcome-email", "mirror"}}
CONFIG = {
    "mailFrom": "hello@example.com",
    # One group of orders is one batch, whatever the speed of this machine.
    "tuning": json.dumps({"mirror": {"batchSize": TOGETHER * VERSIONS, "maximumBatchingWindowInSeconds": 1}}),
}


class DemoError(SandboxError):
    """The program is no longer the one that the demo shows, or does not process changes at all."""


class Show:
    """Tells of what happens, line by line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._versions: dict[tuple[str, int], int] = {}  # by table and sequence number

    def line(self, text: str) -> None:
        """One line, cut where the terminal ends."""
        self.console.print(text, no_wrap=True, overflow="ellipsis", highlight=False)

    def done(self, what: str, seconds: float, aside: str = "") -> None:
        """A step and how long it took."""
        self.line(f"[bold green]✔[/] {what:<26} {seconds:5.1f} s   [dim]{aside}[/]")

    def check(self, name: str, told: str, aside: str = "", *, holds: bool) -> bool:
        """One promise and whether it was kept."""
        mark = "[bold green]✔[/]" if holds else "[bold red]✖[/]"
        self.line(f"{mark} {name:<10} {told:<26} [dim]{aside}[/]")
        return holds

    def report(self, found: InvocationReport) -> None:
        """What is worth telling of an invocation: trouble, what waits for it, that others go on, and its end."""
        for event in (*found.done, *found.held, *found.waiting):
            self._versions[found.table, _sequence(event)] = _version(event)[1]
        for entry in found.entries_of(PARKED):
            self._row(found, entry, f"[red]✖ {escape(entry.error.partition(': ')[2].partition(';')[0])} → parked[/]")
        for entry in found.entries_of(HELD):
            self._held(found, entry)
        for entry in found.entries_of(WAIT):
            self._row(found, entry, f"[yellow]‖ {self._those(entry, entry.sequences)} wait[/]")
        for entry in found.entries_of(RETRY_FAILED):
            self._row(found, entry, f"[red]✖ {_error(entry)}, try {entry.tries}[/]")
        for entry in found.entries_of(RELEASED):
            self._row(found, entry, f"[green]▶ released: {self._those(entry, entry.sequences)} done[/]")

    def _held(self, found: InvocationReport, entry: LogEntry) -> None:
        """An item that is held, its changes that wait, and the first change of another item after it."""
        first = self._those(entry, entry.sequences[:1])
        self._row(found, entry, f"[red]✖ {_error(entry)} ({first}) → held[/]")
        if later := entry.sequences[1:]:
            wait = "waits" if len(later) == 1 else "wait"
            self._row(found, entry, f"[yellow]‖ {self._those(entry, later)} {wait} for {first}[/]")
        others = [event for event in found.done if _sequence(event) > (entry.sequence or 0)]
        for event in others[:1]:
            keys = {name: next(iter(value.values())) for name, value in event["dynamodb"]["Keys"].items()}
            told = f"[green]✔ v{_version(event)[1]}[/]  [dim]other items go on[/]"
            self._line(found, event["eventName"], keys, told)

    def _those(self, entry: LogEntry, sequences: Iterable[int]) -> str:
        return ", ".join(f"v{self._versions[entry.table, each]}" for each in sequences)

    def _row(self, found: InvocationReport, entry: LogEntry, told: str) -> None:
        self._line(found, entry.event_name or "MODIFY", entry.keys, told, entry.table)

    def _line(
        self, found: InvocationReport, event_name: str, keys: Mapping[str, Any], told: str, table: str = ""
    ) -> None:
        item = f"#{keys.get('order_id') or keys['id']}"
        self.line(f"  {table or found.table:<7} {item:<4} {event_name:<7} {found.consumer:<14} {told}")


def _error(entry: LogEntry) -> str:
    return escape(entry.error.partition(":")[0])


def _version(event: Event) -> Version:
    return version_of(event["dynamodb"]["NewImage"])


def _sequence(event: Event) -> int:
    return int(event["dynamodb"]["SequenceNumber"])


class Demo:
    """One run: `run` does it, and says whether every promise was kept."""

    sandbox: Sandbox
    deployment: Deployment
    names: Names

    def __init__(self, console: Console, started: float) -> None:
        self.show = Show(console)
        self.started = started
        self.arrivals = Arrivals()
        self.written: dict[Version, float] = {}  # when each order's version was, in epoch seconds
        self.measured_from = 0.0
        self._observed: queue.SimpleQueue[tuple[float, ObservedInvocation]] = queue.SimpleQueue()
        self._invocations: list[ObservedInvocation] = []

    def run(self) -> bool:
        """Deploy, write, watch, and measure.

        Raises
        ------
        DemoError
            The program lacks what the demo writes to or reads, or processes nothing.
        """
        self.show.line("[bold]table-stream demo[/] · embedded AWS, no account, no Docker")
        config, port = stack_config(STACK) | CONFIG, free_port()
        with Proxy(port, self.arrivals.refuses) as proxy:
            functions = {"AWS_ENDPOINT_URL": proxy.url}
            with Sandbox(config["aws:region"], self._observe, port=port, environment=functions) as self.sandbox:
                self._deploy(config)
                first = self._write() - self.started
                self._watch()
                kept = self.measure()
        self.show.line(f"{time.monotonic() - self.started:.1f} s, the first change after {first:.1f} s")
        self.show.line("Next: make sandbox, then edit handler/welcome_email.py")
        return kept

    def _observe(self, invocation: ObservedInvocation) -> None:
        self._observed.put((time.monotonic(), invocation))

    def _deploy(self, config: dict[str, str]) -> None:
        before = time.monotonic()
        with self.show.console.status("starting AWS, deploying the program"):
            self.deployment = self.sandbox.deploy(config=config)
        took = time.monotonic() - before
        outputs = self.deployment.outputs
        for kind, names in NEEDED.items():
            if missing := names - outputs.get(kind, {}).keys():
                raise DemoError(f"the demo needs {', '.join(sorted(missing))} among the {kind} of __main__.py")
        self.names = Names.from_outputs(outputs)
        self.arrivals.table = outputs["tables"]["orders-mirror"]["name"]
        self.show.done("AWS up", self.sandbox.emulator.boot_seconds)
        aside = f"users, orders → {len(outputs['consumers'])} consumers"
        self.show.done(f"{len(self.deployment.made)} resources deployed", took, aside)
        if told := self.deployment.not_imitated:
            self.show.console.print(told, style="dim", markup=False, highlight=False, soft_wrap=True)

    def _write(self) -> float:
        """Write it all; when the first change was processed.

        Users and the first group of orders start the functions. The other groups are what the lateness is measured of.
        """
        self.show.line(f"writing {ORDERS * VERSIONS} changes to {ORDERS} orders, and {USERS} users")
        odd = f"one order cannot be written for {OUTAGE_SECONDS:.0f} s · one user's language has no template"
        self.show.line(f"  [dim]{odd}[/]")
        starting, *others = orders()
        self._batch("users", users())
        self._write_orders(starting)
        first = self._next(within=FIRST_WITHIN_SECONDS)
        deadline = time.monotonic() + FIRST_WITHIN_SECONDS
        while first is None or len(self.arrivals.first) < TOGETHER * VERSIONS:
            if time.monotonic() > deadline:
                raise DemoError(f"no change was processed within {FIRST_WITHIN_SECONDS} s: see python -m sandbox up")
            first = self._next(within=0.05) or first
        self.measured_from = time.time()
        for group in others:
            self._write_orders(group)
            self._watch_for(PAUSE_SECONDS)
        return first

    def _write_orders(self, group: list[list[dict[str, Any]]]) -> None:
        for together in group:
            self.written |= dict.fromkeys(map(version_of, together), time.time())
            self._batch("orders", together)

    def _batch(self, table: str, items: list[dict[str, Any]]) -> None:
        requests = [{"PutRequest": {"Item": item}} for item in items]
        name = self.deployment.outputs["tables"][table]["name"]
        self.sandbox.aws.client("dynamodb").batch_write_item(RequestItems={name: requests})

    def _watch_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._next(within=left)

    def _watch(self) -> None:
        pool = ThreadPoolExecutor(1)
        settled = pool.submit(self.sandbox.settle)
        pool.shutdown(wait=False)  # whoever interrupts does not wait for it
        while not (settled.done() and self._observed.empty()):
            self._next(within=0.05)
        settled.result()

    def _next(self, within: float) -> float | None:
        """Show what came of the next invocation; when it was answered, None if there is none within those seconds."""
        try:
            at, invocation = self._observed.get(timeout=within)
        except queue.Empty:
            return None
        self._invocations.append(invocation)
        self.show.report(report_of(invocation, self.names))
        return at

    def measure(self) -> bool:
        """Tell of each promise whether it was kept; whether all were."""
        stock = self._stock()
        return all([self._order(stock), self._once(), self._complete(), self._kept(), self._prompt(stock)])

    def _stock(self) -> list[Timed]:
        """What the stock batch processor does with the same changes, written at the same moments."""
        mapping = next(made for made in self.deployment.made if made.registration.name == "mirror-orders")
        outage = Outage()
        return stock_writes(
            [(self.written[_version(event)], event) for event in self._events("mirror")],
            mapping.resource.request(mapping.registration.inputs),
            refuses=lambda event, now: outage.refuses(_version(event), now),
            refused_seconds=self.arrivals.refused_seconds,
        )

    def _order(self, stock: list[Timed]) -> bool:
        """Every version of every order reached the mirror, none after a later one, and the one write was refused."""
        behind = out_of_order(self.arrivals.versions)
        reached = set(self.arrivals.versions) == set(written())
        aside = f"(stock batch processor, same run: {out_of_order(_version(event) for _, event in stock)})"
        holds = behind == 0 and reached and self.arrivals.outage.began is not None
        return self.show.check("order", f"{behind} of {len(written())} out of order", aside, holds=holds)

    def _prompt(self, stock: list[Timed]) -> bool:
        """No change of another order was as late as the one that could not be written."""
        arrived, applied = self.arrivals.first, dict[Version, float]()
        for at, event in stock:
            applied.setdefault(_version(event), at)
        measured = {version: at for version, at in self.written.items() if at >= self.measured_from}
        odd, late = (ODD_ORDER, ODD_VERSION), latest_of_others(measured, arrived)
        aside = f"(stock batch processor, same run: {latest_of_others(measured, applied):.1f} s)"
        holds = late < arrived[odd] - self.written[odd]
        return self.show.check("prompt", f"others at most {late:.1f} s late", aside, holds=holds)

    def _once(self) -> bool:
        """One mail to each user whose language has a template, also when their changes are delivered again."""
        welcome = [event for event in self._events("welcome-email") if _version(event)[0] != ODD_USER]
        before = len(self.sandbox.emulator.mails())
        answer = self.sandbox.aws.client("lambda").invoke(
            FunctionName=self.deployment.outputs["consumers"]["welcome-email"]["function"],
            Payload=json.dumps({"Records": welcome[:REDELIVERED]}),
        )
        accepted = json.load(answer["Payload"]) == {"batchItemFailures": []}
        mails = Counter(mail["To"][0] for mail in self.sandbox.emulator.mails())
        expected = Counter(user["email"]["S"] for user in users() if user["id"]["S"] != ODD_USER)
        absorbed = REDELIVERED - (mails.total() - before) if accepted else 0
        told, aside = f"{len(expected)} users, {mails.total()} mails", f"({absorbed} redeliveries absorbed)"
        return self.show.check("once", told, aside, holds=mails == expected and absorbed == REDELIVERED)

    def _complete(self) -> bool:
        """The mirror holds what the table holds."""
        source, mirror = self._items("orders"), self._items("orders-mirror")
        equal = sum(mirror.get(order) == item for order, item in source.items())
        holds = source == mirror and len(source) == ORDERS
        return self.show.check("complete", "mirror equals orders", f"{equal} of {len(source)}", holds=holds)

    def _kept(self) -> bool:
        """The one change that can never succeed is in the failure store, as the stream had it."""
        bucket, s3 = self.deployment.outputs["stores"]["failures"]["bucket"], self.sandbox.aws.client("s3")
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
        failures = [read_failure(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys]
        kept = [record["dynamodb"]["NewImage"] for failure in failures for record in failure.records]
        holds = kept == [user for user in users() if user["id"]["S"] == ODD_USER]
        told = f"{len(kept)} failure{'' if len(kept) == 1 else 's'}, {'whole, ' if holds else ''}in the failure store"
        return self.show.check("kept", told, holds=holds)

    def _events(self, consumer: str) -> list[Event]:
        """What a consumer's mapping has delivered, each change once, in the stream's order."""
        function = self.deployment.outputs["consumers"][consumer]["function"]
        records = (record for each in self._invocations if each.function == function for record in each.records)
        return sorted({_sequence(record): record for record in records}.values(), key=_sequence)

    def _items(self, table: str) -> dict[str, Any]:
        """Items by order, without what the fence adds."""
        name = self.deployment.outputs["tables"][table]["name"]
        found = self.sandbox.aws.client("dynamodb").scan(TableName=name, ConsistentRead=True)["Items"]
        fence = {"change_version", "expiry"}
        return {item["order_id"]["S"]: {key: item[key] for key in item.keys() - fence} for item in found}
