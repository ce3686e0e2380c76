"""The simulator as a server on loopback, and the player that moves the prices."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from connectors.simulator.bybit import BybitServer
from connectors.simulator.control import Control
from connectors.simulator.exchange import Exchange
from connectors.simulator.faults import RestFaults
from connectors.simulator.hyperliquid import HyperliquidServer
from connectors.simulator.okx import OkxServer
from connectors.simulator.rest import RestServer
from connectors.simulator.scenario import AccountSpec, Scenario
from connectors.simulator.streams import Hub
from connectors.simulator.venue import HOST, VenueServer
from monitor.clock import Clock, SystemClock

FOLLOWERS: dict[str, type[VenueServer[Any]]] = {
    server.venue: server for server in (OkxServer, BybitServer, HyperliquidServer)
}
_SHUTDOWN_S = 0.5
_HOUSEKEEPING_S = 0.2
_WATCHED_S = 0.02
_RUSH = 0.5
"""How much of a step must lie between two of them when late ones are made up for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a running simulator listens, and who has an account there.

    `tables` are the ``[[account]]`` tables of every account, also at the venues that follow, with the secrets in them.
    """

    port: int
    accounts: tuple[tuple[str, str, str], ...]
    tables: tuple[dict[str, str], ...]
    scenario: str
    seed: int
    duration_s: float | None
    pid: int

    def to_json(self) -> dict[str, Any]:
        """The ready line. The stream addresses are bases, to which a client adds ``/market/ws`` and the like."""
        http, ws = f"http://{HOST}:{self.port}", f"ws://{HOST}:{self.port}"
        return {
            "rest_url": http,
            "permissions_url": http,
            "market_url": ws,
            "private_url": ws,
            "coin_stream_url": f"{ws}/dstream",
            "control_url": f"{http}/control",
            "accounts": [{"name": name, "api_key": key, "api_secret": secret} for name, key, secret in self.accounts],
            "tables": list(self.tables),
            "scenario": self.scenario,
            "seed": self.seed,
            "duration_s": self.duration_s,
            "pid": self.pid,
        }


class PathPlayer:
    """Moves the prices in real time, and keeps the venue's small clocks; a `control.Player`."""

    def __init__(self, exchange: Exchange, watched: Callable[[], bool]) -> None:
        self._exchange = exchange
        self._watched = watched
        self._going = asyncio.Event()
        self.stopped = asyncio.Event()

    def command(self, action: Literal["pause", "resume"]) -> None:
        """Let the path stand still or go on."""
        if action == "resume":
            self._going.set()
        else:
            self._going.clear()

    def stop(self) -> None:
        """End the simulator."""
        self.stopped.set()

    async def run(self) -> None:
        """Play until the path has ended and lingered, or until stopped; without a path, until stopped."""
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._start(), name="start"),
            asyncio.create_task(self._play(), name="play"),
            asyncio.create_task(self._keep_house(), name="house"),
        ]
        tasks.append(asyncio.create_task(self.stopped.wait(), name="stop"))
        working = set(tasks)
        try:
            while not self.stopped.is_set():
                done, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> None:
        match self._exchange.scenario.start:
            case "now":
                self._going.set()
            case "subscribed":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._exchange.scenario.start_wait_s):
                        while not self._watched():  # noqa: ASYNC110 - asked of every venue, which have no event for it
                            await asyncio.sleep(_WATCHED_S)
                self._exchange.note("path_started")
                self._going.set()
            case "manual":
                pass

    async def _play(self) -> None:
        """One step each tick.

        A late step is made up for, so that a made path keeps its length, but never in a rush: on a machine that stood
        still for a moment no venue sends in one instant what it would have sent in a second.
        """
        loop = asyncio.get_running_loop()
        scenario = self._exchange.scenario
        if scenario.path is None:
            await asyncio.Event().wait()
        step_s = scenario.tick_s / scenario.speed
        while not self._exchange.path_ended:
            await self._going.wait()
            due = loop.time()
            while self._going.is_set() and not self._exchange.path_ended:
                self._exchange.step()
                now = loop.time()
                due = max(due + step_s, now + step_s * _RUSH)
                await asyncio.sleep(due - now)
        await asyncio.sleep(scenario.linger_s)
        self.stopped.set()

    async def _keep_house(self) -> None:
        """End listenKeys whose time is over; repeat the marks while the path stands still."""
        period = self._exchange.scenario.venue.republish_s
        last = self._exchange.clock.now()
        while True:
            await asyncio.sleep(min(_HOUSEKEEPING_S, period) if period else _HOUSEKEEPING_S)
            self._exchange.expire_due()
            now = self._exchange.clock.now()
            still = not self._going.is_set() or self._exchange.path_ended or self._exchange.scenario.path is None
            if period and still and now - last >= period:
                last = now
                self._exchange.publish_marks()


class Simulator:
    """A venue that can be started on loopback, in this process."""

    def __init__(self, scenario: Scenario, seed: int = 1, port: int = 0, clock: Clock | None = None) -> None:
        self.scenario = scenario
        self.seed = seed
        clock = clock or SystemClock()
        self.exchange = Exchange(scenario, seed, clock)
        self.hub = Hub(self.exchange)
        self.exchange.audience = self.hub
        self.rest_faults = RestFaults()
        self.followers = [
            FOLLOWERS[spec.venue](clock).enter(spec, seed, self.exchange.market.marks)
            for spec in scenario.accounts
            if not spec.is_here
        ]
        self.exchange.followers = list(self.followers)
        self.player = PathPlayer(self.exchange, self.watched)
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen, each venue on a port of its own; returns the exchange's. Call `close` afterwards."""
        app = web.Application()
        app.add_routes(RestServer(self.exchange, self.rest_faults).routes())
        app.add_routes(self.hub.routes())
        app.add_routes(Control(self.exchange, self.hub, self.rest_faults, self.player).routes())
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()
        self._port = self._runner.addresses[0][1]
        for follower in self.followers:
            await follower.start()
        return self._port

    def watched(self) -> bool:
        """Whether marks and every account are listened to."""
        return self.hub.watched() and all(follower.watched() for follower in self.followers)

    def address(self, pid: int) -> Address:
        """Where it listens, for the ready line."""
        accounts = tuple((a.name, a.api_key, a.api_secret) for a in self.exchange.accounts.values())
        tables = tuple(self._table(spec) for spec in self.scenario.accounts)
        return Address(self._port, accounts, tables, self.scenario.name, self.seed, self.scenario.duration_s(), pid)

    def _table(self, spec: AccountSpec) -> dict[str, str]:
        head = {"name": spec.name, "venue": spec.venue}
        if not spec.is_here:
            return head | next(follower.table() for follower in self.followers if follower.account == spec.name)
        http, ws = f"http://{HOST}:{self._port}", f"ws://{HOST}:{self._port}"
        stream = ws if spec.venue == "binance" else f"{ws}/dstream"
        urls = {"rest_url": http, "market_url": stream, "private_url": stream, "permissions_url": http}
        account = self.exchange.accounts[spec.name]
        return head | urls | {"api_key": account.api_key, "api_secret": account.api_secret}

    async def run(self) -> None:
        """Play the scenario to its end."""
        await self.player.run()

    async def close(self) -> None:
        """Cut every connection and stop listening."""
        self.hub.close_all()
        if self._runner is not None:
            await self._runner.cleanup()
        for follower in self.followers:
            await follower.close()
