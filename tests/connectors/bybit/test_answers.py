"""REST answers as values."""

from typing import Any

import orjson
import pytest

from connectors.bybit import answers
from connectors.bybit.answers import Mode
from connectors.wire import BadFrame
from monitor.model.instrument import ContractKind, Tier
from tests.connectors.bybit.stage import load, raw


def changed(name: str, **changes: Any) -> bytes:
    """A fixture with other things in its result."""
    answer = load(name)
    return orjson.dumps(answer | {"result": answer["result"] | changes})


def test_only_read_only_decides() -> None:
    """A read-only key lists the same permissions."""
    granted = answers.permissions(raw("rest_query_api"))
    assert (granted.dangerous, granted.days_left, granted.api_key) == ((), 83, "abcdefghijklmnopqr")
    assert answers.permissions(raw("rest_query_api_trading")).dangerous == ("Wallet: AccountTransfer",)
    assert answers.permissions(changed("rest_query_api_trading", permissions={})).dangerous == (
        "it is a read-write key",
    )
    for unusable in (None, True, "1"):
        with pytest.raises(BadFrame):
            answers.permissions(changed("rest_query_api", readOnly=unusable))


def test_the_margin_mode() -> None:
    """Three modes; a classic account is another thing."""
    assert answers.info(raw("rest_account_info")) == answers.Info(Mode.CROSS, unified=True, inverse_apart=False)
    assert not answers.info(changed("rest_account_info", unifiedMarginStatus=1)).unified
    with pytest.raises(BadFrame):
        answers.info(changed("rest_account_info", marginMode="NEW_MARGIN"))


@pytest.mark.parametrize(("status", "apart"), [(3, True), (4, True), (5, False), (6, False), (None, True), ("5", True)])
def test_inverse_contracts_share_the_account_since_unified_account_2(status: object, apart: bool) -> None:
    """Where Bybit does not tell which account it is, nobody knows that they do."""
    info = answers.info(changed("rest_account_info", unifiedMarginStatus=status))
    assert (info.unified, info.inverse_apart) == (True, apart)


def test_pages_and_flat_rows() -> None:
    """A flat hedge row that comes first is left out; the cursor leads on."""
    assert [row.size for row in answers.positions(raw("rest_position_list_hedge"))] == [-43.0]
    assert answers.cursor(raw("rest_position_list_hedge")) == ""
    assert answers.cursor(raw("rest_position_list_page")) == "SOLUSDT%2C1%2C0"
    assert answers.cursor(changed("rest_position_list_page", nextPageCursor=None)) == ""


def test_the_wallet_of_an_isolated_account_has_no_totals() -> None:
    """Empty is not zero."""
    assert answers.wallet(raw("rest_wallet_balance")).totals.maintenance_margin == 0.26041992
    assert answers.wallet(raw("rest_wallet_balance_isolated")).totals.maintenance_margin is None
    with pytest.raises(BadFrame):
        answers.wallet(changed("rest_wallet_balance", list=[]))


TIERS = (
    Tier(0.0, 2_000_000.0, 0.005, 0.0),
    Tier(2_000_000.0, 2_600_000.0, 0.0056, 1200.0),
    Tier(2_600_000.0, None, 0.0063, 3020.0),
)


@pytest.mark.parametrize("name", ["rest_risk_limit", "rest_risk_limit_percent"])
def test_tiers_in_shares_or_percent_with_deductions_or_without(name: str) -> None:
    """The initial rate, which is 1 / leverage, shows the unit; deductions follow from continuity."""
    (table,) = answers.tiers([raw(name)]).values()
    for tier, expected in zip(table, TIERS, strict=True):
        assert (tier.floor, tier.cap) == (expected.floor, expected.cap)
        assert (tier.rate, tier.deduction) == pytest.approx((expected.rate, expected.deduction))


def test_a_table_that_makes_no_sense_is_unknown() -> None:
    """Not a table of zeros."""
    listed = load("rest_risk_limit")["result"]["list"]
    for key, value in (("initialMargin", "5"), ("maintenanceMargin", ""), ("riskLimitValue", "")):
        assert answers.tiers([changed("rest_risk_limit", list=[listed[0] | {key: value}, *listed[1:]])]) == {}


def test_contracts() -> None:
    """Settled in USDT and USDC; an unknown kind is left out."""
    found = answers.contracts(raw("rest_instruments_info"))
    assert {symbol: (it.margin_coin, it.tick_size) for symbol, it in found.items()} == {
        "BTCUSDT": ("USDT", 0.1),
        "BTCPERP": ("USDC", None),
    }
    assert {it.kind for it in found.values()} == {ContractKind.LINEAR}


def test_an_instrument_has_the_users_fee_or_none() -> None:
    """An empty fee rate is not free."""
    fees = answers.fees(raw("rest_fee_rate"))
    assert fees == {"BTCUSDT": 0.000649}
    made = answers.instruments(answers.contracts(raw("rest_instruments_info")), answers.tiers([]), fees)
    assert (made["BTCUSDT"].taker_fee_rate, made["BTCPERP"].taker_fee_rate) == (0.000649, None)
    assert made["BTCUSDT"].tiers == ()


def test_collateral_and_indexes() -> None:
    """By coin; pairs against other coins and empty prices are left out."""
    assert answers.collateral_steps(raw("rest_collateral")) == {"BTC": ((1.0, 0.95), (float("inf"), 0.9))}
    assert answers.usd_indexes(raw("rest_tickers_spot")) == {"BTC": 74990.25}


def test_only_what_is_going_on_and_concerns_contracts_is_an_incident() -> None:
    """Three rows, one of which counts."""
    assert [one.id for one in answers.incidents(raw("rest_system_status"))] == ["4d95b2a0"]
