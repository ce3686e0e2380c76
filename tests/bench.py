"""Measure the hot path on this machine and print it beside the numbers to hold: `make bench`.

Method. Everything runs in this one process unless said otherwise, after a warm-up, with the garbage collector as the
daemon sets it. Short things are timed in batches with `time.perf_counter` and the median batch is
shown, so that a busy neighbour costs a batch and not the figure; figures are for comparing within one run.

* *One frame, 10 legs*: the text of one ``<symbol>@markPrice@1s`` frame given to the market session, and its event to
  the pipeline: parsed, ordered, ten legs in ten pools re-valued and checked. Beside it, alternating with it, ccxt.pro's
  handler for the same text: its JSON loading and `handle_message`, with no subscriber waiting.
* *Alert*: frames that make a pool cross a rung, one at a time, through the real session, pipeline, engine, dispatcher
  and Redis sink with a real redis-server on loopback; from the frame in hand to the return of the write of the XADD on
  the socket. Skipped, and said so, without redis-server.
* *One tick on 10,000 legs*, and *an array frame of 600 symbols over 100,000 legs*: as the first, compiled.
* *Memory*: resident memory of a fresh process that builds the book of 100,000 legs in 1,000 cross accounts, per leg.
* *Idle CPU*: user and system time of `marginwatch run` (SQLite, HTTP on, console) over 15 s beside a simulated exchange
  that sends 20 symbols every 0.2 s to an account with 20 legs: 100 ticks a second.
"""

import asyncio
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import orjson
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from alerts import sinks
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.redis_link import RedisConfig
from alerts.sink import Surroundings
from alerts.sinks import SinksConfig
from alerts.sinks.console import ConsoleConfig
from connectors import FeedSettings
from connectors.binance.product import USD_M
from connectors.binance_common.market import MarketFeed
from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario, VenueSpec
from monitor.book import Book
from monitor.clock import ManualClock, SystemClock
from monitor.daemon import quiet_collector
from monitor.kernel import Kernel, best_kernel, plain_kernel
from monitor.model.account import AccountMode, Position, PositionMode, Wallet
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, SnapshotReason
from monitor.model.ids import Slot
from monitor.pipeline import Pipeline
from monitor.telemetry import Telemetry
from tests.support.accounts import BTC_FLOORS, BTC_RATES, cross, isolated, linear, tiers
from tests.support.daemon import daemon
from tests.support.venue_server import venue_process

BATCHES = 60
IDLE_S = 15.0
SYMBOLS = ["BTCUSDT", *(f"S{i:03d}USDT" for i in range(600))]
CONTRACTS = tuple(linear(symbol, tiers(BTC_FLOORS, BTC_RATES)) for symbol in SYMBOLS)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result."""

    what: str
    measured: str
    wanted: str
    holds: bool | None


class Desk:
    """A market session and a pipeline with accounts, as the daemon has them; every frame is a second after the last."""

    def __init__(self, kernel: Kernel, deliver: Callable[[Any], None] = lambda said: None) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        book = Book(kernel)
        book.warm_up()
        self.engine = Engine(AlertsConfig(), "bench")
        self.pipeline = Pipeline(book, self.engine, deliver, self.clock, self.telemetry)
        self.market = MarketFeed("binance", "ws://127.0.0.1:1", FeedSettings(), self.telemetry, Random(1), USD_M)
        self._at_ms = int(self.clock.now() * 1000)

    def add(self, name: str, positions: tuple[Position, ...], wallet: float) -> None:
        """An account, in sync, with a mark for everything it holds."""
        now = time.perf_counter()
        self.pipeline.add_account("binance", name)
        self.pipeline.handle(InstrumentsLoaded("binance", name, CONTRACTS, 1), now)
        self.pipeline.handle(
            AccountSnapshot(
                "binance", name, "binance", 1, SnapshotReason.START, AccountMode.SINGLE_ASSET, PositionMode.ONE_WAY,
                (Wallet("USDT", wallet),), positions, (),
            ),
            now,
        )  # fmt: skip

    def watch(self, symbols: list[str]) -> None:
        """Open the stream and price everything once."""
        now = self.clock.now()
        self.market.start(now)
        self.market.watch(frozenset(symbols), now)
        self.market.tick(now)
        self.connection = next(action.connection for action in self.market.actions if hasattr(action, "url"))
        self.market.opened(self.connection, now)
        for frame in self.frames({symbol: [100.0, 100.0] for symbol in symbols}):
            self.feed(frame)
        for _ in range(2000):
            if not self.pipeline.warm(self.clock.now()):
                break

    def row(self, symbol: str, price: float) -> dict[str, Any]:
        """One row as the venue sends it."""
        return {
            "e": "markPriceUpdate", "E": self._at_ms, "s": symbol, "p": f"{price:.8f}", "ap": f"{price:.8f}",
            "P": f"{price:.8f}", "i": f"{price:.8f}", "r": "0.00010000", "T": self._at_ms + 3_600_000, "st": 1,
        }  # fmt: skip

    def frames(self, prices: dict[str, list[float]]) -> list[str]:
        """Frames in the order of time: single rows for one symbol, arrays for several."""
        frames = []
        for k in range(len(next(iter(prices.values())))):
            self._at_ms += 1000
            rows = [self.row(symbol, series[k]) for symbol, series in prices.items()]
            frames.append(orjson.dumps(rows[0] if len(rows) == 1 else rows).decode())
        return frames

    def feed(self, frame: str) -> None:
        """What the runner does with a frame."""
        now = self.clock.advance(1.0)
        received = time.perf_counter()
        events = self.market.received(self.connection, frame, now)
        if not events:
            raise AssertionError("the frame was refused: nothing was measured")
        for event in events:
            self.pipeline.handle(event, received)


def batches(run: Callable[[Any], None], inputs: list[list[Any]]) -> float:
    """Median over batches of the mean seconds of one call."""
    means = []
    for batch in inputs:
        start = time.perf_counter()
        for one in batch:
            run(one)
        means.append((time.perf_counter() - start) / len(batch))
    return statistics.median(means)


def walk(n: int, seed: int = 1, spread: float = 0.001) -> list[float]:
    """Prices around 100 that stay where no rung is reached."""
    random = Random(seed)
    return [100.0 * (1.0 + random.uniform(-spread, spread)) for _ in range(n)]


def ccxt_handler() -> Callable[[str], None] | None:
    """Loads and handles a frame as ccxt.pro's client does."""
    try:
        import ccxt.pro as ccxtpro
        from ccxt.async_support.base.ws.client import Client
    except ImportError:
        return None
    exchange = ccxtpro.binance({"options": {"defaultType": "swap"}})
    exchange.set_markets(
        [
            exchange.safe_market_structure(
                {
                    "id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT", "settle": "USDT",
                    "baseId": "BTC", "quoteId": "USDT", "settleId": "USDT", "type": "swap", "spot": False,
                    "swap": True, "future": False, "option": False, "contract": True, "linear": True, "inverse": False,
                    "subType": "linear", "active": True, "contractSize": 1, "precision": {}, "limits": {}, "info": {},
                }
            )
        ]
    )  # fmt: skip

    class _Client:
        url = "wss://fstream.binance.com/market/ws"
        subscriptions: dict[str, Any] = {}  # noqa: RUF012
        futures: dict[str, Any] = {}  # noqa: RUF012

        def resolve(self, result: Any, message_hash: str) -> Any:
            return result

        def reject(self, error: Any, message_hash: str | None = None) -> Any:
            raise error

    client = _Client()
    loads = getattr(sys.modules[Client.__module__], "orjson", None) or __import__("json")

    def handle(text: str) -> None:
        exchange.handle_message(client, loads.loads(text))

    handle(orjson.dumps(Desk(plain_kernel()).row("BTCUSDT", 100.0)).decode())
    if not exchange.tickers and not getattr(exchange, "markPrices", None):
        raise RuntimeError("ccxt took no notice of the frame: the comparison would compare nothing")
    return handle


def one_frame(kernels: list[Kernel]) -> Iterator[Row]:
    """A frame over ten legs, each kernel and ccxt in turn."""
    runs: dict[str, Callable[[str], None]] = {}
    inputs: dict[str, list[list[str]]] = {}
    for kernel in kernels:
        desk = Desk(kernel)
        for k in range(10):
            desk.add(f"a{k}", (cross("BTCUSDT", 1.0, 100.0),), 50.0)
        desk.watch(["BTCUSDT"])
        runs[kernel.name] = desk.feed
        frames = desk.frames({"BTCUSDT": walk(BATCHES * 100)})
        inputs[kernel.name] = [frames[k : k + 100] for k in range(0, len(frames), 100)]
    ccxt = ccxt_handler()
    if ccxt is not None:
        runs["ccxt"] = ccxt
        inputs["ccxt"] = inputs[kernels[0].name]
    means: dict[str, list[float]] = {name: [] for name in runs}
    for k in range(BATCHES):  # in turn, so that a busy moment hits all alike
        for name, run in runs.items():
            means[name].append(batches(run, [inputs[name][k]]))
    median = {name: statistics.median(values[5:]) * 1e6 for name, values in means.items()}
    for kernel in kernels:
        mine = median[kernel.name]
        if ccxt is None:
            yield Row(f"one frame, 10 legs, {kernel.name}", f"{mine:.1f} us", "a third of ccxt (not installed)", None)
        else:
            share = mine / median["ccxt"]
            yield Row(
                f"one frame, 10 legs, {kernel.name}",
                f"{mine:.1f} us; ccxt's handler {median['ccxt']:.1f} us: {share:.2f} of it",
                "at most 0.33 of ccxt's",
                share <= 1 / 3,
            )


def many_legs(kernel: Kernel) -> Row:
    """One tick on 10,000 legs."""
    desk = Desk(kernel)
    for k in range(100):
        positions = tuple(
            Position("BTCUSDT", Slot.BOTH, 1.0, 100.0, p.margin_mode, 0.0) for p in (cross("BTCUSDT", 1.0, 100.0),)
        )
        for i in range(100):
            desk.add(f"a{k}-{i}", positions, 50.0)
    desk.watch(["BTCUSDT"])
    frames = desk.frames({"BTCUSDT": walk(BATCHES * 5)})
    quiet_collector()
    seconds = batches(desk.feed, [frames[k : k + 5] for k in range(0, len(frames), 5)])
    return Row(f"one tick, 10,000 legs, {kernel.name}", f"{seconds * 1e6:.0f} us", "under 150 us", seconds < 150e-6)


def big_desk(kernel: Kernel) -> Desk:
    """100,000 cross legs: 1,000 accounts with 100 symbols each of 600."""
    desk = Desk(kernel)
    for k in range(1000):
        symbols = [f"S{(k * 7 + i * 6) % 600:03d}USDT" for i in range(100)]
        desk.add(f"a{k}", tuple(cross(symbol, 1.0, 100.0) for symbol in symbols), 5000.0)
    return desk


def array_frame(kernel: Kernel) -> Row:
    """A frame of 600 symbols over 100,000 legs."""
    desk = big_desk(kernel)
    symbols = [f"S{i:03d}USDT" for i in range(600)]
    desk.watch(symbols)
    frames = desk.frames({symbol: walk(BATCHES, i) for i, symbol in enumerate(symbols)})
    quiet_collector()
    seconds = batches(desk.feed, [[frame] for frame in frames])
    measured = f"{seconds * 1e3:.2f} ms, text parsing included"
    return Row(f"600-symbol array, 100,000 legs, {kernel.name}", measured, "under 5 ms", seconds < 5e-3)


def memory() -> Row:
    """Resident memory per leg, in a process of its own."""
    script = (
        "import gc, psutil; from tests.bench import Desk, big_desk; from monitor.kernel import best_kernel;"
        "kernel = best_kernel(); Desk(kernel).add('w', (), 1.0); gc.collect(); me = psutil.Process();"
        "before = me.memory_info().rss; desk = big_desk(kernel); gc.collect();"
        "print((me.memory_info().rss - before) / 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    per_leg = float(done.stdout)
    return Row("memory, 100,000 legs", f"{per_leg:.0f} bytes a leg", "under 400", per_leg < 400)


@contextlib.contextmanager
def redis_server() -> Iterator[str | None]:
    """A real redis-server on a free port of the loopback, None when there is none on this machine."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    from tests.support.redis_server import RedisServer

    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


async def alert_latency(kernel: Kernel, url: str, rounds: int = 400) -> list[float]:
    """Seconds from a frame that crosses a rung to its XADD on the socket."""
    sent: list[float] = []
    write = asyncio.StreamWriter.writelines

    def noting(self: asyncio.StreamWriter, data: Any) -> None:
        data = list(data)
        write(self, data)
        if any(b"XADD" in bytes(part) for part in data):
            sent.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        clock, telemetry = SystemClock(), Telemetry()
        config = SinksConfig(console=ConsoleConfig(enabled=False), redis=RedisConfig(url=url))
        outbox = Outbox.open(Path(folder) / "state.sqlite", ["redis"], clock, telemetry)
        dispatcher = Dispatcher(outbox, sinks.build(config, Surroundings(clock, "bench")), clock, telemetry)
        desk = Desk(kernel, dispatcher.submit)
        symbols = [f"S{i:03d}USDT" for i in range(rounds)]
        desk.add("main", tuple(isolated(symbol, 1.0, 100.0, 10.0) for symbol in symbols), 0.0)
        desk.watch(symbols)
        running = asyncio.create_task(dispatcher.run())
        async with asyncio.timeout(10):
            while dispatcher.pending()["redis"] or not telemetry.deliveries.get("redis", "delivered"):
                desk.feed(desk.frames({symbols[0]: [90.6]})[0])
                await asyncio.sleep(0.01)
        quiet_collector()
        asyncio.StreamWriter.writelines = noting  # type: ignore[method-assign]
        took = []
        try:
            for symbol in symbols[1:]:
                (frame,) = desk.frames({symbol: [90.6]})
                await asyncio.sleep(0.003)
                before = len(sent)
                start = time.perf_counter()
                desk.feed(frame)
                async with asyncio.timeout(5):
                    while len(sent) == before:  # noqa: ASYNC110 - the loop's own turns are what is measured
                        await asyncio.sleep(0)
                took.append(sent[before] - start)
        finally:
            asyncio.StreamWriter.writelines = write  # type: ignore[method-assign]
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            outbox.close()
    return took


def alerts(kernel: Kernel) -> Iterator[Row]:
    """The latency of an alert."""
    with redis_server() as url:
        if url is None:
            yield Row("frame to alert on the socket", "not measured: no redis-server", "median < 0.3 ms", None)
            return
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            took = sorted(runner.run(alert_latency(kernel, url)))
    median, p99 = statistics.median(took) * 1e3, took[int(len(took) * 0.99)] * 1e3
    yield Row("frame to alert on the socket, median", f"{median:.2f} ms", "under 0.3 ms", median < 0.3)
    yield Row("frame to alert on the socket, p99", f"{p99:.2f} ms", "under 1 ms", p99 < 1.0)


async def idle_share(folder: Path) -> tuple[float, float]:
    """Share of a core that the daemon takes, and the ticks a second it decided meanwhile."""
    symbols = [f"S{i:02d}USDT" for i in range(20)]
    positions = tuple(
        PositionSpec(symbol=s, size=Decimal(10), entry_price=Decimal(100), isolated_wallet=Decimal(500))
        for s in symbols
    )
    account = AccountSpec(name="main", wallets={"USDT": Decimal(100_000)}, positions=positions)
    marks = dict.fromkeys(symbols, Decimal(100))
    scenario = Scenario(name="idle", marks=marks, accounts=(account,), venue=VenueSpec(republish_s=0.2))
    async with venue_process(scenario, max_seconds=100) as venue, daemon(venue, folder) as process:
        await process.start()
        await asyncio.sleep(3.0)
        me = psutil.Process(process.pid)

        async def ticks() -> float:
            lines = (await process.get("/metrics")).splitlines()
            return next(float(line.split()[1]) for line in lines if line.startswith("marginwatch_ticks_total"))

        ticks_before, before, start = await ticks(), me.cpu_times(), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        after, took = me.cpu_times(), time.perf_counter() - start
        used = after.user + after.system - before.user - before.system
        return used / took, (await ticks() - ticks_before) / took


def idle() -> Row:
    """What watching costs."""
    with tempfile.TemporaryDirectory() as folder:
        share, rate = asyncio.run(idle_share(Path(folder)))
    measured = f"{share:.1%} of a core at {rate:.0f} ticks/s"
    return Row("20 legs, 100 ticks/s, nothing happens", measured, "under 2 % of a core", share < 0.02)


def machine() -> str:
    """What this was measured on."""
    python = f"Python {platform.python_version()}"
    return f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {python}"


def main() -> None:
    """Measure and print the table."""
    console = Console()
    kernel = best_kernel()
    kernels = [kernel] if kernel.name == "plain" else [kernel, plain_kernel()]
    rows: list[Row] = []
    steps: list[Callable[[], list[Row]]] = [
        lambda: list(one_frame(kernels)),
        lambda: list(alerts(kernel)),
        lambda: [many_legs(kernel)],
        lambda: [array_frame(kernel)],
        lambda: [memory()],
        lambda: [idle()],
    ]
    for step in steps:
        rows += step()
        console.print(f"[dim]measured {rows[-1].what}[/dim]")
    table = Table("what", "measured", "to hold", "")
    for row in rows:
        table.add_row(row.what, row.measured, row.wanted, {True: "holds", False: "MISSED", None: "-"}[row.holds])
    console.print(f"\n{machine()}")
    console.print(table)


if __name__ == "__main__":
    main()
