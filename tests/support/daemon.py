"""The daemon as a process of its own beside a simulated venue: started, killed and asked over HTTP."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.support.server_process import free_port
from tests.support.venue_server import ROOT, Venue

START_S = 30.0
QUICK = "[alerts.stale_feed]\nmark_s = 1.0\naccount_s = 1.0\n"
"""Blindness is told soon."""


def configuration(venue: Venue, directory: Path, port: int, more: str = "", reconcile_s: float = 60.0) -> str:
    """A configuration for every account of the venue, with its keys in the environment."""
    accounts = "\n".join(
        f"""
[[account]]
name = "{name}"
venue = "binance"
api_key = "env:{name.upper()}_KEY"
api_secret = "env:{name.upper()}_SECRET"
rest_url = "{venue.rest_url}"
market_url = "{venue.market_url}"
private_url = "{venue.private_url}"
permissions_url = "{venue.permissions_url}"
reconcile_s = {reconcile_s}
"""
        for name in venue.keys
    )
    return f"""{accounts}
[sinks.console]
format = "json"

[http]
listen = "127.0.0.1:{port}"

[state]
path = "{directory / "state.sqlite"}"
{more}
"""


class Daemon:
    """One configuration and its process, which may be killed and started again."""

    def __init__(self, venue: Venue, directory: Path, more: str = "", reconcile_s: float = 60.0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.path = directory / "marginwatch.toml"
        self.path.write_text(configuration(venue, directory, self.port, more, reconcile_s))
        self.secrets = {
            f"{key.name.upper()}_{part}": value
            for key in venue.keys.values()
            for part, value in (("KEY", key.api_key), ("SECRET", key.api_secret))
        }
        self._process: asyncio.subprocess.Process | None = None
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))

    async def start(self, *, ready: bool = True, env: Mapping[str, str] | None = None) -> None:
        """Start, and wait until it says that it sees everything."""
        with (self.directory / "out").open("ab") as out, (self.directory / "err").open("ab") as err:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "monitor", "run", "--config", str(self.path)),
                cwd=ROOT,
                env={**os.environ, **self.secrets, **(env or {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        if ready:
            await self.until(self.is_ready, "ready", START_S)

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return await self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send any other signal."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    async def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(15):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError("the daemon did not stop") from None

    async def close(self) -> None:
        """End whatever runs."""
        await self.kill()
        await self._http.close()

    async def get(self, path: str) -> Any:
        """JSON (or text) of an HTTP path, None when nobody answers."""
        try:
            async with self._http.get(f"http://127.0.0.1:{self.port}{path}") as response:
                body = await response.read()
                return orjson.loads(body) if "json" in response.content_type else body.decode()
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def order(self, path: str, *, method: str = "POST", **body: str | float) -> None:
        """Give an order over HTTP."""
        headers = {"Authorization": f"Bearer {(self.directory / 'state.sqlite.token').read_text().strip()}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self._http.request(method, url, json=body or None, headers=headers) as answer:
            assert answer.status < 300, await answer.text()

    async def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            async with self._http.get(f"http://127.0.0.1:{self.port}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def pools(self) -> dict[str, Any]:
        """Pool id to what /api/v1/pools says of it."""
        answer = await self.get("/api/v1/pools") or {"pools": []}
        return {pool["pool"]: pool for pool in answer["pools"]}

    def said(self) -> list[dict[str, Any]]:
        """Every message that left on the console so far, over all starts."""
        lines = (self.directory / "out").read_bytes().splitlines() if (self.directory / "out").exists() else []
        return [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def log(self) -> str:
        """Its standard error over all starts."""
        return (self.directory / "err").read_text()

    async def until(self, holds: Callable[[], Any], what: str, deadline_s: float = 20.0) -> None:
        """Wait until something (awaitable or not) holds; fails with `what` and the end of the log when it does not."""
        ends = time.monotonic() + deadline_s
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            assert self._process is None or self._process.returncode is None, f"the daemon ended:\n{self.log()[-3000:]}"
            assert time.monotonic() < ends, f"not within {deadline_s:g} s: {what}\n{self.log()[-3000:]}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def daemon(venue: Venue, directory: Path, more: str = "", reconcile_s: float = 60.0) -> AsyncIterator[Daemon]:
    """A daemon beside a venue, not started yet; whatever runs at the end is ended."""
    process = Daemon(venue, directory, more, reconcile_s)
    try:
        yield process
    finally:
        await process.close()
