"""Pushes and snapshots laid over each other: what is news, what is old, what was corrected, what is reported."""

from dataclasses import replace
from math import inf, isnan, nan

import pytest

from connectors.okx.answers import Config
from connectors.okx.parse import AccountRow, CoinRow, Other, PositionRow
from connectors.okx.state import AccountState, Answers, is_unread
from connectors.simulator.okx_contracts import discounted
from monitor.assess import assess_account
from monitor.book import Book
from monitor.margin.rules import wallet_value, wallet_weight
from monitor.margin.venues import RULES
from monitor.model.account import Account, AccountMode, MarginMode, PositionMode
from monitor.model.assessment import margin_ratio
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, Marks, SnapshotReason
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier

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


@pytest.mark.parametrize("mode", [AccountMode.SINGLE_ASSET, AccountMode.MULTI_ASSET])
def test_a_report_of_another_balance_is_not_held_against_the_model(mode: AccountMode) -> None:
    """A push has told another since it was asked for; the next snapshot knows it, and so does its report."""
    account, taken = state(SHORT, mode=mode), answers(SHORT, mode=mode, sent_ms=T + 4000)
    account.pay(replace(taken.balance, coins=(replace(USDT, cash=400.0, equity=403.0),), at_ms=T + 5000))
    account.absorb(taken)
    assert [report for report in account.reports(taken) if not isnan(report.margin_balance)] == []
    later = answers(SHORT, mode=mode, coin=replace(USDT, cash=400.0), sent_ms=T + 60_000)
    account.absorb(later)
    assert [report.margin_balance for report in account.reports(later)] == [1003.0]


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


BTC = replace(
    USDT, coin="BTC", cash=0.1, equity=0.1, profit=0.0, price_usd=50_000.0, equity_usd=5000.0, discounted_usd=4750.0
)


def test_wallets_in_dollars() -> None:
    """Priced and discounted by OKX's own figures; a debt counts in full; futures mode counts the coin itself."""
    account = state(mode=AccountMode.MULTI_ASSET)
    assert account.wallet(BTC, T).haircut == pytest.approx(1.0 - 4750.0 / 5000.0)
    debt = account.wallet(replace(BTC, cash=-0.1, equity=-0.1, equity_usd=-5000.0, discounted_usd=-5000.0), T)
    assert (debt.balance, debt.price, debt.haircut) == (-0.1, 50_000.0, 0.0)
    assert state().wallet(replace(BTC, price_usd=None), T).price == 1.0


@pytest.mark.parametrize(
    "untold",
    [
        {"discounted_usd": None},
        {"discounted_usd": None, "equity_usd": None},
        {"price_usd": None, "equity_usd": None},
        {"price_usd": None, "equity": None},
        {"profit": None, "equity": None},
        {"cash": nan},
    ],
)
def test_a_value_that_is_not_told_is_not_guessed(untold: dict[str, float | None]) -> None:
    """Neither price nor discount nor balance: nothing of the coin counts, not even where an index prices it."""
    wallet = state(mode=AccountMode.MULTI_ASSET).wallet(replace(BTC, **untold), T)
    assert isnan(wallet_value(wallet))
    assert isnan(wallet_weight(wallet))


def test_a_dollar_needs_no_telling() -> None:
    """It counts as one where its price is left empty, and in full where its discount is; told ones count as told."""
    account = state(mode=AccountMode.MULTI_ASSET)
    bare = replace(USDT, price_usd=None, equity_usd=None, discounted_usd=None, profit=None, equity=None)
    assert wallet_value(account.wallet(bare, T)) == 1000.0
    assert wallet_value(account.wallet(replace(bare, price_usd=0.97), T)) == 970.0
    told = replace(USDT, cash=1000.0, profit=0.0, price_usd=1.0, discounted_usd=975.0)
    assert wallet_value(account.wallet(told, T)) == pytest.approx(975.0)


INVERSE = Instrument("BTC-USD-SWAP", ContractKind.INVERSE, "BTC", 100.0, (Tier(0.0, None, 0.004, 0.0),), 0.1, 0.0005)
HELD = replace(SHORT, instrument="BTC-USD-SWAP", coin="BTC")


def profit_of(size: float, entry: float, price: float) -> float:
    """Of a coin-margined position, in coins."""
    return size * INVERSE.multiplier * (1.0 / entry - 1.0 / price)


@pytest.mark.parametrize("price", [75_000.0, 60_000.0])
@pytest.mark.parametrize(
    ("cash", "size", "entry", "steps"),
    [
        pytest.param(0.1, -5000.0, 90_000.0, ((inf, 0.95),), id="a short with a profit"),
        pytest.param(8.0, 5000.0, 90_000.0, ((inf, 0.95),), id="a long with a loss"),
        pytest.param(0.1, 5000.0, 90_000.0, ((inf, 0.95),), id="a loss that leaves a debt"),
        pytest.param(-0.5, -5000.0, 90_000.0, ((inf, 0.95),), id="a profit above a debt"),
        pytest.param(0.0, -5000.0, 90_000.0, ((inf, 0.95),), id="a profit and nothing else"),
        pytest.param(9.0, -5000.0, 90_000.0, ((2.0, 1.0), (10.0, 0.9), (inf, 0.5)), id="a discount in steps"),
        pytest.param(9.0, -5000.0, 90_000.0, ((inf, 0.0),), id="no collateral at all"),
    ],
)
def test_the_discount_is_on_cash_and_profit_together(
    cash: float, size: float, entry: float, steps: tuple[tuple[float, float], ...], price: float
) -> None:
    """At each report and each push the pool's balance is the discounted equity that OKX states."""
    profit = profit_of(size, entry, price)
    counted = discounted(cash + profit, steps) * price
    row = replace(BTC, cash=cash, equity=cash + profit, profit=profit, price_usd=price, discounted_usd=counted)
    held = replace(HELD, size=size, entry_price=entry)
    account = AccountState()
    account.absorb(answers(held, coin=row, mode=AccountMode.MULTI_ASSET))
    wallets, positions = tuple(account.wallets.values()), tuple(account.positions.values())
    known = {INVERSE.symbol: INVERSE}
    whole = Account("okx", "main", AccountMode.MULTI_ASSET, PositionMode.ONE_WAY, wallets, positions, known)
    (pool,) = assess_account(whole, {INVERSE.symbol: price}, RULES["okx"])
    assert pool.margin_balance == pytest.approx(counted, abs=1e-6)
    assert pool.maintenance_margin == pytest.approx(abs(size) * INVERSE.multiplier * (0.004 + 0.0005))


@pytest.mark.parametrize("move", [-0.1, -0.02, -0.005, 0.005, 0.02, 0.1])
@pytest.mark.parametrize(("cash", "size"), [(0.1, -5000.0), (8.0, 5000.0), (9.0, -5000.0), (20.0, 5000.0)])
def test_between_two_pushes_the_balance_moves_with_index_and_mark(cash: float, size: float, move: float) -> None:
    """As far from OKX's as is said of wallets: what a gain adds is the haircut of it too much, and so is a loss.

    What a loss leaves of the balance is never more than what OKX counts.
    """
    entry, price, share = 90_000.0, 75_000.0, 0.95
    profit = profit_of(size, entry, price)
    counted = share * (cash + profit) * price
    row = replace(BTC, cash=cash, equity=cash + profit, profit=profit, price_usd=price, discounted_usd=counted)
    held = replace(HELD, size=size, entry_price=entry, mark_price=price)
    taken = answers(held, coin=row, mode=AccountMode.MULTI_ASSET)
    ratio = counted / (abs(size) * INVERSE.multiplier * 0.0045)
    taken = replace(taken, balance=replace(taken.balance, adjusted_equity=counted, venue_ratio=ratio))
    account = AccountState(instruments={INVERSE.symbol: INVERSE})
    account.absorb(taken)
    account.follow_indexes({"BTC"})
    book = Book()
    book.add_account("okx", "main", RULES["okx"])
    book.load_instruments(InstrumentsLoaded("okx", "main", (INVERSE,), T))
    modes = (SnapshotReason.START, account.account_mode, account.position_mode)
    wallets, positions = tuple(account.wallets.values()), tuple(account.positions.values())
    book.apply_snapshot(AccountSnapshot("okx", "main", "okx", T, *modes, wallets, positions, account.reports(taken)))
    (pool,) = (book.assess(at) for at in book.rows())
    assert (pool.margin_balance, pool.model_error) == (pytest.approx(counted), pytest.approx(0.0, abs=1e-12))
    new = price * (1.0 + move)
    book.apply_marks(Marks("okx", (INVERSE.symbol, "index:BTCUSD"), (new, new), (T + 9, T + 9)), 0.0)
    book.requote()
    (pool,) = (book.assess(at) for at in book.rows())
    equity = cash + profit_of(size, entry, new)
    truth = (share if equity > 0.0 else 1.0) * equity * new
    gained = (equity - cash - profit) * new
    if equity > 0.0:
        assert pool.margin_balance == pytest.approx(truth + (1.0 - share) * gained)
    if gained < 0.0:
        assert pool.margin_balance <= truth + 1e-6


def test_profit_that_is_left_empty_is_what_equity_has_beyond_cash() -> None:
    """Without isolated positions."""
    account = state(mode=AccountMode.MULTI_ASSET)
    row = replace(BTC, cash=0.1, equity=0.35, isolated_equity=0.05, profit=None)
    assert account.wallet(row, T).profit == pytest.approx(0.2)


def test_a_whole_set_of_currencies_empties_the_rest_unless_it_is_newer() -> None:
    """OKX lists those with a balance: a coin that was sold is gone, one that came after the set was made stays."""
    account = state(mode=AccountMode.MULTI_ASSET)
    late = replace(USDT, coin="ETH", cash=3.0, profit=0.0)
    told = AccountRow(1003.0, 1.5, 400.0, (BTC, late), T + 5000)
    account.pay(told)
    account.pay(replace(told, coins=(late,), at_ms=T + 7000))
    part = replace(told, coins=(USDT,), at_ms=T + 6000)
    assert [wallet.coin for wallet in account.pay(part)[0] if not wallet.balance] == []
    wallets, _ = account.pay(replace(part, whole=True))
    assert [(wallet.coin, wallet.balance, wallet.profit) for wallet in wallets] == [("BTC", 0.0, 0.0)]
    assert account.wallets["ETH"].balance == 3.0
    assert account.pay(replace(part, whole=True, at_ms=T + 6500)) == ((), 0)


def test_the_price_of_a_coin_that_only_margins_is_the_positions_word() -> None:
    """OKX lists no currency without a balance; a dollar needs no word."""
    held = replace(HELD, coin_price_usd=50_000.0)
    account = AccountState()
    account.absorb(answers(held, SHORT, coin=replace(BTC, coin="OKB"), mode=AccountMode.MULTI_ASSET))
    assert {coin: (it.balance, it.price) for coin, it in account.wallets.items() if coin != "OKB"} == {
        "BTC": (0.0, 50_000.0),
        "USDT": (0.0, 1.0),
    }
    account = AccountState()
    account.absorb(answers(HELD, coin=USDT, mode=AccountMode.MULTI_ASSET))
    assert isnan(account.wallets["BTC"].price)


def test_indexes_of_what_counts_are_wanted() -> None:
    """Of what is owned and of what is owed, where there is one and the account shares its collateral."""
    debt = replace(BTC, coin="ETH", cash=-1.0, equity=-1.0, price_usd=4000.0, discounted_usd=-4000.0)
    bare = replace(BTC, coin="OKB", cash=1.0, equity=1.0, price_usd=50.0, discounted_usd=40.0)
    listed = {"BTC", "ETH", "DOGE"}
    account = AccountState()
    taken = answers(SHORT, mode=AccountMode.MULTI_ASSET)
    taken = replace(taken, balance=replace(taken.balance, coins=(USDT, BTC, debt, bare)))
    account.absorb(taken)
    account.follow_indexes(listed)
    indexes = {"index:BTCUSD", "index:ETHUSD"}
    assert account.needs() == {"ETH-USDT-SWAP"} | indexes
    assert {name for name, _ in account.reports(taken)[0].marks} == account.needs()
    account.follow_indexes({"ETH"})  # not listed for once
    assert account.needs() == {"ETH-USDT-SWAP"} | indexes
    account.pay(replace(taken.balance, coins=(replace(BTC, cash=0.0, equity=0.0),), at_ms=T + 6000))
    account.follow_indexes(listed)
    assert account.needs() == {"ETH-USDT-SWAP", "index:ETHUSD"}
    account.absorb(answers(SHORT))
    account.follow_indexes(listed)
    assert account.needs() == {"ETH-USDT-SWAP"}
    alone = state(LONG, mode=AccountMode.MULTI_ASSET)
    alone.follow_indexes({"USDT"})
    assert alone.needs() == {"BTC-USDT-SWAP"}


def test_of_very_many_coins_the_most_worthy_are_followed() -> None:
    """And they stay: one that comes to be worth more does not push another out."""
    coins = tuple(replace(BTC, coin=f"C{i:03d}", cash=1.0 + i, equity=1.0 + i, price_usd=1.0) for i in range(150))
    account, taken = AccountState(), answers(SHORT, mode=AccountMode.MULTI_ASSET)
    account.absorb(replace(taken, balance=replace(taken.balance, coins=coins)))
    listed = {coin.coin for coin in coins}
    account.follow_indexes(listed)
    assert account.indexed == {f"C{i:03d}" for i in range(50, 150)}
    account.pay(replace(taken.balance, coins=(replace(coins[0], cash=1e6, equity=1e6),), at_ms=T + 5000))
    account.follow_indexes(listed)
    assert account.indexed == {f"C{i:03d}" for i in range(50, 150)}


def test_what_cannot_be_read_corrects_nothing() -> None:
    """A snapshot in which a figure is spoilt does not speak against the stream, nor does the next one that has it."""
    account = state(LONG, SHORT)
    spoilt = answers(replace(LONG, margin=nan), replace(SHORT, entry_price=nan), coin=replace(USDT, cash=nan))
    assert account.absorb(spoilt) == []
    assert [is_unread(held) for held in account.positions.values()] == [True, True]
    assert account.move([replace(LONG, margin=nan, at_ms=T + 5)]) == ((), 0)
    assert account.pay(replace(spoilt.balance, at_ms=T + 5)) == ((), 0)
    assert account.absorb(answers(LONG, SHORT, sent_ms=T + 60_000)) == []
    assert [is_unread(held) for held in account.positions.values()] == [False, False]


FUTURE = replace(SHORT, instrument="BTC-USDT-261225")


def test_pools_with_something_else_than_swaps_are_reported() -> None:
    """By margin mode and currency, or all of them together; whatever OKX tells of them, or that it tells nothing."""
    alone = replace(LONG, instrument="BTC-USD-261225-90000-C", coin="BTC")
    account = state(FUTURE, alone, LONG)
    assert account.reported == {"USDT", "BTC-USD-261225-90000-C:long"}
    assert state(FUTURE, mode=AccountMode.MULTI_ASSET).reported == {"multi"}
    assert state(LONG, SHORT).reported == frozenset()
    (report,) = state(FUTURE).reports(answers(FUTURE))
    assert (report.scope, report.margin_balance, report.maintenance_margin) == ("USDT", 1003.0, 1003.0 / 400.0)
    untold = answers(FUTURE, replace(alone, margin=None), coin=replace(USDT, venue_ratio=None, maintenance_margin=None))
    account = AccountState()
    account.absorb(untold)
    assert [(it.scope, isnan(it.margin_balance), isnan(it.maintenance_margin)) for it in account.reports(untold)] == [
        ("BTC-USD-261225-90000-C:long", True, True),
        ("USDT", True, True),
    ]


def test_borrowed_coins_make_their_cross_pool_reported() -> None:
    """Isolated ones stand alone, and are not watched."""
    taken = answers(SHORT)
    for other, reported in (
        (Other("MARGIN", "USDT", MarginMode.CROSS), {"USDT"}),
        (Other("MARGIN", "USDT", None), {"USDT"}),
        (Other("MARGIN", "USDT", MarginMode.ISOLATED), set()),
    ):
        account = AccountState()
        account.absorb(replace(taken, others=frozenset({other})))
        assert account.reported == reported


def test_a_portfolio_that_owes_more_than_it_has() -> None:
    """OKX-17: with equity below zero OKX's ratio is below zero too; ours is past everything, and is shown as 0.

    The requirement is then not equity / ratio but OKX's own, with the fee to close.
    """
    taken = answers(SHORT, mode=AccountMode.PORTFOLIO)
    owed = {"adjusted_equity": -78553.2189, "maintenance_margin": 2946.5480841048, "venue_ratio": -25.95365779811705}
    taken = replace(taken, balance=replace(taken.balance, **owed))
    linear = Instrument(SHORT.instrument, ContractKind.LINEAR, "USDT", 1.0, ())
    account = AccountState(instruments={SHORT.instrument: linear})
    account.absorb(taken)
    (report,) = account.reports(taken)
    assert report.margin_balance == -78553.2189
    assert report.maintenance_margin == pytest.approx(2946.5480841048 + 3.0 * 101.0 * 0.0005)
    ratio = margin_ratio(report.margin_balance, report.maintenance_margin)
    assert (ratio, RULES["okx"].venue_margin_ratio(ratio)) == (inf, 0.0)


def test_a_portfolio_of_which_nothing_is_told_is_reported_as_such() -> None:
    """So that the book lets go of what it was told before; a computed pool's report is left out instead."""
    taken = answers(SHORT, mode=AccountMode.PORTFOLIO)
    for silent in ({"adjusted_equity": None}, {"venue_ratio": None, "maintenance_margin": None}):
        account = AccountState()
        quiet = replace(taken, balance=replace(taken.balance, **silent))
        account.absorb(quiet)
        (report,) = account.reports(quiet)
        assert (report.scope, isnan(report.margin_balance), isnan(report.maintenance_margin)) == ("multi", True, True)
    bare = replace(USDT, equity=None)
    assert state(SHORT).reports(answers(SHORT, coin=bare)) == ()
