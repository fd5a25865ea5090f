"""The first five minutes: the whole system deployed, real changes, a failure, and whether the promises were kept."""

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from handler.stream.failures import read_failure
from sandbox import SandboxError
from sandbox.deploy import STACK, Deployment, Sandbox
from sandbox.emulator import free_port
from sandbox.outcome import Event, Names, Outcome, outcome
from sandbox.poller import Invocation
from sandbox.program import stack_config
from sandbox.proxy import Call, Proxy
from sandbox.stock import stock_writes

USERS, ORDERS, VERSIONS, TOGETHER = 12, 40, 6, 8
"""Orders are written TOGETHER at a time, version by version, so that several versions of one share a batch."""
ODD_USER, ODD_ORDER, ODD_VERSION = "9", "31", 3
REDELIVERED = 3
NEEDED = {"tables": {"users", "orders", "orders-mirror"}, "consumers": {"welcome-email", "mirror"}}
CONFIG = {
    "table-stream:mailFrom": "hello@example.com",
    # Full batches, whatever the speed of this machine.
    "table-stream:tuning": json.dumps({"mirror": {"maximumBatchingWindowInSeconds": 1}}),
}


class DemoError(SandboxError):
    """The program is no longer the one that the demo shows."""


class Arrivals:
    """What reaches the mirror, as the proxy sees it: each write of an order, in order; one call is refused."""

    def __init__(self) -> None:
        self.table: str | None = None
        self.versions: list[tuple[str, int]] = []
        self._refused: str | None = None
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    @property
    def refused(self) -> bool:
        """Whether the one call has been refused."""
        return self._refused is not None

    def refuses(self, call: Call) -> bool:
        """Note a write; whether it is to fail: the first call for the odd version, with all the SDK's own retries."""
        if call.operation != "PutItem" or call.body["TableName"] != self.table:
            return False
        order, version = call.body["Item"]["order_id"]["S"], int(call.body["Item"]["version"]["N"])
        with self._lock:
            if (order, version) == (ODD_ORDER, ODD_VERSION) and self._refused in (None, call.id):
                self._refused = call.id
                return True
            if call.id not in self._seen:
                self._seen.add(call.id)
                self.versions.append((order, version))
            return False


def user(number: int) -> dict[str, Any]:
    """One of the users; one has a language without a template."""
    language = "xx" if str(number) == ODD_USER else ("en", "de", "es")[number % 3]
    return _typed(id=str(number), email=f"user{number}@example.com", name=f"User {number}", language=language)


def orders() -> Iterator[list[dict[str, Any]]]:
    """Writes of all orders, each list at once."""
    for first in range(1, ORDERS + 1, TOGETHER):
        for version in range(1, VERSIONS + 1):
            yield [
                _typed(customer_id=f"c{number % 7}", order_id=str(number), version=version, total=version * 10)
                for number in range(first, first + TOGETHER)
            ]


def _typed(**item: str | int) -> dict[str, Any]:
    return {name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in item.items()}


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
            order, version = _order(event)
            self._waiting.add(order)
            self._row(found, event, f"[red]✖ {why.partition(':')[0]}, try {found.attempt} (v{version})[/]")
            if held := [each for each in found.held if _order(each)[0] == order]:
                wait = "waits" if len(held) == 1 else "wait"
                self._row(found, held[0], f"[yellow]‖ {_versions(held)} {wait} for v{version}[/]")
            others = [each for each in found.done if _sequence(each) > _sequence(event)]
            for other in others[:1]:
                self._row(found, other, f"[green]✔ {_versions([other])}[/]  [dim]other items go on[/]")
        if found.consumer == "mirror" and not found.failed:
            for order in sorted(self._waiting):
                if done := [each for each in found.done if _order(each)[0] == order]:
                    self._waiting.remove(order)
                    self._row(found, done[0], f"[green]✔ {_versions(done)}[/]")

    def _row(self, found: Outcome, event: Event, told: str) -> None:
        keys = event["dynamodb"]["Keys"]
        item = f"#{(keys.get('order_id') or keys['id'])['S']}"
        self.line(f"  {found.table:<7} {item:<4} {event['eventName']:<7} {found.consumer:<14} {told}")


def _order(event: Event) -> tuple[str, int]:
    image = event["dynamodb"]["NewImage"]
    return (image["order_id"]["S"], int(image["version"]["N"])) if "order_id" in image else (image["id"]["S"], 1)


def _versions(events: list[Event]) -> str:
    return ", ".join(f"v{_order(event)[1]}" for event in events)


def _sequence(event: Event) -> int:
    return int(event["dynamodb"]["SequenceNumber"])


class Demo:
    """One run: `run` does it, and says whether every promise was kept."""

    def __init__(self, console: Console, started: float) -> None:
        self.show = Show(console)
        self.started = started
        self.arrivals = Arrivals()
        self._observed: queue.SimpleQueue[tuple[float, Invocation]] = queue.SimpleQueue()
        self._invocations: list[Invocation] = []
        self._first: float | None = None

    def run(self) -> bool:
        """Deploy, write, watch, and measure.

        Raises
        ------
        DemoError
            The program lacks what the demo writes to or reads.
        """
        self.show.line("[bold]table-stream demo[/] · embedded AWS, no account, no Docker")
        config = stack_config(STACK) | CONFIG
        port = free_port()
        with (
            Proxy(port, self.arrivals.refuses) as proxy,
            Sandbox(
                config["aws:region"], self._observe, port=port, environment={"AWS_ENDPOINT_URL": proxy.url}
            ) as sandbox,
        ):
            with self.show.console.status("starting AWS, deploying the program"):
                before = time.monotonic()
                deployment = sandbox.deploy(config=config)
                took = time.monotonic() - before
            self._check_program(deployment)
            self.show.done("AWS up", sandbox.emulator.boot_seconds)
            self.show.done(f"{len(deployment.made)} resources deployed", took, "users, orders → 3 consumers")
            names = Names.of(deployment.outputs)
            self._write(sandbox, deployment, names)
            self._watch(sandbox, names)
            kept = self._measure(sandbox, deployment)
        first = (self._first or time.monotonic()) - self.started
        self.show.line(f"{time.monotonic() - self.started:.1f} s, the first change after {first:.1f} s")
        self.show.line("Next: make sandbox, then edit handler/welcome_email.py")
        return kept

    def _observe(self, invocation: Invocation) -> None:
        self._observed.put((time.monotonic(), invocation))

    @staticmethod
    def _check_program(deployment: Deployment) -> None:
        for kind, names in NEEDED.items():
            if missing := names - deployment.outputs.get(kind, {}).keys():
                raise DemoError(
                    f"__main__.py has no {', '.join(sorted(missing))} among its {kind}; the demo needs them"
                )

    def _write(self, sandbox: Sandbox, deployment: Deployment, names: Names) -> None:
        tables = deployment.outputs["tables"]
        self.arrivals.table = tables["orders-mirror"]["name"]
        changes = ORDERS * VERSIONS
        self.show.line(f"writing {changes} changes to {ORDERS} orders, and {USERS} users")
        self.show.line("  [dim]one order fails once · one user's language has no template[/]")
        dynamodb = sandbox.aws.client("dynamodb")

        def write(table: str, items: list[dict[str, Any]]) -> None:
            requests = [{"PutRequest": {"Item": item}} for item in items]
            dynamodb.batch_write_item(RequestItems={tables[table]["name"]: requests})

        write("users", [user(number) for number in range(1, USERS + 1)])
        self._first = self._next(names)
        for together in orders():
            write("orders", together)

    def _watch(self, sandbox: Sandbox, names: Names) -> None:
        settled = threading.Thread(target=sandbox.settle)
        settled.start()
        while settled.is_alive():
            self._next(names, within=0.05)
        while not self._observed.empty():
            self._next(names)

    def _next(self, names: Names, within: float | None = None) -> float | None:
        """Show what came of the next invocation; when it was answered, None if there is none within those seconds."""
        try:
            at, invocation = self._observed.get(timeout=within)
        except queue.Empty:
            return None
        self._invocations.append(invocation)
        self.show.outcome(outcome(invocation, names))
        return at

    def _measure(self, sandbox: Sandbox, deployment: Deployment) -> bool:
        return all(
            [
                self._order(deployment),
                self._once(sandbox, deployment),
                self._complete(sandbox, deployment),
                self._kept(sandbox, deployment),
            ]
        )

    def _order(self, deployment: Deployment) -> bool:
        """Every version of every order reached the mirror, none after a later one, and the one call was refused."""
        expected = {(str(order), version) for order in range(1, ORDERS + 1) for version in range(1, VERSIONS + 1)}
        behind = out_of_order(self.arrivals.versions)
        holds = behind == 0 and set(self.arrivals.versions) == expected and self.arrivals.refused
        events = self._events(deployment, "mirror")
        refused = next(each for each in events if _order(each) == (ODD_ORDER, ODD_VERSION))
        mapping = next(made for made in deployment.made if made.registration.name == "mirror-orders")
        request = mapping.resource.request(mapping.registration.inputs)
        stock = stock_writes(events, request, refused["dynamodb"]["SequenceNumber"])
        told = f"{behind} of {len(expected)} out of order"
        peer = out_of_order(_order(event) for event in stock)
        return self.show.check("order", told, f"(stock batch processor, same run: {peer})", holds=holds)

    def _once(self, sandbox: Sandbox, deployment: Deployment) -> bool:
        """One mail to each user, whose language has a template, also when their changes are delivered again."""
        welcome = [each for each in self._events(deployment, "welcome-email") if _order(each)[0] != ODD_USER]
        before = len(sandbox.emulator.mails())
        sandbox.aws.client("lambda").invoke(
            FunctionName=deployment.outputs["consumers"]["welcome-email"]["function"],
            Payload=json.dumps({"Records": welcome[:REDELIVERED]}),
        )
        mails = Counter(mail["To"][0] for mail in sandbox.emulator.mails())
        absorbed = REDELIVERED - (mails.total() - before)
        expected = Counter(user(number)["email"]["S"] for number in range(1, USERS + 1) if str(number) != ODD_USER)
        told = f"{len(expected)} users, {mails.total()} mails"
        return self.show.check("once", told, f"({absorbed} redeliveries absorbed)", holds=mails == expected)

    def _complete(self, sandbox: Sandbox, deployment: Deployment) -> bool:
        """The mirror holds what the table holds."""
        source, mirror = (self._items(sandbox, deployment, name) for name in ("orders", "orders-mirror"))
        equal = sum(mirror.get(order) == item for order, item in source.items())
        holds = source == mirror and len(source) == ORDERS
        return self.show.check("complete", "mirror equals orders", f"{equal} of {len(source)}", holds=holds)

    def _kept(self, sandbox: Sandbox, deployment: Deployment) -> bool:
        """The one change that can never succeed is in the failure store, as the stream had it."""
        bucket, s3 = deployment.outputs["stores"]["failures"]["bucket"], sandbox.aws.client("s3")
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
        failures = [read_failure(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys]
        kept = [record["dynamodb"]["NewImage"] for failure in failures for record in failure.records]
        whole = "whole, " if kept == [user(int(ODD_USER))] else ""
        told = f"{len(kept)} failure{'' if len(kept) == 1 else 's'}, {whole}in the failure store"
        return self.show.check("kept", told, holds=bool(whole))

    def _events(self, deployment: Deployment, consumer: str) -> list[Event]:
        """What a consumer's mapping has delivered, each change once, in the stream's order."""
        function = deployment.outputs["consumers"][consumer]["function"]
        records = (record for each in self._invocations if each.function == function for record in each.records)
        return sorted({_sequence(record): record for record in records}.values(), key=_sequence)

    @staticmethod
    def _items(sandbox: Sandbox, deployment: Deployment, table: str) -> dict[str, Any]:
        """Items by order, without what the fence adds."""
        name = deployment.outputs["tables"][table]["name"]
        found = sandbox.aws.client("dynamodb").scan(TableName=name, ConsistentRead=True)["Items"]
        fence = {"change_version", "expiry"}
        return {item["order_id"]["S"]: {key: item[key] for key in item.keys() - fence} for item in found}


def out_of_order(writes: Iterable[tuple[str, int]]) -> int:
    """How many writes came after a later version of their order."""
    latest: dict[str, int] = {}
    behind = 0
    for order, version in writes:
        behind += version < latest.get(order, 0)
        latest[order] = max(version, latest.get(order, 0))
    return behind
