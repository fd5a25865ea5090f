"""Watches the program's files, and deploys the program again when they have changed and it can work."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from sandbox import ROOT
from sandbox.edits.checks import Checked, ImportCheck, check_files, using
from sandbox.edits.files import Files, Stamp, differing, forget_modules
from sandbox.edits.problems import ProblemError, describe
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import STACK, Program, Registration
from sandbox.program.plan import FUNCTION, Plan
from sandbox.program.sandbox import Sandbox
from sandbox.resources.assets import Archive

SETTLED_SECONDS = 0.25
"""How long files must have stayed the same: a checkout changes many, one after the other."""
EMPTY_SECONDS = 1.0
"""The same while a file is empty: an editor may empty a file before it writes the new text."""


class Publisher(Protocol):
    """Takes facts, as `sandbox.watch.feed.Feed` does."""

    def publish(self, kind: str, at: float | None = None, **fields: Any) -> object:
        """Publish a fact of now; its fields are values of JSON."""
        ...


class Watcher:
    """Deploys the program again after each change of its files. All its methods are called on one thread.

    Nothing is deployed while a file has a mistake that can be found before: the fact `problem` has it. Functions whose
    code is the same stay as they are. Invocations that run end with the code that they began with, as on AWS.

    Parameters
    ----------
    sandbox, deployment
        The sandbox, and the deployment of the program in it.
    feed
        Takes the facts.
    ask
        Asks the user a question, and returns whether the answer is yes. It is called if consumers or tables would be
        deleted. If the answer is no, everything stays as it is.
    deployed
        Called after each deployment, with the names of the changed resources.
    stamps
        The program's files before the deployment, so that an edit during it is seen. Default: the files of now.
    root, stack
        The program's directory and its stack.
    clock
        Returns the time in seconds.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        deployment: Deployment,
        feed: Publisher,
        ask: Callable[[str], bool],
        deployed: Callable[[Sequence[str]], object],
        stamps: Mapping[Path, Stamp] | None = None,
        *,
        root: Path = ROOT,
        stack: str = STACK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sandbox, self._deployment, self._feed, self._ask = sandbox, deployment, feed, ask
        self._publish_deployed = deployed
        self._root, self._stack, self._clock = root.resolve(), stack, clock
        directory, emulator = sandbox.emulator.directory, sandbox.emulator
        self._imports = ImportCheck(self._root, directory / "imports", emulator.endpoint, emulator.region)
        self._files = Files(self._root, stack)
        self._deployed = self._tried = self._seen = self._files.stamps() if stamps is None else stamps
        self._seen_at = clock()

    def look(self) -> bool:
        """Deploy the program again if its files have changed and have settled; return whether it was deployed.

        The caller calls this a few times a second.
        """
        now: Mapping[Path, Stamp] = self._files.stamps()
        if now != self._seen:
            self._seen, self._seen_at = now, self._clock()
        if now == self._tried:
            return False
        emptied = any(now[path][1] == 0 for path in differing(self._tried, now) if path in now)
        if self._clock() < self._seen_at + (EMPTY_SECONDS if emptied else SETTLED_SECONDS):
            return False
        return self._try(now)

    def redeploy(self) -> bool:
        """Deploy the program again at once, also if nothing has changed; return whether it was deployed."""
        return self._try(self._files.stamps())

    def _try(self, now: Mapping[Path, Stamp]) -> bool:
        edited = differing(self._tried, now)
        self._tried = self._seen = now
        try:
            changes = self._deploy(differing(self._deployed, now), edited)
        except Exception as error:
            self._feed.publish("problem", text=describe(error, self._root))
            return False
        self._deployed = now
        self._publish_deployed(changes)
        return True

    def _deploy(self, changed: set[Path], edited: set[Path]) -> list[str]:
        """Deploy, and return the changes. Files are `changed` since the last deployment, `edited` since a try."""
        check_files(self._root, self._stack, changed)
        forget_modules(self._root, edited)
        program = Program(self._root, self._stack)
        if (region := program.config.get("aws:region")) != self._sandbox.aws.region:
            raise ProblemError(
                f"Pulumi.{self._stack}.yaml: aws:region is {region}, and the sandbox runs in "
                f"{self._sandbox.aws.region}: start the sandbox again"
            )
        functions = [each.registration for each in self._deployment.resources if each.registration.type == FUNCTION]
        archive = _archive(functions)
        if archive and self._only_modules(changed):
            self._imports.check(using(map(_checked, functions), self._root, changed), archive, edited)
        else:
            self._plan(program, edited)
        return self._sandbox.redeploy(self._deployment, program)

    def _only_modules(self, changed: set[Path]) -> bool:
        """Return whether every change is within a module of handler/ that exists before and after.

        Such a change cannot add or delete resources, so that no plan is needed.
        """
        handler = self._root / "handler"
        return all(
            path.is_relative_to(handler) and path.suffix == ".py" and path in self._deployed and path in self._tried
            for path in changed
        )

    def _plan(self, program: Program, edited: set[Path]) -> None:
        """Check what the program would do, and ask if it would delete something that holds data or does work."""
        plan = Plan.of(program, self._deployment)
        if plan.is_empty and self._deployment.resources:
            raise ProblemError("__main__.py:1: the program registers no resource")
        if archive := _archive(plan.functions):
            self._imports.check([*map(_checked, plan.functions)], archive, edited)
        losses = " and ".join(sorted(plan.losses))
        if losses and not self._ask(f"deploying deletes {losses}: go on? y/n"):
            raise ProblemError(
                f"it would delete {losses}, so everything stays as it is. To deploy it, press r and answer y, or start "
                "the sandbox again"
            )
        if losses and differing(self._tried, self._files.stamps()):
            raise ProblemError("files have changed since the question: they are looked at again")


def _archive(functions: list[Registration]) -> Path | None:
    """Return the archive of the functions, if it still exists."""
    archives = (each.inputs.get("code") for each in functions)
    paths = (Path(each.path) for each in archives if isinstance(each, Archive))
    return next((path for path in paths if path.is_file()), None)


def _checked(function: Registration) -> Checked:
    """Return the function's handler, empty with layers, which the check lacks; and the variables that a plan knows."""
    variables: Any = function.inputs.get("environment")
    if isinstance(variables, dict):
        variables = cast("dict[str, Any]", variables).get("variables")
    known = cast("dict[str, Any]", variables) if isinstance(variables, dict) else {}
    handler = "" if "layers" in function.inputs else str(function.inputs.get("handler", ""))
    return Checked(handler, {name: str(value) for name, value in known.items()})
