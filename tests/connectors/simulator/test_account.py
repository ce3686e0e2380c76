"""What an account holds, and how the market values it."""

from decimal import Decimal

import pytest

from connectors.simulator.account import READ_ONLY, Holding, PositionSide, Refusal
from tests.connectors.simulator.stage import account, context, hold, market


def test_the_wallet_includes_isolated_wallets_of_its_asset() -> None:
    """The cross wallet does not."""
    place, owner = market(), account(USDT="100", USDC="10")
    hold(context(owner, place), "BTCUSDT", "0.01", "76000", wallet="50")
    hold(context(owner, place), "BTCUSDC", "0.01", "76000", wallet="7")
    assert place.wallet_balance(owner, "USDT") == 150
    assert place.wallet_balance(owner, "USDC") == 17
    assert owner.cross_wallets == {"USDT": 100, "USDC": 10}


def test_profit_is_signed_and_notional_is_not() -> None:
    """A short gains when the mark falls."""
    short = Holding("BTCUSDT", PositionSide.BOTH, Decimal(-2), Decimal(100))
    place = market()
    place.marks["BTCUSDT"] = Decimal(90)
    assert place.pnl(short) == 20
    assert place.notional(short) == 180
    assert short.scope == "BTCUSDT:short"


def test_multi_assets_rates_depend_on_the_sign() -> None:
    """Less than the index for what is owned, more for what is owed; the index follows its contract."""
    place = market({"BTCUSDT": "60000"})
    assert place.rate("BTC", Decimal(1)) == 57000
    assert place.rate("BTC", Decimal(-1)) == 63000
    assert place.index(place.assets["BNB"]) == Decimal("905.5")


def test_position_sides_follow_the_mode() -> None:
    """BOTH in one-way mode, LONG and SHORT in hedge mode."""
    assert account().sides() == (PositionSide.BOTH,)
    assert account(hedge=True).sides() == (PositionSide.LONG, PositionSide.SHORT)


def test_unknown_symbols_are_refused_with_the_venues_code() -> None:
    """-1121, as on REST."""
    with pytest.raises(Refusal, match="-1121"):
        market().contract("NOPE")


def test_keys_are_read_only_from_the_start() -> None:
    """And one account's permissions are not another's."""
    one, two = account(), account()
    one.permissions["enableFutures"] = True
    assert two.permissions == dict(READ_ONLY)
    assert [name for name, allowed in READ_ONLY.items() if allowed] == ["ipRestrict", "enableReading"]
