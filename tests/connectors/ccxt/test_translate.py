"""From what ccxt's readers make of exchanges' answers to our pools."""

from dataclasses import replace
from math import isnan, nan
from typing import Any

import pytest

from connectors.ccxt import translate
from connectors.ccxt.facts import CrossFigures, facts, figure
from connectors.ccxt.translate import Catalogue, Holding, UnreadableError
from monitor.model.account import MarginMode, PositionMode
from monitor.model.ids import Slot
from tests.connectors.ccxt.offline import catalogue, client, market
from tests.support.ccxt_server import frame
from tests.support.digits import agrees
from tests.support.inexact import excused
from tests.support.shared_data import cases, needs_shared_data

BITGET = (market("BTC/USDT:USDT", "BTCUSDT", 1.0), market("ETH/USDT:USDT", "ETHUSDT", 1.0))
GATE = (
    market("BTC/USDT:USDT", "BTC_USDT", 0.0001, info={"taker_fee_rate": "0.00075"}),
    market("ADA/USDT:USDT", "ADA_USDT", 10.0, info={"taker_fee_rate": "0.00075"}),
    market("ETH/USDT:USDT", "ETH_USDT", 0.01, info={"taker_fee_rate": "0.00075"}),
)
KRAKEN = (market("BTC/USD:USD", "PF_XBTUSD", 1.0), market("BTC/USD:BTC", "PI_XBTUSD", 1.0, kind="inverse"))
LTC = market("LTC/USD:USD", "PF_LTCUSD", 1.0)


def read(exchange: str, made: Any, rows: list[Any], balances: list[Any], **marks: float) -> translate.Pools:
    """An account, through ccxt's readers and ours."""
    known = catalogue(made)
    held = translate.holdings([made.parse_position(row) for row in rows], known)
    return translate.pools(held, balances, {}, marks, facts(exchange), 1)


def report(found: translate.Pools, scope: str) -> tuple[float, float]:
    """Margin balance and maintenance of a pool."""
    (one,) = [each for each in found.reports if each.scope == scope]
    return one.margin_balance, one.maintenance_margin


# -- three exchanges


def test_bitget() -> None:
    """Isolated long beside cross short; the fee to close is in the requirement; equity holds everything."""
    made = client("bitget", BITGET)
    balance = made.parse_balance(frame("bitget_accounts")["data"])
    found = read("bitget", made, frame("bitget_positions")["data"], [balance])
    assert report(found, "BTCUSDT:long") == pytest.approx((4000 - 1000, 79_000 * (0.004 + 0.0006)))
    assert report(found, "USDT") == pytest.approx((5050 - 3000, 9950 * (0.005 + 0.0006)))
    assert found.position_mode is PositionMode.HEDGE
    long, short = found.positions
    assert (long.instrument, long.slot, long.size, long.isolated_wallet) == ("BTCUSDT", Slot.ISOLATED_LONG, 1.0, 4000.0)
    assert (short.instrument, short.slot, short.size) == ("ETHUSDT", Slot.SHORT, -5.0)
    assert {wallet.coin: wallet.balance for wallet in found.wallets} == pytest.approx({"USDT": 2050 - 50})


def test_bitgets_multi_asset_mode_is_unknown_where_nothing_else_tells() -> None:
    """There the coin's equity is not the pool's; the liquidation price that Bitget reports still is."""
    made = client("bitget", BITGET)
    account = frame("bitget_accounts")["data"][0] | {"assetMode": "union"}
    short = frame("bitget_positions")["data"][1]
    balance, maintenance = report(read("bitget", made, [short], [made.parse_balance([account])]), "USDT")
    assert balance - maintenance == pytest.approx(5 * (2390.5 - 1990))
    silent = short | {"liquidationPrice": "0"}
    balance, maintenance = report(read("bitget", made, [silent], [made.parse_balance([account])]), "USDT")
    assert isnan(balance)


def test_gate() -> None:
    """Leverage 0 is cross; what is closed is left out; the total is without profit and with isolated margin."""
    made = client("gate", GATE)
    balance = made.safe_balance(
        {"info": [frame("gate_accounts")], "USDT": made.parse_balance_helper(frame("gate_accounts"))}
    )
    found = read("gate", made, frame("gate_positions"), [balance])
    assert report(found, "BTC_USDT:long") == pytest.approx((4000 - 1000, 375.25))
    assert report(found, "USDT") == pytest.approx((6800 - 800 - 3000, 86.0))
    assert [position.instrument for position in found.positions] == ["BTC_USDT", "ADA_USDT"]
    assert found.positions[1].leverage is None


def test_gates_own_cross_balance_is_an_upper_bound() -> None:
    """In its newer classic mode; whether profit is in it is not documented."""
    made = client("gate", GATE)
    account = frame("gate_accounts") | {
        "enable_evolved_classic": True, "cross_margin_balance": "2800", "cross_maintenance_margin": "90",
    }  # fmt: skip
    balance = made.safe_balance({"info": [account], "USDT": {"total": "6800"}})
    assert report(read("gate", made, frame("gate_positions"), [balance]), "USDT") == pytest.approx((2800, 90))
    several = made.safe_balance({"info": [account | {"margin_mode": 1}], "USDT": {"total": "6800"}})
    told = report(read("gate", made, frame("gate_positions"), [several]), "USDT")
    assert told[0] - told[1] == pytest.approx(10_000 * (1.09 - 0.8))


def test_kraken_futures() -> None:
    """The position says neither mark nor margin; the wallet says both for all positions together."""
    made = client("krakenfutures", KRAKEN)
    account = frame("krakenfutures_accounts")
    balance = made.parse_balance(account["accounts"]["flex"]) | {"info": account}
    rows = frame("krakenfutures_openpositions")["openPositions"]
    found = read("krakenfutures", made, rows, [balance], PF_XBTUSD=79_000.0)
    assert report(found, "USD") == (4000.0, 800.0)
    assert {wallet.coin: wallet.balance for wallet in found.wallets} == {"USD": 5000.0}
    assert found.positions[0].mark_price == 79_000.0
    assert all(map(isnan, report(read("krakenfutures", made, rows, [balance]), "USD")))


def test_krakens_isolated_and_single_collateral_positions_are_unknown() -> None:
    """What ccxt's answers say of them is not enough, and is not guessed; an isolated one hides the rest as well."""
    made = client("krakenfutures", (*KRAKEN, LTC))
    account = frame("krakenfutures_accounts")
    balance = made.parse_balance(account["accounts"]["flex"]) | {"info": account}
    cross = frame("krakenfutures_openpositions")["openPositions"][0]
    isolated = cross | {"symbol": "PF_LTCUSD", "price": 70.53, "maxFixedLeverage": 10.0}
    inverse = cross | {"symbol": "PI_XBTUSD", "size": 1000}
    marks = {"PF_XBTUSD": 79_000.0, "PI_XBTUSD": 79_000.0, "PF_LTCUSD": 68.8}
    found = read("krakenfutures", made, [cross, isolated, inverse], [balance], **marks)
    assert all(isnan(each.margin_balance) for each in found.reports)
    assert {each.scope for each in found.reports} == {"USD", "BTC", "PF_LTCUSD:long"}
    assert len(found.positions) == 3


def test_krakens_documented_stream_sample_keeps_entry_based_margin() -> None:
    """A published sample: maintenance 0.35265 is 1 % of the value at entry, and profit is at the mark."""
    made = client("krakenfutures", (LTC,))
    sample = {
        "instrument": "PF_LTCUSD", "balance": 0.5, "pnl": -0.8628305877699987, "entry_price": 70.53,
        "mark_price": 68.80433882446, "index_price": 68.8091, "liquidation_threshold": 0, "initial_margin": 0.7053,
        "effective_leverage": 0.007028866753648637, "return_on_equity": -1.2233525985679834,
        "unrealized_funding": 0.0000690610530935388, "initial_margin_with_orders": 0.7053,
        "maintenance_margin": 0.35265, "pnl_currency": "USD",
    }  # fmt: skip
    held = translate.holding(made.parse_ws_position(sample), catalogue(made))
    assert held is not None
    assert held.maintenance == 0.35265
    assert held.maintenance == pytest.approx(0.01 * 0.5 * 70.53)
    assert held.profit(68.80433882446) == pytest.approx(-0.8628305877699987)


# -- real positions


def as_bitget(case: dict[str, Any]) -> dict[str, Any]:
    """A case of the collection as Bitget's answer had it."""
    given, told = case["inputs"], case["expected"]
    return {
        "marginCoin": "SUSDT", "symbol": "SBTCSUSDT", "holdSide": given["side"], "marginSize": given["isolated_margin"],
        "total": given["size"], "leverage": given["leverage"], "openPriceAvg": given["entry_price"],
        "marginMode": "isolated", "posMode": "one_way_mode", "unrealizedPL": told["unrealized_pnl"],
        "liquidationPrice": told["liquidation_price"], "keepMarginRate": given["mmr"], "markPrice": given["mark_price"],
    }  # fmt: skip


def as_gate(case: dict[str, Any]) -> dict[str, Any]:
    """A case of the collection as Gate's answer had it: then without a figure for the maintenance margin."""
    given, told = case["inputs"], case["expected"]
    return {
        "contract": case["symbol"], "size": given["size"], "leverage": given["leverage"],
        "margin": given["isolated_margin"],
        "maintenance_rate": given["mmr"], "value": told["notional"], "entry_price": given["entry_price"],
        "liq_price": told["liquidation_price"], "mark_price": given["mark_price"], "initial_margin": "0",
        "maintenance_margin": "0", "unrealised_pnl": told["unrealized_pnl"],
    }  # fmt: skip


@needs_shared_data
def test_a_real_bitget_position() -> None:
    """Profit agrees to the last digit; balance is margin and profit; the liquidation price is Bitget's or safer."""
    (case,) = cases("bitget")
    made = client("bitget", (market("BTC/SUSDT:SUSDT", "SBTCSUSDT", 1.0),))
    held = translate.holding(made.parse_position(as_bitget(case)), catalogue(made))
    assert held is not None
    assert held.mark is not None
    assert agrees(held.profit(held.mark), case["expected"]["unrealized_pnl"])
    found = read("bitget", made, [as_bitget(case)], [])
    balance, maintenance = report(found, "SBTCSUSDT:long")
    assert balance == pytest.approx(4.2796 - 0.0404)
    assert maintenance == pytest.approx(0.001 * 29694.34 * (0.004 + 0.0006))
    ours = held.mark - (balance - maintenance) / 0.001
    venues = float(case["expected"]["liquidation_price"])
    assert venues <= ours
    assert excused(case["id"], "liquidation_price", ours, case["expected"]["liquidation_price"])


@needs_shared_data
def test_a_real_gate_position() -> None:
    """Profit, balance and liquidation price agree to the last digit; maintenance is what Gate liquidates at.

    The case's maintenance is value and rate at the mark, as ccxt reckoned then, and Gate itself told none. It
    liquidates where margin and profit meet the value times rate and taker fee ("Query user position list":
    `maintenance_margin`), and its liquidation price, to its last digit, is where they do. What they are worth there is
    held.
    """
    (case,) = cases("gate")
    made = client("gate", (market("ADA/USDT:USDT", "ADA_USDT", 10.0, info={"taker_fee_rate": "0.00075"}),))
    held = translate.holding(made.parse_position(as_gate(case)), catalogue(made))
    assert held is not None
    assert held.mark is not None
    assert agrees(held.profit(held.mark), case["expected"]["unrealized_pnl"])
    balance, maintenance = report(read("gate", made, [as_gate(case)], []), "ADA_USDT:long")
    given, told = case["inputs"], case["expected"]
    venues = float(told["liquidation_price"])
    assert balance == pytest.approx(float(given["isolated_margin"]) + 0.0142, rel=1e-12)
    assert held.mark - (balance - maintenance) / 20 == pytest.approx(venues, rel=1e-12)
    rate = float(given["mmr"]) + float(given["taker_fee_rate"])
    assert agrees(
        (20 * float(given["entry_price"]) - float(given["isolated_margin"])) / (20 * (1 - rate)),
        told["liquidation_price"],
    )
    assert maintenance == pytest.approx(rate * 20 * venues, abs=20 * 0.000005)
    assert agrees(float(given["mmr"]) * float(told["notional"]), told["maintenance_margin"])
    assert excused(case["id"], "maintenance_margin", maintenance, told["maintenance_margin"])


# -- any exchange

SOME = Holding(
    symbol="BTC/USDT:USDT", instrument="BTCUSDT", coin="USDT", size=2.0, isolated=False, multiplier=1.0, inverse=False,
    known=True, entry=100.0, mark=110.0, pnl=20.0, collateral=None, maintenance=5.0, liquidation=80.0, notional=220.0,
    leverage=None, hedged=False,
)  # fmt: skip
ANY = facts("an exchange that nobody looked at")


def pool_of(*held: Holding) -> translate.Pools:
    """An account at an exchange of which nothing is known."""
    return translate.pools(held, [], {}, {}, ANY, 1)


def test_a_cross_pool_follows_from_the_liquidation_price() -> None:
    """At that price balance and maintenance are one, so at the mark the balance is above it by the way between."""
    assert report(pool_of(SOME), "USDT") == (5 + 2 * (110 - 80), 5.0)


def test_of_several_liquidation_prices_the_nearest_counts() -> None:
    """Each instrument's tells how far the same pool is from the end; they differ only by what the venue rounds."""
    other = replace(SOME, symbol="ETH/USDT:USDT", instrument="ETHUSDT", size=-1.0, pnl=-10.0, liquidation=150.0)
    balance, maintenance = report(pool_of(SOME, other), "USDT")
    assert (balance, maintenance) == (10 + min(2 * 30, 40), 10.0)


def test_a_margin_mode_that_is_not_told_is_not_guessed() -> None:
    """Alone, a position has what its liquidation price says, isolated or not; the account's equity is not behind it."""
    one = replace(SOME, isolated=None)
    assert report(pool_of(one), "USDT") == (5 + 2 * (110 - 80), 5.0)
    rich = replace(ANY, cross=lambda balance, coin, isolated: CrossFigures(1e6, 1.0))
    found = translate.pools([one], [{}], {}, {}, rich, 1)
    assert report(found, "USDT") == (5 + 2 * (110 - 80), 5.0)
    assert isnan(report(pool_of(replace(one, liquidation=None)), "USDT")[0])


def test_nor_is_such_a_position_helped_by_another() -> None:
    """What one loses the other may not win for it: beside any other in its coin the pool is unknown."""
    one = replace(SOME, isolated=None)
    other = replace(SOME, symbol="ETH/USDT:USDT", instrument="ETHUSDT", size=-1.0, pnl=-10.0, liquidation=150.0)
    for beside in (other, replace(other, isolated=None), replace(one, size=-1.0, pnl=-10.0)):
        found = pool_of(one, beside)
        assert all(isnan(figure) for figure in report(found, "USDT"))
        assert len(found.positions) == 2
    alone = pool_of(one, replace(other, isolated=True, collateral=30.0))
    assert report(alone, "USDT") == (5 + 2 * (110 - 80), 5.0)


def test_where_there_are_only_cross_positions_they_need_not_say_so() -> None:
    """On Deribit, and in the one subaccount of dYdX's that ccxt reads."""
    one = replace(SOME, isolated=None)
    other = replace(one, symbol="ETH/USDT:USDT", instrument="ETHUSDT", size=-1.0, pnl=-10.0, liquidation=150.0)
    for exchange in ("deribit", "dydx"):
        found = translate.pools([one, other], [], {}, {}, facts(exchange), 1)
        assert report(found, "USDT") == (10 + min(2 * 30, 40), 10.0)


def test_both_sides_of_an_instrument_have_one_liquidation_price() -> None:
    """The pair's, by what is open on balance."""
    short = replace(SOME, size=-1.0, pnl=-10.0)
    balance, maintenance = report(pool_of(SOME, short), "USDT")
    assert (balance, maintenance) == (10 + 30, 10.0)
    assert pool_of(SOME, short).position_mode is PositionMode.HEDGE


UNKNOWN = {
    "no liquidation price": {"liquidation": None},
    "no maintenance": {"maintenance": None},
    "no mark": {"mark": None},
    "no entry price": {"entry": None},
    "no contract size": {"multiplier": None},
    "an option": {"known": False},
    "a profit that the terms do not give": {"pnl": 200.0},
    "an inverse contract without a profit to prove it by": {"inverse": True, "pnl": None},
    "an inverse contract that is paid like a linear one": {"inverse": True},
}


@pytest.mark.parametrize("change", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_is_not_guessed(change: dict[str, Any]) -> None:
    """The position is shown, the pool is unknown."""
    found = pool_of(replace(SOME, **change))
    (one,) = found.reports
    assert isnan(one.margin_balance + one.maintenance_margin)
    assert [position.size for position in found.positions] == [2.0]
    assert not any(isnan(wallet.balance) for wallet in found.wallets)


def test_an_isolated_pool_has_what_ccxt_says_or_what_its_liquidation_price_says_if_that_is_less() -> None:
    """ccxt's readers of some exchanges leave a loss out of `collateral`."""
    one = replace(SOME, isolated=True, collateral=65.0)
    assert report(pool_of(one), "BTCUSDT:long") == (65.0, 5.0)
    assert report(pool_of(replace(one, collateral=50.0)), "BTCUSDT:long") == (50.0, 5.0)
    assert report(pool_of(replace(one, collateral=900.0)), "BTCUSDT:long") == (65.0, 5.0)
    assert report(pool_of(replace(one, collateral=None)), "BTCUSDT:long") == (65.0, 5.0)
    assert pool_of(one).positions[0].isolated_wallet == 45.0


def test_isolated_positions_that_share_a_side_cannot_be_told_apart() -> None:
    """They are one leg of an unknown pool, with all of their size."""
    one = replace(SOME, isolated=True, collateral=65.0)
    found = pool_of(one, replace(one, entry=130.0, pnl=-40.0))
    assert isnan(found.reports[0].margin_balance)
    assert [(each.size, each.entry_price, each.margin_mode) for each in found.positions] == [
        (4.0, 115.0, MarginMode.ISOLATED)
    ]


def test_isolated_and_cross_may_stand_side_by_side() -> None:
    """In slots of their own."""
    found = pool_of(SOME, replace(SOME, isolated=True, collateral=65.0))
    assert {each.slot for each in found.positions} == {Slot.LONG, Slot.ISOLATED_LONG}
    assert {each.scope for each in found.reports} == {"USDT", "BTCUSDT:long"}


def test_inverse_contracts_are_paid_in_their_coin() -> None:
    """Proved by the venue's own profit."""
    one = replace(
        SOME, coin="BTC", size=-1000.0, inverse=True, entry=50_000.0, mark=40_000.0,
        maintenance=0.0001, liquidation=60_000.0,
    )  # fmt: skip
    one = replace(one, pnl=one.profit(40_000.0))
    assert one.pnl == pytest.approx(1000 * (1 / 40_000 - 1 / 50_000))
    balance, maintenance = report(pool_of(one), "BTC")
    assert balance - maintenance == pytest.approx(1000 * (1 / 40_000 - 1 / 60_000))


def test_tiers_stand_in_for_a_maintenance_that_is_not_told() -> None:
    """At the rate of the position's tier on all of it, with the fee; never less than any rule makes of the tiers."""
    tiers = [
        {"minNotional": 0, "maxNotional": 100, "maintenanceMarginRate": 0.01},
        {"minNotional": 100, "maxNotional": None, "maintenanceMarginRate": 0.02},
        {"minNotional": None, "maxNotional": None, "maintenanceMarginRate": 0.5},
    ]
    contract = translate.instrument(BITGET[0], "BTCUSDT", tiers)
    assert contract is not None
    assert [(tier.floor, tier.cap, tier.rate) for tier in contract.tiers] == [(0.0, 100.0, 0.01), (100.0, None, 0.02)]
    one = replace(SOME, maintenance=None)
    found = translate.pools([one], [], {"BTCUSDT": contract}, {}, ANY, 1)
    assert report(found, "USDT")[1] == pytest.approx((0.02 + 0.0006) * 220)
    other = translate.pools([one], [], {"BTCUSDT": contract}, {}, replace(ANY, tiers_by_notional=False), 1)
    assert isnan(report(other, "USDT")[1])


# -- reading

POSITION = {
    "symbol": "BTC/USDT:USDT", "side": "short", "contracts": 3.0, "entryPrice": 100.0, "markPrice": "90", "info": {},
    "marginMode": "cross", "unrealizedPnl": 30.0,
}  # fmt: skip


def test_a_position_that_cannot_be_read_is_not_left_out() -> None:
    """Without it the account would look safer than it is."""
    known = catalogue(client("bitget", BITGET))
    held = translate.holding(POSITION, known)
    assert held is not None
    assert held.size == -3.0
    for fault in ({"contracts": None}, {"side": None}, {"symbol": None}, {"contracts": nan}, {"side": "both"}):
        with pytest.raises(UnreadableError):
            translate.holding(POSITION | fault, known)


def test_a_size_that_is_missing_is_not_nothing() -> None:
    """Kraken's rows have no other figure that counts, yet a row with a side or an entry price is of something held."""
    made = client("krakenfutures", KRAKEN)
    row = frame("krakenfutures_openpositions")["openPositions"][0]
    for size in ("", None, "x"):
        with pytest.raises(UnreadableError):
            translate.holding(made.parse_position(row | {"size": size}), catalogue(made))
    blank = {"symbol": "BTC/USD:USD", "contracts": None, "side": None}
    for said in ({"side": "long"}, {"entryPrice": 70_000.0}, {"liquidationPrice": "1"}, {"initialMargin": 5}):
        with pytest.raises(UnreadableError):
            translate.holding(blank | said, catalogue(made))
    assert translate.holding(blank, catalogue(made)) is None


@pytest.mark.parametrize(
    ("mode", "isolated"), [("isolated", True), ("cross", False), (None, None), ("", None), ("portfolio", None)]
)
def test_a_margin_mode_is_read_as_it_stands(mode: str | None, isolated: bool | None) -> None:
    """Any other word is one that is not known."""
    held = translate.holding(POSITION | {"marginMode": mode}, catalogue(client("bitget", BITGET)))
    assert held is not None
    assert held.isolated is isolated


def test_what_is_closed_is_no_position() -> None:
    """Zero, or nothing at all."""
    known = catalogue(client("bitget", BITGET))
    assert translate.holding(POSITION | {"contracts": 0.0}, known) is None
    assert translate.holding({"symbol": "BTC/USDT:USDT", "contracts": None, "side": None}, known) is None


def test_a_position_in_an_unknown_contract_is_shown() -> None:
    """Under ccxt's name for it, in an unknown pool."""
    held = translate.holding(POSITION | {"symbol": "NEW/USDT:USDT"}, catalogue(client("bitget", BITGET)))
    assert held is not None
    assert (held.instrument, held.coin, held.known) == ("NEW/USDT:USDT", "unknown", False)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "", "x", None, True, [], float("nan")])
def test_numbers_that_are_none(text: object) -> None:
    """An empty field never becomes zero."""
    assert figure(text) is None


def test_contracts_are_named_as_their_exchange_does() -> None:
    """Unless it has two of one name; spot markets are no contracts."""
    twins = (market("A/X:X", "AX", 1.0), market("A/Y:Y", "AX", 1.0), market("B/X:X", "BX", 1.0))
    known = Catalogue.of({each["symbol"]: each for each in (*twins, market("C/X:X", "CX", 1.0, contract=False))})
    assert known.names == {"A/X:X": "A/X:X", "A/Y:Y": "A/Y:Y", "B/X:X": "BX"}


def test_a_mark_is_never_a_last_price() -> None:
    """It comes from ccxt's field or from the exchange's own, or not at all."""
    known = catalogue(client("bitget", BITGET))
    ticker = {"symbol": "BTC/USDT:USDT", "last": 5.0, "timestamp": 1_790_000_000_123, "info": {}}
    assert translate.mark(ticker, known) is None
    assert translate.mark(ticker | {"markPrice": 0.0}, known) is None
    assert translate.mark(ticker | {"markPrice": "7"}, known) == translate.Mark("BTCUSDT", 7.0, 1_790_000_000_123)
    found = translate.mark({"symbol": "BTC/USDT:USDT", "info": {"mark_price": "8", "time": 12}}, known)
    assert found == translate.Mark("BTCUSDT", 8.0, None)
    assert translate.mark(ticker | {"symbol": "BTC/USDT", "markPrice": 7.0}, known) is None


def test_streams_tell_sizes() -> None:
    """Enough to see that something changed."""
    made = client("bitget", BITGET)
    (row,) = frame("bitget_ws_positions")["data"]
    assert translate.sizes([made.parse_ws_position(row)], catalogue(made)) == {("BTC/USDT:USDT", "long"): 2.0}
    assert translate.sizes([{"symbol": "BTC/USDT:USDT", "contracts": None}], catalogue(made)) == {}
