"""COIN-M's REST answers as values."""

from math import isnan

import orjson
import pytest

from connectors.binance_coinm import answers
from connectors.binance_coinm.product import COIN_M
from connectors.wire import BadFrame, Defect
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Tier
from tests.connectors.binance.stage import listed
from tests.connectors.binance_coinm.stage import FIXTURES, load, raw

LISTED = listed(COIN_M, FIXTURES)


def test_contracts_are_inverse_in_usd_and_margined_in_their_base() -> None:
    """Perpetual and quarterly; what is linear, or lacks its contract size, is left out."""
    assert {symbol: (it.margin_coin, it.multiplier, it.tick_size) for symbol, it in LISTED.items()} == {
        "BTCUSD_PERP": ("BTC", 100.0, 0.1),
        "BTCUSD_270326": ("BTC", 100.0, 0.1),
        "ETHUSD_PERP": ("ETH", 10.0, 0.01),
    }
    assert {it.kind for it in LISTED.values()} == {ContractKind.INVERSE}


@pytest.mark.parametrize("symbol", ["BTCUSD_PERP", "BTCUSD_270326"])
def test_brackets_are_in_the_coin_however_their_floor_is_spelt(symbol: str) -> None:
    """qtylFloor or qtyFloor, in any order."""
    assert LISTED[symbol].tiers == (
        Tier(0.0, 5.0, 0.004, 0.0),
        Tier(5.0, 10.0, 0.005, 0.005),
        Tier(10.0, None, 0.01, 0.055),
    )


def test_brackets_without_a_floor_are_unknown_and_the_others_are_not() -> None:
    """An unknown table is shown as unknown."""
    body = load("rest_leverage_bracket")
    del body[2]["brackets"][1]["qtylFloor"]
    assert answers.brackets(orjson.dumps(body)).keys() == {"BTCUSD_PERP", "BTCUSD_270326"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rest_position_risk", PositionMode.HEDGE), ("rest_position_risk_one_way", PositionMode.ONE_WAY)],
)
def test_the_position_mode_shows_in_the_rows(name: str, expected: PositionMode) -> None:
    """Hedge accounts get BOTH, LONG and SHORT for every symbol."""
    found = answers.modes(answers.risk_rows(raw(name)))
    assert (found.account_mode, found.position_mode) == (AccountMode.SINGLE_ASSET, expected)


def test_of_all_symbols_only_the_open_ones_are_positions() -> None:
    """The flat ones tell margin type and leverage."""
    rows = answers.risk_rows(raw("rest_position_risk"))
    assert len(rows) == 9
    assert [(row.symbol, row.slot, row.size, row.margin_coin) for row in answers.position_risk(rows, LISTED)] == [
        ("BTCUSD_PERP", Slot.LONG, 50.0, "BTC"),
        ("BTCUSD_270326", Slot.LONG, 10.0, "BTC"),
        ("ETHUSD_PERP", Slot.SHORT, -200.0, "ETH"),
    ]
    configs = answers.symbol_configs(rows)
    assert configs["BTCUSD_PERP"].margin_mode is MarginMode.ISOLATED
    assert configs["ETHUSD_PERP"] == answers.SymbolConfig(MarginMode.CROSS, 20.0)


def test_the_marks_behind_the_account_follow_from_its_profits() -> None:
    """It does not print them; eight decimals of a coin give five digits of a price."""
    risk = answers.position_risk(answers.risk_rows(raw("rest_position_risk")), LISTED)
    account = answers.account(raw("rest_account"), risk, LISTED)
    marks = {holding.symbol: holding.mark_price for holding in account.holdings}
    expected = {"BTCUSD_PERP": 72_000.0, "BTCUSD_270326": 72_500.0, "ETHUSD_PERP": 3_100.0}
    assert marks == pytest.approx(expected, rel=1e-5)
    (isolated,) = (holding for holding in account.holdings if holding.symbol == "BTCUSD_PERP")
    assert isolated.isolated_wallet == 0.004


def test_without_the_contract_the_mark_of_the_other_answer_is_taken() -> None:
    """And without that, there is none."""
    rows = answers.risk_rows(raw("rest_position_risk"))
    account = answers.account(raw("rest_account"), answers.position_risk(rows, {}), {})
    assert {holding.mark_price for holding in account.holdings} == {72_000.0, 72_500.0, 3_100.0}
    assert all(isnan(holding.mark_price) for holding in answers.account(raw("rest_account"), (), {}).holdings)


@pytest.mark.parametrize(
    ("size", "entry", "pnl", "expected"),
    [
        (50.0, 70_000.0, 50 * 100 * (1 / 70_000 - 1 / 72_000), 72_000.0),
        (-50.0, 70_000.0, -50 * 100 * (1 / 70_000 - 1 / 72_000), 72_000.0),
        (0.0, 70_000.0, 0.0, None),
        (1.0, 70_000.0, 1.0, None),
    ],
)
def test_a_profit_implies_a_mark(size: float, entry: float, pnl: float, expected: float | None) -> None:
    """PnL = contracts * size * (1/entry - 1/mark); a profit larger than the position implies nothing."""
    assert answers.implied_mark(size, entry, pnl, 100.0) == (expected and pytest.approx(expected))


@pytest.mark.parametrize("kind", ["account", "risk", "exchange", "brackets"])
@pytest.mark.parametrize("body", [b"", b"{", b"null", b"5", b'"x"', b"<html></html>", b'{"code":-1,"msg":""}'])
def test_no_answer_at_all_is_refused(kind: str, body: bytes) -> None:
    """Whole pages, halves and nothing."""
    bodies = {
        "account": raw("rest_account"),
        "risk": raw("rest_position_risk"),
        "exchange": raw("rest_exchange_info"),
        "brackets": raw("rest_leverage_bracket"),
    } | {kind: body}

    def read() -> None:
        COIN_M.answers(bodies, 0, LISTED)
        COIN_M.listing(bodies, {})

    with pytest.raises(BadFrame) as refused:
        read()
    assert refused.value.defect in (Defect.JSON, Defect.SHAPE)
