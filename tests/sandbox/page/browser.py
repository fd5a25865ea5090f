"""A headless Chromium that a test drives over a pipe, by the Chrome DevTools Protocol; nothing is downloaded."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)
TIMEOUT_SECONDS = 15.0
# Chromium reads commands from the file descriptor 3 and writes to 4.
_START = "import os, sys; read, write = map(os.dup, map(int, sys.argv[1:3])); " + (
    "os.dup2(read, 3); os.dup2(write, 4); [os.set_inheritable(each, True) for each in (3, 4)]; "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class Page:
    """One tab, with what went wrong in it."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb"), os.fdopen(answers, "rb")
        self._number, self._session, self._rest = 0, "", b""
        self.problems: list[str] = []
        """Errors, and breaches of the content security policy; in the order of the page's console."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Close the pipe, which ends Chromium."""
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()
        self._answers.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; note the events that come before it."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._receive()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            content = cast("Any", self._answers).read1(65_536)
            if not content:
                raise AssertionError("Chromium has ended")
            self._rest += content
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        details = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(details["exceptionDetails"]))
            case "Log.entryAdded" if details["entry"]["source"] != "network":  # the log of each refused request
                self.problems.append(details["entry"]["text"])
            case "Runtime.consoleAPICalled" if details["type"] in ("error", "warning", "assert"):
                self.problems.append(json.dumps(details["args"]))
            case _:
                pass

    def look(self, width: int, *, scheme: str = "light", height: int = 900) -> None:
        """Set the width of the page, and whether its user prefers light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        """Go to an address, and wait until the page is loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, also of a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Return the value of an expression as soon as it is true."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (value := self.run(expression)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not so after {TIMEOUT_SECONDS:.0f} s: {expression}; {self.problems}")
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """Return the text of the first element of a selector as the user sees it; empty if there is none."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def save_picture(self, path: Path) -> None:
        """Write a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextlib.contextmanager
def chromium() -> Generator[Page]:
    """Start Chromium with an empty profile, and yield its tab."""
    assert CHROMIUM
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _START, str(command_read), str(answer_write)),
                *(CHROMIUM, *OPTIONS, f"--user-data-dir={profile}"),
            ],
            pass_fds=(command_read, answer_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(answer_write)
        page = Page(command_write, answer_read)
        try:
            yield page
        finally:
            page.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
