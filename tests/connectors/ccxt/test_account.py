"""Accounts at three exchanges on loopback, through the real ccxt: what arrives, and what goes wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors import FeedSettings
from connectors.ccxt import build, check, library
from connectors.ccxt.account import AccountRunner
from monitor.book import Book
from monitor.errors import DangerousKeyError
from monitor.margin.venues import rules_of
from monitor.model.assessment import Basis, FeedState, PoolAssessment
from monitor.model.events import (
    AccountSnapshot,
    Event,
    FeedChanged,
    InstrumentsLoaded,
    Marks,
)
from monitor.telemetry import Telemetry
from tests.connectors.ccxt.stage import account
from tests.connectors.compliance import QuickClock
from tests.support.ccxt_server import DIALECTS, Bitget, CcxtServer, Gate, ccxt_server, frame

SETTINGS = FeedSettings(connect_s=2.0, request_s=2.0, send_s=1.0, poll_s=0.01)
DEADLINE_S = 25.0

BITGET_QUESTIONS = 4
"""For positions in one snapshot: USDT, USDC, and the two coins of the one inverse contract."""

POOLS = {
    "bitget": {"bitget/main/BTCUSDT:long": (3000.0, 363.4), "bitget/main/USDT": (2050.0, 55.72)},
    "gate": {"gate/main/BTC_USDT:long": (3000.0, 375.25), "gate/main/USDT": (3000.0, 86.0)},
    "krakenfutures": {"krakenfutures/main/USD": (4000.0, 800.0)},
}
"""Margin balance and maintenance margin at the fixtures' marks, as in their comments and in `test_translate`."""


class LeapingClock(QuickClock):
    """One on which hours may pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.leapt_s = 0.0

    def now(self) -> float:
        """With all that was leapt."""
        return super().now() + self.leapt_s


@dataclass
class Watch:
    """A running account, everything it said, and the book that it keeps."""

    server: CcxtServer
    clock: LeapingClock
    telemetry: Telemetry = field(default_factory=Telemetry)
    events: list[Event] = field(default_factory=list)
    book: Book = field(default_factory=Book)
    task: asyncio.Task[None] | None = None
    runner: AccountRunner | None = None

    def handle(self, event: Event, received: float) -> None:
        """Remember, and apply as the daemon does."""
        self.events.append(event)
        match event:
            case InstrumentsLoaded():
                self.book.load_instruments(event)
            case AccountSnapshot():
                self.book.apply_snapshot(event)
            case Marks():
                self.book.apply_marks(event, self.clock.now())

    def of(self, kind: type[Event]) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def states(self, stream: str) -> list[FeedState]:
        """How a stream's state went."""
        return [event.state for event in self.of(FeedChanged) if event.stream == stream]

    def state(self, stream: str) -> FeedState | None:
        """Where it is."""
        return next(reversed(self.states(stream)), None)

    def pools(self) -> dict[str, PoolAssessment]:
        """Every pool."""
        return {pool.pool: pool for pool in map(self.book.assess, self.book.rows())}

    def detail(self, stream: str) -> str:
        """What is said of a stream at the moment."""
        assert self.runner is not None
        (told,) = [feed.detail for feed in self.runner.health(self.clock.now()) if feed.stream == stream]
        return told

    def size(self) -> float:
        """Contracts of BTC, in coins."""
        found = self.of(AccountSnapshot)[-1].positions
        contracts = sum(each.size for each in found if each.instrument == self.server.dialect.instrument)
        return float(contracts / 10_000 if self.server.dialect.name == "gate" else contracts)

    def error(self) -> BaseException | None:
        """What it ended with."""
        return self.task.exception() if self.task is not None and self.task.done() else None

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; fails after the deadline, saying what was waited for and what was seen."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                while not condition():  # noqa: ASYNC110 - the condition is anybody's
                    await asyncio.sleep(0.01)
                return
        changes = "\n".join(map(str, self.of(FeedChanged)))
        raise AssertionError(f"waited in vain for: {what}\n{changes}\n{self.error()!r}")

    async def in_sync(self) -> None:
        """Wait until everything is live, and every mark has come by the stream."""
        await self.until(
            lambda: (
                {self.state(s) for s in ("account", "user", "mark")} == {FeedState.LIVE}
                and self.server.streams("user")
                and not self.book.ledger.unseen()
            ),
            "a live account",
        )


@asynccontextmanager
async def watching(server: CcxtServer, *, ticking: bool = True, **changes: Any) -> AsyncIterator[Watch]:
    """Run an account while marks come, until the block ends; then it must stop in bounded time."""
    watch = Watch(server, LeapingClock())
    settings = account(server, **changes)
    watch.book.add_account(settings.venue, settings.name, rules_of(settings.venue))
    (watch.runner,) = build([settings], watch.handle, watch.clock, watch.telemetry, SETTINGS)
    watch.task = asyncio.create_task(watch.runner.run())
    ticker = asyncio.create_task(_tick(server) if ticking else asyncio.sleep(0))
    try:
        yield watch
    finally:
        ticker.cancel()
        watch.task.cancel()
        async with asyncio.timeout(5.0):
            await asyncio.gather(ticker, watch.task, return_exceptions=True)


async def _tick(server: CcxtServer) -> None:
    while True:
        await server.mark()
        await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against ccxt's pauses between requests: they are for the real exchanges, and longer than these tests."""
    make = library.make
    monkeypatch.setattr(library, "make", lambda exchange, config: make(exchange, config | {"rateLimit": 10}))


@pytest.fixture(params=sorted(DIALECTS))
async def server(request: pytest.FixtureRequest) -> AsyncIterator[CcxtServer]:
    """Each exchange in turn."""
    async with ccxt_server(request.param) as running:
        yield running


@pytest.fixture
async def bitget() -> AsyncIterator[CcxtServer]:
    """One exchange, for what no exchange has its own way of."""
    async with ccxt_server("bitget") as running:
        yield running


# -- what arrives


async def test_pools_marks_and_changes_arrive(server: CcxtServer) -> None:
    """Pools are as reported, move with the marks while maintenance is held, and a trade is told within moments."""
    async with watching(server) as watch:
        await watch.in_sync()
        pools = watch.pools()
        assert {name: (p.margin_balance, p.maintenance_margin) for name, p in pools.items()} == {
            name: pytest.approx(figures) for name, figures in POOLS[server.dialect.name].items()
        }
        assert {pool.basis for pool in pools.values()} == {Basis.REPORTED}
        first = next(iter(POOLS[server.dialect.name]))
        snapshots = len(watch.of(AccountSnapshot))
        await server.mark(78_500.0)
        await watch.until(lambda: watch.pools()[first].legs[0].mark_price == 78_500.0, "the new mark")
        if len(watch.of(AccountSnapshot)) == snapshots:
            moved, before = watch.pools()[first], pools[first]
            assert moved.margin_balance == pytest.approx(before.margin_balance - 500.0)
            assert moved.maintenance_margin == before.maintenance_margin
        told = watch.telemetry.frames.get(server.dialect.name, "user")
        await server.trade(2)
        await watch.until(lambda: watch.size() == 2.0, "the new size")
        assert watch.telemetry.frames.get(server.dialect.name, "user") > told


async def test_only_reading_is_asked(server: CcxtServer) -> None:
    """Nothing but GET leaves, and over the sockets only log-ins and subscriptions."""
    async with watching(server) as watch:
        await watch.in_sync()
        await server.trade(2)
        await watch.until(lambda: watch.size() == 2.0, "the new size")
    assert {method for method, _ in server.requests} == {"GET"}
    assert server.heard
    assert not [text for text in server.heard if "order" in text and "positions" not in text]


async def test_a_position_that_is_closed_is_gone(server: CcxtServer) -> None:
    """With its pool."""
    first = next(iter(POOLS[server.dialect.name]))
    async with watching(server) as watch:
        await watch.in_sync()
        await server.trade(0)
        await watch.until(lambda: first not in watch.pools(), "the end of the pool")


async def test_check_tells_what_is_there(server: CcxtServer) -> None:
    """What ccxt can do, that the key's rights are unknown, and every pool."""
    lines = await check(account(server), QuickClock())
    assert {line.subject for line in lines} >= {"ccxt", "permissions", "snapshot"}
    told = {line.subject: line for line in lines}
    assert told["permissions"].ok is None
    pools = {name.rpartition("/")[2] for name in POOLS[server.dialect.name]}
    assert pools == {line.subject.removeprefix("pool ") for line in lines if line.subject.startswith("pool ")}
    assert any(isinstance(event, AccountSnapshot) for event in told["snapshot"].events)
    (refused,) = [
        line
        for line in await check(account(server, allow_dangerous_key=False), QuickClock())
        if line.subject == "permissions"
    ]
    assert refused.ok is False


# -- the key


async def test_a_key_of_unknown_rights_is_refused(bitget: CcxtServer) -> None:
    """Before anything is asked, and with what to do about it."""
    async with watching(bitget, allow_dangerous_key=False) as watch:
        await watch.until(watch.error, "the end")
        assert isinstance(watch.error(), DangerousKeyError)
        assert "allow_dangerous_key = true" in str(watch.error())
        assert bitget.requests == []


# -- requests


async def test_an_answer_that_ccxt_takes_for_empty_is_not_believed_at_once(bitget: CcxtServer) -> None:
    """Neither at the start nor later are the positions gone because one answer had another shape."""
    odd = [("all-position", 200, '{"code":"00000","data":{}}')] * BITGET_QUESTIONS
    bitget.refusals += odd
    async with watching(bitget) as watch:
        await watch.in_sync()
        bitget.refusals += odd
        await watch.until(lambda: not bitget.refusals, "the odd answers")
        seen = len(watch.of(AccountSnapshot))
        await watch.until(lambda: len(watch.of(AccountSnapshot)) > seen, "a snapshot")
        assert all(snapshot.positions for snapshot in watch.of(AccountSnapshot))


async def test_an_account_without_positions_is_in_sync(bitget: CcxtServer) -> None:
    """Once it has said so twice; then there is no pool, and nothing that could be stale."""
    bitget.refusals += [("all-position", 200, '{"code":"00000","data":[]}')] * 1000
    async with watching(bitget) as watch:
        await watch.until(lambda: watch.state("account") is FeedState.LIVE, "a live account")
        assert watch.pools() == {}
        assert watch.state("mark") is FeedState.LIVE


async def test_answers_that_hang_make_the_account_stale(bitget: CcxtServer) -> None:
    """And it is live again when they come again; the marks go on meanwhile."""
    async with watching(bitget) as watch:
        await watch.in_sync()
        bitget.hanging = "all-position"
        await watch.until(lambda: watch.state("account") is FeedState.STALE, "a stale account")
        seen = len(watch.of(Marks))
        await watch.until(lambda: len(watch.of(Marks)) > seen + 2, "marks that go on")
        bitget.hanging = None
        await watch.until(lambda: watch.state("account") is FeedState.LIVE, "a live account")


# -- which positions are asked for


async def test_positions_that_are_margined_in_coins_are_seen() -> None:
    """Of an account that holds nothing else, which would be shown as flat without them."""
    async with ccxt_server("bitget") as bitget:
        assert isinstance(bitget.dialect, Bitget)
        bitget.dialect.in_coins, bitget.dialect.alone, bitget.size = True, True, 0
        async with watching(bitget) as watch:
            await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
            (held,) = watch.of(AccountSnapshot)[-1].positions
            assert (held.instrument, held.size) == ("BTCUSD", 0.4)
            assert watch.detail("account") == ""


async def test_what_is_not_known_to_be_asked_for_is_said() -> None:
    """In the account's detail, in the log once, and by `check`, as long as the exchange has such contracts."""
    async with ccxt_server("gate") as gate:
        assert isinstance(gate.dialect, Gate)
        gate.dialect.delivers = True
        unseen = "not known to be seen: positions in linear futures in USDT"
        with capture_logs() as logs:
            async with watching(gate) as watch:
                await watch.in_sync()
                seen = len(watch.of(AccountSnapshot))
                await watch.until(lambda: len(watch.of(AccountSnapshot)) > seen + 1, "more snapshots")
                assert watch.detail("account") == unseen
        assert [line["log_level"] for line in logs if unseen in line["event"]] == ["warning"]
        (line,) = [line for line in await check(account(gate), QuickClock()) if line.subject == "coverage"]
        assert (line.ok, line.text) == (None, unseen)
        gate.dialect.delivers = False
        assert not [line for line in await check(account(gate), QuickClock()) if line.subject == "coverage"]


async def test_params_say_what_is_asked_for(bitget: CcxtServer) -> None:
    """In place of what is known of the exchange, and what they leave out is named."""
    async with watching(bitget, params=[{"productType": "USDT-FUTURES"}]) as watch:
        await watch.in_sync()
        assert watch.detail("account") == "not known to be seen: positions in inverse swaps in BTC"
    asked = {query for _, query, _ in bitget.asked if "all-position" in query}
    assert len(asked) == 1


# -- definitions


def loaded(watch: Watch) -> list[float]:
    """The first tier's rate of BTC each time that the contract was told."""
    return [
        each.tiers[0].rate
        for event in watch.of(InstrumentsLoaded)
        for each in event.instruments
        if each.symbol == watch.server.dialect.instrument
    ]


async def test_contracts_and_tiers_are_read_again_on_the_timer(bitget: CcxtServer) -> None:
    """An hour after the last time, and not sooner."""
    assert isinstance(bitget.dialect, Bitget)
    async with watching(bitget) as watch:
        await watch.in_sync()
        bitget.dialect.maintenance = "0.0045"
        for leapt_s, again in ((3000.0, False), (3700.0, True)):
            watch.clock.leapt_s, seen = leapt_s, len(watch.of(AccountSnapshot))
            await watch.until(lambda seen=seen: len(watch.of(AccountSnapshot)) > seen + 2, "snapshots")
            if again:
                await watch.until(lambda: len(loaded(watch)) > 1, "other tiers")
                await watch.until(lambda: len(contracts_asked(bitget)) == 2, "the markets")
            else:
                assert len(contracts_asked(bitget)) == 1
        assert loaded(watch) == [0.004, 0.0045]


def contracts_asked(server: CcxtServer) -> list[float]:
    """When Bitget's contracts in USDT were asked for."""
    return [at for at, query, _ in server.asked if "market/contracts?productType=USDT" in query]


@pytest.mark.parametrize("fault", ["refused", "hangs"])
async def test_definitions_that_cannot_be_read_again_stay_and_stop_nothing(bitget: CcxtServer, fault: str) -> None:
    """Snapshots go on with the old ones; it is said in the log once and in the detail, and is over when they come."""
    with capture_logs() as logs:
        async with watching(bitget) as watch:
            await watch.in_sync()
            before, asked = watch.pools(), len(contracts_asked(bitget))
            if fault == "refused":
                bitget.refusals += [("market/", 503, "{}")] * 1000
            else:
                bitget.hanging = "market/"
            watch.clock.leapt_s = 3700.0
            await watch.until(lambda: "may be out of date" in watch.detail("account"), "the fault in the detail")
            seen = len(watch.of(AccountSnapshot))
            await watch.until(lambda: len(watch.of(AccountSnapshot)) > seen + 2, "snapshots that go on")
            await watch.in_sync()
            assert watch.pools().keys() == before.keys()
            assert loaded(watch) == [0.004]
            if fault == "refused":
                until = watch.clock.now() + 60.0
                await watch.until(lambda: watch.clock.now() > until, "a minute")
                assert 1 <= len(contracts_asked(bitget)) - asked <= 6
            bitget.heal()
            watch.clock.leapt_s += 3700.0
            await watch.until(lambda: watch.detail("account") == "", "definitions that were read again")
            assert watch.state("account") is FeedState.LIVE
    said = [line for line in logs if "may be out of date" in line["event"] and "load_markets" in line["event"]]
    assert [line["log_level"] for line in said] == ["warning", "info"]


async def test_a_contract_that_was_listed_since_is_looked_for(bitget: CcxtServer) -> None:
    """What is held and not among the markets is asked for again at once, and then after pauses that grow."""
    listed = frame("bitget_contracts")
    listed["data"] = listed["data"][1:]
    bitget.refusals += [("mix/market/contracts", 200, json.dumps(listed))]
    async with watching(bitget) as watch:
        await watch.until(lambda: "bitget/main/BTCUSDT:long" in watch.pools(), "the pool by its own name")
        assert len(contracts_asked(bitget)) == 2


# -- streams


async def test_marks_that_fail_to_come_are_noticed_and_asked_for(server: CcxtServer) -> None:
    """The stream is acknowledged and silent: stale, then ccxt is asked by other ways, which have the marks."""
    async with watching(server) as watch:
        await watch.in_sync()
        server.silent.add("mark")
        await watch.until(lambda: watch.state("mark") is FeedState.STALE, "stale marks")
        await watch.until(lambda: watch.state("mark") is FeedState.LIVE, "marks by another way")


async def test_tickers_without_a_mark_are_no_marks(bitget: CcxtServer) -> None:
    """ccxt says that it has tickers; that a mark is in them it does not say. The positions themselves tell it."""
    bitget.never_mark = True
    async with watching(bitget) as watch:
        await watch.until(lambda: watch.of(Marks) and watch.state("mark") is FeedState.LIVE, "marks")
        assert watch.detail("mark") == "fetch_positions"
        assert set(watch.of(Marks)[-1].prices) == {bitget.price, 1990.0}


async def test_a_stream_that_misses_a_change_is_found_out(server: CcxtServer) -> None:
    """The snapshot heals the size; the stream is stale and made anew, and tells again."""
    async with watching(server) as watch:
        await watch.in_sync()
        await watch.until(lambda: watch.state("user") is FeedState.LIVE, "a live stream")
        await server.trade(2)
        await watch.until(lambda: watch.size() == 2.0, "the size by the stream")
        await watch.in_sync()
        await server.trade(3, silent=True)
        await watch.until(lambda: watch.size() == 3.0, "the size by a snapshot")
        await watch.until(lambda: watch.states("user").count(FeedState.LATE) > 1, "a stream in doubt")
        await watch.in_sync()


async def test_a_frame_that_ccxt_cannot_read_ends_the_connection_and_not_the_watch(bitget: CcxtServer) -> None:
    """ccxt itself would stop reading, in silence and for ever."""
    async with watching(bitget) as watch:
        await watch.in_sync()
        for stream in ("user", "mark"):
            await bitget.push(
                stream, '{"action":"snapshot","arg":{"channel":"positions","instType":"USDT-FUTURES"},"data":[5]}'
            )
        await watch.until(lambda: watch.telemetry.connects.get("bitget", "user", "opened") > 1, "a new connection")
        seen = len(watch.of(Marks))
        await watch.until(lambda: len(watch.of(Marks)) > seen + 2, "marks that go on")
        await watch.in_sync()


async def test_an_exchange_without_a_stream_of_positions_is_asked_often() -> None:
    """What ccxt cannot watch (here for want of the `uid`), snapshots tell; that is how it works then, and no fault."""
    async with ccxt_server("gate") as gate, watching(gate, uid=None, reconcile_s=60.0) as watch:
        await watch.until(lambda: "a snapshot every 10 s" in watch.detail("user"), "the other way")
        assert watch.state("user") is FeedState.LIVE
        await gate.trade(2)
        await watch.until(lambda: watch.size() == 2.0, "the size by a snapshot")
        assert watch.state("user") is FeedState.LIVE


# -- the rest


async def test_a_pool_that_cannot_be_known_is_unknown() -> None:
    """Here for want of a mark; as soon as there is one, the venue's figures count."""
    async with ccxt_server("krakenfutures") as kraken:
        kraken.refusals += [("tickers", 503, "{}")] * 1000
        async with watching(kraken, ticking=False) as watch:
            await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
            (pool,) = watch.pools().values()
            assert isnan(pool.margin_ratio)
            assert pool.unknown
            kraken.refusals.clear()
            await kraken.mark()
            await watch.until(lambda: not isnan(watch.pools()[pool.pool].margin_ratio), "a known pool")


async def test_news_decide_how_soon_a_snapshot_is_taken(bitget: CcxtServer) -> None:
    """Another size or none at once, fewer positions soon, and the same again not before its time."""
    async with watching(bitget, reconcile_s=30.0) as watch:
        await watch.in_sync()
        runner = watch.runner
        assert runner is not None
        long = {"symbol": "BTC/USDT:USDT", "side": "long", "contracts": 1.0}
        short = {"symbol": "ETH/USDT:USDT", "side": "short", "contracts": 5.0}
        assert runner._patience_s([long, short]) == 30.0
        assert runner._patience_s([long]) == 10.0
        for news in ([long | {"contracts": 2.0}], [], [long | {"contracts": None}], [long | {"symbol": "NEW"}], "odd"):
            assert runner._patience_s(news) == 0.0
