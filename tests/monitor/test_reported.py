"""Pools whose requirement only the venue can say: held as it last reported it, and unknown before."""

from dataclasses import replace
from math import nan

import pytest

from monitor.book import Book
from monitor.margin.venues import RULES, rules_of
from monitor.model.account import AccountMode, PositionMode, Wallet
from monitor.model.assessment import Basis, PoolAssessment
from monitor.model.events import AccountDelta, AccountSnapshot, InstrumentsLoaded, Marks, PoolReport, SnapshotReason
from monitor.model.ids import Slot
from tests.support.accounts import cross, flat_tier, isolated, linear

VENUE, NAME, FEED = "hyperliquid", "main", "hyperliquid"


def portfolio(*reports: PoolReport, mode: AccountMode = AccountMode.PORTFOLIO) -> Book:
    """An account of one cross long, 1 BTC at 100, beside 40 of collateral."""
    book = Book()
    book.add_account(VENUE, NAME, RULES[VENUE])
    book.load_instruments(InstrumentsLoaded(VENUE, NAME, (linear("BTC", flat_tier(0.1), "USDC"),), 1))
    tell(book, *reports, mode=mode)
    return book


def tell(book: Book, *reports: PoolReport, mode: AccountMode = AccountMode.PORTFOLIO) -> None:
    """A snapshot of that account."""
    wallets, positions = (Wallet("USDC", 40.0),), (cross("BTC", 1.0, 100.0),)
    modes = (SnapshotReason.TIMER, mode, PositionMode.ONE_WAY)
    book.apply_snapshot(AccountSnapshot(VENUE, NAME, FEED, 1, *modes, wallets, positions, reports))


def only(book: Book) -> PoolAssessment:
    """The one pool."""
    (row,) = book.rows()
    return book.assess(row)


def at(book: Book, price: float, at_ms: int) -> PoolAssessment:
    """The pool after a tick."""
    book.apply_marks(Marks(FEED, ("BTC",), (price,), (at_ms,)), at_ms / 1000.0)
    return only(book)


REPORT = PoolReport("multi", 50.0, 20.0, 0.4, (("BTC", 110.0),))


def test_the_venues_requirement_is_held_between_reports() -> None:
    """The balance moves with the marks, the maintenance stays, and the pool says on what it rests."""
    book = portfolio(REPORT)
    pool = at(book, 110.0, 2)
    assert (pool.basis, pool.margin_balance, pool.maintenance_margin) == (Basis.REPORTED, 50.0, 20.0)
    assert pool.margin_ratio == pytest.approx(0.4)
    assert pool.model_error == 0.0
    pool = at(book, 90.0, 3)
    assert (pool.margin_balance, pool.maintenance_margin) == (30.0, 20.0)
    assert pool.legs[0].liquidation_price == pytest.approx(80.0)
    assert pool.legs[0].maintenance_margin != pool.legs[0].maintenance_margin


def test_without_a_report_nothing_is_known() -> None:
    """And it is not shown as safe."""
    book = portfolio()
    pool = at(book, 110.0, 2)
    assert pool.margin_ratio != pool.margin_ratio
    assert pool.unknown
    assert book.table().margin_ratio[0] != book.table().margin_ratio[0]


def test_a_report_of_one_mode_says_nothing_in_another() -> None:
    """After a switch the pool is computed, or unknown until it is reported."""
    book = portfolio(REPORT)
    tell(book, mode=AccountMode.SINGLE_ASSET)
    pool = at(book, 110.0, 2)
    assert (pool.basis, pool.margin_balance, pool.maintenance_margin) == (Basis.COMPUTED, 50.0, 11.0)
    tell(book)
    assert at(book, 110.0, 3).margin_ratio != at(book, 110.0, 3).margin_ratio


def test_a_venue_that_no_longer_says_makes_the_pool_unknown() -> None:
    """The last figure may have been for another size; when the venue says again, it is known again."""
    book = portfolio(REPORT)
    assert at(book, 110.0, 2).margin_ratio == pytest.approx(0.4)
    for silent in (PoolReport("multi", nan, 20.0, None, ()), PoolReport("multi", 50.0, nan, None, ())):
        tell(book, silent)
        pool = only(book)
        assert pool.margin_ratio != pool.margin_ratio
        assert pool.unknown == ("the venue's report of the pool",)
        tell(book, REPORT)
        assert only(book).margin_ratio == pytest.approx(0.4)


def held_so(book: Book, reported: frozenset[str], *reports: PoolReport) -> PoolAssessment:
    """A snapshot of the account in a mode that can be computed; the pools in `reported` are held as reported."""
    wallets, positions = (Wallet("USDC", 40.0),), (cross("BTC", 1.0, 100.0),)
    modes = (SnapshotReason.TIMER, AccountMode.SINGLE_ASSET, PositionMode.ONE_WAY)
    told = AccountSnapshot(VENUE, NAME, FEED, 1, *modes, wallets, positions, reports, reported=reported)
    book.apply_snapshot(told)
    return only(book)


def test_a_pool_that_cannot_be_computed_is_held_in_any_mode() -> None:
    """As long as the venue says so of it; what was carried before says nothing then, nor the other way round."""
    scope, report = frozenset({"USDC"}), replace(REPORT, scope="USDC")
    book = portfolio(replace(REPORT, scope="USDC", maintenance_margin=11.02), mode=AccountMode.SINGLE_ASSET)
    assert at(book, 110.0, 2).maintenance_margin == pytest.approx(11.02)
    pool = held_so(book, scope)
    assert (pool.basis, pool.unknown) == (Basis.REPORTED, ("the venue's report of the pool",))
    assert book.table().margin_ratio[0] != book.table().margin_ratio[0]
    pool = held_so(book, scope, report)
    assert (pool.basis, pool.margin_balance, pool.maintenance_margin) == (Basis.REPORTED, 50.0, 20.0)
    assert at(book, 90.0, 3).maintenance_margin == 20.0
    pool = held_so(book, frozenset())
    assert (pool.basis, pool.maintenance_margin, pool.unknown) == (Basis.COMPUTED, pytest.approx(9.0), ())
    assert (pool.margin_balance, book.table().maintenance_margin[0]) == (pytest.approx(30.0), pytest.approx(9.0))


def test_a_position_that_is_newer_than_the_snapshot_is_held_with_its_pool() -> None:
    """Though the snapshot's own row of it is left aside."""
    book = portfolio(mode=AccountMode.SINGLE_ASSET)
    grown = replace(cross("BTC", 2.0, 100.0), updated_ms=9)
    book.apply_delta(AccountDelta(VENUE, NAME, 9, "ORDER", (), (grown,)))
    assert at(book, 110.0, 10).maintenance_margin == pytest.approx(22.0)
    assert held_so(book, frozenset({"USDC"})).unknown
    pool = held_so(book, frozenset({"USDC"}), replace(REPORT, scope="USDC"))
    assert (pool.legs[0].size, pool.maintenance_margin) == (2.0, 20.0)


def test_a_venue_without_rules_has_every_pool_held() -> None:
    """Isolated ones too, each by its margin coin."""
    rules = rules_of("bitget")
    assert rules.venue == "bitget"
    assert rules_of("binance") is RULES["binance"]
    book = Book()
    book.add_account("bitget", NAME, rules)
    book.load_instruments(InstrumentsLoaded("bitget", NAME, (linear("BTC", (), "USDC"),), 1))
    modes = (SnapshotReason.START, AccountMode.SINGLE_ASSET, PositionMode.ONE_WAY)
    positions = (cross("BTC", 1.0, 100.0), isolated("BTC", 1.0, 100.0, 30.0, Slot.ISOLATED_LONG))
    marks = (("BTC", 100.0),)
    reports = (PoolReport("USDC", 40.0, 4.0, None, marks), PoolReport("BTC:long", 30.0, 3.0, None, marks))
    book.apply_snapshot(AccountSnapshot("bitget", NAME, FEED, 1, *modes, (Wallet("USDC", 40.0),), positions, reports))
    book.apply_marks(Marks(FEED, ("BTC",), (90.0,), (2,)), 0.002)
    pools = [book.assess(row) for row in book.rows()]
    assert {pool.pool: pool.margin_ratio for pool in pools} == pytest.approx(
        {"bitget/main/USDC": 4 / 30, "bitget/main/BTC:long": 3 / 20}
    )
    assert {pool.basis for pool in pools} == {Basis.REPORTED}
