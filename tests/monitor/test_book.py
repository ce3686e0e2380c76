"""The book: what events do to it, and that its running totals are always what a fresh calculation gives."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.anchoring import MISSED_MAX
from monitor.assess import assess_account
from monitor.book import Book
from monitor.kernel import Kernel, compiled_kernel, plain_kernel
from monitor.margin.rules import wallet_value
from monitor.margin.venues import RULES
from monitor.model.account import Account, AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import Basis
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
from tests.support.accounts import cross, flat_tier, isolated, linear, tiers

RULE = RULES["binance"]
FEED = "binance"
TABLES = [
    flat_tier(0.01),
    tiers((0.0, 1000.0, 20_000.0), (0.004, 0.02, 0.1)),
    tiers((0.0, 500.0, 5000.0, 80_000.0), (0.005, 0.01, 0.05, 0.25)),
]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BTCUSDC", *(f"S{k:02d}USDT" for k in range(20)))


def contract(symbol: str, table: int = 0) -> Instrument:
    """One of the test's instruments with one of its tables."""
    return linear(symbol, TABLES[table], symbol[-4:])


@dataclass
class Desk:
    """A book with one account, driven by events as a connector would."""

    kernel: Callable[[], Kernel] = plain_kernel
    now_ms: int = 1_000_000
    book: Book = field(init=False)

    def __post_init__(self) -> None:
        self.book = Book(self.kernel())
        self.book.add_account("binance", "main", RULE)
        self.load(*(contract(symbol) for symbol in SYMBOLS))

    def load(self, *instruments: Instrument) -> None:
        """Define contracts."""
        self.book.load_instruments(InstrumentsLoaded("binance", "main", instruments, self.now_ms))

    def snapshot(
        self,
        positions: tuple[Position, ...] = (),
        wallets: tuple[Wallet, ...] = (),
        reports: tuple[PoolReport, ...] = (),
        mode: AccountMode = AccountMode.SINGLE_ASSET,
        at_ms: int | None = None,
        mark_pause_s: float = 0.0,
        index_pause_s: float = 0.0,
    ) -> None:
        """A REST snapshot."""
        self.now_ms += 1
        at = self.now_ms if at_ms is None else at_ms
        stamped = tuple(replace(p, updated_ms=p.updated_ms or at) for p in positions)
        self.book.apply_snapshot(
            AccountSnapshot(
                "binance",
                "main",
                FEED,
                at,
                SnapshotReason.TIMER,
                mode,
                PositionMode.HEDGE,
                wallets,
                stamped,
                reports,
                mark_pause_s,
                index_pause_s,
            )
        )

    def delta(self, *changes: Position | Wallet) -> list[str]:
        """A user-stream event; returns the pools that went."""
        self.now_ms += 1
        stamped = [replace(change, updated_ms=self.now_ms) for change in changes]
        positions = tuple(p for p in stamped if isinstance(p, Position))
        wallets = tuple(w for w in stamped if isinstance(w, Wallet))
        return self.book.apply_delta(AccountDelta("binance", "main", self.now_ms, "ORDER", wallets, positions)).gone

    def mark(self, now: float = 0.0, **prices: float) -> list[str]:
        """A frame of marks; returns the ids of the pools that crossed."""
        self.now_ms += 1
        frame = Marks(FEED, list(prices), list(prices.values()), [self.now_ms] * len(prices))
        return [self.book.name_of(row) for row in self.book.apply_marks(frame, now)]

    def watch(self, scope: str, up: float, down: float = nan) -> None:
        """Set a pool's thresholds."""
        row = self.book.row_of("binance", "main", f"binance/main/{scope}")
        assert row is not None
        self.book.ledger.set_thresholds(row, down, up)

    def ratio(self, scope: str) -> float:
        """A pool's margin ratio as the columns have it."""
        table = self.book.table()
        return float(table.margin_ratio[list(table.pools).index(f"binance/main/{scope}")])

    def scopes(self) -> set[str]:
        """The scopes there are."""
        return {pool.rpartition("/")[2] for pool in self.book.table().pools}


def test_a_snapshot_makes_pools_and_marks_move_them() -> None:
    """Cross and isolated positions become pools; a mark changes exactly what it prices."""
    desk = Desk()
    desk.snapshot(
        (cross("BTCUSDT", 1.0, 100.0, Slot.LONG), isolated("ETHUSDT", -2.0, 10.0, 5.0, Slot.SHORT)),
        (Wallet("USDT", 50.0), Wallet("USDC", 7.0)),
    )
    assert desk.scopes() == {"USDT", "ETHUSDT:short"}
    desk.mark(BTCUSDT=90.0, ETHUSDT=11.0)
    assert desk.ratio("USDT") == pytest.approx(0.9 / 40.0)
    assert desk.ratio("ETHUSDT:short") == pytest.approx(0.22 / 3.0)
    desk.mark(BTCUSDT=80.0)
    assert desk.ratio("USDT") == pytest.approx(0.8 / 30.0)
    assert desk.ratio("ETHUSDT:short") == pytest.approx(0.22 / 3.0)


@pytest.mark.parametrize("kernel", [plain_kernel, compiled_kernel])
def test_thresholds_are_reported_once_met(kernel: Callable[[], Kernel]) -> None:
    """A pool is reported when it reaches UP, stays reported while past it, and when it falls below DOWN."""
    desk = Desk(kernel)
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(BTCUSDT=100.0)
    desk.watch("BTCUSDT:long", up=0.5)
    assert desk.mark(BTCUSDT=92.0) == []  # 0.92 / 2
    assert desk.mark(BTCUSDT=91.8) == ["binance/main/BTCUSDT:long"]  # 0.918 / 1.8
    desk.watch("BTCUSDT:long", up=nan, down=0.45)
    assert desk.mark(BTCUSDT=91.9) == []
    assert desk.mark(BTCUSDT=95.0) == ["binance/main/BTCUSDT:long"]


@pytest.mark.parametrize("kernel", [plain_kernel, compiled_kernel])
def test_a_balance_below_zero_is_past_every_rung(kernel: Callable[[], Kernel]) -> None:
    """Margin balance zero or less with risk open meets any threshold."""
    desk = Desk(kernel)
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(BTCUSDT=100.0)
    desk.watch("BTCUSDT:long", up=1e9)
    assert desk.mark(BTCUSDT=90.0) == ["binance/main/BTCUSDT:long"]
    assert desk.mark(BTCUSDT=1.0) == ["binance/main/BTCUSDT:long"]
    assert desk.ratio("BTCUSDT:long") == float("inf")


@pytest.mark.parametrize("kernel", [plain_kernel, compiled_kernel])
def test_a_leg_that_leaves_its_tier_is_priced_by_the_next(kernel: Callable[[], Kernel]) -> None:
    """Crossing a bracket within one tick uses the new bracket for the decision of that tick."""
    desk = Desk(kernel)
    desk.load(contract("BTCUSDT", 1))
    desk.snapshot((isolated("BTCUSDT", -10.0, 90.0, 5000.0, Slot.SHORT),))
    desk.mark(BTCUSDT=90.0)
    assert desk.ratio("BTCUSDT:short") == pytest.approx(3.6 / 5000.0)
    desk.watch("BTCUSDT:short", up=0.03)  # the first bracket's rate would give 0.0084
    assert desk.mark(BTCUSDT=400.0) == ["binance/main/BTCUSDT:short"]
    assert desk.ratio("BTCUSDT:short") == pytest.approx((4000 * 0.02 - 16.0) / (5000.0 - 3100.0))


@pytest.mark.parametrize("kernel", [plain_kernel, compiled_kernel])
def test_a_frame_that_moves_most_of_the_book_gives_what_single_frames_give(kernel: Callable[[], Kernel]) -> None:
    """Going through all rows at once is the same as going through each list, gaps and newcomers included."""
    symbols = [f"S{k:02d}USDT" for k in range(40)]
    one_by_one, at_once = Desk(kernel), Desk(kernel)
    for desk in (one_by_one, at_once):
        desk.load(*(contract(symbol, k % 3) for k, symbol in enumerate(symbols)))
        held = [isolated(symbol, 5.0 + k, 100.0, 900.0, Slot.LONG) for k, symbol in enumerate(symbols)]
        desk.snapshot((*held, *(cross(symbol, -3.0, 90.0, Slot.SHORT) for symbol in symbols)), (Wallet("USDT", 1e5),))
        desk.mark(**dict.fromkeys(symbols[:-1], 100.0))
        desk.delta(isolated(symbols[5], 0.0, 0.0, 0.0, Slot.LONG), cross(symbols[7], 0.0, 0.0, Slot.SHORT))
        for symbol in symbols[8:12]:
            desk.watch(f"{symbol}:long", up=0.012)
    prices = {symbol: 60.0 + 3.0 * k for k, symbol in enumerate(symbols[:-1]) if k % 6}
    crossed = [pool for symbol, price in prices.items() for pool in one_by_one.mark(**{symbol: price})]
    assert sorted(at_once.mark(**prices)) == sorted(crossed)
    assert crossed
    for left, right in zip(one_by_one.book.table().margin_ratio, at_once.book.table().margin_ratio, strict=True):
        assert left == pytest.approx(right, rel=1e-9, nan_ok=True)
    assert at_once.book.rebuild() < 1e-12


def test_old_and_repeated_marks_are_dropped() -> None:
    """A mark not newer than the last one changes nothing."""
    desk = Desk()
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(BTCUSDT=99.0)
    ratio = desk.ratio("BTCUSDT:long")
    desk.now_ms -= 2
    desk.mark(BTCUSDT=91.0)
    desk.now_ms -= 1
    desk.mark(BTCUSDT=91.0)
    assert desk.ratio("BTCUSDT:long") == ratio


def test_without_a_mark_a_pool_is_unknown_but_still_watched() -> None:
    """A leg without a mark makes its pool unknown, and the rest of the pool still alarms."""
    desk = Desk()
    desk.snapshot(
        (cross("BTCUSDT", 1.0, 100.0, Slot.LONG), cross("ETHUSDT", 1.0, 10.0, Slot.LONG)), (Wallet("USDT", 20.0),)
    )
    desk.watch("USDT", up=0.5)
    assert desk.mark(BTCUSDT=99.0) == []
    assert isnan(desk.ratio("USDT"))
    row = desk.book.row_of("binance", "main", "binance/main/USDT")
    assert row is not None
    assert desk.book.assess(row).unknown == ("mark price of ETHUSDT",)
    assert desk.mark(BTCUSDT=81.0) == ["binance/main/USDT"]
    desk.mark(ETHUSDT=10.0)
    assert desk.ratio("USDT") == pytest.approx((0.81 + 0.1) / 1.0)


def test_an_instrument_without_tiers_is_unknown_until_they_come() -> None:
    """A position in a contract nobody described is carried, shown as unknown, and priced once it is described."""
    desk = Desk()
    desk.snapshot((isolated("NEWUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(NEWUSDT=100.0)
    assert desk.scopes() == {"unknown"}
    assert isnan(desk.ratio("unknown"))
    desk.load(linear("NEWUSDT", flat_tier(0.01)))
    desk.snapshot((isolated("NEWUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    assert desk.scopes() == {"NEWUSDT:long"}
    assert desk.ratio("NEWUSDT:long") == pytest.approx(0.1)


def test_a_lent_mark_counts_until_the_stream_brings_one() -> None:
    """The mark inside a position's own message is used at once, but the stream still counts as silent."""
    desk = Desk()
    desk.snapshot((replace(isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG), mark_price=95.0),))
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95 / 5.0)
    assert desk.book.ledger.stale_instruments(now=3.0, limit_s=5.0) == {}
    assert list(desk.book.ledger.stale_instruments(now=9.0, limit_s=5.0).values()) == [None]
    desk.mark(now=9.5, BTCUSDT=96.0)
    assert desk.book.ledger.stale_instruments(now=10.0, limit_s=5.0) == {}
    assert list(desk.book.ledger.stale_instruments(now=15.5, limit_s=5.0).values()) == [6.0]


def test_an_instrument_held_again_gets_time_for_its_first_mark() -> None:
    """What was seen long ago, before a position was closed and opened again, is not blindness at once."""
    desk = Desk()
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(now=1.0, BTCUSDT=100.0)
    stale = desk.book.ledger.stale_instruments
    assert stale(now=2.0, limit_s=5.0) == {}
    desk.delta(isolated("BTCUSDT", 0.0, 0.0, 0.0, Slot.LONG))
    assert stale(now=900.0, limit_s=5.0) == {}
    desk.delta(isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG))
    assert stale(now=1000.0, limit_s=5.0) == {}
    assert list(stale(now=1006.0, limit_s=5.0).values()) == [1005.0]


def test_a_venue_that_pauses_between_marks_is_given_its_pause() -> None:
    """Where an unchanged mark is repeated every ten seconds, six without one prove nothing."""
    desk = Desk()
    desk.snapshot((cross("BTCUSDT", 1.0, 100.0),), (Wallet("USDT", 50.0),), mark_pause_s=12.0)
    desk.mark(now=100.0, BTCUSDT=100.0)
    ledger = desk.book.ledger
    assert ledger.stale_instruments(100.0, 5.0) == {}
    assert ledger.stale_instruments(111.0, 5.0) == {}
    assert list(ledger.stale_instruments(113.0, 5.0).values()) == [13.0]
    desk.snapshot((cross("BTCUSDT", 1.0, 100.0),), (Wallet("USDT", 50.0),))
    assert list(ledger.stale_instruments(111.0, 5.0).values()) == [11.0]


def test_an_adl_rank_is_kept_with_its_position() -> None:
    """Until the venue says another one, or that it does not say; who comes into its row afterwards has none of it."""
    desk = Desk()

    def ranks() -> list[int | None]:
        (row,) = desk.book.rows()
        return [leg.adl_rank for leg in desk.book.assess(row).legs]

    long, short = cross("BTCUSDT", 1.0, 100.0, Slot.LONG), cross("BTCUSDT", -0.5, 100.0, Slot.SHORT)
    desk.snapshot((replace(long, adl_rank=5), short), (Wallet("USDT", 50.0),))
    desk.mark(BTCUSDT=99.0)
    assert ranks() == [5, None]
    desk.delta(replace(long, adl_rank=0), replace(short, adl_rank=3))
    assert ranks() == [0, 3]
    desk.delta(replace(short, size=0.0))
    desk.delta(cross("ETHUSDT", 1.0, 100.0, Slot.LONG))
    assert ranks() == [0, None]
    desk.delta(long)
    assert ranks() == [None, None]


def test_a_fresh_calculation_hands_the_adl_rank_through() -> None:
    """As the book does."""
    held = (replace(cross("BTCUSDT", 1.0, 100.0, Slot.LONG), adl_rank=0), cross("ETHUSDT", 1.0, 100.0, Slot.LONG))
    instruments = {leg.instrument: contract(leg.instrument) for leg in held}
    wallets = (Wallet("USDT", 50.0),)
    account = Account("binance", "main", AccountMode.SINGLE_ASSET, PositionMode.HEDGE, wallets, held, instruments)
    (pool,) = assess_account(account, {"BTCUSDT": 100.0, "ETHUSDT": 100.0}, RULE)
    assert [leg.adl_rank for leg in pool.legs] == [0, None]


def test_closing_evicts_the_pool() -> None:
    """Size zero closes a slot, and a pool without a position is gone."""
    desk = Desk()
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    assert desk.delta(isolated("BTCUSDT", 0.0, 0.0, 0.0, Slot.LONG)) == ["binance/main/BTCUSDT:long"]
    assert desk.scopes() == set()
    assert desk.book.table().margin_ratio.tolist() == []


def test_a_snapshot_evicts_what_it_does_not_list_unless_newer_news_says_otherwise() -> None:
    """A slot absent from the snapshot is closed, but not one that an event opened after the request was sent."""
    desk = Desk()
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG), isolated("ETHUSDT", 1.0, 10.0, 1.0, Slot.LONG)))
    asked_at = desk.now_ms + 1
    desk.now_ms += 5
    desk.delta(isolated("SOLUSDT", 1.0, 10.0, 1.0, Slot.LONG))
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),), at_ms=asked_at)
    assert desk.scopes() == {"BTCUSDT:long", "SOLUSDT:long"}


def test_an_older_event_does_not_undo_a_newer_one() -> None:
    """Events are ordered per slot by the venue's time."""
    desk = Desk()
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(BTCUSDT=100.0)
    desk.delta(isolated("BTCUSDT", 2.0, 100.0, 20.0, Slot.LONG))
    newest = desk.ratio("BTCUSDT:long")
    desk.now_ms -= 3
    desk.delta(isolated("BTCUSDT", 7.0, 100.0, 1.0, Slot.LONG))
    assert desk.ratio("BTCUSDT:long") == newest


def test_a_position_moves_between_pools_when_its_margin_type_changes() -> None:
    """From cross to isolated: the old pool loses it, the new one has its wallet."""
    desk = Desk()
    desk.snapshot((cross("BTCUSDT", 1.0, 100.0, Slot.LONG),), (Wallet("USDT", 30.0),))
    desk.mark(BTCUSDT=100.0)
    gone = desk.delta(isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG), Wallet("USDT", 20.0))
    assert gone == ["binance/main/USDT"]
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.1)


def test_a_one_way_position_that_flips_is_another_pool() -> None:
    """An isolated long that becomes a short in one event changes its pool's name."""
    desk = Desk()
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0),))
    assert desk.delta(isolated("BTCUSDT", -1.0, 100.0, 10.0)) == ["binance/main/BTCUSDT:long"]
    assert desk.scopes() == {"BTCUSDT:short"}


def test_a_report_anchors_the_pool() -> None:
    """A small difference between report and model is carried until the next report, and measured."""
    desk = Desk()
    position = isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG)
    desk.snapshot((position,))
    desk.mark(BTCUSDT=95.0)
    desk.snapshot((position,), reports=(PoolReport("BTCUSDT:long", 5.001, 0.9501, None, (("BTCUSDT", 95.0),)),))
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.9501 / 5.001)
    desk.mark(BTCUSDT=96.0)
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.9601 / 6.001)
    account = desk.book.account("binance", "main")
    assert [held.error for held in account.anchors.values()] == [pytest.approx(0.001 / 5.001)]
    desk.snapshot((position,), reports=(PoolReport("BTCUSDT:long", 6.0, 0.96, None, (("BTCUSDT", 96.0),)),))
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.16)


def test_a_surprising_report_may_frighten_at_once_but_reassure_only_when_confirmed() -> None:
    """Past the tolerance the dangerous part of the difference counts at once, the other after a second report."""
    desk = Desk()
    position = isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG)
    desk.snapshot((position,))
    desk.mark(BTCUSDT=95.0)
    rosy = (PoolReport("BTCUSDT:long", 50.0, 0.95, None, (("BTCUSDT", 95.0),)),)
    desk.snapshot((position,), reports=rosy)
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95 / 5.0)
    desk.snapshot((position,), reports=rosy)
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95 / 50.0)
    grim = (PoolReport("BTCUSDT:long", 1.0, 0.95, None, (("BTCUSDT", 95.0),)),)
    desk.snapshot((position,), reports=())
    desk.snapshot((position,), reports=grim)
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95)


def test_an_anchor_that_nobody_renews_stops_reassuring() -> None:
    """After some snapshots that tell nothing of the pool what frightened stays, and the model error is not shown."""
    desk = Desk()
    position = isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG)
    desk.snapshot((position,))
    desk.mark(BTCUSDT=95.0)
    for balance, believed in ((5.02, 5.0), (4.99, 4.99)):
        report = PoolReport("BTCUSDT:long", balance, 0.95, None, (("BTCUSDT", 95.0),))
        desk.snapshot((position,), reports=(report,))
        for missed in range(1, MISSED_MAX + 1):
            assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95 / balance)
            assert desk.book.assess(desk.book.rows()[0]).model_error is not None
            # One that tells nothing that can be compared is as good as none.
            telling = (replace(report, margin_balance=nan),) if missed % 2 else ()
            desk.snapshot((position,), reports=telling)
        assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95 / believed)
        assert desk.book.assess(desk.book.rows()[0]).model_error is None


def test_a_requirement_that_is_only_reported_is_unknown_when_it_is_not_told_any_more() -> None:
    """It was the only one there is, and is about a moment that is long gone."""
    desk = Desk()
    held, mode = (cross("BTCUSDT", 1.0, 100.0, Slot.LONG),), AccountMode.PORTFOLIO
    report = PoolReport("multi", 100.0, 20.0, None, (("BTCUSDT", 100.0),))
    desk.snapshot(held, (Wallet("USDT", 100.0, 1.0),), (report,), mode)
    desk.mark(BTCUSDT=100.0)
    for _ in range(MISSED_MAX):
        assert desk.ratio("multi") == pytest.approx(0.2)
        desk.snapshot(held, (Wallet("USDT", 100.0, 1.0),), (), mode)
    assert isnan(desk.ratio("multi"))
    assert desk.book.assess(desk.book.rows()[0]).unknown == ("the venue's report of the pool",)
    desk.snapshot(held, (Wallet("USDT", 100.0, 1.0),), (report,), mode)
    assert desk.ratio("multi") == pytest.approx(0.2)


def test_a_contract_that_is_not_described_makes_the_cross_pools_unknown() -> None:
    """Nobody knows from which of them it takes; an isolated one takes from none. Both are a pool of their own."""
    desk = Desk()
    known = (cross("BTCUSDT", 1.0, 100.0, Slot.LONG), isolated("ETHUSDT", 1.0, 10.0, 1.0, Slot.LONG))
    wallets = (Wallet("USDT", 50.0), Wallet("USDC", 7.0))
    desk.snapshot((*known, isolated("NEWUSDT", 1.0, 10.0, 1.0, Slot.LONG)), wallets)
    desk.mark(BTCUSDT=100.0, ETHUSDT=10.0)
    assert desk.ratio("USDT") == pytest.approx(1.0 / 50.0)
    desk.snapshot((*known, cross("NEWUSDT", 1.0, 10.0, Slot.LONG)), wallets)
    assert isnan(desk.ratio("USDT"))
    assert desk.ratio("ETHUSDT:long") == pytest.approx(0.1)
    row = desk.book.row_of("binance", "main", "binance/main/USDT")
    assert row is not None
    assert desk.book.assess(row).unknown == ("contract NEWUSDT",)
    desk.load(contract("NEWUSDT"))
    desk.snapshot((*known, cross("NEWUSDT", 1.0, 10.0, Slot.LONG)), wallets)
    desk.mark(NEWUSDT=10.0)
    assert desk.ratio("USDT") == pytest.approx(1.1 / 50.0)
    desk.snapshot((*known, cross("OTHER", 1.0, 10.0, Slot.LONG)), wallets)
    assert isnan(desk.ratio("USDT"))
    desk.delta(cross("OTHER", 0.0, 0.0, Slot.LONG))
    assert desk.ratio("USDT") == pytest.approx(1.0 / 50.0)


def test_amounts_in_another_coin_are_counted_at_its_present_price() -> None:
    """A short in BTC has a profit in BTC, worth less as BTC falls; the next look values it as a snapshot would."""
    desk = Desk()
    inverse = Instrument("BTCUSD", ContractKind.INVERSE, "BTC", 100.0, flat_tier(0.01))
    desk.load(inverse)
    held = (cross("BTCUSD", -10.0, 100.0, Slot.SHORT),)
    wallets = (Wallet("USDT", 500.0, 1.0), Wallet("BTC", 0.0, 100.0))
    report = PoolReport("multi", 500.0, 10.0, None, (("BTCUSD", 100.0), ("index:BTCUSD", 100.0)))
    desk.snapshot(held, wallets, (report,), AccountMode.MULTI_ASSET)
    desk.mark(BTCUSD=100.0, **{"index:BTCUSD": 100.0})
    assert desk.ratio("multi") == pytest.approx(10.0 / 500.0)
    desk.mark(BTCUSD=80.0, **{"index:BTCUSD": 80.0})
    profit, required = 1000.0 * (1 / 80 - 1 / 100), 0.01 * 1000.0 / 80
    assert desk.ratio("multi") == pytest.approx(required * 100.0 / (500.0 + profit * 100.0))
    assert len(desk.book.requote()) == 1
    assert desk.ratio("multi") == pytest.approx(required * 80.0 / (500.0 + profit * 80.0))
    assert desk.book.requote() == set()
    assert desk.delta(cross("BTCUSD", 0.0, 0.0, Slot.SHORT)) == ["binance/main/multi"]
    assert desk.book.requote() == set()


def test_multi_asset_mode_is_one_pool_and_moves_with_the_indexes() -> None:
    """All wallets and cross positions are one pool in USD; an index mark re-values its coin."""
    desk = Desk()
    report = PoolReport("multi", 19.47 - 10 * 0.001, 0.0, None, (("index:BTCUSD", 100.0),))
    desk.snapshot(
        (cross("BTCUSDT", 1.0, 100.0, Slot.LONG), cross("BTCUSDC", -0.5, 100.0, Slot.SHORT)),
        (Wallet("USDT", 10.0, 0.999), Wallet("USDC", 0.0, 1.0), Wallet("BTC", 0.1, 100.0, 0.05)),
        (report,),
        AccountMode.MULTI_ASSET,
    )
    assert desk.scopes() == {"multi"}
    desk.mark(BTCUSDT=90.0, BTCUSDC=90.0)
    balance = 10 * 0.999 + 0.1 * 95.0 - 10.0 * 0.999 + 5.0
    maintenance = 0.9 * 0.999 + 0.45
    assert desk.ratio("multi") == pytest.approx(maintenance / balance)
    desk.mark(**{"index:BTCUSD": 90.0})
    assert desk.ratio("multi") == pytest.approx(maintenance / (balance - 0.1 * 9.5))
    desk.delta(Wallet("BTC", 0.2, 90.0, 0.05))
    assert desk.ratio("multi") == pytest.approx(maintenance / (balance - 0.1 * 9.5 + 0.1 * 85.5))


def test_collateral_that_is_gone_counts_no_more() -> None:
    """The last wallet of a cross pool disappears from the snapshot: the pool has nothing left to stand on."""
    desk = Desk()
    desk.snapshot((cross("BTCUSDT", 1.0, 100.0, Slot.LONG),), (Wallet("USDT", 10_000.0),))
    desk.mark(BTCUSDT=99.0)
    desk.snapshot((cross("BTCUSDT", 1.0, 100.0, Slot.LONG),), ())
    assert desk.ratio("USDT") == float("inf")


def test_a_balance_that_is_unknown_makes_its_pool_unknown_and_stays_nowhere() -> None:
    """Of a coin with an index too; once it is told, nothing of it is left in the running totals."""
    desk = Desk()
    report = (PoolReport("multi", 1000.0, 1.0, None, (("index:BTCUSD", 100.0), ("BTCUSDT", 100.0))),)
    held = (cross("BTCUSDT", 1.0, 100.0, Slot.LONG),)
    coins = (Wallet("USDT", 5.0), Wallet("BTC", 9.95, 100.0))
    desk.snapshot(held, coins, report, AccountMode.MULTI_ASSET)
    desk.mark(BTCUSDT=100.0, **{"index:BTCUSD": 100.0})
    for coin in coins:
        desk.delta(replace(coin, balance=nan))
        desk.mark(**{"index:BTCUSD": 101.0})
        assert isnan(desk.ratio("multi"))
        assert desk.book.assess(desk.book.rows()[0]).unknown == ("collateral value",)
        desk.delta(coin)
        desk.mark(**{"index:BTCUSD": 100.0})
        assert desk.ratio("multi") == pytest.approx(0.001)


def test_an_indexed_coin_that_is_gone_counts_no_more() -> None:
    """In multi-asset mode too, although its index goes on."""
    desk = Desk()
    report = (PoolReport("multi", 1000.0, 1.0, None, (("index:BTCUSD", 100.0), ("BTCUSDT", 100.0))),)
    held = (cross("BTCUSDT", 1.0, 100.0, Slot.LONG),)
    coins = (Wallet("USDT", 5.0), Wallet("BTC", 9.95, 100.0))
    desk.snapshot(held, coins, report, AccountMode.MULTI_ASSET)
    desk.mark(BTCUSDT=100.0, **{"index:BTCUSD": 100.0})
    assert desk.ratio("multi") == pytest.approx(0.001)
    desk.snapshot(held, coins[:1], mode=AccountMode.MULTI_ASSET)
    desk.mark(**{"index:BTCUSD": 120.0})
    assert desk.ratio("multi") == pytest.approx(0.2)


def test_a_haircut_on_profit_is_taken_where_it_was_told() -> None:
    """The wallet says how much profit it counts; what is gained since counts in full, and the coin moves both."""
    desk = Desk()
    held = (cross("BTCUSDC", 1.0, 100.0, Slot.LONG),)
    told = Wallet("USDC", 50.0, 1.0, 0.1, profit=10.0)
    report = (PoolReport("multi", 54.0, 1.1, None, (("BTCUSDC", 110.0), ("index:USDCUSD", 1.0))),)
    desk.snapshot(held, (told,), report, AccountMode.MULTI_ASSET)
    desk.mark(BTCUSDC=110.0, **{"index:USDCUSD": 1.0})
    (pool,) = (desk.book.assess(row) for row in desk.book.rows())
    assert (pool.margin_balance, pool.model_error) == (pytest.approx(0.9 * (50.0 + 10.0)), pytest.approx(0.0))
    assert desk.ratio("multi") == pytest.approx(1.1 / 54.0)
    desk.mark(BTCUSDC=120.0)
    assert desk.ratio("multi") == pytest.approx(1.2 / (54.0 + 10.0))
    desk.mark(**{"index:USDCUSD": 0.9})
    desk.book.requote()
    assert desk.ratio("multi") == pytest.approx(0.9 * 1.2 / (0.9 * (54.0 + 10.0)))
    desk.delta(replace(told, profit=20.0))
    assert desk.ratio("multi") == pytest.approx(0.9 * 1.2 / (0.9 * 0.9 * 70.0))


def test_profit_above_a_debt_and_a_loss_that_makes_one() -> None:
    """It is their sum that is owned or owed: only what is owned is shortened."""
    assert wallet_value(Wallet("BTC", -1.0, 10.0, 0.1, profit=3.0)) == pytest.approx(0.9 * 20.0 - 30.0)
    assert wallet_value(Wallet("BTC", 1.0, 10.0, 0.1, profit=-3.0)) == pytest.approx(-20.0 + 30.0)
    assert wallet_value(Wallet("BTC", 0.0, 10.0, 1.0, profit=3.0)) == pytest.approx(-30.0)
    assert isnan(wallet_value(Wallet("BTC", 1.0, nan, 0.1, profit=3.0)))


def test_prices_of_collateral_may_rest_for_a_time_of_their_own() -> None:
    """A venue may repeat an index more seldom than a mark."""
    desk = Desk()
    marks = (("BTCUSDT", 100.0), ("index:BTCUSD", 100.0))
    report = (PoolReport("multi", 105.0, 1.0, None, marks),)
    coins = (Wallet("USDT", 5.0), Wallet("BTC", 1.0, 100.0))
    held = (cross("BTCUSDT", 1.0, 100.0),)
    desk.snapshot(held, coins, report, AccountMode.MULTI_ASSET, mark_pause_s=12.0, index_pause_s=62.0)
    stale = desk.book.ledger.stale_instruments
    desk.mark(100.0, **dict(marks))
    assert stale(100.0, 5.0) == stale(111.0, 5.0) == {}
    assert list(stale(113.0, 5.0).values()) == [13.0]
    desk.mark(150.0, BTCUSDT=100.0)
    assert stale(161.0, 5.0) == {}
    assert 63.0 in stale(163.0, 5.0).values()


def test_an_anchor_reassures_only_about_the_positions_it_was_measured_on() -> None:
    """A report below the model is forgotten when the pool changes; the model alone decides until the next report."""
    desk = Desk()
    held, wallet = cross("BTCUSDT", 10.0, 100.0, Slot.LONG), (Wallet("USDT", 100.0),)
    low = (PoolReport("USDT", 100.0, 1.0, None, (("BTCUSDT", 100.0),)),)
    for _ in range(2):
        desk.snapshot((held,), wallet, low)
        desk.mark(BTCUSDT=100.0)
    assert desk.ratio("USDT") == pytest.approx(0.01)
    desk.delta(cross("BTCUSDT", 1.0, 100.0, Slot.LONG))
    assert desk.ratio("USDT") == pytest.approx(0.01)  # 1 % of one at 100 over 100, not 1 less 9
    desk.delta(cross("ETHUSDT", 75.0, 100.0, Slot.LONG))
    desk.mark(ETHUSDT=100.0)
    assert desk.ratio("USDT") == pytest.approx(0.76)


def test_only_the_same_report_again_confirms() -> None:
    """Two reports that disagree with the model and with each other confirm nothing."""
    desk = Desk()
    position = isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG)
    desk.snapshot((position,))
    desk.mark(BTCUSDT=95.0)
    for balance in (2.0, 500.0):
        desk.snapshot((position,), reports=(PoolReport("BTCUSDT:long", balance, 0.95, None, (("BTCUSDT", 95.0),)),))
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95 / 5.0)


def test_a_position_held_again_is_priced_by_its_own_message() -> None:
    """The mark of a former life is older than the one that the new position's message carries."""
    desk = Desk()
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(BTCUSDT=200.0)
    desk.delta(isolated("BTCUSDT", 0.0, 0.0, 0.0, Slot.LONG))
    desk.now_ms += 60_000
    desk.delta(replace(isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG), mark_price=95.0))
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.95 / 5.0)
    desk.mark(BTCUSDT=96.0)
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.96 / 6.0)
    desk.delta(replace(isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG), mark_price=50.0))
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.96 / 6.0)  # the stream is fresh: it knows better


def test_a_margin_coin_without_a_price_is_unknown() -> None:
    """In multi-asset mode a position in a coin that is neither held nor priced makes the pool unknown."""
    desk = Desk()
    desk.snapshot((cross("BTCUSDC", 1.0, 100.0, Slot.LONG),), (Wallet("USDT", 100.0),), mode=AccountMode.MULTI_ASSET)
    desk.mark(BTCUSDC=100.0)
    assert isnan(desk.ratio("multi"))
    desk.delta(Wallet("USDC", 5.0, 0.99))
    desk.delta(cross("BTCUSDC", 1.0, 100.0, Slot.LONG))
    assert desk.ratio("multi") == pytest.approx(0.99 / 104.95)


@pytest.mark.parametrize("kernel", [plain_kernel, compiled_kernel])
def test_an_instrument_named_twice_in_a_frame_has_its_newest_mark(kernel: Callable[[], Kernel]) -> None:
    """Two marks of one instrument in one frame: the later one counts, and nothing else is disturbed."""
    desk = Desk(kernel)
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(BTCUSDT=100.0)
    frame = Marks(FEED, ["BTCUSDT"] * 3, [99.0, 92.0, 95.0], [2_000_000, 2_000_002, 2_000_001])
    desk.watch("BTCUSDT:long", up=0.4)
    assert len(desk.book.apply_marks(frame, 0.0)) == 1
    assert desk.ratio("BTCUSDT:long") == pytest.approx(0.92 / 2.0)


@pytest.mark.parametrize("kernel", [plain_kernel, compiled_kernel])
def test_less_than_nothing_is_without_end_even_where_nothing_is_required(kernel: Callable[[], Kernel]) -> None:
    """A negative margin balance is +inf whatever the maintenance."""
    desk = Desk(kernel)
    desk.load(linear("BTCUSDT", flat_tier(0.0)))
    desk.snapshot((isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG),))
    desk.mark(BTCUSDT=100.0)
    desk.watch("BTCUSDT:long", up=0.5)
    assert desk.mark(BTCUSDT=90.1) == []
    assert desk.ratio("BTCUSDT:long") == 0.0
    assert desk.mark(BTCUSDT=80.0) == ["binance/main/BTCUSDT:long"]
    assert desk.ratio("BTCUSDT:long") == float("inf")


PORTFOLIO = AccountMode.PORTFOLIO
HELD = (cross("BTCUSDT", 1.0, 100.0, Slot.LONG), cross("ETHUSDT", -2.0, 10.0, Slot.SHORT))
MARKS = (("BTCUSDT", 100.0), ("ETHUSDT", 10.0))


def test_a_reported_maintenance_is_held_while_the_balance_moves() -> None:
    """Under portfolio margin no tier counts: the pool requires what the venue last said, whatever the marks do."""
    desk = Desk()
    report = PoolReport("multi", 45.0, 9.0, None, MARKS)
    for _ in range(2):  # the second confirms that 5 of the balance do not count
        desk.snapshot(HELD, (Wallet("USDT", 50.0),), (report,), mode=PORTFOLIO)
    desk.mark(BTCUSDT=90.0, ETHUSDT=11.0)
    assert desk.ratio("multi") == pytest.approx(9.0 / (45.0 - 10.0 - 2.0))
    pool = desk.book.assess(desk.book.rows()[0])
    assert pool.basis is Basis.REPORTED
    assert pool.maintenance_margin == pytest.approx(9.0)
    assert all(isnan(leg.maintenance_margin) for leg in pool.legs)
    assert pool.legs[0].liquidation_price == pytest.approx(90.0 - (33.0 - 9.0))
    desk.load(contract("BTCUSDT", 2))
    assert desk.ratio("multi") == pytest.approx(9.0 / 33.0)


def test_without_a_report_what_only_the_venue_computes_is_unknown() -> None:
    """At the start, after a change from a mode whose maintenance is computed, and while a mark is missing."""
    desk, wallet = Desk(), (Wallet("USDT", 50.0),)
    desk.mark(BTCUSDT=100.0)
    desk.snapshot(HELD[:1], wallet, mode=PORTFOLIO)
    assert isnan(desk.ratio("multi"))
    desk.mark(BTCUSDT=100.0)
    assert desk.book.assess(desk.book.rows()[0]).unknown == ("the venue's report of the pool",)
    computed = PoolReport("multi", 50.0, 1.0, None, MARKS)
    desk.snapshot(HELD[:1], wallet, (computed,), mode=AccountMode.MULTI_ASSET)
    assert desk.ratio("multi") == pytest.approx(1.0 / 50.0)
    desk.snapshot(HELD[:1], wallet, mode=PORTFOLIO)
    assert isnan(desk.ratio("multi"))
    desk.snapshot(HELD, wallet, (PoolReport("multi", 45.0, 9.0, None, MARKS[:1]),), mode=PORTFOLIO)
    assert isnan(desk.ratio("multi"))


def test_an_isolated_position_may_stand_beside_a_cross_one() -> None:
    """In a slot of its own; closing one leaves the other."""
    desk = Desk()
    alone = isolated("BTCUSDT", 2.0, 100.0, 30.0, Slot.ISOLATED_BOTH)
    desk.snapshot((cross("BTCUSDT", 1.0, 100.0), alone), (Wallet("USDT", 50.0),))
    desk.mark(BTCUSDT=100.0)
    assert desk.scopes() == {"USDT", "BTCUSDT:long"}
    assert desk.ratio("BTCUSDT:long") == pytest.approx(2.0 / 30.0)
    assert desk.delta(replace(alone, size=0.0)) == ["binance/main/BTCUSDT:long"]
    assert desk.ratio("USDT") == pytest.approx(1.0 / 50.0)


def test_a_contract_that_is_described_after_its_position_may_be_an_inverse_one() -> None:
    """A position may be told first; then it is unknown, and afterwards it is what the contract says."""
    desk = Desk()
    position = isolated("BTCUSD", 30_000.0, 60_000.0, 0.1)
    desk.delta(position)
    desk.load(Instrument("BTCUSD", ContractKind.INVERSE, "BTC", 1.0, TABLES[0]))
    desk.snapshot((position,))
    desk.mark(BTCUSD=50_000.0)
    row = desk.book.row_of("binance", "main", "binance/main/BTCUSD:long")
    assert row is not None
    (leg,) = desk.book.assess(row).legs
    assert leg.unrealized_pnl == pytest.approx(30_000 / 60_000 - 30_000 / 50_000)


def test_a_position_without_an_entry_price_is_unknown_and_poisons_nothing() -> None:
    """The venue's row may lack it: the pool is unknown, and known again with the next good row."""
    desk = Desk()
    good = cross("BTCUSDT", 1.0, 100.0, Slot.LONG)
    desk.snapshot((good, cross("ETHUSDT", 1.0, 10.0, Slot.LONG)), (Wallet("USDT", 20.0),))
    desk.mark(BTCUSDT=100.0, ETHUSDT=10.0)
    desk.delta(replace(good, entry_price=nan))
    assert isnan(desk.ratio("USDT"))
    row = desk.book.rows()[0]
    assert desk.book.assess(row).unknown
    desk.watch("USDT", up=0.5)
    desk.delta(good)
    assert desk.ratio("USDT") == pytest.approx(1.1 / 20.0)
    desk.watch("USDT", up=0.05)
    assert desk.mark(ETHUSDT=10.0) == ["binance/main/USDT"]


# -- the running totals against a calculation from scratch --------------------------------------

prices = st.floats(1.0, 500.0)
sizes = st.floats(-50.0, 50.0).filter(lambda size: abs(size) > 0.01) | st.just(0.0)
slots = st.sampled_from([Slot.LONG, Slot.SHORT, Slot.BOTH])


@st.composite
def positions(draw: st.DrawFn) -> Position:
    """Any position; in slots LONG and SHORT with the sign that belongs there."""
    slot, size = draw(slots), draw(sizes)
    size = abs(size) if slot is Slot.LONG else -abs(size) if slot is Slot.SHORT else size
    mode = draw(st.sampled_from(MarginMode))
    wallet = draw(st.floats(0.0, 5000.0)) if mode is MarginMode.ISOLATED else 0.0
    return Position(draw(st.sampled_from(SYMBOLS)), slot, size, draw(prices), mode, wallet)


steps = st.one_of(
    st.tuples(st.just("mark"), st.dictionaries(st.sampled_from(SYMBOLS), prices, min_size=1)),
    st.tuples(st.just("fill"), positions()),
    st.tuples(st.just("transfer"), st.sampled_from(["USDT", "USDC"]), st.floats(-1000.0, 5000.0)),
    st.tuples(st.just("tiers"), st.sampled_from(SYMBOLS), st.sampled_from(range(len(TABLES)))),
    st.tuples(st.just("mode"), st.sampled_from([AccountMode.SINGLE_ASSET, AccountMode.MULTI_ASSET])),
)


@dataclass
class Mirror:
    """The account as plain values, computed from scratch whenever asked."""

    marks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 100.0))
    held: dict[tuple[str, Slot], Position] = field(default_factory=dict)
    wallets: dict[str, float] = field(default_factory=lambda: {"USDT": 1000.0, "USDC": 0.0})
    tables: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 0))
    mode: AccountMode = AccountMode.SINGLE_ASSET
    usdc: bool = True

    def wallet_values(self) -> tuple[Wallet, ...]:
        """All wallets; USDC is worth a little less than a dollar in multi-asset mode."""
        discount = self.mode is AccountMode.MULTI_ASSET
        return tuple(
            Wallet(c, b, 0.99 if discount and c == "USDC" else 1.0)
            for c, b in self.wallets.items()
            if self.usdc or c != "USDC"
        )

    def expected(self) -> dict[str, tuple[float, float]]:
        """Scope to margin balance and maintenance margin."""
        instruments = {symbol: contract(symbol, table) for symbol, table in self.tables.items()}
        account = Account(
            "binance",
            "main",
            self.mode,
            PositionMode.HEDGE,
            self.wallet_values(),
            tuple(self.held.values()),
            instruments,
        )
        pools = assess_account(account, self.marks, RULE)
        return {pool.scope: (pool.margin_balance, pool.maintenance_margin) for pool in pools}

    def reports(self, balance: float, maintenance: float) -> tuple[PoolReport, ...]:
        """Reports that are off the truth by these factors."""
        marks = tuple(self.marks.items())
        return tuple(
            PoolReport(scope, figures[0] * balance, figures[1] * maintenance, None, marks)
            for scope, figures in self.expected().items()
            if not isnan(figures[0])
        )


def collides(mirror: Mirror, position: Position) -> bool:
    """Whether two slots would be one isolated pool, which no venue's account can hold."""
    return any(
        other.instrument == position.instrument
        and other.slot is not position.slot
        and Slot.BOTH in (other.slot, position.slot)
        for other in mirror.held.values()
    )


def play(desk: Desk, mirror: Mirror, kind: str, *details: Any) -> list[str]:
    """One step for the book and its mirror; returns the pools that crossed."""
    if kind in ("mark", "all"):
        moved = details[0] if kind == "mark" else dict.fromkeys(SYMBOLS, details[0])
        mirror.marks |= moved
        return desk.mark(**moved)
    if kind == "fill":
        position = details[0]
        if collides(mirror, position):
            return []
        mirror.held.pop((position.instrument, position.slot), None)
        if position.size:
            mirror.held[position.instrument, position.slot] = position
        desk.delta(position)
        return desk.mark(**{position.instrument: mirror.marks[position.instrument]})
    if kind == "transfer":
        mirror.wallets[details[0]] += details[1]
        desk.delta(*mirror.wallet_values())
    elif kind == "tiers":
        mirror.tables[details[0]] = details[1]
        desk.load(contract(*details))
    elif kind == "report":
        desk.snapshot(tuple(mirror.held.values()), mirror.wallet_values(), mirror.reports(*details), mirror.mode)
    else:
        mirror.mode = details[0] if kind == "mode" else mirror.mode
        mirror.usdc = details[0] if kind == "coin" else mirror.usdc
        desk.snapshot(tuple(mirror.held.values()), mirror.wallet_values(), mode=mirror.mode)
    return []


def columns(desk: Desk) -> dict[str, tuple[float, float]]:
    """Scope to margin balance and maintenance margin, as the columns have them."""
    table = desk.book.table()
    figures = zip(table.margin_balance.tolist(), table.maintenance_margin.tolist(), strict=True)
    return {pool.rpartition("/")[2]: found for pool, found in zip(table.pools, figures, strict=True)}


def started(kernel: Callable[[], Kernel]) -> tuple[Desk, Mirror]:
    """A desk in sync that has a mark for everything."""
    desk, mirror = Desk(kernel), Mirror()
    desk.snapshot((), mirror.wallet_values())
    desk.mark(**mirror.marks)
    return desk, mirror


@pytest.mark.parametrize("kernel", [plain_kernel, compiled_kernel])
@settings(max_examples=120, deadline=None)
@given(script=st.lists(steps, max_size=30))
def test_running_totals_equal_a_calculation_from_scratch(kernel: Callable[[], Kernel], script: list[tuple]) -> None:
    """After any ticks, fills, transfers, tier, mode and coin changes the columns hold what the calculator says.

    Once a report has been carried, they hold what the pool with its anchor says.
    """
    desk, mirror = started(kernel)
    for step in script:
        play(desk, mirror, *step)
    found = columns(desk)
    expected = mirror.expected()
    assert found.keys() == expected.keys()
    for row, scope in zip(desk.book.rows(), found, strict=True):
        risk = desk.book.pool(row).risk()
        figures = (risk.margin_balance, risk.maintenance_margin)
        assert found[scope] == pytest.approx(figures, rel=1e-9, abs=1e-6, nan_ok=True), scope
    if not any(kind == "report" for kind, *_ in script):
        for scope, figures in expected.items():
            assert found[scope] == pytest.approx(figures, rel=1e-9, abs=1e-6, nan_ok=True), scope
    assert desk.book.rebuild() < 1e-9


@settings(max_examples=120, deadline=None)
@given(script=st.lists(steps, max_size=25), rungs=st.lists(st.floats(0.001, 2.0), min_size=2, max_size=2))
def test_plain_and_compiled_kernels_agree(script: list[tuple], rungs: list[float]) -> None:
    """The same events give the same columns, and report the same pools at the same moments."""
    down, up = sorted(rungs)
    desks = [started(plain_kernel), started(compiled_kernel)]
    for step in script:
        crossed = []
        for desk, mirror in desks:
            for row in desk.book.rows():
                desk.book.ledger.set_thresholds(row, down, up)
            crossed.append(sorted(play(desk, mirror, *step)))
        assert crossed[0] == crossed[1]
    plain, compiled = (columns(desk) for desk, _ in desks)
    assert same(plain, compiled)


def same(left: dict[str, tuple[float, float]], right: dict[str, tuple[float, float]]) -> bool:
    """Whether two sets of columns are equal to rounding, unknowns included."""
    return left.keys() == right.keys() and all(
        left[scope] == pytest.approx(right[scope], rel=1e-12, abs=1e-9, nan_ok=True) for scope in left
    )
