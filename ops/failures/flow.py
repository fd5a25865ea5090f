"""The flow of redrive and replay: the plan on the screen, the first items, the question, the rest, and the result."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from handler.stream.failures import UnreadableFailureError, read_failure
from ops import OpsError
from ops.cli import DONE as ALL_IS_WELL
from ops.cli import LEFT_TO_DO, Session
from ops.concurrency import in_chunks
from ops.failures.bucket import FailureObjects
from ops.failures.ledger import RedrivenChanges
from ops.failures.plan_file import (
    DONE,
    DONE_BEFORE,
    HELD,
    OUTRUN,
    PARKED_AGAIN,
    PLANNED,
    REFUSED,
    TOO_OLD,
    PlanFile,
    PlannedChange,
)
from ops.failures.planning import ledger_name
from ops.failures.redrive import Redrive
from ops.failures.screening import SourceTables, screen
from ops.failures.sending import RetryRuns, Sender
from ops.function import FunctionState
from ops.items import item_text
from ops.text.causes import cause_of
from ops.text.counts import count
from ops.text.lines import one_printable_line
from ops.text.progress import progress
from ops.text.times import iso_minute, span_text

if TYPE_CHECKING:
    from rich.progress import Progress

MAX_CAUSES = 8
"""Causes that the plan and the result name."""
EXAMPLES = 20
"""Changes whose new errors are read at the end of a run."""
MARKS = {PARKED_AGAIN: "✖", REFUSED: "✖", HELD: "‖"}
WORDS = {HELD: "failed again, and waits in its hold"}


@dataclass(frozen=True)
class Limits:
    """How changes are put back."""

    canary: int
    """Whole items that are put back first; 0 for none."""
    rate: float | None
    """Most changes a second; None for no limit."""
    out_of_order: bool
    """Whether changes are put back although later changes of their items may have run."""
    force: bool
    """Whether changes are put back that are older than claims and tombstones live."""


def code_sentence(changed_at: datetime, last_failure: float) -> str:
    """Say whether the function has changed since the last failure."""
    when = "after" if changed_at.timestamp() > last_failure else "before"
    warning = "" if when == "after" else ":\n  the same code may fail again"
    return f"the function last changed {iso_minute(changed_at)}, {when} the last failure{warning}"


class PutBack:
    """Puts the changes of a plan back and talks to the operator.

    Parameters
    ----------
    session, name
        The command's session, and the consumer's name.
    plan
        The plan; `objects` is the bucket that it was read from.
    began
        The time of the plan by S3's clock.
    is_replay
        Whether the changes come from the stream itself.

    Raises
    ------
    OpsError
        The consumer has no stores, its function is gone, or a replay would repeat its effects.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        plan: PlanFile,
        objects: FailureObjects,
        began: datetime,
        limits: Limits,
        *,
        is_replay: bool = False,
    ) -> None:
        self._session, self._console, self._name, self._plan = session, session.console, name, plan
        self._objects, self._began, self._limits = objects, began, limits
        self._consumer, client = session.stack.consumer(name), session.stack.client
        self._client = client
        function = FunctionState.read(client, self._consumer)
        if function is None:
            raise OpsError(f"{self._consumer.function} does not exist: deploy the program first")
        self.function = function
        self._ledger = RedrivenChanges(client, session.stack.stores.ledger.name, ledger_name(name, self._consumer))
        is_safe = self._consumer.fenced or limits.out_of_order
        if is_replay and not (is_safe or self._consumer.claimed):
            raise OpsError(
                f"{name} is neither fenced nor claimed: a replay repeats its effects, and turns items back that later "
                "changes have changed; --out-of-order replays all the same"
            )
        self._is_replay, self._tables = is_replay, None if is_safe or is_replay else SourceTables(client)

    # The plan

    def screen(self) -> None:
        """Leave out changes that must not be put back, and fix the order of the others."""
        remember = None if self._limits.force else self.function.settings.remember_seconds
        with progress(self._session.console) as bar:
            task = bar.add_task("checking", total=None)
            screen(
                *(self._plan, self._ledger, self._tables),
                began=self._began,
                remember_seconds=remember,
                on_items=lambda number: bar.advance(task, number),
            )
        self._plan.queue_items(self._limits.canary)

    def print_plan(self) -> None:
        """Print what would be put back, and what is left out, with the reasons."""
        say, counts = self._console.print, Counter(self._plan.counts())
        planned, items = counts[PLANNED], self._plan.items_left()
        say(f"  {count(planned, 'change')} of {count(items, 'item')} to put back")
        span = self._plan.span()
        if span and self._is_replay:
            say(f"  recorded {span_text(*span)}")
            return
        groups = self._plan.groups(PLANNED)
        for group in groups[:MAX_CAUSES]:
            say(f"    {group.changes:>7,}  {one_printable_line(group.cause, 67)}")
        if span:
            say(f"  failed {span_text(*span)}")
            say(f"  {code_sentence(self.function.changed_at, span[1])}")
        if len(groups) > MAX_CAUSES:
            say(f"             and {len(groups) - MAX_CAUSES} more causes")
        if counts[DONE_BEFORE]:
            say(f"  {counts[DONE_BEFORE]:,} done since an earlier redrive: only their objects are moved")
        if counts[OUTRUN]:
            say(
                f"  {counts[OUTRUN]:,} left out: later changes of their items may have run, and\n"
                f"    {self._name} is not fenced; --out-of-order puts them back"
            )
        if counts[TOO_OLD]:
            days = timedelta(seconds=self.function.settings.remember_seconds).days
            say(
                f"  {counts[TOO_OLD]:,} left out: they are older than claims and tombstones live\n"
                f"    ({days} days), so effects may be repeated; --force puts them back"
            )

    def ask_and_execute(self, described: dict[str, Any]) -> int:
        """Ask, put the changes back, print the plan and the result for --json, and return the exit code.

        `described` has further entries for the JSON of the plan.
        """
        plan = self.plan_json() | described
        code, result = LEFT_TO_DO if self._plan.count() else ALL_IS_WELL, None
        if not self._plan.count(PLANNED, DONE_BEFORE):
            self._console.print(f"  there is nothing to {'replay' if self._is_replay else 'put back'}")
        elif self._session.should_execute():
            code, result = self.execute()
        else:
            return self._session.end_without_executing({"plan": plan, "result": None})
        self._session.print_json({"plan": plan, "result": result})
        return code

    def plan_json(self) -> dict[str, Any]:
        """Return the plan for --json."""
        groups = [
            {"cause": each.cause, "changes": each.changes, "items": each.items} for each in self._plan.groups(PLANNED)
        ]
        return {
            "consumer": self._name,
            "changes": self._plan.counts(),
            "items": self._plan.items_left(),
            "causes": groups,
            "function_changed": self.function.changed_at.isoformat(),
        }

    # Putting back

    def execute(self) -> tuple[int, dict[str, Any]]:
        """Put back the canary, ask, put back the rest; return the exit code and the result for --json."""
        sender = Sender(self._client, self._consumer, self._tables)
        retries = RetryRuns(self._client, self._consumer)
        with progress(self._session.console) as bar:
            tasks = [
                bar.add_task(text, total=self._plan.count(PLANNED), visible=False) for text in ("put back", "done")
            ]

            def on_progress() -> None:
                bar.update(tasks[0], completed=redrive.put_back, visible=True)
                bar.update(tasks[1], completed=redrive.outcomes.done, visible=True)

            redrive = Redrive(
                *(self._plan, sender, self._ledger, self._objects, retries),
                began=self._began,
                rate=self._limits.rate,
                on_progress=on_progress,
            )
            try:
                done = in_chunks((change for _, each in self._plan.each(DONE_BEFORE) for change in each), EXAMPLES)
                redrive.settle_earlier(done)
                if self._canary(redrive, bar):
                    redrive.run(self._limits.canary)
            finally:
                redrive.close()
                bar.stop()
                self._print_result(redrive)
                self._ledger.close()
        is_left = redrive.outcomes.stopped or self._plan.count() > self._plan.count(DONE)
        return LEFT_TO_DO if is_left else ALL_IS_WELL, redrive.as_json()

    def _canary(self, redrive: Redrive, bar: "Progress") -> bool:
        """Put the first items back and show what becomes of them; return whether to go on with the rest."""
        canary, say = self._limits.canary, self._console.print
        if not canary:
            return True
        redrive.run(0, canary)
        bar.stop()
        by_item: dict[str, list[tuple[PlannedChange, str]]] = {}
        for change, state in self._plan.queue(0, canary):
            by_item.setdefault(change.item, []).append((change, state))
        last_error = ""
        for changes in by_item.values():
            title, error = self._outcome(redrive, changes)
            say(one_printable_line(title, 80))
            if error and error != last_error:
                say(f"    {one_printable_line(error, 76)}")
            last_error = error
        done = sum(all(state in (DONE, DONE_BEFORE) for _, state in changes) for changes in by_item.values())
        left = self._plan.count(PLANNED)
        if not left:
            return False
        if done < len(by_item) and self._session.assume_yes:
            say(f"{done} of {len(by_item)} items done: since not all are, {count(left, 'change')} of the rest stay")
            return False
        question = f"{done} of {len(by_item)} items done. Continue with {count(left, 'change')}?"
        if not self._session.confirm(question):
            return False
        bar.start()
        return True

    def _outcome(self, redrive: Redrive, changes: list[tuple[PlannedChange, str]]) -> tuple[str, str]:
        """Return an item's key with what became of its changes, and the error if there is one."""
        [record] = self._plan.records([changes[0][0]])
        name = item_text(record["dynamodb"]["Keys"])
        first = next(((change, state) for change, state in changes if state not in (DONE, DONE_BEFORE)), None)
        if first is None:
            return f"✔ {name}: {count(len(changes), 'change')} done", ""
        change, state = first
        errors: dict[str, Callable[[], str]] = {
            HELD: lambda: redrive.error_of(change.item),
            PARKED_AGAIN: lambda: self._new_error(change),
            REFUSED: lambda: next(iter(redrive.outcomes.refusals), ""),
        }
        return f"{MARKS.get(state, '-')} {name}: {WORDS.get(state, state)}", errors.get(state, str)()

    def _new_error(self, change: PlannedChange) -> str:
        body = self._objects.read(change.key)
        if body is None:
            return "its object has gone"
        try:
            failure = read_failure(body.text)
        except UnreadableFailureError as error:
            return str(error)
        return cause_of(failure.condition, failure.error or "")

    # The result

    def _print_result(self, redrive: Redrive) -> None:
        say, outcomes, counts = self._console.print, redrive.outcomes, Counter(self._plan.counts())
        before = f", {counts[DONE_BEFORE]:,} not yet moved" if counts[DONE_BEFORE] else ""
        say(f"{redrive.put_back:,} put back, {outcomes.done:,} done{before}")
        if outcomes.stopped:
            say(f"stopped: {outcomes.stopped}; {counts[PLANNED]:,} changes stay where they are")
        if counts[PARKED_AGAIN]:
            say(f"{counts[PARKED_AGAIN]:,} parked again:")
            errors = Counter(self._new_error(change) for change in self._plan.in_state(PARKED_AGAIN, EXAMPLES))
            for text, _ in errors.most_common(MAX_CAUSES):
                say(f"  {one_printable_line(text, 78)}")
        if redrive.waiting:
            failing = len(outcomes.failing)
            say(f"{redrive.waiting:,} wait in their holds, where the engine retries them;")
            say(f"  python -m ops held {self._name}{self._session.options} shows them")
            if failing:
                example = one_printable_line(redrive.error_of(min(outcomes.failing)), 76)
                say(f"  {count(failing, 'item')} failed again, as with\n    {example}")
        for reason, number in outcomes.refusals.most_common(MAX_CAUSES):
            say(f"{number:,} refused: {one_printable_line(reason, 66)}")
        if counts[OUTRUN] or counts[TOO_OLD]:
            say(f"{counts[OUTRUN] + counts[TOO_OLD]:,} left out, as the plan says")
