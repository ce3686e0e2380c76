"""The simulated exchange for tests: as a process of its own, or inside the test's process, with a client to steer it.

::

    async with venue_process("idle") as venue:        # or a Scenario
        await venue.act("main", "set_position", symbol="BTCUSDT", size="1")
        await venue.marks(BTCUSDT="75000")
"""

import asyncio
import hashlib
import hmac
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import orjson

from connectors.simulator.scenario import Scenario, by_name
from connectors.simulator.server import Simulator
from monitor.clock import Clock

ROOT = Path(__file__).resolve().parents[2]
_START_S = 20.0
_STOP_S = 5.0
_ANSWER_S = 10.0


class ControlError(AssertionError):
    """The control interface refused; `code` is the simulator's."""

    def __init__(self, status: int, code: int, msg: str) -> None:
        super().__init__(f"HTTP {status}, {code}: {msg}")
        self.status = status
        self.code = code
        self.msg = msg


@dataclass(frozen=True, slots=True)
class Key:
    """An account's API key."""

    name: str
    api_key: str
    api_secret: str


class Venue:
    """A running simulator: its addresses, its keys, and one method for each thing that can be done to it."""

    def __init__(self, info: dict[str, Any], http: aiohttp.ClientSession, simulator: Simulator | None = None) -> None:
        self.info = info
        self.rest_url: str = info["rest_url"]
        self.permissions_url: str = info["permissions_url"]
        self.market_url: str = info["market_url"]
        self.private_url: str = info["private_url"]
        self.control_url: str = info["control_url"]
        self.keys = {each["name"]: Key(**each) for each in info["accounts"]}
        self.pid: int = info["pid"]
        self.simulator = simulator
        self._http = http

    @property
    def key(self) -> Key:
        """The first account's key."""
        return next(iter(self.keys.values()))

    # --- steering

    async def marks(self, **prices: str) -> dict[str, Any]:
        """Set mark prices, which runs the liquidation engine and tells every stream."""
        return await self._control("POST", "marks", prices)

    async def step(self, steps: int = 1) -> dict[str, Any]:
        """Take steps along the price path."""
        return await self._control("POST", "step", {"steps": steps})

    async def path(self, action: str) -> None:
        """``pause`` or ``resume`` the price path."""
        await self._control("POST", "path", {"action": action})

    async def act(self, account: str, action: str, *, silent: bool = False, **arguments: Any) -> int:
        """Let something happen to an account (see `connectors.simulator.actions`); returns how many frames went."""
        answer = await self._control("POST", f"accounts/{account}/{action}", arguments | {"silent": silent})
        return int(answer["frames"])

    async def permissions(self, account: str, **flags: bool) -> dict[str, bool]:
        """Set flags of the key's permissions; ``read_only=True`` puts the harmless set back first."""
        return await self._control("POST", f"accounts/{account}/permissions", flags)

    async def expire_listen_key(self, account: str, *, silent: bool = False) -> bool:
        """End the account's listenKey; True when there was one."""
        answer = await self._control("POST", f"accounts/{account}/expire_listen_key", {"silent": silent})
        return bool(answer["expired"])

    async def brackets(self, symbol: str, brackets: list[tuple[str, str, int]], top: str) -> None:
        """Change a maintenance table: rows of (floor, rate, maximum leverage), and the last cap."""
        await self._control("POST", f"contracts/{symbol}/brackets", {"brackets": brackets, "top": top})

    async def clock_offset(self, offset_ms: int) -> None:
        """Set the venue's clock off from the machine's."""
        await self._control("POST", "clock", {"offset_ms": offset_ms})

    async def rest_fault(self, path: str, kind: str = "status", **fault: Any) -> None:
        """Lay out a fault for requests whose path starts with `path`; see `connectors.simulator.faults.RestFault`."""
        await self._control("POST", "faults", {"fault": "rest", "path": path, "kind": kind} | fault)

    async def stream_fault(self, route: str, kind: str, **fault: Any) -> int:
        """Let something happen to a route's connections; returns how many it met. See `faults.StreamFault`."""
        answer = await self._control("POST", "faults", {"fault": "stream", "route": route, "kind": kind} | fault)
        return int(answer["connections"])

    async def frame_fault(self, route: str, kind: str | None = None, **fault: Any) -> int:
        """Send a spoiled frame on a route; returns to how many connections. See `faults.FrameFault`."""
        answer = await self._control("POST", "faults", {"fault": "frame", "route": route, "kind": kind} | fault)
        return int(answer["connections"])

    async def heal(self) -> None:
        """Take every fault back; what was cut or left half open stays so."""
        await self._control("DELETE", "faults")

    async def stop(self) -> None:
        """Let the simulator end."""
        await self._control("POST", "stop")

    # --- reading

    async def state(self) -> dict[str, Any]:
        """Time, step, marks, number of liquidations."""
        return await self._control("GET", "state")

    async def account(self, name: str) -> dict[str, Any]:
        """The venue's own view of an account: pools, worst ratios, when each rung was passed."""
        return await self._control("GET", f"accounts/{name}")

    async def liquidations(self) -> list[dict[str, Any]]:
        """Every liquidation so far."""
        return await self._control("GET", "liquidations")

    async def log(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The venue's log, whole or of one kind."""
        return await self._control("GET", f"log?kind={kind}" if kind else "log")

    async def connections(self, route: str | None = None) -> list[dict[str, Any]]:
        """Open WebSocket connections, of all routes or of one."""
        every = await self._control("GET", "connections")
        return [each for each in every if route in (None, each["route"])]

    async def until(self, condition: Callable[[], Awaitable[object]], deadline_s: float = 10.0) -> None:
        """Wait until an awaited condition holds; fails after the deadline."""
        async with asyncio.timeout(deadline_s):
            while not await condition():  # noqa: ASYNC110 - the condition lives in another process
                await asyncio.sleep(0.005)

    # --- asking as a client of the venue would

    async def get(self, path: str, key: Key | None = None, **params: Any) -> tuple[int, Any]:
        """Status and JSON of a GET, signed when a key is given."""
        return await self.request("GET", path, key, **params)

    async def request(self, method: str, path: str, key: Key | None = None, **params: Any) -> tuple[int, Any]:
        """Status and JSON of a request, signed when a key is given (`timestamp` may be given to be wrong)."""
        headers = {}
        query = "&".join(f"{name}={value}" for name, value in params.items())
        if key is not None:
            headers["X-MBX-APIKEY"] = key.api_key
            if "timestamp" not in params:
                query = "&".join(filter(None, [query, f"timestamp={int(time.time() * 1000)}"]))
            signature = hmac.new(key.api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
            query += f"&signature={signature}"
        url = f"{self.rest_url}{path}" + (f"?{query}" if query else "")
        async with self._http.request(method, url, headers=headers) as response:
            return response.status, orjson.loads(await response.read())

    async def listen_key(self, key: Key | None = None) -> str:
        """Open (or renew) the account's listenKey."""
        status, body = await self.request("POST", "/fapi/v1/listenKey", key or self.key)
        assert status == 200, body
        return str(body["listenKey"])

    async def _control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        async with self._http.request(method, f"{self.control_url}/{path}", data=data) as response:
            answer = orjson.loads(await response.read())
            if response.status != 200:
                raise ControlError(response.status, answer["code"], answer["msg"])
            return answer


@asynccontextmanager
async def venue_process(
    scenario: Scenario | str = "idle",
    *,
    seed: int = 1,
    port: int = 0,
    tick_s: float | None = None,
    speed: float | None = None,
    max_seconds: float = 120.0,
) -> AsyncIterator[Venue]:
    """The simulator in a process of its own; it ends with the block, and by itself after `max_seconds`."""
    with TemporaryDirectory(prefix="venue-") as folder:
        name = scenario if isinstance(scenario, str) else f"{folder}/scenario.json"
        if isinstance(scenario, Scenario):
            Path(name).write_text(scenario.model_dump_json(), encoding="utf-8")  # noqa: ASYNC240 - a few hundred bytes
        command = [sys.executable, "-m", "connectors.simulator", "--scenario", name, "--seed", str(seed)]
        command += ["--port", str(port), "--max-seconds", str(max_seconds)]
        command += ["--tick", str(tick_s)] if tick_s is not None else []
        command += ["--speed", str(speed)] if speed is not None else []
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_S)
            assert line, f"the simulator ended with {await process.wait()} before it was ready"
            async with _client() as http:
                yield Venue(orjson.loads(line), http)
        finally:
            await _end(process)


@asynccontextmanager
async def venue_in_process(
    scenario: Scenario | str = "idle", *, seed: int = 1, port: int = 0, clock: Clock | None = None
) -> AsyncIterator[Venue]:
    """The simulator on this loop, with `venue.simulator` at hand and perhaps a manual clock; its path is not played."""
    chosen = by_name(scenario) if isinstance(scenario, str) else scenario
    simulator = Simulator(chosen, seed, port, clock)
    await simulator.start()
    try:
        async with _client() as http:
            yield Venue(simulator.address(os.getpid()).to_json(), http, simulator)
    finally:
        await simulator.close()


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S))


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL if that was not enough."""
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
