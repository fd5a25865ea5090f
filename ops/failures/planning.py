"""Reads the failure bucket into a plan: finds the failures, their consumers, and those that the options select."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from handler.stream.change import Change
from handler.stream.engine.batch import InvalidBatchError, read_batch
from handler.stream.failures import Failure, UnreadableFailureError, failure_key, read_failure
from handler.stream.ledger.rows import digest_of
from ops import OpsError
from ops.cli import Session
from ops.failures.bucket import ENGINE, MAPPINGS, REDRIVEN, Body, FailureObjects, Listed
from ops.failures.plan_file import Failed, PlanFile
from ops.items import item_digests
from ops.stack import ConsumerOutputs, Stack
from ops.text.causes import cause_of
from ops.text.lines import cut, printable
from ops.text.progress import progress
from ops.text.times import parse_time

if TYPE_CHECKING:
    from rich.console import Console

FOREIGN, UNREADABLE = "foreign objects", "objects that are no failure records"
POINTERS, NAMELESS = "records without the changes (pointers)", "changes without a key or a sequence number"
OWNERLESS, VANISHED = "objects of consumers that are gone", "objects that another run has moved meanwhile"


@dataclass(frozen=True)
class Selection:
    """Which failures are selected; None selects all."""

    cause: str | None = None
    """Text within the cause or the error."""
    since: datetime | None = None
    items: frozenset[str] | None = None
    """Digests."""

    @classmethod
    def parse(
        cls, cause: str | None, since: str | None, item: str | None, stack: Stack, consumers: Iterable[str]
    ) -> "Selection":
        """Return the selection of a command's options. Raises OpsError if a time or an item is none."""
        items = None if item is None else frozenset(item_digests(item, stack, consumers))
        return cls(cause, parse_time(since, datetime.now(UTC)) if since else None, items)

    def selects(self, failed: Failed, digest: str) -> bool:
        """Return whether a change is selected; its object has been selected by its time."""
        if self.items is not None and digest not in self.items:
            return False
        text = self.cause.lower() if self.cause else ""
        return text in failed.cause.lower() or text in failed.error.lower()


@dataclass
class LeftAlone:
    """Objects and records that no command touches, by category: the number, and the first key as an example."""

    numbers: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, category: str, key: str, number: int = 1) -> None:
        """Count an object or changes of an object."""
        self.numbers[category] += number
        self.examples.setdefault(category, key)

    def print(self, console: "Console") -> None:
        """Print a line for each category."""
        for category, number in self.numbers.items():
            console.print(
                f"  left alone: {category} ({number:,}), as\n    {cut(printable(self.examples[category]), 76)}"
            )

    def as_json(self) -> dict[str, Any]:
        """Return the categories for --json."""
        return {name: {"number": number, "example": self.examples[name]} for name, number in self.numbers.items()}


class Planner:
    """Reads the failures of consumers into a plan.

    Parameters
    ----------
    stack
        The stack; failures of consumers that it does not have are left alone.
    consumers
        The consumers whose failures are wanted, by name.

    Attributes
    ----------
    began : datetime
        The time of the plan by S3's clock. Objects that are written later are not in the plan.
    left_alone : LeftAlone
        What the plan does not have although it is under a prefix of failures.

    Raises
    ------
    OpsError
        A consumer has no stores.
    """

    def __init__(
        self,
        stack: Stack,
        objects: FailureObjects,
        consumers: Mapping[str, ConsumerOutputs],
        selection: Selection | None = None,
    ) -> None:
        self._objects, self._consumers = objects, consumers
        self._parking_names = {name: ledger_name(name, each) for name, each in consumers.items()}
        self._selection = selection or Selection()
        self._ledger_names = {each.ledger_name: name for name, each in stack.consumers.items() if each.ledger_name}
        self._mappings = {uuid: name for name, each in stack.consumers.items() for uuid in each.mappings.values()}
        self._functions = {each.function: name for name, each in stack.consumers.items()}
        self.left_alone = LeftAlone()
        self.began = datetime.now(UTC)
        self._prefixes: list[str] = []

    def count(self) -> int:
        """Fix the time of the plan, and return the number of objects to read."""
        self.began = self._objects.now()
        self._prefixes = list(self._find_prefixes())
        return sum(len(wanted) for wanted in self._pages())

    def run(self, plan: PlanFile, on_object: Callable[[], None] = lambda: None) -> None:
        """Read every selected failure into the plan, after `count`; `on_object` is called after each object."""
        for wanted in self._pages():
            keys = [each.key for each in wanted]
            copied = self._objects.copied_versions(keys)
            for key, body in self._objects.read_all(keys):
                self._add(plan, key, body, copied)
                on_object()

    def _pages(self) -> Iterator[list[Listed]]:
        for prefix in self._prefixes:
            for page in self._objects.pages(prefix):
                wanted = [each for each in page if self._is_in_time(each)]
                if wanted:
                    yield wanted

    def _find_prefixes(self) -> Iterator[str]:
        """Yield the prefixes to read, also those of mappings that are gone: their objects say whose they are."""
        top, keys = self._objects.folders("")
        for foreign in [*(each for each in top if each not in (ENGINE, "aws/", REDRIVEN)), *keys]:
            self.left_alone.add(FOREIGN, foreign)
        names, keys = self._objects.folders(ENGINE)
        for prefix in names:
            consumer = self._ledger_names.get(prefix.removeprefix(ENGINE).rstrip("/"))
            if consumer is None:
                self.left_alone.add(OWNERLESS, prefix)
            elif consumer in self._consumers:
                yield prefix
        uuids, more = self._objects.folders(MAPPINGS)
        for prefix in uuids:
            consumer = self._mappings.get(prefix.removeprefix(MAPPINGS).rstrip("/"))
            if consumer is None or consumer in self._consumers:
                yield prefix
        for key in (*keys, *more):
            self.left_alone.add(FOREIGN, key)

    def _is_in_time(self, listed: Listed) -> bool:
        since = self._selection.since
        return listed.modified <= self.began and (since is None or listed.modified >= since)

    def _add(self, plan: PlanFile, key: str, body: Body | None, copied: Mapping[str, str]) -> None:
        """Add an object to the plan if it is a wanted consumer's."""
        if body is None:
            self.left_alone.add(VANISHED, key)
            return
        try:
            failure = read_failure(body.text)
        except UnreadableFailureError:
            self.left_alone.add(UNREADABLE, key)
            return
        consumer = self._owner(key, failure)
        if consumer is None:
            self.left_alone.add(OWNERLESS, key)
        elif consumer in self._consumers and not failure.records:
            self.left_alone.add(POINTERS, key)
        elif consumer in self._consumers:
            changes = list(named_changes(failure.records))
            if len(changes) < len(failure.records):
                self.left_alone.add(NAMELESS, key, len(failure.records) - len(changes))
            failed = failed_changes(consumer, self._parking_names[consumer], failure, changes, body.modified)
            selected = [each for each, digest in failed if self._selection.selects(each, digest)]
            if selected:
                is_copied = copied.get(key) == body.etag.strip('"')
                plan.add_object(key, body.etag, len(failure.records), is_copied=is_copied, selected=selected)

    def _owner(self, key: str, failure: Failure) -> str | None:
        """Return the consumer whose failure this is: by the key, or by the function of a mapping that is gone."""
        if key.startswith(ENGINE):
            return self._ledger_names.get(key.split("/")[1])
        by_mapping = self._mappings.get(key.removeprefix(MAPPINGS).split("/")[0])
        parts = (failure.function_arn or "").split(":")
        return by_mapping or (self._functions.get(parts[6]) if len(parts) > 6 else None)


def failed_changes(
    consumer: str, ledger_name: str, failure: Failure, changes: Sequence[tuple[Change, str]], modified: datetime
) -> Iterator[tuple[Failed, str]]:
    """Yield the changes of a failure record with their digests."""
    error = failure.error or ""
    cause = cause_of(failure.condition, error)
    try:
        at = datetime.fromisoformat(failure.at).timestamp()
    except ValueError:
        at = modified.timestamp()
    for change, digest in changes:
        text = f"{failure.condition}: {error}" if error else failure.condition
        yield Failed(consumer, failure_key(ledger_name, change), change, cause, text, at), digest


def named_changes(records: Sequence[Any]) -> Iterator[tuple[Change, str]]:
    """Yield the records that name an item and a place in its stream, as the engine demands, with the digests."""
    for record in records:
        try:
            read_batch([record])
        except InvalidBatchError:
            continue
        change = Change(record, "redrive")
        yield change, digest_of(change)


def ledger_name(name: str, consumer: ConsumerOutputs) -> str:
    """Return the consumer's name in the ledger. Raises OpsError if the consumer has no stores."""
    if consumer.ledger_name is None:
        raise OpsError(f"{name} has no stores, so nothing of it is parked, and nothing can be put back")
    return consumer.ledger_name


def read_plan(
    session: Session,
    plan: PlanFile,
    objects: FailureObjects,
    consumers: Mapping[str, ConsumerOutputs],
    selection: Selection,
) -> Planner:
    """Read the failures of consumers into a plan with a progress bar; return the planner."""
    planner = Planner(session.stack, objects, consumers, selection)
    with progress(session.console) as bar:
        listing = bar.add_task("listing", total=None)
        total = planner.count()
        bar.remove_task(listing)
        task = bar.add_task("reading", total=total)
        planner.run(plan, lambda: bar.advance(task))
    return planner
