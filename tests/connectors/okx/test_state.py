"""Pushes and snapshots laid over each other: what is news, what is old, what was corrected, what is reported."""

from dataclasses import replace
from math import isnan

import pytest

from connectors.okx.answers import Config
from connectors.okx.parse import AccountRow, CoinRow, PositionRow
from connectors.okx.state import AccountState, Answers
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument

T = 1_790_000_000_000
LONG = PositionRow(
    instrument="BTC-USDT-SWAP",
    slot=Slot.ISOLATED_BOTH,
    size=2.0,
    margin_mode=MarginMode.ISOLATED,
    coin="USDT",
    entry_price=100.0,
    mark_price=101.0,
    margin=20.0,
    unrealized_pnl=2.0,
    maintenance_margin=1.0,
    venue_ratio=20.0,
    leverage=10.0,
    at_ms=T,
)
SHORT = replace(LONG, instrument="ETH-USDT-SWAP", slot=Slot.BOTH, margin_mode=MarginMode.CROSS, size=-3.0, margin=None)
USDT = CoinRow("USDT", 1000.0, 1003.0, 0.0, 1.0, 1003.0, 1003.0, 1.5, 400.0, T)


def answers(
    *positions: PositionRow, coin: CoinRow = USDT, mode: AccountMode = AccountMode.SINGLE_ASSET, sent_ms: int = T
) -> Answers:
    """A snapshot."""
    account = AccountRow(None, None, None, (coin,), sent_ms)
    if mode is not AccountMode.SINGLE_ASSET:
        account = replace(account, adjusted_equity=1003.0, maintenance_margin=1.5, venue_ratio=400.0)
    return Answers(sent_ms, Config(mode, PositionMode.ONE_WAY, ("read_only",), True), account, positions, frozenset())


def state(*positions: PositionRow, mode: AccountMode = AccountMode.SINGLE_ASSET) -> AccountState:
    """After a snapshot."""
    made = AccountState()
    made.absorb(answers(*positions, mode=mode))
    return made


def test_what_says_nothing_new_is_not_told() -> None:
    """Marks and profits move; the position does not."""
    account = state(LONG)
    assert account.move([replace(LONG, mark_price=105.0, unrealized_pnl=10.0, at_ms=T + 5)]) == ((), 0)
    moved, stale = account.move([replace(LONG, margin=25.0, at_ms=T + 6)])
    assert ([p.isolated_wallet for p in moved], stale) == ([25.0], 0)


def test_a_new_adl_rank_is_told_and_is_no_correction() -> None:
    """It moves by what others do, so a snapshot that knows a newer one found nothing lost."""
    account = state(replace(LONG, adl_rank=1))
    assert [held.adl_rank for held in account.positions.values()] == [1]
    moved, _ = account.move([replace(LONG, adl_rank=4, at_ms=T + 5)])
    assert [held.adl_rank for held in moved] == [4]
    moved, _ = account.move([replace(LONG, adl_rank=None, at_ms=T + 6)])
    assert [held.adl_rank for held in moved] == [None]
    assert account.absorb(answers(replace(LONG, adl_rank=5, at_ms=T + 7), sent_ms=T + 60_000)) == []
    assert [held.adl_rank for held in account.positions.values()] == [5]


def test_an_older_push_is_left_out_and_counted() -> None:
    """An equal time is taken: two pushes can share one."""
    account = state(LONG)
    assert account.move([replace(LONG, size=3.0, at_ms=T + 10)])[0][0].size == 3.0
    assert account.move([replace(LONG, size=2.0, at_ms=T + 9)]) == ((), 1)
    assert account.move([replace(LONG, size=4.0, at_ms=T + 10)])[0][0].size == 4.0


def test_a_close_of_what_was_not_held_is_no_news() -> None:
    """Hedge mode tells each side by itself."""
    account = state(LONG)
    other = replace(LONG, slot=Slot.ISOLATED_SHORT, size=0.0, at_ms=T + 1)
    assert account.move([other]) == ((), 0)
    closed, _ = account.move([replace(LONG, size=0.0, at_ms=T + 2)])
    assert [p.size for p in closed] == [0.0]
    assert account.needs() == frozenset()


def test_a_whole_set_closes_the_rest_unless_it_is_newer() -> None:
    """What opened after the set was made stays."""
    account = state(LONG, SHORT)
    account.move([replace(SHORT, size=-4.0, at_ms=T + 100)])
    assert account.close_absent([LONG], T + 50) == ()
    gone = account.close_absent([LONG], T + 150)
    assert [(p.instrument, p.size, p.updated_ms) for p in gone] == [("ETH-USDT-SWAP", 0.0, T + 150)]


def test_a_snapshot_says_what_it_corrected() -> None:
    """Positions and coins that no push explained; a push that is newer than its request is kept."""
    account = state(LONG, SHORT)
    account.move([replace(SHORT, size=-9.0, at_ms=T + 5000)])
    fresh = answers(replace(LONG, size=1.0), SHORT, coin=replace(USDT, cash=900.0), sent_ms=T + 4000)
    assert account.absorb(fresh) == [("BTC-USDT-SWAP", Slot.ISOLATED_BOTH), "USDT"]
    assert {p.instrument: p.size for p in account.positions.values()} == {"BTC-USDT-SWAP": 1.0, "ETH-USDT-SWAP": -9.0}
    assert account.reports(fresh) == ()


def test_what_is_required_is_equity_by_ratio() -> None:
    """With the fee, because OKX's ratio has it; for both kinds of pools."""
    taken = answers(LONG, SHORT)
    isolated, cross = state(LONG, SHORT).reports(taken)
    assert (isolated.scope, isolated.margin_balance, isolated.maintenance_margin) == ("BTC-USDT-SWAP:long", 22.0, 1.1)
    assert (cross.scope, cross.margin_balance, cross.maintenance_margin) == ("USDT", 1003.0, 1003.0 / 400.0)
    assert cross.marks == (("ETH-USDT-SWAP", 101.0),)


def test_without_a_ratio_the_fee_is_added() -> None:
    """Where the contract is known; else there is no report, and nothing is zero."""
    bare = replace(LONG, venue_ratio=None)
    taken = answers(bare)
    account = state(bare)
    assert account.reports(taken) == ()
    account.instruments["BTC-USDT-SWAP"] = Instrument(
        "BTC-USDT-SWAP", ContractKind.LINEAR, "USDT", 0.5, (), None, 0.001
    )
    (report,) = account.reports(taken)
    assert report.maintenance_margin == 1.0 + 101.0 * 0.001
    below = replace(bare, unrealized_pnl=-30.0, venue_ratio=-1.0)
    (report,) = account.reports(answers(below))
    assert (report.margin_balance, report.maintenance_margin) == (-10.0, 1.0 + 101.0 * 0.001)
    assert account.reports(answers(replace(bare, maintenance_margin=None))) == ()


def test_isolated_equity_is_not_the_cross_pools() -> None:
    """OKX-19: of 99.89 USDT 5.47 stand behind isolated positions, and 94.43 are the recorded ``availEq``."""
    coin = replace(USDT, equity=99.89469657000001, isolated_equity=5.468566666666667)
    alone, shared = state(LONG, SHORT).reports(answers(LONG, SHORT, coin=coin))
    assert (alone.scope, shared.scope) == ("BTC-USDT-SWAP:long", "USDT")
    assert shared.margin_balance == pytest.approx(94.42612990333333, rel=1e-15)


def test_isolated_equity_that_is_left_empty_is_not_zero() -> None:
    """Where isolated positions stand, what is left for the others is then not known; where none do, it is all."""
    coin = replace(USDT, isolated_equity=None)
    assert [report.scope for report in state(LONG, SHORT).reports(answers(LONG, SHORT, coin=coin))] == [
        "BTC-USDT-SWAP:long"
    ]
    (shared,) = state(SHORT).reports(answers(SHORT, coin=coin))
    assert (shared.scope, shared.margin_balance) == ("USDT", 1003.0)


def test_over_all_currencies_there_is_one_report() -> None:
    """The account's own figures; rows under portfolio margin repeat their risk unit's and are not added up."""
    for mode in (AccountMode.MULTI_ASSET, AccountMode.PORTFOLIO):
        taken = answers(SHORT, replace(SHORT, instrument="BTC-USDT-SWAP"), mode=mode)
        account = AccountState()
        account.absorb(taken)
        (report,) = account.reports(taken)
        assert (report.scope, report.margin_balance, report.maintenance_margin) == ("multi", 1003.0, 1003.0 / 400.0)
        assert account.reports(answers(mode=mode)) == ()


def test_wallets_in_dollars() -> None:
    """Priced and discounted by OKX's own figures; a debt counts in full; what is not told is not guessed."""
    account = state(mode=AccountMode.MULTI_ASSET)
    discounted = replace(USDT, coin="BTC", cash=0.1, price_usd=50_000.0, equity_usd=5000.0, discounted_usd=4750.0)
    assert account.wallet(discounted, T).haircut == 1.0 - 4750.0 / 5000.0
    debt = account.wallet(replace(discounted, cash=-0.1, equity_usd=-5000.0, discounted_usd=-5000.0), T)
    assert (debt.balance, debt.price, debt.haircut) == (-0.1, 50_000.0, 0.0)
    assert isnan(account.wallet(replace(discounted, discounted_usd=None), T).price)
    assert isnan(account.wallet(replace(discounted, price_usd=None), T).price)
    assert state().wallet(replace(discounted, price_usd=None), T).price == 1.0
