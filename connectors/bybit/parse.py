"""Rows and private frames of Bybit V5 as values. Free functions: they know the wire and nothing else.

Raises `BadFrame` for what cannot be used. Unknown keys are ignored, because Bybit adds keys without notice. Meaning of
the keys: Bybit's V5 documentation (position, wallet, order and execution streams). Rows of positions and coins are the
same in REST answers, save that REST calls the entry price ``avgPrice``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.wire import BadFrame, Defect, adl_rank, mapping, millis, number, optional, positive, rows, text
from monitor.model.ids import Slot

LINEAR, INVERSE, SPOT = "linear", "inverse", "spot"
INDEX_PREFIX = "index:"
"""A collateral coin's price in USD is marked as instrument ``index:BTCUSD``; the spot ticker BTCUSDT carries it."""

_INVERSE = re.compile(r"USD(?:[FGHJKMNQUVXZ]\d\d)?$")
_SLOTS = {0: Slot.BOTH, 1: Slot.LONG, 2: Slot.SHORT}
_SIDES = {"Buy": 1.0, "Sell": -1.0}


def category_of(instrument: str) -> str:
    """The category, and so the socket, in which an instrument is quoted.

    Inverse contracts are called BTCUSD or, with a delivery date, BTCUSDH26; all others among the contracts are linear.
    """
    if instrument.startswith(INDEX_PREFIX):
        return SPOT
    return INVERSE if _INVERSE.search(instrument) else LINEAR


@dataclass(frozen=True, slots=True)
class PositionRow:
    """One position. `size` is signed; zero means closed. None where Bybit left a field empty."""

    symbol: str
    slot: Slot
    size: float
    entry_price: float
    mark_price: float | None
    leverage: float | None
    initial_margin: float | None
    maintenance_margin: float | None
    unrealized_pnl: float | None
    liquidation_price: float | None
    seq: int
    updated_ms: int
    status: str
    adl_rank: int | None
    limit_lowered: bool
    """Bybit announced to lower the risk limit: the position may only be reduced, or its rate was raised for it."""


def position(row: Mapping[str, Any]) -> PositionRow:
    """A row of the position stream or of ``position/list``.

    The side of a hedge row is its slot's, whatever ``side`` says: flat rows have an empty one.
    """
    slot = _slot(row.get("positionIdx"))
    size = _signed(slot, number(row.get("size")), row.get("side"))
    if size == 0.0:
        # Whatever else stands in a flat row (a liquidation price of zero, stale margins) is meaningless.
        return _flat(row, slot)
    leverage = optional(row.get("leverage"))
    return PositionRow(
        symbol=text(row.get("symbol")),
        slot=slot,
        size=size,
        entry_price=positive(row.get("entryPrice", row.get("avgPrice"))),
        mark_price=_price(row.get("markPrice")),
        leverage=leverage if leverage else None,
        initial_margin=optional(row.get("positionIM")),
        maintenance_margin=optional(row.get("positionMM")),
        unrealized_pnl=optional(row.get("unrealisedPnl")),
        liquidation_price=_price(row.get("liqPrice")),
        seq=_integer(row.get("seq")),
        updated_ms=millis(row.get("updatedTime")),
        status=str(row.get("positionStatus", "")),
        adl_rank=adl_rank(row.get("adlRankIndicator")),
        limit_lowered=row.get("isReduceOnly") is True or row.get("mmrSysUpdatedTime") not in (None, "", "0"),
    )


def _flat(row: Mapping[str, Any], slot: Slot) -> PositionRow:
    return PositionRow(
        text(row.get("symbol")), slot, 0.0, 0.0, None, None, None, None, None, None,
        _integer(row.get("seq")), millis(row.get("updatedTime")), str(row.get("positionStatus", "")), None, False,
    )  # fmt: skip


def _slot(value: object) -> Slot:
    if isinstance(value, bool) or not isinstance(value, int) or value not in _SLOTS:
        raise BadFrame(Defect.SHAPE, f"{value!r:.40} is not a positionIdx")
    return _SLOTS[value]


def _signed(slot: Slot, size: float, side: object) -> float:
    if size < 0.0:
        raise BadFrame(Defect.NUMBER, "a size below zero")
    if slot is not Slot.BOTH or size == 0.0:
        return -size if slot is Slot.SHORT else size
    sign = _SIDES.get(str(side))
    if sign is None:
        raise BadFrame(Defect.SHAPE, "an open position without a side")
    return size * sign


def _price(value: object) -> float | None:
    """A price; None for an empty field and for zero, which both mean that there is none."""
    price = optional(value)
    return price if price is not None and price > 0.0 else None


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


@dataclass(frozen=True, slots=True)
class CoinRow:
    """One coin of the unified account. `balance` is what is owned less what is owed, without unrealized PnL.

    Where `owed` is None Bybit did not tell it, and `balance` is what is owned.
    """

    coin: str
    balance: float
    equity: float | None
    usd_value: float | None
    counts: bool | None
    """Whether it counts as collateral: the platform allows it and the user has not switched it off. None: untold."""
    unrealized_pnl: float | None = None
    maintenance_margin: float | None = None
    """Both of the positions in this coin."""
    owed: float | None = None


def coin(row: Mapping[str, Any]) -> CoinRow:
    """A coin of the wallet stream or of ``wallet-balance``."""
    owed = _owed(row)
    flags = row.get("marginCollateral"), row.get("collateralSwitch")
    return CoinRow(
        text(row.get("coin")),
        number(row.get("walletBalance")) - (0.0 if owed is None else owed),
        optional(row.get("equity")),
        optional(row.get("usdValue")),
        False if False in flags else True if flags == (True, True) else None,
        optional(row.get("unrealisedPnl")),
        optional(row.get("totalPositionMM")),
        owed,
    )


def _owed(row: Mapping[str, Any]) -> float | None:
    """The debt that the wallet balance is to be lessened by; None where Bybit does not tell it.

    ``borrowAmount`` counts every debt in the coin, so without ``spotBorrow``, which older answers do not have, a zero
    says that there is none. No other amount does: losses of contracts are in it, and those the balance shows already.
    """
    owed = optional(row.get("spotBorrow"))
    return 0.0 if owed is None and optional(row.get("borrowAmount")) == 0.0 else owed


@dataclass(frozen=True, slots=True)
class Totals:
    """The account as a whole, in USD. None in isolated mode, where there is no such thing."""

    margin_balance: float | None
    maintenance_margin: float | None
    maintenance_rate: float | None
    perp_pnl: float | None = None
    """Unrealized, of perpetuals and futures; options are not in it."""


def totals(row: Mapping[str, Any]) -> Totals:
    """The account figures of the wallet stream or of ``wallet-balance``."""
    return Totals(
        optional(row.get("totalMarginBalance")),
        optional(row.get("totalMaintenanceMargin")),
        optional(row.get("accountMMRate")),
        optional(row.get("totalPerpUPL")),
    )


# --- private frames


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to something that was said on the socket: to a log-in, a subscription, a ping."""

    op: str
    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class PositionUpdate:
    """Topic ``position``."""

    at_ms: int
    positions: tuple[PositionRow, ...]


@dataclass(frozen=True, slots=True)
class WalletUpdate:
    """Topic ``wallet``; only coins that changed."""

    at_ms: int
    totals: Totals | None
    coins: tuple[CoinRow, ...]


@dataclass(frozen=True, slots=True)
class Forced:
    """An order, a cancellation or a fill by which the venue liquidates or deleverages."""

    at_ms: int
    kind: str
    symbol: str
    detail: str


@dataclass(frozen=True, slots=True)
class ForcedOrders:
    """What of a frame of orders or executions was not the user's own doing."""

    orders: tuple[Forced, ...]


UserEvent = PositionUpdate | WalletUpdate | ForcedOrders

_CREATED = {
    "CreateByLiq": ("liquidation", "placed by Bybit"),
    "CreateByTakeOver_PassThrough": ("liquidation", "takeover by the liquidation engine"),
    "CreateByAdl_PassThrough": ("adl", "placed by Bybit"),
}
_CANCELLED = {
    "CancelByPrepareLiq": ("liquidation", "orders are cancelled before a liquidation"),
    "CancelAllBeforeLiq": ("liquidation", "orders are cancelled before a liquidation"),
    "CancelByPrepareAdl": ("adl", "orders are cancelled before an auto-deleveraging"),
    "CancelAllBeforeAdl": ("adl", "orders are cancelled before an auto-deleveraging"),
}
_EXECUTED = {
    "BustTrade": ("liquidation", "closed by the liquidation engine"),
    "AdlTrade": ("adl", "closed by auto-deleveraging"),
}
_IGNORED = frozenset({"greeks", "dcp", "spread"})


def private_frame(frame: object) -> Reply | UserEvent | None:
    """One frame of the private stream; None for one that is known and says nothing about margin."""
    fields = mapping(frame)
    if "op" in fields and "topic" not in fields:
        # Public sockets answer a ping with op "ping" and success; private ones with op "pong".
        return Reply(str(fields["op"]), fields.get("success") is not False, str(fields.get("ret_msg", "")))
    topic = text(fields.get("topic")).partition(".")[0]
    if topic in _IGNORED:
        return None
    if topic not in ("position", "wallet", "order", "execution"):
        raise BadFrame(Defect.UNKNOWN_EVENT, f"{topic:.40} is not a topic known here")
    at_ms = millis(fields.get("creationTime"))
    listed = [mapping(row) for row in rows(fields.get("data"))]
    if topic == "position":
        return PositionUpdate(at_ms, tuple(position(row) for row in listed if _is_contract(row)))
    if topic == "wallet":
        return _wallet(at_ms, listed)
    found = (_forced_order(row, at_ms) if topic == "order" else _forced_fill(row, at_ms) for row in listed)
    forced = tuple(dict.fromkeys(one for one in found if one is not None))
    return ForcedOrders(forced) if forced else None


def _is_contract(row: Mapping[str, Any]) -> bool:
    """Options have positions too; there is no liquidation price to watch in them."""
    return row.get("category", LINEAR) in (LINEAR, INVERSE)


def _wallet(at_ms: int, listed: list[Mapping[str, Any]]) -> WalletUpdate:
    unified = [row for row in listed if row.get("accountType", "UNIFIED") == "UNIFIED"]
    coins = tuple(coin(mapping(each)) for row in unified for each in rows(row.get("coin", [])))
    told = next((row for row in unified if "accountMMRate" in row), None)
    return WalletUpdate(at_ms, totals(told) if told is not None else None, coins)


def _forced_order(row: Mapping[str, Any], at_ms: int) -> Forced | None:
    how = _CREATED.get(str(row.get("createType"))) or _CANCELLED.get(str(row.get("cancelType")))
    return Forced(at_ms, how[0], str(row.get("symbol", "")), f"{how[1]}{_what_order(row)}") if how else None


def _what_order(row: Mapping[str, Any]) -> str:
    """``: sell 0.2 at 231``, as far as the order says so: what it was filled at, or else asks for."""
    what = f"{row.get('side') or ''} {row.get('qty') or ''}".strip().lower()
    price = next((str(row[key]) for key in ("avgPrice", "price") if str(row.get(key) or "0").strip("0.")), "")
    return f": {what}{price and f' at {price}'}" if what else ""


def _forced_fill(row: Mapping[str, Any], at_ms: int) -> Forced | None:
    how = _EXECUTED.get(str(row.get("execType")))
    if how is None:
        return None
    size, price = row.get("execQty", ""), row.get("execPrice", "")
    return Forced(at_ms, how[0], str(row.get("symbol", "")), f"{how[1]}: {size} at {price}")
