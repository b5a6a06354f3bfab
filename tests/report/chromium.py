"""Open a report in headless Chromium through the DevTools protocol (over a pipe, so no extra package is needed)."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]

PAGE_FACTS = """(async () => {
  const images = [...document.images];
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  return {
    title: document.title,
    images: images.length,
    broken: images.filter(image => !image.complete || image.naturalWidth === 0)
      .map(image => image.alt || image.src.slice(0, 80)),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    text: document.body.innerText,
    height: document.documentElement.scrollHeight,
  };
})()"""

# In a view's frame: does each canvas hold more than one colour, and is each picture there?
FRAME_FACTS = """({
  canvases: [...document.querySelectorAll('canvas')].map(canvas => {
    const context = canvas.getContext('2d');
    if (!context || !canvas.width || !canvas.height) return 0;
    return new Set(new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
  }),
  broken: [...document.images].filter(image => !image.complete || image.naturalWidth === 0).length,
})"""


DRAWN_COLOURS = 20
"""A canvas with a picture on it holds more colours than this; frames, letters and crosshairs alone hold fewer."""


@dataclass(frozen=True)
class PageState:
    """What a page looked like once everything had loaded.

    `requests` are the addresses outside the file itself that the page asked for (data URIs are not requests);
    `canvas_colours` counts the distinct colours on each canvas of each interactive view.
    """

    title: str
    text: str
    n_images: int
    broken_images: list[str]
    console_errors: list[str]
    requests: list[str]
    n_frames: int
    canvas_colours: list[int]
    overflow: int
    screenshot: bytes


def chromium_or_skip() -> str:
    """Path of the browser, or skip the test with the reason."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium here; scripts/install_chromium.sh installs it on Debian as root")
    return program


def open_in_chromium(
    path: str | Path, *, width: int = 1280, dark: bool = False, patience: float = 10, timeout: float = 60
) -> PageState:
    """Open one HTML file and return what the browser made of it; skip the test where there is no Chromium.

    Parameters
    ----------
    path : path-like
    width : int
        Of the window in CSS pixels; 390 is a phone.
    dark : bool
        Ask for the dark colour scheme.
    patience : float
        Seconds an interactive view may take to draw.
    """
    with _browser(chromium_or_skip(), deadline=time.monotonic() + timeout) as browser:
        return _look(browser, Path(path).resolve(), width=width, dark=dark, patience=patience)


def _look(browser: Browser, path: Path, *, width: int, dark: bool, patience: float) -> PageState:
    page = browser.new_page()
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.ask("Emulation.setEmulatedMedia", {"features": [scheme]}, page)
    _resize(browser, page, width, 900)
    browser.ask("Page.navigate", {"url": path.as_uri()}, page)
    browser.wait_for("Page.loadEventFired", page)
    facts = browser.value(PAGE_FACTS, page)
    # Grown to the page's height, so that the picture shows all of it, and so that every view is in sight: a frame out
    # of sight is not rendered, and learns of its width only when it comes into sight.
    _resize(browser, page, width, min(facts["height"], 16000))
    frames = _frames(browser, page, patience)
    shot = browser.ask("Page.captureScreenshot", {"captureBeyondViewport": False}, page)["data"]
    return PageState(
        title=facts["title"],
        text=facts["text"],
        n_images=facts["images"],
        broken_images=facts["broken"] + ["in a view"] * sum(frame["broken"] for frame in frames),
        console_errors=browser.errors,
        requests=[url for url in browser.requests if not url.startswith(("data:", "about:")) and url != path.as_uri()],
        n_frames=len(frames),
        canvas_colours=[colours for frame in frames for colours in frame["canvases"]],
        overflow=facts["overflow"],
        screenshot=base64.b64decode(shot),
    )


def _resize(browser: Browser, page: str, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.ask("Emulation.setDeviceMetricsOverride", size, page)


def _frames(browser: Browser, page: str, patience: float) -> list[dict[str, Any]]:
    """Facts of every view, once each has drawn or patience is at its end."""
    end = time.monotonic() + patience
    sessions = [session for session in browser.sessions if session != page]
    facts: list[dict[str, Any]] = []
    for session in sessions:
        found = browser.value(FRAME_FACTS, session)
        while not (found["canvases"] and min(found["canvases"]) > DRAWN_COLOURS) and time.monotonic() < end:
            time.sleep(0.1)
            found = browser.value(FRAME_FACTS, session)
        facts.append(found)
    return facts


class Browser:
    """The few DevTools commands that the checks need; collects errors and requests on the way."""

    def __init__(self, read: int, write: int, deadline: float) -> None:
        self._read, self._write, self._deadline = read, write, deadline
        self._buffer, self._numbers = b"", itertools.count(1)
        self._seen: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.sessions: list[str] = []

    def new_page(self) -> str:
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._watch(session)
        return session

    def _watch(self, session: str) -> None:
        self.sessions.append(session)
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._send(f"{domain}.enable", {}, session)
        # A sandboxed frame lives in a process of its own: attach to it as well, paused until it is watched.
        attach = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self._send("Target.setAutoAttach", attach, session)
        self._send("Runtime.runIfWaitingForDebugger", {}, session)

    def ask(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        number = self._send(method, parameters, session)
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def value(self, expression: str, session: str) -> Any:
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        result = self.ask("Runtime.evaluate", options, session)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"]["value"]

    def wait_for(self, event: str, session: str) -> None:
        def there() -> bool:
            return any(seen.get("method") == event and seen.get("sessionId") == session for seen in self._seen)

        while not there():
            self._receive()

    def _send(self, method: str, parameters: dict[str, Any], session: str | None) -> int:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return number

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError("Chromium did not answer in time")
            chunk = os.read(self._read, 2**20)
            if not chunk:
                raise RuntimeError("Chromium ended early")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, facts = message.get("method"), message.get("params", {})
        if method == "Target.attachedToTarget" and facts["targetInfo"]["type"] == "iframe":
            self._watch(facts["sessionId"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(facts["exceptionDetails"].get("exception", facts["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
            self.errors.append(str([argument.get("value") for argument in facts["args"]]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.errors.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')[:200]}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Page.loadEventFired":
            self._seen.append(message)


@contextmanager
def _browser(program: str, *, deadline: float) -> Iterator[Browser]:
    """Start Chromium with a new profile; it reads commands on descriptor 3 and answers on 4."""
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    # The shell below moves the ends to 3 and 4: keep them clear of those two numbers.
    inherited = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (command_read, answer_write)]
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        start = f'exec "$@" 3<&{inherited[0]} 4>&{inherited[1]}'
        process = subprocess.Popen(
            ["bash", "-c", start, "chromium", program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        for end in (command_read, answer_write, *inherited):
            os.close(end)
        try:
            browser = Browser(answer_read, command_write, deadline)
            yield browser
            browser.ask("Browser.close", {})
        finally:
            os.close(command_write)
            os.close(answer_read)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
