"""Chromium without a screen, driven over its DevTools protocol: pages as a person at a desk or with a phone sees them.

::

    async with chromium() as browser, browser.page(url) as page:
        await page.until("document.title.includes('marginwatch')")
        await page.press("Tab")
"""

import asyncio
import base64
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

START_S = 60.0
ANSWER_S = 30.0
DEADLINE_S = 20.0
FRAME_BYTES_MAX = 64 * 1024 * 1024
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root, and show only what they serve themselves
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " ")}


class PageError(AssertionError):
    """An expression that could not be evaluated, for example because the page is just being loaded."""


class Browser:
    """A running Chromium, and the one connection over which it is driven."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._reading = asyncio.create_task(self._read())

    async def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; a refusal fails the test with the browser's words."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        call = {"id": self._number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(call | ({"sessionId": session} if session else {})))
        async with asyncio.timeout(ANSWER_S):
            found = await answer
        if "error" in found:
            raise PageError(f"{method}: {found['error']}")
        result: dict[str, Any] = found["result"]
        return result

    @asynccontextmanager
    async def page(
        self,
        url: str,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        phone: bool = False,
        scale: float = 1,
    ) -> "AsyncIterator[Page]":
        """A page in a profile of its own, closed at the end of the block."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = (await self.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
        await page.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await page.send("Emulation.setEmulatedMedia", features=[scheme])
        await page.send("Page.navigate", url=url)
        try:
            yield page
        finally:
            with suppress(ConnectionClosed, TimeoutError):
                await self.send("Target.disposeBrowserContext", browserContextId=context)

    async def close(self) -> None:
        """End the connection."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._socket.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame)
            answer = self._answers.pop(message.get("id", 0), None)
            if answer is not None and not answer.done():
                answer.set_result(message)
            page = self._pages.get(message.get("sessionId", ""))
            if page is not None and "method" in message:
                page.hear(message["method"], message["params"])


class Page:
    """One page, and all that went wrong on it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.troubles: list[str] = []
        """Errors on the console, refusals by the content security policy, uncaught exceptions, failed requests."""
        self.requested: list[str] = []
        """Every address that was asked for."""

    def hear(self, method: str, event: dict[str, Any]) -> None:
        """Keep what matters of an event."""
        match method:
            case "Log.entryAdded" if event["entry"]["level"] in ("error", "warning"):
                self.troubles.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
            case "Runtime.exceptionThrown":
                self.troubles.append(str(event["exceptionDetails"].get("exception", {}).get("description")))
            case "Runtime.consoleAPICalled" if event["type"] in ("error", "warning", "assert"):
                self.troubles.append(str(event["args"]))
            case "Network.requestWillBeSent":
                self.requested.append(event["request"]["url"])

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol for this page."""
        return await self._browser.send(method, self._session, **parameters)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str, deadline_s: float = DEADLINE_S) -> Any:
        """Wait until an expression is true; fails the test with the page's text when it is not in time."""
        ends = time.monotonic() + deadline_s
        while True:
            with suppress(PageError):
                if found := await self.evaluate(expression):
                    return found
            if time.monotonic() > ends:
                text = await self.evaluate("document.body.innerText")
                raise AssertionError(f"not within {deadline_s:g} s: {expression}\n{text}\n{self.troubles}")
            await asyncio.sleep(0.02)

    async def text(self, selector: str) -> str:
        """What stands in the first element that a selector finds, on one line."""
        found = await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return " ".join(str(found).split())

    async def texts(self, selector: str) -> list[str]:
        """What stands in every element that a selector finds."""
        found = await self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")
        return [" ".join(str(text).split()) for text in found]

    async def click(self, selector: str) -> None:
        """Click in the middle of an element, with the mouse."""
        place = f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}});
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        x, y = await self.evaluate(place)
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def press(self, key: str, *, back: bool = False) -> None:
        """Press and release a key; `back` holds Shift meanwhile."""
        code, text = _KEYS[key]
        pressed: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if back else 0}
        pressed |= {"text": text} if text else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **pressed)
        await self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def write(self, text: str) -> None:
        """Type into whatever has the focus."""
        await self.send("Input.insertText", text=text)

    async def screenshot(self, path: Path) -> None:
        """The part in view, as PNG."""
        shot = await self.send("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        path.write_bytes(base64.b64decode(shot["data"]))  # noqa: ASYNC240 - a few hundred kilobytes


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser; skips the test, saying why, when none is installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *_FLAGS,
            f"--user-data-dir={profile}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # it has children, which are ended together
        )
        try:
            address = await _address(process, Path(profile) / "DevToolsActivePort")
            async with connect(address, max_size=FRAME_BYTES_MAX, ping_interval=None, compression=None) as socket:
                browser = Browser(socket)
                try:
                    yield browser
                finally:
                    await browser.close()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _address(process: asyncio.subprocess.Process, port_file: Path) -> str:
    """Where the browser listens, once it has written that down."""
    ends = time.monotonic() + START_S
    while True:
        lines: list[str] = []
        with suppress(FileNotFoundError):
            lines = port_file.read_text().split()  # noqa: ASYNC240 - two lines
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert process.returncode is None, f"chromium ended with {process.returncode}"
        assert time.monotonic() < ends, f"chromium did not come up within {START_S:g} s"
        await asyncio.sleep(0.02)
