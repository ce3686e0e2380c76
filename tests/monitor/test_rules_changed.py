"""Rules that change under open positions: what the pipeline finds and tells, and that it never tells anything else."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, nan
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Alert, Severity, State
from alerts.config import AlertsConfig
from alerts.engine import Engine
from monitor.book import Book
from monitor.clock import ManualClock
from monitor.model.account import AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import LegAssessment, PoolAssessment
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    InstrumentsLoaded,
    Marks,
    PoolReport,
    SnapshotReason,
)
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.telemetry import Telemetry
from tests.support.accounts import cross, flat_tier, isolated, linear, tiers

BTC = linear("BTCUSDT", flat_tier(0.01))
ETH = linear("ETHUSDT", flat_tier(0.01))
STRICT = replace(BTC, tiers=flat_tier(0.02))
LONG = isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG)
POOL = "BTCUSDT:long"
SWAP = Instrument("BTC-USDT-SWAP", ContractKind.LINEAR, "USDT", 0.01, flat_tier(0.004), 0.1, 0.0004)
SWAPPED = Position(SWAP.symbol, Slot.LONG, 100.0, 60_000.0, MarginMode.ISOLATED, 3000.0, 20.0)


@dataclass
class Watch:
    """A pipeline on a manual clock with one account, and what it said about rules."""

    venue: str = "binance"
    mode: AccountMode = AccountMode.SINGLE_ASSET
    settings: PipelineSettings = field(default_factory=PipelineSettings)
    said: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.book = Book()
        engine = Engine(AlertsConfig(), "box")
        self.pipeline = Pipeline(self.book, engine, self._deliver, self.clock, self.telemetry, self.settings)
        self.pipeline.add_account(self.venue, "main")
        self._ms = 1000

    def _deliver(self, said: Sequence[Alert]) -> None:
        self.said += [alert for alert in said if alert.rule == "rules_changed" and alert.state is State.FIRING]

    def load(self, *instruments: Instrument) -> None:
        """Contract definitions, as the venue answers them."""
        self.pipeline.handle(InstrumentsLoaded(self.venue, "main", instruments, self._ms), perf_counter())

    def snapshot(
        self, *positions: Position, wallets: Sequence[Wallet] = (), reports: Sequence[PoolReport] = ()
    ) -> None:
        """A REST snapshot."""
        self._ms += 10
        self.pipeline.handle(
            AccountSnapshot(
                self.venue, "main", "feed", self._ms, SnapshotReason.TIMER, self.mode,
                PositionMode.HEDGE, tuple(wallets), positions, tuple(reports),
            ),
            perf_counter(),
        )  # fmt: skip

    def delta(self, *changes: Wallet) -> None:
        """An event of the user stream."""
        self._ms += 10
        wallets = tuple(replace(wallet, updated_ms=self._ms) for wallet in changes)
        self.pipeline.handle(AccountDelta(self.venue, "main", self._ms, "ORDER", wallets, ()), perf_counter())

    def mark(self, **prices: float) -> None:
        """A frame of marks."""
        self._ms += 10
        self.pipeline.handle(
            Marks("feed", list(prices), list(prices.values()), [self._ms] * len(prices)), perf_counter()
        )

    def warm(self, seconds: float = 1.0) -> list[Alert]:
        """Let time pass and the warm side finish; returns what was said about rules since the last call."""
        self.clock.advance(seconds)
        while self.pipeline.warm(self.clock.now()):
            pass
        said, self.said = self.said, []
        return said

    def pool(self, scope: str) -> PoolAssessment:
        """A pool as it is."""
        row = self.book.row_of(self.venue, "main", f"{self.venue}/main/{scope}")
        assert row is not None
        return self.book.assess(row)

    def leg(self, scope: str) -> LegAssessment:
        """The first position of a pool as it is."""
        return self.pool(scope).legs[0]


def started(*positions: Position, venue: str = "binance", instruments: Sequence[Instrument] = (BTC, ETH)) -> Watch:
    """A watch that has told what there was to tell: everything at 100."""
    watch = Watch(venue)
    watch.load(*instruments)
    watch.snapshot(*positions, wallets=(Wallet("USDT", 50.0),))
    watch.mark(**{it.symbol: 100.0 for it in instruments})
    assert watch.warm() == []
    return watch


def test_new_tiers_are_told_with_the_price_before_and_after() -> None:
    """Both as they are shown: before the load, and from then on."""
    watch = started(LONG)
    before = watch.leg(POOL).liquidation_price
    watch.load(STRICT)
    watch.snapshot(LONG)
    (alert,) = watch.warm()
    assert (alert.value, alert.threshold) == (watch.leg(POOL).liquidation_price, before)
    assert (alert.severity, alert.key) == (Severity.WARNING, f"rules_changed:binance/main/{POOL}")
    assert alert.text == (
        f"91.8367 liquidation price, was 90.9091 · BTCUSDT long · binance/main/{POOL} · maintenance rate 1 % -> 2 %"
    )
    assert watch.warm() == []


def test_relief_is_a_notice() -> None:
    """The price moves away: worth knowing, and no more."""
    watch = started(LONG)
    watch.load(replace(BTC, tiers=flat_tier(0.005)))
    (alert,) = watch.warm()
    assert (alert.severity, alert.advice) == (Severity.NOTICE, "")


def test_a_price_that_is_passed_at_once_is_critical() -> None:
    """The venue's new table may liquidate where the old one left room."""
    watch = started(LONG)
    watch.mark(BTCUSDT=92.0)
    watch.load(replace(BTC, tiers=flat_tier(0.05)))
    assert [alert.severity for alert in watch.warm()] == [Severity.CRITICAL]


def test_a_first_load_is_not_a_change() -> None:
    """Neither at the start nor of a contract that was held before the venue described it."""
    watch = Watch()
    watch.load(ETH)
    watch.snapshot(LONG)
    watch.mark(BTCUSDT=100.0)
    assert watch.warm() == []
    watch.load(BTC)
    watch.snapshot(LONG)
    assert watch.warm() == []
    watch.load(STRICT)
    assert len(watch.warm()) == 1


@pytest.mark.parametrize(
    "late",
    [
        pytest.param({"tiers": ()}, id="tiers"),
        pytest.param({"taker_fee_rate": None}, id="the fee"),
        pytest.param({"tick_size": None}, id="the tick"),
        pytest.param({"tiers": (), "taker_fee_rate": None, "tick_size": None}, id="everything"),
    ],
)
def test_what_comes_late_is_not_a_change(late: dict[str, Any]) -> None:
    """The contract was known, a part of its rules was not."""
    watch = Watch("okx")
    watch.load(replace(SWAP, **late))
    watch.snapshot(SWAPPED)
    watch.mark(**{SWAP.symbol: 60_000.0})
    watch.warm()
    watch.load(SWAP)
    assert watch.book.with_former_rules() == []
    assert watch.warm() == []


def test_one_message_names_every_position_of_the_pool() -> None:
    """Two tables of one load, three positions of one cross pool: one message, the worst first."""
    watch = started(
        cross("BTCUSDT", 1.0, 100.0, Slot.LONG),
        cross("ETHUSDT", 2.0, 100.0, Slot.LONG),
        isolated("ETHUSDT", -1.0, 100.0, 10.0, Slot.SHORT),
    )
    watch.load(STRICT, replace(ETH, tiers=flat_tier(0.03)))
    said = {alert.pool: alert for alert in watch.warm()}
    assert set(said) == {"binance/main/USDT", "binance/main/ETHUSDT:short"}
    text = said["binance/main/USDT"].text
    assert "ETHUSDT long · binance/main/USDT · also BTCUSDT long" in text
    assert text.endswith("maintenance rate 1 % -> 3 %, BTCUSDT maintenance rate 1 % -> 2 %")
    assert len(said["binance/main/USDT"].legs) == 2


def test_what_is_not_held_is_not_looked_at() -> None:
    """Thousands of contracts that nobody holds cost a comparison each, and no pool is assessed for them."""
    others = [linear(f"S{k}USDT", flat_tier(0.01)) for k in range(3000)]
    watch = started(LONG, instruments=(BTC, *others))
    watch.load(*(replace(it, tiers=flat_tier(0.02)) for it in others))
    assert watch.book.with_former_rules() == []
    assert watch.warm() == []


def test_very_many_pools_are_compared_in_slices() -> None:
    """No call works for much longer than its slice, whatever changed; in the end everything is told."""
    contracts = [linear(f"S{k}USDT", flat_tier(0.01)) for k in range(300)]
    watch = Watch(settings=PipelineSettings(slice_s=0.0005))
    watch.load(*contracts)
    watch.snapshot(*(isolated(it.symbol, 1.0, 100.0, 10.0, Slot.LONG) for it in contracts))
    watch.mark(**{it.symbol: 100.0 for it in contracts})
    watch.warm()
    watch.load(*(replace(it, tiers=flat_tier(0.02)) for it in contracts))
    watch.clock.advance(1.0)
    calls = 1
    while watch.pipeline.warm(watch.clock.now()):
        calls += 1
    assert calls > 1
    assert len({alert.pool for alert in watch.said}) == len(watch.said) == 300


def test_a_change_without_sight_is_told_once_it_is_known() -> None:
    """Until the marks are back the prices are not known to be right; meanwhile nothing is lost."""
    watch = started(LONG)
    watch.warm(10.0)  # the marks have grown old
    watch.load(STRICT)
    assert watch.warm() == []
    watch.mark(BTCUSDT=100.0)
    (alert,) = watch.warm()
    assert alert.threshold == pytest.approx(90 / 0.99)


def test_a_change_in_a_pool_that_is_not_known_is_told_once_it_is() -> None:
    """A mark that never came, and tiers that come late, keep the comparison waiting and are no change themselves."""
    watch = Watch()
    watch.load(BTC, replace(ETH, tiers=()))
    watch.snapshot(
        cross("BTCUSDT", 1.0, 100.0, Slot.LONG),
        cross("ETHUSDT", 0.1, 100.0, Slot.LONG),
        wallets=(Wallet("USDT", 50.0),),
    )
    watch.mark(BTCUSDT=100.0)
    watch.load(STRICT)
    assert watch.warm() == []
    watch.mark(BTCUSDT=100.0, ETHUSDT=100.0)
    assert watch.warm() == []
    watch.load(ETH)
    (alert,) = watch.warm()
    assert alert.text.endswith("maintenance rate 1 % -> 2 %")


def test_what_changes_and_changes_back_before_it_could_be_told_is_nothing() -> None:
    """Several loads before the comparison are one change, from the oldest rules to the newest."""
    watch = started(LONG)
    watch.load(STRICT)
    watch.load(BTC)
    assert watch.warm() == []
    watch.load(STRICT)
    watch.load(replace(BTC, tiers=flat_tier(0.04)))
    (alert,) = watch.warm()
    assert (alert.threshold, alert.value) == (pytest.approx(90 / 0.99), pytest.approx(90 / 0.96))


def test_what_is_closed_before_it_could_be_told_is_forgotten() -> None:
    """Neither the pool nor a position opened later in its place has a former rule."""
    watch = started(LONG)
    watch.load(STRICT)
    watch.snapshot()
    watch.snapshot(LONG)
    assert watch.book.with_former_rules() == []
    assert watch.warm() == []


def test_a_position_opened_after_the_change_is_not_told_of_it() -> None:
    """In a cross pool that has another position with former rules."""
    watch = started(cross("BTCUSDT", 1.0, 100.0, Slot.LONG), cross("ETHUSDT", 0.1, 100.0, Slot.LONG))
    watch.load(STRICT, replace(ETH, tiers=flat_tier(0.02)))
    watch.snapshot(cross("BTCUSDT", 1.0, 100.0, Slot.LONG), wallets=(Wallet("USDT", 50.0),))
    watch.snapshot(
        cross("BTCUSDT", 1.0, 100.0, Slot.LONG),
        cross("ETHUSDT", 0.1, 100.0, Slot.LONG),
        wallets=(Wallet("USDT", 50.0),),
    )
    (alert,) = watch.warm()
    assert "ETHUSDT maintenance rate" not in alert.text
    assert "BTCUSDT long" in alert.text


def test_anchoring_does_not_hide_the_move() -> None:
    """The venue asked for more before its table was read, and the pool carried that: the price shown hardly moves now.

    What is told is the price under the former rules, as it was shown before the venue changed them.
    """
    watch = started(LONG)
    agreed = PoolReport(POOL, 10.0, 1.0, None, (("BTCUSDT", 100.0),))
    asks = replace(agreed, maintenance_margin=2.0)
    watch.snapshot(LONG, reports=(agreed,))
    original = watch.leg(POOL).liquidation_price
    watch.snapshot(LONG, reports=(asks,))
    watch.snapshot(LONG, reports=(asks,))
    carried = watch.leg(POOL).liquidation_price
    assert carried == pytest.approx(91 / 0.99)
    watch.load(STRICT)
    watch.snapshot(LONG, reports=(asks,))
    (alert,) = watch.warm()
    assert (alert.threshold, alert.value) == (pytest.approx(original), pytest.approx(90 / 0.98))
    assert alert.value == watch.leg(POOL).liquidation_price


def test_a_user_s_own_fee_is_a_rule() -> None:
    """OKX counts the fee to close: another fee rate is another liquidation price."""
    watch = Watch("okx")
    watch.load(SWAP)
    watch.snapshot(SWAPPED)
    watch.mark(**{SWAP.symbol: 60_000.0})
    watch.warm()
    watch.load(replace(SWAP, taker_fee_rate=0.001))
    (alert,) = watch.warm()
    assert alert.text.endswith("taker fee 0.04 % -> 0.1 %")
    assert (alert.value or 0.0) > (alert.threshold or 0.0)


@pytest.mark.parametrize(
    ("size", "told"),
    [pytest.param(0.1, False, id="the same in fewer contracts"), pytest.param(1.0, True, id="as many contracts")],
)
def test_a_contract_of_another_size_moves_what_it_makes_larger(size: float, told: bool) -> None:
    """A contract that is counted anew, ten for one, is the same position; ten times the position is not."""
    watch = started(LONG)
    ten = replace(BTC, multiplier=10.0)
    watch.load(ten)
    watch.snapshot(replace(LONG, size=size))
    said = watch.warm()
    assert bool(said) is told
    if told:
        assert "contract multiplier 1 -> 10" in said[0].text
        assert said[0].threshold == pytest.approx(90 / 0.99)
        assert said[0].value == watch.leg(POOL).liquidation_price == pytest.approx((1000 - 10) / 9.9)


def test_a_contract_of_another_size_is_counted_at_once() -> None:
    """Also where no snapshot came with the definition."""
    watch = started(LONG)
    watch.load(replace(BTC, multiplier=10.0))
    (alert,) = watch.warm()
    assert alert.value == watch.leg(POOL).liquidation_price == pytest.approx((1000 - 10) / 9.9)


def test_a_contract_of_another_kind_is_another_contract() -> None:
    """There is nothing to compare."""
    watch = started(LONG)
    watch.load(replace(STRICT, margin_coin="USDC"))
    assert watch.book.with_former_rules() == []


def test_where_the_venue_only_reports_its_rules_move_nothing() -> None:
    """Under portfolio margin the tiers are not what is asked for."""
    watch = Watch(mode=AccountMode.PORTFOLIO)
    position = cross("BTCUSDT", 1.0, 100.0, Slot.LONG)
    report = PoolReport("multi", 50.0, 5.0, None, (("BTCUSDT", 100.0),))
    watch.load(BTC)
    watch.snapshot(position, wallets=(Wallet("USDT", 50.0),), reports=(report,))
    watch.mark(BTCUSDT=100.0)
    watch.warm()
    watch.load(STRICT)
    assert watch.warm() == []


HELD = (Wallet("USDT", 10.0), Wallet("BTC", 1.0, 100.0, 0.05))
CROSS = cross("ETHUSDT", 2.0, 100.0, Slot.LONG)


def multi() -> Watch:
    """A multi-assets account that holds a coin which counts in part."""
    watch = Watch(mode=AccountMode.MULTI_ASSET)
    watch.load(BTC, ETH)
    watch.snapshot(CROSS, wallets=HELD)
    watch.mark(ETHUSDT=100.0)
    watch.warm()
    return watch


@pytest.mark.parametrize("index", [False, True], ids=["by the wallet's price", "by the index"])
def test_a_haircut_is_a_rule(index: bool) -> None:
    """A coin that counts for less brings the price nearer, with the same coins in the wallet."""
    watch = multi()
    price = 100.0
    if index:
        price = 110.0
        watch.book.ledger.instrument("feed", "index:BTCUSD", inverse=False)
        watch.mark(**{"index:BTCUSD": price})
        watch.snapshot(CROSS, wallets=HELD)
        watch.warm()
    before = watch.leg("multi").liquidation_price
    assert before == pytest.approx((200 - 10 - 0.95 * price) / 2 / 0.99)
    watch.snapshot(CROSS, wallets=(HELD[0], replace(HELD[1], haircut=0.1)))
    (alert,) = watch.warm()
    assert (alert.threshold, alert.value) == (pytest.approx(before), watch.leg("multi").liquidation_price)
    assert alert.text.endswith("BTC haircut 5 % -> 10 %")


@pytest.mark.parametrize(
    "wallet",
    [
        pytest.param(replace(HELD[1], balance=2.0, haircut=0.1), id="more coins, a lower grade"),
        pytest.param(replace(HELD[1], balance=-1.0, haircut=-0.05), id="a debt"),
        pytest.param(replace(HELD[1], haircut=0.0512), id="a graded ratio that moves with the profit"),
        pytest.param(replace(HELD[1], price=nan, haircut=0.0), id="a price that is not told"),
        pytest.param(replace(HELD[1], price=90.0), id="another price"),
    ],
)
def test_what_the_holder_or_the_market_did_is_no_rule(wallet: Wallet) -> None:
    """Only the ratio, of the same coins, is the venue's doing."""
    watch = multi()
    watch.delta(wallet)
    assert watch.warm() == []
    watch.delta(HELD[1])
    assert watch.warm() == []


def test_a_haircut_that_is_told_for_the_first_time_is_no_change() -> None:
    """Before, the coin's value was not known."""
    watch = Watch(mode=AccountMode.MULTI_ASSET)
    watch.load(BTC, ETH)
    watch.snapshot(CROSS, wallets=(HELD[0], replace(HELD[1], price=nan, haircut=0.0)))
    watch.mark(ETHUSDT=100.0)
    watch.snapshot(CROSS, wallets=HELD)
    assert watch.warm() == []


def test_another_account_mode_is_no_rule() -> None:
    """Its haircuts are others, but it is the account's holder who changed it."""
    watch = multi()
    watch.mode = AccountMode.PORTFOLIO
    report = PoolReport("multi", 105.0, 5.0, None, (("ETHUSDT", 100.0),))
    watch.snapshot(CROSS, wallets=(HELD[0], replace(HELD[1], haircut=0.2)), reports=(report,))
    assert watch.leg("multi").liquidation_price is not None
    assert watch.warm() == []


def test_a_fault_of_ours_is_counted_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is given up; the pool is watched on."""
    watch = started(LONG)
    monkeypatch.setattr(watch.book, "rules_changed", lambda *_: 1 / 0)
    watch.load(STRICT)
    assert watch.warm() == []
    assert watch.telemetry.assess_failures == 1
    assert watch.book.with_former_rules() == []


SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")
TABLES = (
    flat_tier(0.01),
    flat_tier(0.03),
    tiers((0.0, 1000.0, 20_000.0), (0.004, 0.02, 0.1)),
    tiers((0.0, 500.0, 5000.0, 80_000.0), (0.005, 0.01, 0.05, 0.25)),
)
prices = st.floats(1.0, 500.0).map(lambda price: round(price, 2))


@st.composite
def holdings(draw: st.DrawFn) -> tuple[Position, ...]:
    """One position in some of the contracts, cross or isolated."""
    found = []
    for symbol in SYMBOLS:
        side = draw(st.sampled_from((-1.0, 0.0, 1.0)))
        size, entry, wallet = draw(st.floats(0.1, 50.0)), draw(prices), draw(st.floats(1.0, 3000.0))
        slot = Slot.LONG if side > 0.0 else Slot.SHORT
        if side and draw(st.booleans()):
            found.append(isolated(symbol, side * size, entry, wallet, slot))
        elif side:
            found.append(cross(symbol, side * size, entry, slot))
    return tuple(found)


def contracts(tables: Sequence[int]) -> list[Instrument]:
    """The contracts with tables by number, made anew: equal, and not the same objects."""
    return [
        replace(linear(s, tuple(map(replace, TABLES[t]))), tick_size=0.01) for s, t in zip(SYMBOLS, tables, strict=True)
    ]


choices = st.lists(st.integers(0, len(TABLES) - 1), min_size=3, max_size=3)


@given(holdings(), choices, st.lists(st.one_of(prices, st.just(None), holdings()), max_size=12))
@settings(max_examples=60, deadline=None)
def test_rules_that_do_not_change_are_never_told(
    held: tuple[Position, ...], tables: list[int], script: list[float | tuple[Position, ...] | None]
) -> None:
    """Marks, trades, reports and the same definitions again, in any order: not a word about rules."""
    watch = Watch()
    watch.load(*contracts(tables))
    wallets = (Wallet("USDT", 1000.0),)
    watch.snapshot(*held, wallets=wallets)
    for step in script:
        match step:
            case float():
                watch.mark(**dict.fromkeys(SYMBOLS, step))
            case None:
                watch.load(*contracts(tables))
            case _:
                held = step
                reports = [PoolReport("USDT", 990.0, 7.0, None, tuple((s, 100.0) for s in SYMBOLS))]
                watch.snapshot(*held, wallets=wallets, reports=reports)
        assert watch.book.with_former_rules() == []
        assert watch.warm() == []


def difference(before: float | None, after: float | None) -> float:
    """By how much a price differs; without end where there is one only once."""
    if before is None or after is None:
        return 0.0 if before is after else inf
    return abs(before - after)


@given(holdings(), choices, choices, st.lists(prices, min_size=3, max_size=3))
@settings(max_examples=120, deadline=None)
def test_what_is_told_is_what_is_shown(
    held: tuple[Position, ...], old: list[int], new: list[int], at: list[float]
) -> None:
    """With nothing else happening: a position is told of exactly when its price differs by a tick, with both prices."""
    watch = Watch()
    watch.load(*contracts(old))
    watch.snapshot(*held, wallets=(Wallet("USDT", 1000.0),))
    watch.mark(**dict(zip(SYMBOLS, at, strict=True)))
    watch.warm()
    before = {row: watch.book.assess(row) for row in watch.book.rows()}
    watch.load(*contracts(new))
    told = {alert.pool: alert for alert in watch.warm()}
    for row, was in before.items():
        now = watch.book.assess(row)
        pairs = [(a.liquidation_price, b.liquidation_price) for a, b in zip(was.legs, now.legs, strict=True)]
        differences = [difference(*pair) for pair in pairs]
        alert = told.get(was.pool)
        if max(differences) > 0.011:
            assert alert is not None
            assert any((alert.threshold, alert.value) == pair for pair in pairs)
        if max(differences) < 0.009:
            assert alert is None
