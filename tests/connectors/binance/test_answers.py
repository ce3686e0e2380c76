"""Answers of the REST endpoints as values."""

import orjson
import pytest

from connectors.binance import answers
from connectors.binance.product import USD_M
from connectors.binance_common import answers as common
from connectors.wire import BadFrame, Defect
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.ids import Slot
from monitor.model.instrument import Tier
from tests.connectors.binance.stage import listed, load, raw


def test_a_key_that_only_reads_has_no_dangerous_flags() -> None:
    """ipRestrict and the read-only FIX flag do no harm."""
    assert common.permissions(raw("rest_api_restrictions_read_only")) == common.Permissions(reads=True, dangerous=())


@pytest.mark.parametrize(
    "flag",
    [
        "enableWithdrawals",
        "enableInternalTransfer",
        "permitsUniversalTransfer",
        "enableMargin",
        "enableFutures",
        "enableSpotAndMarginTrading",
        "enableVanillaOptions",
        "enablePortfolioMarginTrading",
        "enableFixApiTrade",
        "enableSomethingInventedLater",
    ],
)
def test_every_flag_beyond_reading_is_dangerous(flag: str) -> None:
    """A permission that is not known to be harmless counts as dangerous."""
    body = orjson.dumps(load("rest_api_restrictions_read_only") | {flag: True})
    assert common.permissions(body).dangerous == (flag,)


def test_permissions_without_the_reading_flag_are_not_permissions() -> None:
    """Another document is not taken for a harmless key."""
    with pytest.raises(BadFrame):
        common.permissions(b"{}")


def test_modes_are_position_mode_and_asset_mode() -> None:
    """Hedge and single-asset, one-way and multi-asset."""
    assert answers.modes(raw("rest_account_config")) == answers.Modes(AccountMode.SINGLE_ASSET, PositionMode.HEDGE)
    assert answers.modes(raw("rest_account_config_multi")) == answers.Modes(
        AccountMode.MULTI_ASSET, PositionMode.ONE_WAY
    )


def test_symbol_configs_tell_margin_type_and_leverage() -> None:
    """One bad row costs only itself."""
    listed = [*load("rest_symbol_config"), {"symbol": "BADUSDT", "marginType": "", "leverage": 3}]
    configs = answers.symbol_configs(orjson.dumps(listed))
    assert configs["BTCUSDT"] == answers.SymbolConfig(MarginMode.ISOLATED, 10.0)
    assert configs["ETHUSDT"] == answers.SymbolConfig(MarginMode.CROSS, 20.0)
    assert "BADUSDT" not in configs


def test_the_account_has_holdings_with_the_venues_figures() -> None:
    """Flat rows are left out."""
    account = answers.account(raw("rest_account"))
    assert [(row.coin, row.cross_wallet, row.cross_pnl) for row in account.assets] == [
        ("USDT", 5000.0, -400.0),
        ("USDC", 1000.0, -100.0),
        ("BNB", 0.0, 0.0),
    ]
    assert [(row.symbol, row.size, row.maintenance_margin) for row in account.holdings] == [
        ("BTCUSDT", 0.1, 28.8),
        ("ETHUSDT", -4.0, 62.0),
        ("SOLUSDC", 10.0, 14.0),
    ]
    assert (account.total_margin_balance, account.total_maintenance_margin) == (6400.0, 104.8)


def test_position_risk_has_signed_sizes_and_marks() -> None:
    """Flat rows are left out."""
    long, short, other = answers.position_risk(raw("rest_position_risk"))
    assert (long.symbol, long.slot, long.size, long.mark_price, long.isolated_wallet) == (
        "BTCUSDT",
        Slot.LONG,
        0.1,
        72000.0,
        700.0,
    )
    assert (short.size, short.entry_price, other.margin_coin) == (-4.0, 3000.0, "USDC")


@pytest.mark.parametrize(
    ("field", "value"), [("symbol", ""), ("positionAmt", ""), ("positionAmt", "inf"), ("positionSide", "x")]
)
def test_a_position_that_cannot_be_read_spoils_the_answer(field: str, value: str) -> None:
    """A snapshot with a hole in it would close a position that is open."""
    listed = load("rest_position_risk")
    listed[0][field] = value
    with pytest.raises(BadFrame):
        answers.position_risk(orjson.dumps(listed))


def test_an_entry_price_that_is_missing_follows_from_the_profit() -> None:
    """PnL = size * (mark - entry)."""
    listed = load("rest_position_risk")
    listed[0] |= {"entryPrice": "", "positionAmt": "2", "markPrice": "72000", "unRealizedProfit": "4000"}
    (row, *_) = answers.position_risk(orjson.dumps(listed))
    assert (row.entry_price, row.is_whole) == (70_000.0, True)
    listed[0]["unRealizedProfit"] = "1e300"
    (row, *_) = answers.position_risk(orjson.dumps(listed))
    assert not row.is_whole


def test_brackets_are_sorted_and_the_last_has_no_end() -> None:
    """JSON numbers, in any order; scaled brackets are the account's own."""
    tables = answers.brackets(raw("rest_leverage_bracket"))
    assert tables["BTCUSDT"] == (
        Tier(0.0, 300_000.0, 0.004, 0.0),
        Tier(300_000.0, 800_000.0, 0.005, 300.0),
        Tier(800_000.0, None, 0.0065, 1500.0),
    )
    assert answers.brackets(orjson.dumps(load("rest_leverage_bracket")[0]))["BTCUSDT"] == tables["BTCUSDT"]


def test_instruments_are_the_linear_contracts_with_the_accounts_tiers() -> None:
    """COIN-M is left out; a contract without brackets has no tiers, which is unknown and not zero."""
    found = listed(USD_M)
    assert set(found) == {"BTCUSDT", "ETHUSDT", "SOLUSDC", "XRPUSDT", "XAUUSDT"}
    assert (found["SOLUSDC"].margin_coin, found["SOLUSDC"].tick_size) == ("USDC", 0.01)
    assert found["XAUUSDT"].tiers == ()


def test_coins_that_do_not_count_as_margin_are_told_apart() -> None:
    """marginAvailable."""
    assert answers.exchange(raw("rest_exchange_info")).margin_coins == {"USDT", "USDC", "BTC"}


def test_the_asset_index_gives_the_venues_own_rates() -> None:
    """Vector B-V13: index 1.92957370, buffers 0.1: bid rate 1.73661633, ask rate 2.12253107."""
    ada = answers.asset_indexes(raw("rest_asset_index"))["ADAUSD"]
    assert ada.index * (1 - ada.haircut(1.0)) == pytest.approx(1.73661633, abs=1e-8)
    assert ada.index * (1 - ada.haircut(-1.0)) == pytest.approx(2.12253107, abs=1e-8)


@pytest.mark.parametrize(
    "function",
    [
        common.permissions,
        common.listen_key,
        answers.modes,
        answers.symbol_configs,
        answers.account,
        answers.position_risk,
        answers.exchange,
        answers.brackets,
        answers.asset_indexes,
    ],
)
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"5", b'"x"', b"<html></html>"])
def test_no_answer_at_all_is_refused(function: object, body: bytes) -> None:
    """Whole pages, halves and nothing."""
    assert callable(function)
    with pytest.raises(BadFrame) as refused:
        function(body)
    assert refused.value.defect in (Defect.JSON, Defect.SHAPE)


@pytest.mark.parametrize("filters", [True, 7, "x", {}, None, [True], [{"filterType": "PRICE_FILTER"}]])
def test_filters_that_cannot_be_read_cost_no_more_than_their_symbol(filters: object) -> None:
    """Usually no more than its tick size."""
    told = load("rest_exchange_info")
    told["symbols"][0]["filters"] = filters
    whole = answers.exchange(raw("rest_exchange_info")).symbols
    found = answers.exchange(orjson.dumps(told)).symbols
    odd = told["symbols"][0]["symbol"]
    assert {symbol: it for symbol, it in found.items() if symbol != odd} == {
        symbol: it for symbol, it in whole.items() if symbol != odd
    }
    assert odd not in found or found[odd].tick_size is None
