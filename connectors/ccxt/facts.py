"""What is known of single exchanges beyond ccxt's unified structures: what must be asked to be told of every position,
and where they say what a cross pool has and needs.

ccxt's balance tells `total`, which is with profit at one exchange and without at the next, with or without what lies in
isolated positions. Only where an exchange's own answer (`info`) is understood is a cross pool's margin balance taken
from it; everywhere else it follows from the liquidation price that the venue reports, or is unknown.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from connectors.ccxt.kinds import Asks, Kind, Params, Question, everything, kind_of, named

Markets = Mapping[str, Mapping[str, Any]]
Balance = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CrossFigures:
    """A cross pool as an exchange states it; None where it does not."""

    margin_balance: float | None = None
    maintenance_margin: float | None = None


@dataclass(frozen=True, slots=True)
class Isolated:
    """What lies in the isolated positions of one coin: how many, and their value with profit (None when unknown)."""

    count: int
    value: float | None


NOTHING = CrossFigures()
Reading = Callable[[Balance, str, Isolated], CrossFigures]


@dataclass(frozen=True, slots=True)
class Facts:
    """One exchange. `questions` by its markets, where the account does not say its own; `asks` what each is for, and
    `beyond` what none is, whatever the markets are; `options` are ccxt's, to read no more markets than
    needed; `tiers_by_notional`: whether ccxt's tiers are what they say; `cross_only`: whether what ccxt reads of it has
    no isolated positions, so that a margin mode that is not told is cross."""

    cross: Reading
    questions: Callable[[Markets], tuple[Question, ...]] = lambda markets: (Question(),)
    asks: Asks = named
    beyond: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    tiers_by_notional: bool = True
    cross_only: bool = False


def figure(value: object) -> float | None:
    """A finite number, from a number or from text; anything else, an empty text too, is None and never zero."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _nothing(balance: Balance, coin: str, isolated: Isolated) -> CrossFigures:
    return NOTHING


def _rows(balance: Balance, key: str, coin: str) -> Sequence[Mapping[str, Any]]:
    info = balance.get("info")
    rows = info if isinstance(info, list) else ()
    return [row for row in rows if isinstance(row, dict) and str(row.get(key, "")).upper() == coin]


def _bitget(balance: Balance, coin: str, isolated: Isolated) -> CrossFigures:
    """Classic account, single-asset mode. "Get Account List": `accountEquity` includes unrealized PnL at the mark.

    It includes the isolated positions too, so they are taken off. In multi-assets mode (`union`) and in the unified
    account one coin is not the pool.
    """
    for row in _rows(balance, "marginCoin", coin):
        equity = figure(row.get("accountEquity"))
        if equity is None or row.get("assetMode") == "union" or isolated.value is None:
            return NOTHING
        return CrossFigures(equity - isolated.value)
    return NOTHING


_COIN = "COIN-FUTURES"


def _bitget_questions(markets: Markets) -> tuple[Question, ...]:
    """ "Get All Positions" is answered for one `productType`, and ccxt names one margin coin with it, USDT unless told.

    So inverse contracts are asked for by each coin that one of them may be margined in. Balances come for all coins.
    """
    inverse = [market for market in markets.values() if (kind := kind_of(market)) and kind.form == "inverse"]
    coins = dict.fromkeys(coin for market in inverse for coin in _margin_coins(market))
    by_coin = (Question({"productType": _COIN, "marginCoin": c}, {"productType": _COIN}, c) for c in sorted(coins))
    return (*(Question.of({"productType": product}) for product in ("USDT-FUTURES", "USDC-FUTURES")), *by_coin)


def _margin_coins(market: Mapping[str, Any]) -> list[str]:
    info = market.get("info")
    told = info.get("supportMarginCoins") if isinstance(info, dict) else None
    return [coin for coin in (market.get("settle"), *(told if isinstance(told, list) else ())) if isinstance(coin, str)]


def _bitget_asks(params: Params, kind: Kind, kinds: Collection[Kind]) -> bool:
    """By product, and for inverse contracts by margin coin: see `_bitget_questions`."""
    product = str(params.get("productType"))
    if kind.form == "inverse":
        return product == _COIN and str(params.get("marginCoin")).upper() == kind.coin.upper()
    return product == f"{kind.coin}-FUTURES"


def _gate(balance: Balance, coin: str, isolated: Isolated) -> CrossFigures:
    """Classic account. "Query futures account": `total` excludes unrealized PnL and includes isolated margin.

    Accounts in the newer classic mode state their cross pool too (`cross_*`). Whether that balance has the profit in
    it the documentation does not say, so the smaller of both counts. Modes 1 and 2 count all coins together.
    """
    for row in _rows(balance, "currency", coin):
        total, pnl = figure(row.get("total")), figure(row.get("unrealised_pnl"))
        apart = figure(row.get("margin_mode")) not in (None, 0.0) or row.get("enable_credit") is True
        if total is None or pnl is None or isolated.value is None or apart:
            return NOTHING
        told = figure(row.get("cross_margin_balance")) if row.get("enable_evolved_classic") is True else None
        own = total + pnl - isolated.value
        maintenance = figure(row.get("cross_maintenance_margin")) or None
        return CrossFigures(own if told is None else min(own, told), maintenance)
    return NOTHING


def _krakenfutures(balance: Balance, coin: str, isolated: Isolated) -> CrossFigures:
    """Multi-collateral wallet. "Get wallets": `marginEquity` is collateral after haircut plus PnL usable as margin.

    Its totals count isolated positions as well, so with any open they say nothing of the rest. Single-collateral
    wallets are not read: what they require is told by three figures whose roles are not certain.
    """
    info = balance.get("info")
    accounts = info.get("accounts") if isinstance(info, dict) else None
    flex = accounts.get("flex") if isinstance(accounts, dict) else None
    if not isinstance(flex, dict) or coin != "USD" or isolated.count:
        return NOTHING
    return CrossFigures(figure(flex.get("marginEquity")), figure(flex.get("maintenanceMargin")))


_UNKNOWN = Facts(_nothing)
_KNOWN = {
    "bitget": Facts(
        _bitget,
        _bitget_questions,
        _bitget_asks,
        options={"fetchMarkets": {"types": ["swap"]}},  # delivery contracts are among them
    ),
    "gate": Facts(
        _gate,
        lambda markets: tuple(Question.of({"settle": coin}) for coin in ("usdt", "btc")),
        # Delivery contracts have an account of their own that is not asked for; they are read to be named.
        options={"fetchMarkets": {"types": ["swap", "future"]}},
    ),
    "krakenfutures": Facts(_krakenfutures, asks=everything, tiers_by_notional=False),  # by contracts or by base units
    # "Standard margin": by currency, or all together.
    "deribit": Facts(_nothing, asks=everything, cross_only=True),
    "dydx": Facts(  # isolated markets have subaccounts of their own
        _nothing, asks=everything, beyond=("subaccounts other than the one that ccxt asks for",), cross_only=True
    ),
}


def facts(exchange: str) -> Facts:
    """What is known of an exchange; of most nothing beyond what ccxt unifies."""
    return _KNOWN.get(exchange, _UNKNOWN)
