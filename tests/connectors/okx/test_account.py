"""One OKX account against OKX on loopback: modes, pages, subscriptions that die; and the model against its reports."""

from collections.abc import AsyncIterator, Callable
from math import inf, isnan
from typing import Any

import orjson
import pytest

from connectors.account import DEFINITIONS_S
from connectors.session import Request, Session
from connectors.simulator.okx import OkxServer
from connectors.simulator.okx_account import Position
from monitor.errors import VenueError
from monitor.margin.rules import wallet_value
from monitor.model.account import AccountMode
from monitor.model.assessment import Basis, FeedState, PoolAssessment
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    Event,
    FeedChanged,
    InstrumentsLoaded,
    Marks,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.ids import Slot
from monitor.telemetry import Telemetry
from tests.connectors.compliance import OkxUnderTest, QuickClock, Watch, watching
from tests.connectors.okx.stage import Stage, started, synced
from tests.support.booked import booked


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


def pools(watch: Watch | Stage, *more: Event) -> dict[str, PoolAssessment]:
    """What the book makes of everything that was told, and of `more`."""
    book = booked("okx", (*watch.events, *more))
    found = [book.assess(row) for row in book.rows()]
    return {pool.scope: pool for pool in found}


def last(watch: Watch | Stage) -> AccountSnapshot:
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


def at(stage: Stage, **prices: float) -> Marks:
    """Marks of the present moment, by symbol with underscores for what cannot stand in a name."""
    names = [name.replace("__", ":").replace("_", "-") for name in prices]
    return Marks("okx", names, list(prices.values()), [int(stage.clock.now() * 1000)] * len(names))


def multi(*positions: Position, level: str = "3", **cash: float) -> Callable[[Stage], None]:
    """An account in multi-currency mode."""

    def prepare(stage: Stage) -> None:
        state = stage.server.state
        state.level, state.cash, state.positions = level, cash, list(positions)

    return prepare


@pytest.mark.parametrize("level", ["3", "4"])
def test_collateral_moves_with_its_index_at_every_tick(level: str) -> None:
    """1 BTC behind a long of 0.5 BTC: when the coin falls by a fifth, both fall, before any word of the account."""
    held = Position("BTC-USDT-SWAP", 50.0, 75_000.0, "cross")
    stage = synced(multi(held, level=level, USDT=0.0, BTC=1.0))
    assert stage.session.needs() == {"BTC-USDT-SWAP", "index:BTCUSD"}
    assert (last(stage).index_pause_s, last(stage).mark_pause_s) == (62.0, 12.0)
    before, after = (
        pools(stage, at(stage, BTC_USDT_SWAP=price, index__BTCUSD=price))["multi"] for price in (75_000.0, 60_000.0)
    )
    assert before.margin_balance == pytest.approx(0.95 * 75_000.0)
    assert after.margin_balance == pytest.approx(0.95 * 60_000.0 - 0.5 * 15_000.0 * 1.0005)


def test_a_debt_moves_with_its_index() -> None:
    """What is owed grows with the coin, in full."""
    held = Position("ETH-USDT-SWAP", 1.0, 4_000.0, "cross")
    stage = synced(multi(held, USDT=50_000.0, BTC=-0.2))
    after = pools(stage, at(stage, index__BTCUSD=90_000.0))["multi"]
    assert after.margin_balance == pytest.approx(50_000.0 * 1.0005 - 0.2 * 90_000.0)


def test_a_currency_without_an_index_moves_with_each_push() -> None:
    """Nothing is asked of the market that it does not have; the account tells the price every few seconds."""

    def prepare(stage: Stage) -> None:
        multi(Position("BTC-USDT-SWAP", 1.0, 75_000.0, "cross"), USDT=0.0, OKB=100.0)(stage)
        stage.server.state.usd["OKB"] = 50.0

    stage = synced(prepare)
    assert stage.session.needs() == {"BTC-USDT-SWAP"}
    assert pools(stage)["multi"].margin_balance == pytest.approx(5000.0)
    stage.server.state.usd["OKB"] = 40.0
    stage.pass_s(5.0)
    for frame in stage.server.account_pages():
        stage.frame(frame)
    assert pools(stage)["multi"].margin_balance == pytest.approx(4000.0)


async def test_indexes_come_over_the_wire(server: OkxServer, clock: QuickClock) -> None:
    """The market is asked for the index of what counts, and its price is the pool's at once."""
    server.state.level, server.state.cash = "3", {"USDT": 0.0, "BTC": 1.0}
    server.state.positions = [Position("BTC-USDT-SWAP", 50.0, 75_000.0, "cross")]
    async with run(server, clock, ticking=False, reconcile_s=600.0) as watch:
        await watch.until(lambda: any("index:BTCUSD" in e.instruments for e in watch.of(Marks)), "an index")
        server.offset_ms += 100
        server.send_index("BTC", 60_000.0)
        await watch.until(lambda: 60_000.0 in [e.prices[0] for e in watch.of(Marks)], "the index")
        assert pools(watch)["multi"].margin_balance == pytest.approx(0.95 * 60_000.0)


def test_indexes_that_cannot_be_listed_are_asked_for_again() -> None:
    """Until then the collateral is priced by the account's own word."""
    held = Position("BTC-USDT-SWAP", 50.0, 75_000.0, "cross")

    def prepare(stage: Stage) -> None:
        multi(held, USDT=0.0, BTC=1.0)(stage)
        stage.refused["indexes"] = VenueError("no", retry=True)

    stage = synced(prepare)
    assert pools(stage)["multi"].margin_balance == pytest.approx(0.95 * 75_000.0)
    assert stage.session.needs() == {"BTC-USDT-SWAP"}
    stage.refused.clear()
    stage.pass_s(60.0)
    assert stage.session.needs() == {"BTC-USDT-SWAP", "index:BTCUSD"}


@pytest.mark.parametrize(
    ("size", "cash"),
    [(-5000.0, 0.1), (5000.0, 8.0)],
    ids=["a coin-margined short with a profit", "a coin-margined long with a loss"],
)
def test_the_discount_is_on_equity(size: float, cash: float) -> None:
    """OKX discounts profit like cash: the model alone says what OKX's adjusted equity is."""
    stage = synced(multi(Position("BTC-USD-SWAP", size, 90_000.0, "cross"), USDT=0.0, BTC=cash))
    pool, (report,) = pools(stage)["multi"], last(stage).reports
    assert pool.model_error == pytest.approx(0.0, abs=1e-9)
    assert pool.margin_balance == pytest.approx(report.margin_balance)


def test_tranches_of_a_discount() -> None:
    """OKX-11 and 12: 11 million USDT count 10,825,000, a Bitcoin in full, and a coin of rate zero nothing."""

    def prepare(stage: Stage) -> None:
        multi(Position("BTC-USDT-SWAP", 1.0, 75_000.0, "cross"), USDT=11e6, BTC=1.0, ZRX=500.0)(stage)
        state = stage.server.state
        state.usd = {"USDT": 1.0, "BTC": 50_000.0, "ZRX": 0.3}
        state.discount = {
            "USDT": ((5e6, 1.0), (10e6, 0.975), (inf, 0.95)),
            "BTC": ((20.0, 1.0), (inf, 0.9)),
            "ZRX": ((inf, 0.0),),
        }

    stage = synced(prepare)
    wallets = {wallet.coin: wallet_value(wallet) for wallet in last(stage).wallets}
    assert wallets == pytest.approx({"USDT": 10_825_000.0, "BTC": 50_000.0, "ZRX": 0.0})
    assert pools(stage)["multi"].margin_balance == pytest.approx(10_825_000.0 + 50_000.0)


@pytest.mark.parametrize("level", ["3", "4"])
def test_figures_that_are_left_empty_are_not_guessed(level: str) -> None:
    """A coin of which OKX tells neither discount nor value is unknown, and so is its pool."""

    def prepare(stage: Stage) -> None:
        multi(Position("BTC-USDT-SWAP", 100.0, 75_000.0, "cross"), level=level, USDT=1000.0, BTC=1.0)(stage)
        stage.server.state.totals = False
        stage.server.state.empty = {"BTC": ("eqUsd", "disEq")}

    pool = pools(synced(prepare))["multi"]
    assert isnan(pool.margin_ratio)
    assert pool.unknown


def test_a_portfolio_whose_requirement_is_no_longer_told_is_unknown() -> None:
    """What was told once does not hold for ever; when it is told again it is known again."""
    stage = synced(multi(Position("BTC-USDT-SWAP", 100.0, 75_000.0, "cross"), level="4", USDT=50_000.0))
    assert not isnan(pools(stage)["multi"].margin_ratio)
    stage.server.state.totals = False
    stage.pass_s(6.0)
    assert pools(stage)["multi"].unknown == ("the venue's report of the pool",)
    stage.server.state.totals = True
    stage.pass_s(6.0)
    assert not isnan(pools(stage)["multi"].margin_ratio)


def test_a_portfolio_that_trades_all_the_time_is_asked_for_within_the_budget() -> None:
    """Each trade wants OKX's word, and the account has only so many requests a minute; reports keep coming."""
    stage = synced(multi(Position("BTC-USDT-SWAP", 100.0, 75_000.0, "cross"), level="4", USDT=50_000.0))
    asked = len(stage.did(Request))
    for i in range(120):
        stage.pass_s(0.5)
        stage.server.state.positions[0].size = 100.0 + i % 2
        stage.server.state.maintenance = 40.0 + i
        row = stage.server.row(stage.server.state.positions[0]) | {"pTime": str(int(stage.clock.now() * 1000))}
        stage.frame({"arg": {"channel": "positions"}, "eventType": "event_update", "data": [row]})
    assert len(stage.did(Request)) - asked <= 100
    assert sum(bool(snapshot.reports) for snapshot in stage.of(AccountSnapshot)[-25:]) > 20
    assert pools(stage)["multi"].maintenance_margin > 150.0


FUTURE, OPTION = "BTC-USDT-261225", "BTC-USD-261225-90000-C"


def expiring(*positions: Position, **cash: float) -> Callable[[Stage], None]:
    """An account in futures mode that holds something that expires."""

    def prepare(stage: Stage) -> None:
        state = stage.server.state
        state.positions, state.cash = list(positions), cash
        state.marks |= {FUTURE: 75_500.0, OPTION: 0.012}

    return prepare


def test_an_account_of_futures_only_is_held_as_reported() -> None:
    """Its pool has OKX's ratio, moves with the future's mark, and is asked for every few seconds."""
    stage = synced(expiring(Position(FUTURE, 10.0, 75_000.0, "cross"), USDT=800.0))
    pool = pools(stage)["USDT"]
    assert (pool.basis, stage.session.needs()) == (Basis.REPORTED, {FUTURE})
    assert pool.venue_margin_ratio == pytest.approx(float(stage.server.balance()["details"][0]["mgnRatio"]))
    after = pools(stage, at(stage, BTC_USDT_261225=74_500.0))["USDT"]
    assert after.margin_balance == pytest.approx(pool.margin_balance - 0.1 * 1000.0)
    assert after.maintenance_margin == pool.maintenance_margin
    seen = len(stage.of(AccountSnapshot))
    stage.pass_s(11.0)
    assert len(stage.of(AccountSnapshot)) == seen + 2
    assert stage.asked("tiers/cross/BTC-USDT") == []


def test_an_account_of_options_only_is_held_as_reported() -> None:
    """In the coin that they are settled in; an isolated one by its own row."""
    held = Position(OPTION, -100.0, 0.01, "cross"), Position(OPTION, 50.0, 0.01, "isolated", margin=0.2)
    stage = synced(expiring(*held, BTC=0.5))
    (asked,) = stage.asked("contracts/OPTION/BTC-USD")
    assert asked.params == (("instType", "OPTION"), ("instFamily", "BTC-USD"))
    found = pools(stage)
    assert {scope: pool.basis for scope, pool in found.items()} == dict.fromkeys(
        ("BTC", f"{OPTION}:long"), Basis.REPORTED
    )
    assert found["BTC"].margin_balance == pytest.approx(0.5 - 1.0 * 0.002)
    assert found[f"{OPTION}:long"].venue_margin_ratio == pytest.approx(
        float(stage.server.row(stage.server.state.positions[1])["mgnRatio"])
    )


def test_a_future_beside_swaps_makes_their_pool_reported() -> None:
    """And when it is gone the pool is computed again; what stands alone is computed all along."""
    held = Position("BTC-USDT-SWAP", 10.0, 75_000.0, "cross"), Position(FUTURE, 10.0, 75_000.0, "cross"), Position()
    stage = synced(expiring(*held, USDT=3000.0))

    def bases() -> dict[str, Basis]:
        found = pools(stage)
        assert not any(pool.unknown for pool in found.values())
        assert found["USDT"].model_error == pytest.approx(0.0, abs=1e-9)
        return {scope: pool.basis for scope, pool in found.items()}

    assert bases() == {"USDT": Basis.REPORTED, "BTC-USDT-SWAP:long": Basis.COMPUTED}
    requirement = pools(stage)["USDT"].maintenance_margin
    gone = stage.server.state.positions.pop(1)
    gone.size = 0.0
    row = stage.server.row(gone) | {"pTime": str(int(stage.clock.now() * 1000) + 1)}
    stage.frame({"arg": {"channel": "positions"}, "eventType": "event_update", "data": [row]})
    stage.pass_s(2.0)
    assert bases() == {"USDT": Basis.COMPUTED, "BTC-USDT-SWAP:long": Basis.COMPUTED}
    assert pools(stage)["USDT"].maintenance_margin < requirement
    new = Position(FUTURE, 5.0, 75_000.0, "cross")
    stage.server.state.positions.append(new)
    row = stage.server.row(new) | {"pTime": str(int(stage.clock.now() * 1000) + 1)}
    stage.frame({"arg": {"channel": "positions"}, "eventType": "event_update", "data": [row]})
    assert pools(stage)["USDT"].unknown  # until OKX has said what the pool requires with it
    stage.pass_s(2.0)
    assert bases() == {"USDT": Basis.REPORTED, "BTC-USDT-SWAP:long": Basis.COMPUTED}


def test_of_what_expires_and_is_not_told_nothing_is_known() -> None:
    """There is a pool, and it says that it is unknown."""

    def prepare(stage: Stage) -> None:
        expiring(Position(FUTURE, 10.0, 75_000.0, "cross"), USDT=800.0)(stage)
        stage.server.state.empty = {"USDT": ("mgnRatio", "mmr")}

    pool = pools(synced(prepare))["USDT"]
    assert isnan(pool.margin_ratio)
    assert pool.unknown == ("the venue's report of the pool",)


def test_isolated_and_cross_positions_of_a_contract_go_by_tables_of_their_own() -> None:
    """Here every rate of the isolated table is twice that of the cross one."""

    def prepare(stage: Stage) -> None:
        state = stage.server.state
        state.isolated_share, state.cash = 2.0, {"USDT": 500_000.0}
        state.positions = [
            Position("BTC-USDT-SWAP", 100.0, 75_000.0, "isolated", margin=20_000.0),
            Position("BTC-USDT-SWAP", 1200.0, 75_000.0, "cross"),
        ]

    stage = synced(prepare)
    found = pools(stage)
    for scope, rate in (("BTC-USDT-SWAP:long", 2 * 0.004), ("USDT", 0.0065)):
        (leg,) = found[scope].legs
        assert leg.maintenance_margin == pytest.approx(leg.notional * (rate + 0.0005)), scope
        assert found[scope].model_error == pytest.approx(0.0, abs=1e-9)


class Crowd(Stage):
    """Many families of contracts, and an OKX that answers ten questions for tiers in two seconds, as it does."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        super().__init__(session, telemetry)
        self.shrink(60)
        self.times: list[float] = []
        self.turned_away = 0
        self.deaf: set[str] = set()
        """Families of which nothing is told."""

    def shrink(self, families: int) -> None:
        """To so many."""
        state = self.server.state
        state.positions = [Position(f"C{i:02d}-USDT-SWAP", 1.0, 10.0, "cross") for i in range(families)]
        state.marks = {held.symbol: 10.0 for held in state.positions}

    def answer(self, request: Request, kind: str) -> bytes | VenueError | None:
        """Tiers while the limit allows it, and everything else."""
        if not request.path.endswith("position-tiers"):
            return super().answer(request, kind)
        now = self.clock.now()
        if sum(now - at < 2.0 for at in self.times) >= 10:
            self.turned_away += 1
            return VenueError("too many", retry=True, retry_after_s=3.0, code=50011)
        self.times.append(now)
        told = super().answer(request, kind)
        assert isinstance(told, bytes)
        rows = [row for row in orjson.loads(told)["data"] if row["instFamily"] not in self.deaf]
        return orjson.dumps({"code": "0", "data": rows})


def crowd(prepare: Callable[[Crowd], object] = lambda stage: None) -> Crowd:
    """Just started; it takes a snapshot every few seconds."""
    return started(Crowd, prepare, reconcile_s=5.0)


def test_tiers_of_many_families_are_asked_for_no_faster_than_okx_answers() -> None:
    """All of them are known within seconds, and none was refused."""
    stage = crowd()
    stage.pass_s(5.0)
    assert pools(stage)["USDT"].unknown == ()
    assert (len(stage.times), stage.turned_away) == (12, 0)


def test_what_was_told_is_remembered_and_the_rest_asked_for_again() -> None:
    """One family that OKX does not describe costs neither the others nor a request every few seconds."""
    stage = crowd(lambda stage: stage.deaf.add("C07-USDT"))
    stage.pass_s(5.0)
    assert pools(stage)["USDT"].unknown == ("maintenance tiers of C07-USDT-SWAP",)
    told = len(stage.times)
    stage.pass_s(600.0)
    asked = [action for action in stage.did(Request) if action.id.startswith("tiers/")]
    again = asked[told:]
    assert {dict(request.params)["instFamily"] for request in again} == {"C07-USDT"}
    assert 2 < len(again) < 30
    stage.deaf.clear()
    stage.pass_s(700.0)
    assert pools(stage)["USDT"].unknown == ()
    stage.server.state.taker = "-0.0003"
    stage.pass_s(DEFINITIONS_S)
    assert stage.of(InstrumentsLoaded)[-1].instruments[0].taker_fee_rate == 0.0003


def test_what_is_new_does_not_wait_for_what_is_never_told() -> None:
    """The pauses that have grown for one are not those of another that failed once."""
    stage = started(Crowd, lambda stage: (stage.shrink(8), stage.deaf.add("C07-USDT")), reconcile_s=20.0)
    for name in ("A", "B", "C", "D"):
        stage.pass_s(1800.0)
        symbol = f"{name}-USDT-SWAP"
        stage.server.state.positions.append(Position(symbol, 1.0, 10.0, "cross"))
        stage.server.state.marks[symbol] = 10.0
        stage.deaf.add(f"{name}-USDT")
        stage.pass_s(25.0)
        stage.deaf.remove(f"{name}-USDT")
        stage.pass_s(45.0)
        assert pools(stage)["USDT"].unknown == ("maintenance tiers of C07-USDT-SWAP",)


def test_definitions_are_renewed_though_one_is_never_told() -> None:
    """The hour of the others does not wait for it."""
    stage = crowd(lambda stage: stage.deaf.add("C07-USDT"))
    stage.pass_s(60.0)
    stage.server.state.taker = "-0.0003"
    stage.pass_s(DEFINITIONS_S)
    assert {it.taker_fee_rate for it in stage.of(InstrumentsLoaded)[-1].instruments} == {0.0003}


def test_a_contract_that_okx_does_not_list_is_asked_for_with_growing_pauses() -> None:
    """It stands in a pool that is unknown; the questions of others do not suffer."""

    def prepare(stage: Stage) -> None:
        state = stage.server.state
        state.positions.append(Position("NEW-USDT-SWAP", 1.0, 5.0, "cross"))
        state.unlisted, state.marks["NEW-USDT-SWAP"] = {"NEW-USDT-SWAP"}, 5.0
        state.cash["ETH"], state.usd["ETH"] = 1.0, 4_000.0

    stage = synced(prepare, reconcile_s=5.0)
    stage.pass_s(600.0)
    assert pools(stage)["unknown"].unknown
    assert 2 < len(stage.asked("contracts/SWAP")) < 30
    stage.server.state.positions.append(Position("ETH-USD-SWAP", 1.0, 4_000.0, "cross"))
    stage.server.state.marks["ETH-USD-SWAP"] = 4_000.0
    asked = len(stage.asked("contracts/SWAP"))
    stage.pass_s(6.0)
    assert len(stage.asked("contracts/SWAP")) == asked + 1  # what is new is asked for at once
    assert stage.of(InstrumentsLoaded)[-1].instruments[0].symbol == "ETH-USD-SWAP"
    stage.server.state.unlisted.clear()
    stage.pass_s(700.0)
    assert "unknown" not in pools(stage)


@pytest.mark.parametrize(
    ("spoil", "scope"),
    [({"margin": ""}, "BTC-USDT-SWAP:long"), ({"avgPx": "x"}, "BTC-USDT-SWAP:long")],
    ids=["no margin", "no entry"],
)
def test_an_odd_position_costs_its_own_pool(spoil: dict[str, str], scope: str) -> None:
    """The rest of the account is in sync; the row heals when it can be read, by push or snapshot."""

    def prepare(stage: Stage) -> None:
        state = stage.server.state
        state.positions.append(Position("ETH-USDT-SWAP", -10.0, 4000.0, "cross"))
        state.positions[0].changes = spoil

    stage = synced(prepare)
    assert [health.state for health in stage.session.health(stage.clock.now())] == [FeedState.LIVE] * 2
    found = pools(stage)
    assert isnan(found[scope].margin_ratio)
    assert found["USDT"].unknown == ()
    stage.pass_s(130.0)
    assert isnan(pools(stage)[scope].margin_ratio)
    stage.server.state.positions[0].changes = {}
    (frame,) = stage.server.pages()
    stage.frame(frame)
    assert not isnan(pools(stage)[scope].margin_ratio)
    stage.server.state.positions[0].changes = spoil
    stage.pass_s(5.0)
    (frame,) = stage.server.pages()
    stage.frame(frame)
    assert isnan(pools(stage)[scope].margin_ratio)
    (frame,) = stage.server.pages()
    told = len(stage.of(AccountDelta))
    stage.frame(frame)
    assert len(stage.of(AccountDelta)) == told


def test_an_odd_currency_costs_its_own_pool() -> None:
    """In futures mode a currency is one; and nobody takes it for an event that was lost."""

    def prepare(stage: Stage) -> None:
        state = stage.server.state
        state.positions = [
            Position("ETH-USDT-SWAP", -10.0, 4000.0, "cross"),
            Position("BTC-USD-SWAP", 1.0, 7e4, "cross"),
        ]
        state.cash = {"USDT": 50_000.0, "BTC": 0.5}
        state.empty = {"BTC": ("cashBal",)}

    stage = synced(prepare)
    assert isnan(pools(stage)["BTC"].margin_ratio)
    assert pools(stage)["USDT"].unknown == ()
    stage.server.state.empty = {}
    stage.pass_s(130.0)
    assert pools(stage)["BTC"].unknown == ()
    assert {event.state for event in stage.of(FeedChanged)} == {FeedState.LATE, FeedState.LIVE}


def test_currencies_in_pages_empty_what_they_do_not_name() -> None:
    """A coin that was sold is gone when the last page is there: not with the next snapshot, and not by a part."""

    def prepare(stage: Stage) -> None:
        multi(Position("BTC-USDT-SWAP", 1.0, 75_000.0, "cross"), USDT=9000.0, BTC=1.0, ETH=2.0)(stage)
        stage.server.state.usd["ETH"] = 4000.0

    stage = synced(prepare)

    def balances() -> dict[str, float]:
        found = {w.coin: w.balance for w in last(stage).wallets}
        for event in stage.of(AccountDelta):
            found |= {w.coin: w.balance for w in event.wallets}
        return found

    stage.server.state.page = 1
    stage.pass_s(5.0)
    for frame in stage.server.account_pages():
        stage.frame(frame)
    assert balances() == {"USDT": 9000.0, "BTC": 1.0, "ETH": 2.0}
    stage.server.state.cash["BTC"] = 0.0
    stage.pass_s(5.0)
    pages = stage.server.account_pages()
    for frame in pages[1:]:  # the first is lost
        stage.frame(frame)
    assert balances()["BTC"] == 1.0
    stage.pass_s(5.0)
    for frame in stage.server.account_pages():
        assert balances()["BTC"] == 1.0
        stage.frame(frame)
    assert balances() == {"USDT": 9000.0, "BTC": 0.0, "ETH": 2.0}


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
    assert (first.isolated_tiers[0].rate, first.taker_fee_rate, first.funding_interval_s) == (0.004, 0.0005, 28_800.0)
    (asked,) = stage.asked("funding")
    assert (asked.path, asked.params) == ("/api/v5/public/funding-rate", (("instId", "ANY"),))
    state = stage.server.state
    state.tiers, state.taker, state.funding_interval_s = ((1000, 0.0035), (5000, 0.0065)), "-0.0003", 3600.0
    stage.pass_s(DEFINITIONS_S + 5.0)
    last = stage.of(InstrumentsLoaded)[-1].instruments[0]
    assert (last.isolated_tiers[0].rate, last.taker_fee_rate, last.funding_interval_s) == (0.0035, 0.0003, 3600.0)


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
    """Borrowed coins, which are no contract."""
    server.state.positions.append(Position("ETH-USDT-SWAP", 1.0, 4000.0, "cross", changes={"instType": "MARGIN"}))
    async with run(server, clock, ticking=False) as watch:
        await watch.in_sync_account()
        await another(watch)
    assert capsys.readouterr().out.count("holds MARGIN positions") == 1


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
