"""One OKX account against OKX on loopback: modes, pages, subscriptions that die; and the model against its reports."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from connectors.account import DEFINITIONS_S
from connectors.simulator.okx import OkxServer, Position
from monitor.book import Book
from monitor.errors import VenueError
from monitor.margin.venues import RULES
from monitor.model.account import AccountMode
from monitor.model.assessment import Basis, FeedState, PoolAssessment
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    FeedChanged,
    InstrumentsLoaded,
    Marks,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.ids import Slot
from tests.connectors.compliance import OkxUnderTest, QuickClock, Watch, watching
from tests.connectors.okx.stage import synced


@pytest.fixture
def clock() -> QuickClock:
    """One clock for both sides."""
    return QuickClock()


@pytest.fixture
async def server(clock: QuickClock) -> AsyncIterator[OkxServer]:
    """OKX with an isolated position."""
    async with OkxServer(clock) as running:
        yield running


def run(server: OkxServer, clock: QuickClock, **changes: Any) -> Any:
    """The connector against it."""
    return watching(OkxUnderTest(server), clock, **changes)


def pools(watch: Watch) -> dict[str, PoolAssessment]:
    """What the book makes of everything that was told, without the reports: the model alone."""
    book = Book()
    book.add_account("okx", "main", RULES["okx"])
    for event in watch.events:
        match event:
            case InstrumentsLoaded():
                book.load_instruments(event)
            case AccountSnapshot():
                book.apply_snapshot(event)
            case AccountDelta():
                book.apply_delta(event)
            case Marks():
                book.apply_marks(event, 0.0)
    found = [book.assess(row) for row in book.rows()]
    return {pool.scope: pool for pool in found}


def last(watch: Watch) -> AccountSnapshot:
    """The newest snapshot."""
    found: AccountSnapshot = watch.of(AccountSnapshot)[-1]
    return found


async def another(watch: Watch) -> AccountSnapshot:
    """The next snapshot."""
    seen = len(watch.of(AccountSnapshot))
    await watch.until(lambda: len(watch.of(AccountSnapshot)) > seen, "another snapshot")
    return last(watch)


MIXED = (
    lambda: Position("BTC-USDT-SWAP", 1200.0, 74_000.0, "isolated", "long", 90_000.0),
    lambda: Position("BTC-USDT-SWAP", 700.0, 75_500.0, "cross", "long"),
    lambda: Position("BTC-USDT-SWAP", -600.0, 74_500.0, "cross", "short"),
    lambda: Position("ETH-USDT-SWAP", -50.0, 4_100.0, "cross", "short"),
    lambda: Position("BTC-USD-SWAP", 500.0, 70_000.0, "cross", "long"),
)
"""Isolated beside cross in one contract, a hedge that only together reaches the second tier, linear and inverse."""


async def test_futures_mode_is_computed_to_the_venues_figures(server: OkxServer, clock: QuickClock) -> None:
    """Every pool's balance, requirement and ratio, before any anchoring; a currency is a pool."""
    server.state.positions = [make() for make in MIXED]
    server.state.cash = {"USDT": 50_000.0, "BTC": 0.5}
    server.state.position_mode = "long_short_mode"
    async with run(server, clock, ticking=False) as watch:
        await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
        found, reports = pools(watch), {report.scope: report for report in last(watch).reports}
        assert found.keys() == reports.keys() == {"BTC-USDT-SWAP:long", "USDT", "BTC"}
        for scope, report in reports.items():
            assert found[scope].basis is Basis.COMPUTED
            assert found[scope].model_error == pytest.approx(0.0, abs=1e-9), scope
            assert found[scope].venue_margin_ratio == pytest.approx(report.venue_margin_ratio, rel=1e-9), scope
        slots = {(p.instrument, p.slot) for p in last(watch).positions}
        assert {slot for name, slot in slots if name == "BTC-USDT-SWAP"} == {Slot.ISOLATED_LONG, Slot.LONG, Slot.SHORT}
        assert last(watch).mark_pause_s == 12.0


async def test_multi_currency_mode_is_computed_in_dollars(server: OkxServer, clock: QuickClock) -> None:
    """One pool; a discounted coin and the dollar's own price count."""
    server.state.level = "3"
    server.state.positions = [make() for make in MIXED[1:4]]
    server.state.cash = {"USDT": 50_000.0, "BTC": 0.5}
    async with run(server, clock, ticking=False) as watch:
        await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
        (report,), pool = last(watch).reports, pools(watch)["multi"]
        assert (pool.unit, pool.basis, last(watch).account_mode) == ("USD", Basis.COMPUTED, AccountMode.MULTI_ASSET)
        assert pool.model_error == pytest.approx(0.0, abs=1e-9)
        assert pool.venue_margin_ratio == pytest.approx(report.venue_margin_ratio)


async def test_portfolio_margin_is_held_as_reported(server: OkxServer, clock: QuickClock) -> None:
    """The requirement is the account's, never the sum of its rows; it is asked for every few seconds."""
    server.state.level = "4"
    server.state.positions = [make() for make in MIXED[1:4]]
    server.state.maintenance = 1234.5
    async with run(server, clock, ticking=False, reconcile_s=600.0) as watch:
        await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
        (report,), pool = last(watch).reports, pools(watch)["multi"]
        assert (pool.basis, last(watch).account_mode) == (Basis.REPORTED, AccountMode.PORTFOLIO)
        assert pool.maintenance_margin == pytest.approx(report.maintenance_margin)
        assert pool.maintenance_margin > 1234.5 * server.state.usd["USDT"] * 0.99
        assert pool.venue_margin_ratio == pytest.approx(report.venue_margin_ratio)
        await another(watch)


async def test_a_change_of_the_account_mode_is_noticed(server: OkxServer, clock: QuickClock) -> None:
    """The figures over all currencies come with it."""
    async with run(server, clock, ticking=False, reconcile_s=600.0) as watch:
        await watch.in_sync_account()
        server.state.level = "3"
        server.send("account", [server.balance()], eventType="event_update")
        assert (await another(watch)).account_mode is AccountMode.MULTI_ASSET


async def test_a_set_in_pages_closes_what_it_does_not_name(server: OkxServer, clock: QuickClock) -> None:
    """Only when its last page is there, and without a word on what has not changed."""
    server.state.positions = [make() for make in MIXED]
    async with run(server, clock, ticking=False, reconcile_s=600.0) as watch:
        await watch.in_sync_account()
        server.state.page = 2
        for frame in server.pages():
            server.send("positions", frame["data"], **{k: frame[k] for k in ("eventType", "curPage", "lastPage")})
        server.offset_ms += 100  # a later set
        server.state.positions[3].size = 0.0
        pages = server.pages()
        for frame in pages[1:]:  # the first is lost: nothing follows from the others
            server.send("positions", frame["data"], **{k: frame[k] for k in ("eventType", "curPage", "lastPage")})
        server.offset_ms += 100
        for frame in server.pages():
            assert watch.of(AccountDelta) == []
            server.send("positions", frame["data"], **{k: frame[k] for k in ("eventType", "curPage", "lastPage")})
        await watch.until(lambda: watch.of(AccountDelta), "a delta")
        (delta,) = watch.of(AccountDelta)
        assert [(p.instrument, p.slot, p.size) for p in delta.positions] == [("ETH-USDT-SWAP", Slot.SHORT, 0.0)]


async def test_repetitions_say_nothing_new(server: OkxServer, clock: QuickClock) -> None:
    """OKX repeats everything every few seconds; a changed balance is told once."""
    async with run(server, clock, ticking=False, reconcile_s=600.0) as watch:
        await watch.in_sync_account()
        for cash in (50_000.0, 50_000.0, 49_000.0, 49_000.0):
            server.state.cash["USDT"] = cash
            server.offset_ms += 100
            server.send("account", [server.balance()], eventType="snapshot")
            (frame,) = server.pages()
            server.send("positions", frame["data"], eventType="snapshot", curPage=1, lastPage=True)
        await watch.until(lambda: watch.of(AccountDelta), "a delta")
        (delta,) = watch.of(AccountDelta)
        assert [(w.coin, w.balance) for w in delta.wallets] == [("USDT", 49_000.0)]


@pytest.mark.parametrize(
    ("channel", "row", "kind", "words"),
    [
        (
            "liquidation-warning",
            {"instId": "BTC-USDT-SWAP", "mgnMode": "isolated", "posSide": "net", "pos": "1", "mgnRatio": "2.5"},
            "margin_call",
            "250.00%",
        ),
        (
            "balance_and_position",
            {"eventType": "adl", "posData": [{"instId": "BTC-USDT-SWAP"}]},
            "adl",
            "adl",
        ),
        ("balance_and_position", {"eventType": "liquidation", "posData": []}, "liquidation", "the account"),
    ],
)
async def test_the_venues_own_words_are_passed_on(
    server: OkxServer, clock: QuickClock, channel: str, row: dict[str, Any], kind: str, words: str
) -> None:
    """And looked into at once; they are never the only trigger."""
    async with run(server, clock, ticking=False, reconcile_s=600.0) as watch:
        await watch.in_sync_account()
        server.send(channel, [row | {"pTime": str(server.now_ms())}])
        await another(watch)
        (notice,) = watch.of(VenueNotice)
        assert notice.kind == kind
        assert words in notice.detail


async def test_a_fill_is_not_a_notice(server: OkxServer, clock: QuickClock) -> None:
    """Of what happened only force is passed on."""
    async with run(server, clock, ticking=False, reconcile_s=600.0) as watch:
        await watch.in_sync_account()
        server.send("balance_and_position", [{"eventType": "filled", "posData": [], "pTime": str(server.now_ms())}])
        server.trade(2.0)
        await watch.until(lambda: watch.of(AccountDelta), "the trade")
        assert watch.of(VenueNotice) == []


async def test_a_refusal_because_of_a_running_liquidation_is_a_signal(server: OkxServer, clock: QuickClock) -> None:
    """50022: the account is frozen because it is being liquidated."""
    async with run(server, clock, ticking=False) as watch:
        await watch.in_sync_account()
        server.faults.append(("/api/v5/account/balance", lambda: server.envelope(50022)))
        await watch.until(lambda: watch.of(VenueNotice), "a notice")
        assert watch.of(VenueNotice)[0].kind == "liquidation"


async def test_a_socket_that_does_not_answer_pings_is_replaced(server: OkxServer, clock: QuickClock) -> None:
    """Though WebSocket pings are answered; and a snapshot follows the gap."""
    async with run(server, clock, ticking=False) as watch:
        await watch.in_sync_account()
        server.pongs = False
        await watch.until(lambda: FeedState.STALE in watch.states("user"), "a stale user stream")
        server.pongs = True
        await watch.until(lambda: watch.state("user") is FeedState.LIVE, "a live user stream")
        assert SnapshotReason.RECONNECT in {event.reason for event in watch.of(AccountSnapshot)}


@pytest.mark.parametrize(("channel", "vital"), [("liquidation-warning", False), ("positions", True)])
async def test_a_channel_that_a_site_does_not_have(
    server: OkxServer, clock: QuickClock, channel: str, vital: bool
) -> None:
    """Without a warning OKX is watched all the same; without positions only by snapshots, and it is said."""
    server.refused.add(channel)
    async with run(server, clock, ticking=False) as watch:
        if vital:
            await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
            await watch.until(lambda: watch.state("user") is FeedState.DOWN, "a user stream that is down")
            assert any("code 60018" in health.detail for health in watch_health(watch))
        else:
            await watch.in_sync_account()


def watch_health(watch: Watch) -> list[FeedChanged]:
    """What was said of the user stream."""
    return [event for event in watch.of(FeedChanged) if event.stream == "user"]


async def test_a_log_in_by_a_wrong_clock_succeeds_by_the_venues(server: OkxServer, clock: QuickClock) -> None:
    """The log-in frame carries the time that REST has measured."""
    server.offset_ms = 600_000
    async with run(server, clock, ticking=False) as watch:
        await watch.in_sync_account()
        assert watch.telemetry.connects.get("okx", "user", "opened") == 1


def test_a_log_in_that_is_refused_is_told_and_tried_again() -> None:
    """A connection without a log-in is none: the stream is not live, and says why."""
    stage = synced()
    stage.login_code = "60009"
    stage.lose()
    stage.pass_s(10.0)
    (health,) = (found for found in stage.session.health(stage.clock.now()) if found.stream == "user")
    assert health.state is not FeedState.LIVE
    assert "Login failed. (code 60009)" in health.detail
    stage.login_code = "0"
    stage.pass_s(60.0)
    (health,) = (found for found in stage.session.health(stage.clock.now()) if found.stream == "user")
    assert health.state is FeedState.LIVE


async def test_tiers_are_asked_for_what_is_held_in_the_mode_it_is_held_in(server: OkxServer, clock: QuickClock) -> None:
    """Once; a contract that is new is read when it comes; a failure leaves the pool unknown and is tried again."""
    path = "/api/v5/public/position-tiers"

    def asked() -> list[tuple[str, str]]:
        return [(query["tdMode"], query["instFamily"]) for where, query in server.requests if where == path]

    async with run(server, clock, ticking=False) as watch:
        await watch.in_sync_account()
        await another(watch)
        assert asked() == [("isolated", "BTC-USDT")]
        server.faults.append((path, lambda: server.envelope(50001)))
        server.state.positions.append(Position("ETH-USDT-SWAP", 1.0, 4000.0, "cross"))
        server.send("positions", [server.row(server.state.positions[1]) | {"pTime": str(server.now_ms())}])
        await another(watch)
        assert pools(watch)["USDT"].unknown == ("maintenance tiers of ETH-USDT-SWAP",)
        await watch.until(lambda: not pools(watch)["USDT"].unknown, "the tiers")
        assert set(asked()[1:]) == {("cross", "ETH-USDT")}


def test_tiers_fees_and_funding_intervals_are_read_again_every_hour() -> None:
    """They change without a push; the fee is the account's own."""
    stage = synced()
    first = stage.of(InstrumentsLoaded)[0].instruments[0]
    assert (first.tiers[0].rate, first.taker_fee_rate, first.funding_interval_s) == (0.004, 0.0005, 28_800.0)
    (asked,) = stage.asked("funding")
    assert (asked.path, asked.params) == ("/api/v5/public/funding-rate", (("instId", "ANY"),))
    state = stage.server.state
    state.tiers, state.taker, state.funding_interval_s = ((1000, 0.0035), (5000, 0.0065)), "-0.0003", 3600.0
    stage.pass_s(DEFINITIONS_S + 5.0)
    last = stage.of(InstrumentsLoaded)[-1].instruments[0]
    assert (last.tiers[0].rate, last.taker_fee_rate, last.funding_interval_s) == (0.0035, 0.0003, 3600.0)


def test_what_cannot_be_read_again_stays_as_it_is_known() -> None:
    """And is asked for again before the hour is over."""
    stage = synced()
    stage.refused["funding"] = VenueError("no", retry=True)
    stage.server.state.taker = "-0.0003"
    stage.pass_s(DEFINITIONS_S + 5.0)
    last = stage.of(InstrumentsLoaded)[-1].instruments[0]
    assert (last.taker_fee_rate, last.funding_interval_s) == (0.0003, 28_800.0)
    stage.refused.clear()
    stage.server.state.funding_interval_s = 3600.0
    stage.pass_s(DEFINITIONS_S / 2.0)
    assert stage.of(InstrumentsLoaded)[-1].instruments[0].funding_interval_s == 3600.0


async def test_requests_of_a_demo_account_say_so(server: OkxServer, clock: QuickClock) -> None:
    """Every one of them: production and demo share the host."""
    async with run(server, clock, ticking=False, demo=True) as watch:
        await watch.in_sync_account()
        assert {headers.get("x-simulated-trading") for headers in server.headers} == {"1"}


async def test_what_is_not_computed_is_told_once(
    server: OkxServer, clock: QuickClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Contracts beside swaps."""
    server.state.positions.append(Position("ETH-USDT-SWAP", 1.0, 4000.0, "cross", changes={"instType": "OPTION"}))
    async with run(server, clock, ticking=False) as watch:
        await watch.in_sync_account()
        await another(watch)
    assert capsys.readouterr().out.count("holds OPTION beside swaps") == 1


@pytest.mark.parametrize("refuse", [lambda state: setattr(state, "permissions", "")], ids=["no permissions told"])
async def test_a_key_of_which_nothing_is_known_is_refused(
    server: OkxServer, clock: QuickClock, refuse: Callable[[Any], None]
) -> None:
    """Unknown is not safe."""
    refuse(server.state)
    async with run(server, clock, ticking=False) as watch:
        await watch.until(watch.error, "the end of the runner")
        assert "does not tell what the key may do" in str(watch.error())
    async with run(server, clock, ticking=False, allow_dangerous_key=True) as watch:
        await watch.in_sync_account()
