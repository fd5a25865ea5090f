"""The first five minutes: the whole system deployed, real changes, a failure, and whether the promises were kept."""

import json
import queue
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.markup import escape

from handler.stream.failures import read_failure
from sandbox import SandboxError
from sandbox.deploy import STACK, Deployment, Sandbox
from sandbox.emulator import free_port
from sandbox.invocation import Invocation
from sandbox.outcome import Event, Names, Outcome, outcome
from sandbox.program import stack_config
from sandbox.proxy import Proxy
from sandbox.scene import (
    ODD_ORDER,
    ODD_USER,
    ODD_VERSION,
    ORDERS,
    USERS,
    VERSIONS,
    Arrivals,
    orders,
    out_of_order,
    users,
    version_of,
)
from sandbox.stock import stock_writes

REDELIVERED = 3
FIRST_WITHIN_SECONDS = 30
NEEDED = {"tables": {"users", "orders", "orders-mirror"}, "consumers": {"welcome-email", "mirror"}}
CONFIG = {
    "table-stream:mailFrom": "hello@example.com",
    # Full batches, whatever the speed of this machine.
    "table-stream:tuning": json.dumps({"mirror": {"maximumBatchingWindowInSeconds": 1}}),
}


class DemoError(SandboxError):
    """The program is no longer the one that the demo shows, or does not process changes at all."""


class Show:
    """Tells of what happens, line by line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._waiting: set[str] = set()

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

    def outcome(self, found: Outcome) -> None:
        """What is worth telling of an invocation: trouble, what waits for it, what goes on, and its end."""
        for event, why in found.parked:
            self._row(found, event, f"[red]✖ {escape(why.partition(': ')[2].partition(';')[0])} → parked[/]")
        for event, why in found.failed:
            order, version = _version(event)
            self._waiting.add(order)
            self._row(found, event, f"[red]✖ {why.partition(':')[0]}, try {found.attempt} (v{version})[/]")
            if held := [each for each in found.held if _version(each)[0] == order]:
                wait = "waits" if len(held) == 1 else "wait"
                self._row(found, held[0], f"[yellow]‖ {_versions(held)} {wait} for v{version}[/]")
            others = [each for each in found.done if _sequence(each) > _sequence(event)]
            for other in others[:1]:
                self._row(found, other, f"[green]✔ {_versions([other])}[/]  [dim]other items go on[/]")
        if found.consumer == "mirror" and not found.failed:
            for order in sorted(self._waiting):
                if done := [each for each in found.done if _version(each)[0] == order]:
                    self._waiting.remove(order)
                    self._row(found, done[0], f"[green]✔ {_versions(done)}[/]")

    def _row(self, found: Outcome, event: Event, told: str) -> None:
        keys = event["dynamodb"]["Keys"]
        item = f"#{(keys.get('order_id') or keys['id'])['S']}"
        self.line(f"  {found.table:<7} {item:<4} {event['eventName']:<7} {found.consumer:<14} {told}")


def _version(event: Event) -> tuple[str, int]:
    return version_of(event["dynamodb"]["NewImage"])


def _versions(events: Iterable[Event]) -> str:
    return ", ".join(f"v{_version(event)[1]}" for event in events)


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
        self._observed: queue.SimpleQueue[tuple[float, Invocation]] = queue.SimpleQueue()
        self._invocations: list[Invocation] = []

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

    def _observe(self, invocation: Invocation) -> None:
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
        self.names = Names.of(outputs)
        self.arrivals.table = outputs["tables"]["orders-mirror"]["name"]
        self.show.done("AWS up", self.sandbox.emulator.boot_seconds)
        aside = f"users, orders → {len(outputs['consumers'])} consumers"
        self.show.done(f"{len(self.deployment.made)} resources deployed", took, aside)

    def _write(self) -> float:
        """Write it all, the orders when the first change of a user is processed; when that was."""
        self.show.line(f"writing {ORDERS * VERSIONS} changes to {ORDERS} orders, and {USERS} users")
        self.show.line("  [dim]one order fails once · one user's language has no template[/]")
        self._batch("users", users())
        first = self._next(within=FIRST_WITHIN_SECONDS)
        if first is None:
            raise DemoError(f"no change was processed within {FIRST_WITHIN_SECONDS} s: see python -m sandbox up")
        for together in orders():
            self._batch("orders", together)
        return first

    def _batch(self, table: str, items: list[dict[str, Any]]) -> None:
        requests = [{"PutRequest": {"Item": item}} for item in items]
        name = self.deployment.outputs["tables"][table]["name"]
        self.sandbox.aws.client("dynamodb").batch_write_item(RequestItems={name: requests})

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
        self.show.outcome(outcome(invocation, self.names))
        return at

    def measure(self) -> bool:
        """Tell of each promise whether it was kept; whether all were."""
        return all([self._order(), self._once(), self._complete(), self._kept()])

    def _order(self) -> bool:
        """Every version of every order reached the mirror, none after a later one, and the one call was refused."""
        written = [version_of(item) for together in orders() for item in together]
        behind = out_of_order(self.arrivals.versions)
        holds = behind == 0 and set(self.arrivals.versions) == set(written) and self.arrivals.refused is not None
        mapping = next(made for made in self.deployment.made if made.registration.name == "mirror-orders")
        stock = stock_writes(
            self._events("mirror"),
            mapping.resource.request(mapping.registration.inputs),
            refuses=lambda event: _version(event) == (ODD_ORDER, ODD_VERSION),
        )
        aside = f"(stock batch processor, same run: {out_of_order(map(_version, stock))})"
        return self.show.check("order", f"{behind} of {len(written)} out of order", aside, holds=holds)

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
