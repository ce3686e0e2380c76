"""Events and snapshots laid over each other."""

from dataclasses import replace
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.binance import answers
from connectors.binance.product import USD_M
from connectors.binance_common.answers import AssetIndex, AssetRow, Modes
from connectors.binance_common.parse import AccountUpdate, PositionRow
from connectors.binance_common.reports import pool_reports
from connectors.binance_common.state import REST_LAG_MS, AccountState, Answers
from monitor.margin.rules import wallet_value
from monitor.model.account import AccountMode, MarginMode, PositionMode, Wallet
from monitor.model.ids import Slot
from monitor.model.instrument import Instrument
from tests.connectors.binance.stage import listed, raw
from tests.support.stage import START_MS

BTC = ("BTCUSDT", Slot.LONG)
ROW_MS = START_MS - 60_000


def taken(sent_ms: int = START_MS, **changes: object) -> Answers:
    """The answers of the fixtures."""
    whole = Answers(
        sent_ms,
        answers.modes(raw("rest_account_config")),
        answers.symbol_configs(raw("rest_symbol_config")),
        answers.account(raw("rest_account")),
        answers.position_risk(raw("rest_position_risk")),
        {},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def instruments() -> dict[str, Instrument]:
    """The contracts of the fixtures."""
    return listed(USD_M)


def event(at_ms: int, size: float = 0.3, balance: float = 4000.0, wallet: float = 2000.0) -> AccountUpdate:
    """An event about the isolated BTC long and the USDT wallet."""
    row = PositionRow("BTCUSDT", Slot.LONG, size, 71000.0 if size else 0.0, MarginMode.ISOLATED, wallet, None)
    return AccountUpdate(at_ms, "ORDER", (("USDT", balance),), (row,))


def state() -> AccountState:
    """After the first snapshot."""
    fresh = AccountState()
    fresh.absorb(taken())
    return fresh


def scopes(account: AccountState) -> list[str]:
    """The pools of which the answers of the fixtures are a report."""
    return [report.scope for report in pool_reports(account, taken(), instruments())]


def test_a_snapshot_brings_positions_wallets_and_modes() -> None:
    """Margin type and leverage come from symbolConfig; empty wallets of unused coins are left out."""
    account = state()
    assert (account.account_mode, account.position_mode) == (AccountMode.SINGLE_ASSET, PositionMode.HEDGE)
    long = account.positions[BTC]
    assert (long.size, long.entry_price, long.isolated_wallet, long.leverage) == (0.1, 70000.0, 700.0, 10.0)
    assert (long.margin_mode, long.mark_price, long.updated_ms) == (MarginMode.ISOLATED, 72000.0, ROW_MS)
    assert account.positions["ETHUSDT", Slot.SHORT].margin_mode is MarginMode.CROSS
    assert account.wallets == {
        "USDT": Wallet("USDT", 5000.0, updated_ms=ROW_MS),
        "USDC": Wallet("USDC", 1000.0, updated_ms=ROW_MS),
    }


def test_reports_are_the_venues_figures_at_the_marks_of_the_same_answer() -> None:
    """Isolated: wallet + PnL; cross: per margin coin; marks are notional / size."""
    isolated, usdt, usdc = pool_reports(state(), taken(), instruments())
    assert (isolated.scope, isolated.margin_balance, isolated.maintenance_margin) == ("BTCUSDT:long", 700 + 200, 28.8)
    assert isolated.marks == (("BTCUSDT", pytest.approx(72000.0)),)
    assert (usdt.scope, usdt.margin_balance, usdt.maintenance_margin) == ("USDT", 5000 - 400, 62.0)
    assert usdt.marks == (("ETHUSDT", pytest.approx(3100.0)),)
    assert (usdc.scope, usdc.margin_balance, usdc.maintenance_margin) == ("USDC", 1000 - 100, 14.0)


def test_a_newer_event_changes_what_it_names_and_keeps_the_leverage() -> None:
    """ACCOUNT_UPDATE does not tell the leverage."""
    account = state()
    wallets, positions, stale = account.update(event(START_MS + 5))
    assert stale == 0
    assert [wallet.balance for wallet in wallets] == [4000.0]
    assert [(position.size, position.leverage) for position in positions] == [(0.3, 10.0)]
    assert account.positions[BTC].updated_ms == START_MS + 5


def test_an_event_older_than_the_snapshot_is_left_out_and_counted() -> None:
    """By the venue's time, key by key."""
    account = state()
    assert account.update(event(ROW_MS - 1)) == ((), (), 2)
    assert account.positions[BTC].size == 0.1


def test_an_event_older_than_the_last_event_is_left_out() -> None:
    """Events may come out of order after a reconnect."""
    account = state()
    account.update(event(START_MS + 10, size=0.4))
    assert account.update(event(START_MS + 9, size=0.2)) == ((), (), 2)
    assert account.positions[BTC].size == 0.4


def test_two_events_of_one_millisecond_apply_in_the_order_of_their_coming() -> None:
    """Two fills may carry the same time."""
    account = state()
    account.update(event(START_MS + 10, size=0.4))
    account.update(event(START_MS + 10, size=0.2))
    assert account.positions[BTC].size == 0.2


def test_the_closing_row_closes_and_a_late_fill_does_not_reopen() -> None:
    """A position that was closed stays closed against older events."""
    account = state()
    _, (closed,), _ = account.update(event(START_MS + 10, size=0.0))
    assert closed.size == 0.0
    assert BTC not in account.positions
    assert account.update(event(START_MS + 8, size=0.2))[1] == ()


def test_a_flat_row_of_something_never_held_says_nothing() -> None:
    """Hedge mode sends rows for both sides."""
    account = state()
    row = PositionRow("XRPUSDT", Slot.SHORT, 0.0, 0.0, MarginMode.CROSS, 0.0, None)
    assert account.update(AccountUpdate(START_MS, "ORDER", (), (row,))) == ((), (), 0)


def test_a_position_that_a_snapshot_omits_is_closed() -> None:
    """Version 3 lists open positions only."""
    account = state()
    corrected = account.absorb(taken(START_MS + 60_000, risk=taken().risk[1:]))
    assert BTC not in account.positions
    assert corrected == [BTC]


def test_a_position_opened_while_the_snapshot_was_on_its_way_is_kept() -> None:
    """The event is newer than the question."""
    account = state()
    account.update(event(START_MS + 60_001, size=0.7))
    account.absorb(taken(START_MS + 60_000, risk=taken().risk[1:]))
    assert account.positions[BTC].size == 0.7


def test_a_position_closed_while_the_snapshot_was_on_its_way_stays_closed() -> None:
    """Binance answers from copies that lag: the row is older than the event."""
    account = state()
    account.update(event(START_MS + 59_900, size=0.0))
    account.absorb(taken(START_MS + 60_000))
    assert BTC not in account.positions


def test_a_snapshot_heals_what_an_old_event_got_wrong() -> None:
    """Past the lag the snapshot is right, whatever its updateTime says: some changes do not move that."""
    account = state()
    account.update(event(START_MS + 1, size=0.7))
    corrected = account.absorb(taken(START_MS + 1 + REST_LAG_MS + 1))
    assert account.positions[BTC].size == 0.1
    assert BTC in corrected


def test_a_snapshot_that_says_the_same_corrects_nothing() -> None:
    """Marks and update times are not corrections."""
    account = state()
    assert account.absorb(taken(START_MS + 60_000)) == []


def test_two_answers_that_disagree_about_a_position_report_nothing_of_its_pool() -> None:
    """Something moved between them, and a comparison would show a difference that is not there."""
    account = state()
    account.absorb(taken(risk=taken().risk[1:]))
    assert scopes(account) == ["USDT", "USDC"]
    account.absorb(taken(risk=taken().risk[:1]))
    assert scopes(account) == ["BTCUSDT:long"]


@pytest.mark.parametrize(
    ("balance", "wallet", "size", "told"),
    [
        (5000.0, 700.0, 0.1, ["BTCUSDT:long", "USDT", "USDC"]),
        (5000.0, 700.0, 0.3, ["USDT", "USDC"]),
        (5000.0, 650.0, 0.1, ["USDT", "USDC"]),
        (5000.0, 0.0, 0.0, ["USDT", "USDC"]),
        (4990.0, 700.0, 0.1, ["BTCUSDT:long", "USDC"]),
    ],
    ids=["the same", "another size", "another isolated wallet", "closed", "another wallet"],
)
def test_an_event_newer_than_the_answers_costs_the_report_of_what_it_tells_otherwise(
    balance: float, wallet: float, size: float, told: list[str]
) -> None:
    """An account that trades each second is still held against the venue's figures; contents count, not times."""
    account = state()
    account.update(event(START_MS + 1, size, balance, wallet))
    assert scopes(account) == told


def test_an_event_about_a_cross_position_costs_the_report_of_its_coin() -> None:
    """Opened, changed or closed; positions in another coin, and isolated ones, are not touched."""
    for symbol, size in (("ETHUSDT", -5.0), ("ETHUSDT", 0.0), ("XRPUSDT", 7.0)):
        row = PositionRow(symbol, Slot.SHORT, size, 3000.0 if size else 0.0, MarginMode.CROSS, 0.0, None)
        account = state()
        account.update(AccountUpdate(START_MS + 1, "ORDER", (), (row,)))
        assert scopes(account) == ["BTCUSDT:long", "USDC"], symbol


def test_a_cross_position_in_a_contract_that_is_not_described_leaves_no_coin_to_report_of() -> None:
    """Nobody knows which coin's figures it is in."""
    known = instruments()
    del known["ETHUSDT"]
    assert [report.scope for report in pool_reports(state(), taken(), known)] == ["BTCUSDT:long"]


def multi_asset(balances: dict[str, float]) -> AccountState:
    """An account in multi-assets mode with these wallets."""
    indexes = {"BTCUSD": AssetIndex(72000.0, 0.05, 0.06), "USDTUSD": AssetIndex(1.0, 0.0, 0.0)}
    coins = tuple(AssetRow(coin, balance, 0.0, ROW_MS) for coin, balance in balances.items())
    account = AccountState(margin_coins=frozenset({"USDT", "BTC", "ETH"}))
    account.absorb(
        taken(
            modes=Modes(AccountMode.MULTI_ASSET, PositionMode.HEDGE),
            account=replace(taken().account, assets=coins),
            indexes=indexes,
        )
    )
    return account


@pytest.mark.parametrize(
    ("coin", "balance", "value"),
    [
        ("BTC", 0.5, 0.5 * 72000.0 * 0.95),
        ("BTC", -0.5, -0.5 * 72000.0 * 1.06),
        ("USDT", 100.0, 100.0),
        ("BNB", 3.0, 0.0),
    ],
)
def test_a_coin_counts_at_its_index_less_or_plus_its_buffer(coin: str, balance: float, value: float) -> None:
    """Owned: the bid rate; owed: the ask rate; not margin at all: nothing."""
    assert wallet_value(multi_asset({coin: balance}).wallets[coin]) == pytest.approx(value)


@pytest.mark.parametrize(("coin", "balance"), [("ETH", 1.0), ("BNB", -1.0)])
def test_a_coin_whose_index_is_not_known_has_no_price(coin: str, balance: float) -> None:
    """Unknown, not zero."""
    assert isnan(wallet_value(multi_asset({coin: balance}).wallets[coin]))


def test_an_index_that_is_not_told_any_more_has_no_price_and_is_needed_all_the_same() -> None:
    """Its stream goes on or is missed, and the share of the coin that counts is the one that was told."""
    account = multi_asset({"USDT": 5000.0, "BTC": 0.5})
    coins = tuple(AssetRow(coin, balance, 0.0, ROW_MS) for coin, balance in {"USDT": 5000.0, "BTC": 0.5}.items())
    account.absorb(
        taken(
            modes=Modes(AccountMode.MULTI_ASSET, PositionMode.HEDGE),
            account=replace(taken().account, assets=coins),
            indexes={"USDTUSD": AssetIndex(1.0, 0.0, 0.0)},
        )
    )
    assert isnan(account.wallets["BTC"].price)
    assert account.wallets["BTC"].haircut == 0.05
    assert "index:BTCUSD" in account.needs()


def test_multi_asset_mode_is_one_pool_that_needs_the_indexes_too() -> None:
    """Its report has the totals, and the marks of positions and indexes."""
    account = multi_asset({"USDT": 5000.0, "BTC": 0.5})
    assert account.needs() == {"BTCUSDT", "ETHUSDT", "SOLUSDC", "index:BTCUSD", "index:USDTUSD"}
    coins = tuple(AssetRow(coin, balance, 0.0, ROW_MS) for coin, balance in {"USDT": 5000.0, "BTC": 0.5}.items())
    answer = replace(taken().account, assets=coins)
    (report,) = pool_reports(account, taken(account=answer, indexes=account.indexes), instruments())
    assert (report.scope, report.margin_balance, report.maintenance_margin) == ("multi", 6400.0, 104.8)
    assert dict(report.marks)["index:BTCUSD"] == 72000.0
    assert dict(report.marks)["ETHUSDT"] == pytest.approx(3100.0)


@pytest.mark.parametrize(
    ("update", "reported"),
    [
        (AccountUpdate(START_MS + 1, "FUNDING_FEE", (("BTC", 0.5),), ()), True),
        (AccountUpdate(START_MS + 1, "FUNDING_FEE", (("BTC", 0.49),), ()), False),
        (AccountUpdate(START_MS + 1, "DEPOSIT", (("ETH", 1.0),), ()), False),
        (event(START_MS + 1, size=0.2, balance=5000.0), False),
    ],
    ids=["the same", "another wallet", "a new coin", "another size"],
)
def test_one_difference_costs_the_one_report_of_multi_assets_mode(update: AccountUpdate, reported: bool) -> None:
    """Its totals count everything."""
    account = multi_asset({"USDT": 5000.0, "BTC": 0.5})
    account.update(update)
    coins = tuple(AssetRow(coin, balance, 0.0, ROW_MS) for coin, balance in {"USDT": 5000.0, "BTC": 0.5}.items())
    answer = replace(taken().account, assets=coins)
    assert bool(pool_reports(account, taken(account=answer, indexes=account.indexes), instruments())) is reported


def test_a_new_leverage_is_kept_for_positions_to_come() -> None:
    """ACCOUNT_CONFIG_UPDATE."""
    account = state()
    (changed,) = account.leverage("BTCUSDT", 25.0)
    assert changed.leverage == 25.0
    assert account.leverage("XRPUSDT", 3.0) == ()
    account.update(event(START_MS + 5))
    assert account.positions[BTC].leverage == 25.0


@given(st.permutations(range(1, 7)), st.lists(st.integers(0, 5), max_size=4))
def test_the_newest_event_wins_in_any_order_and_however_often(order: list[int], again: list[int]) -> None:
    """Shuffled and repeated events leave the state that the newest told."""
    account = state()
    for step in [*order, *(order[i] for i in again)]:
        account.update(event(START_MS + step, size=0.1 * step, balance=1000.0 * step))
    assert account.positions[BTC].size == pytest.approx(0.6)
    assert account.wallets["USDT"].balance == 6000.0
