"""Frames of Binance's streams as values. Free functions: they know the wire and nothing else.

Every function raises `BadFrame` for what it cannot use, with the reason that is counted. Unknown keys are ignored,
because Binance adds keys without notice. Meaning of the keys: Binance's documentation of the user data streams of USD-M
and COIN-M, which are alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

from connectors import wire
from connectors.wire import BadFrame, Defect, mapping, not_negative, number, positive, rows, text
from monitor.model.account import MarginMode
from monitor.model.ids import Slot


def millis(value: object) -> int:
    """A time in milliseconds since the epoch, which Binance writes as a number."""
    return wire.millis(None if isinstance(value, str) else value)


def slot(value: object) -> Slot:
    """``BOTH``, ``LONG`` or ``SHORT``."""
    try:
        return Slot(text(value).lower())
    except ValueError:
        raise BadFrame(Defect.SHAPE, f"{value!r:.40} is not a position side") from None


def margin_mode(value: object) -> MarginMode:
    """Binance writes it ``isolated``, ``cross``, ``crossed``, ``ISOLATED`` and ``CROSSED``, depending on the place."""
    match text(value).lower():
        case "isolated":
            return MarginMode.ISOLATED
        case "cross" | "crossed":
            return MarginMode.CROSS
    raise BadFrame(Defect.SHAPE, f"{value!r:.40} is not a margin type")


def price(value: object) -> float:
    """A price of the market stream, which is always a string."""
    if not isinstance(value, str):
        raise BadFrame(Defect.NUMBER, "a price is missing")
    return positive(value)


INDEX_PREFIX = "index:"
"""A coin's index in multi-assets mode is marked as instrument ``index:BTCUSD``, in USD for one coin."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of the market stream: a mark price, or a coin's index price under its prefixed name."""

    name: str
    price: float
    at_ms: int


def mark(row: object, foreign: int) -> Mark | None:
    """``markPriceUpdate`` or ``assetIndexUpdate``; None for contracts of the `foreign` ``st`` (USD-M 1, COIN-M 2).

    `market` reads the same keys in line, for speed, and comes here with what it could not use.
    """
    fields = mapping(row)
    name = text(fields.get("s"))
    match fields.get("e"):
        case "markPriceUpdate":
            mine = fields.get("st") != foreign
            return Mark(name, price(fields.get("p")), millis(fields.get("E"))) if mine else None
        case "assetIndexUpdate":
            return Mark(INDEX_PREFIX + name, price(fields.get("i")), millis(fields.get("E")))
        case str(other):
            raise BadFrame(Defect.UNKNOWN_EVENT, f"{other:.40} is not a mark")
    raise BadFrame(Defect.SHAPE, "no event type")


@dataclass(frozen=True, slots=True)
class PositionRow:
    """One position of an ACCOUNT_UPDATE. `size` is signed; zero means closed."""

    symbol: str
    slot: Slot
    size: float
    entry_price: float
    margin_mode: MarginMode
    isolated_wallet: float
    mark_price: float | None
    unrealized_pnl: float | None = None


@dataclass(frozen=True, slots=True)
class AccountUpdate:
    """ACCOUNT_UPDATE: what changed, as absolute values. `balances` are cross wallet balances by coin."""

    at_ms: int
    reason: str
    balances: tuple[tuple[str, float], ...]
    positions: tuple[PositionRow, ...]


@dataclass(frozen=True, slots=True)
class LeverageChanged:
    """ACCOUNT_CONFIG_UPDATE with ``ac``."""

    at_ms: int
    symbol: str
    leverage: float


@dataclass(frozen=True, slots=True)
class AssetModeChanged:
    """ACCOUNT_CONFIG_UPDATE with ``ai``."""

    at_ms: int
    multi_asset: bool


@dataclass(frozen=True, slots=True)
class Called:
    """A position that a margin call names; the size is signed, the maintenance margin in the margin coin."""

    symbol: str
    size: float
    mark_price: float
    maintenance_margin: float

    def sentence(self, coin: str) -> str:
        """For people. In one-way mode Binance calls the side BOTH; the sign says which one it is."""
        side = "short" if self.size < 0.0 else "long"
        required = f"{self.maintenance_margin:,.8g} {coin}".rstrip()
        return f"{side} {abs(self.size):,.8g} at mark {self.mark_price:,.8g}, maintenance margin {required}"


@dataclass(frozen=True, slots=True)
class MarginCall:
    """MARGIN_CALL: by Binance's own words guidance only, and possibly later than the liquidation."""

    at_ms: int
    positions: tuple[Called, ...]

    def sentences(self, coin_of: Callable[[str], str]) -> list[tuple[str, str]]:
        """Symbol and what is said of it, both sides of a hedge in one."""
        by_symbol: dict[str, list[str]] = {}
        for each in self.positions:
            by_symbol.setdefault(each.symbol, []).append(each.sentence(coin_of(each.symbol)))
        return [(symbol, "; ".join(told)) for symbol, told in by_symbol.items()]


IN_ORDER = "NORMAL"
_LIQUIDATING = frozenset({"ACTIVE_LIQUIDATION", "FORCE_LIQUIDATION", "BANKRUPTED"})


@dataclass(frozen=True, slots=True)
class RiskLevel:
    """What Binance calls the state of an account under portfolio margin, in its own word and as a sentence."""

    at_ms: int
    word: str
    detail: str

    @property
    def kind(self) -> str:
        """The kind of notice; a word that is not known is one beyond being in order, and so a margin call at least."""
        return "liquidation" if self.word in _LIQUIDATING else "margin_call"


class ForcedKind(StrEnum):
    """Who closes a position against its owner's will."""

    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"


@dataclass(frozen=True, slots=True)
class ForcedOrder:
    """ORDER_TRADE_UPDATE of an order that the venue placed for the account."""

    at_ms: int
    kind: ForcedKind
    symbol: str
    order: str
    detail: str


@dataclass(frozen=True, slots=True)
class KeyExpired:
    """listenKeyExpired: this socket will never say anything again."""

    at_ms: int
    listen_key: str


UserEvent = AccountUpdate | LeverageChanged | AssetModeChanged | MarginCall | RiskLevel | ForcedOrder | KeyExpired

_IGNORED = frozenset(
    {
        "ALGO_UPDATE",  # conditional orders: no margin in them
        "CONDITIONAL_ORDER_TRIGGER_REJECT",
        "GRID_UPDATE",
        "STRATEGY_UPDATE",
        "TRADE_LITE",  # an early copy of a fill; the ACCOUNT_UPDATE that follows is the truth
    }
)


_PORTFOLIO_CHANGES = frozenset({"balanceUpdate", "liabilityChange", "openOrderLoss", "outboundAccountPosition"})
"""Events of portfolio margin that change its equity and tell nothing of a position."""

_PRODUCTS = {1: "UM", 2: "CM"}


def user_event(frame: object, foreign: int = 0) -> UserEvent | None:
    """One event of the private stream; None for one that is known and says nothing about margin here.

    Binance merged USD-M and COIN-M in June 2026 and does not say whether a listen key carries both since; an event
    that names the `foreign` product (by ``st`` or, as under portfolio margin, by ``fs``) is not ours.
    """
    event = mapping(frame)
    if "data" in event and "e" not in event:
        event = mapping(event["data"])
    if foreign and (event.get("st") == foreign or event.get("fs") == _PRODUCTS[foreign]):
        return None
    match event.get("e"):
        case "ACCOUNT_UPDATE":
            return account_update(event)
        case "ORDER_TRADE_UPDATE":
            return forced_order(event)
        case "ACCOUNT_CONFIG_UPDATE":
            return config_update(event)
        case "MARGIN_CALL":
            return margin_call(event)
        case "listenKeyExpired":
            return KeyExpired(millis(event.get("E")), str(event.get("listenKey", "")))
        case "riskLevelChange":
            return risk_level_change(event)
        case str(name) if name in _PORTFOLIO_CHANGES:
            return AccountUpdate(millis(event.get("E")), name, (), ())
        case str(name) if name in _IGNORED:
            return None
        case str(name):
            raise BadFrame(Defect.UNKNOWN_EVENT, f"{name:.40} is not an event known here")
    raise BadFrame(Defect.SHAPE, "no event type")


def account_update(event: Mapping[str, Any]) -> AccountUpdate:
    """ACCOUNT_UPDATE."""
    at_ms = millis(event.get("T"))
    change = mapping(event.get("a"))
    return AccountUpdate(
        at_ms,
        text(change.get("m")),
        tuple((text(mapping(row).get("a")), number(row.get("cw"))) for row in rows(change.get("B", []))),
        tuple(_position(mapping(row), portfolio="fs" in event) for row in rows(change.get("P", []))),
    )


def _position(row: Mapping[str, Any], *, portfolio: bool) -> PositionRow:
    """One position. Those under portfolio margin are all cross, and need not say so."""
    mode = MarginMode.CROSS if portfolio and "mt" not in row else margin_mode(row.get("mt"))
    size = number(row.get("pa"))
    entry_price = not_negative(row.get("ep"))
    if size != 0.0 and entry_price == 0.0:
        raise BadFrame(Defect.NUMBER, "an open position without an entry price")
    isolated_wallet = number(row.get("iw")) if mode is MarginMode.ISOLATED else 0.0
    return PositionRow(
        text(row.get("s")),
        slot(row.get("ps")),
        size,
        entry_price,
        mode,
        isolated_wallet,
        implied_mark(size, entry_price, row.get("up")),
        _known(row.get("up")),
    )


def _known(value: object) -> float | None:
    """A number where it is one."""
    try:
        return number(value)
    except BadFrame:
        return None


def implied_mark(size: float, entry_price: float, unrealized_pnl: object) -> float | None:
    """The mark behind a linear contract's unrealized PnL: PnL = size * (mark - entry). None when it does not follow."""
    if size == 0.0:
        return None
    try:
        mark_price = entry_price + number(unrealized_pnl) / size
    except BadFrame:
        return None
    return mark_price if isfinite(mark_price) and mark_price > 0.0 else None


def config_update(event: Mapping[str, Any]) -> LeverageChanged | AssetModeChanged:
    """ACCOUNT_CONFIG_UPDATE: a leverage, or the switch between single-asset and multi-assets mode."""
    at_ms = millis(event.get("T"))
    if "ac" in event:
        change = mapping(event["ac"])
        return LeverageChanged(at_ms, text(change.get("s")), positive(change.get("l")))
    mode = mapping(event.get("ai")).get("j")
    if not isinstance(mode, bool):
        raise BadFrame(Defect.SHAPE, "neither a leverage nor an asset mode")
    return AssetModeChanged(at_ms, mode)


def margin_call(event: Mapping[str, Any]) -> MarginCall:
    """MARGIN_CALL."""
    return MarginCall(
        millis(event.get("E")),
        tuple(_called(mapping(row)) for row in rows(event.get("p", []))),
    )


def risk_level_change(event: Mapping[str, Any]) -> RiskLevel:
    """riskLevelChange of portfolio margin."""
    figures = (number(event.get(key)) for key in ("u", "eq", "m"))
    return risk_level(millis(event.get("E")), text(event.get("s")), *figures)


def risk_level(at_ms: int, word: str, uni_mmr: float, equity: float, required: float) -> RiskLevel:
    """A level with the figures behind it, in USD; nan for one that is not told."""
    return RiskLevel(
        at_ms,
        word,
        f"{word}: uniMMR {_said(uni_mmr)}, equity {_said(equity)} USD, maintenance margin {_said(required)} USD",
    )


def _said(figure: float) -> str:
    return "unknown" if figure != figure else f"{figure:g}"


def _called(row: Mapping[str, Any]) -> Called:
    size = number(row.get("pa"))
    # In hedge mode the side decides, whatever the sign.
    size = -abs(size) if slot(row.get("ps")) is Slot.SHORT else size
    return Called(text(row.get("s")), size, positive(row.get("mp")), number(row.get("mm")))


def forced_order(event: Mapping[str, Any]) -> ForcedOrder | None:
    """ORDER_TRADE_UPDATE: the client order id says whether the venue placed it; all other orders are None.

    The order's status cannot be used: a liquidation order arrives as ``NEW`` like any other.
    """
    order = mapping(event.get("o"))
    client_id = order.get("c")
    if not isinstance(client_id, str):
        raise BadFrame(Defect.SHAPE, "an order without a client id")
    kind = _forced_kind(client_id, order)
    if kind is None:
        return None
    side = str(order.get("S", "")).lower() or "order"
    return ForcedOrder(
        millis(event.get("T")),
        kind,
        text(order.get("s")),
        str(order.get("i", client_id)),
        f"{side} {number(order.get('q')):,.8g} {order.get('s')} placed by the venue",
    )


def _forced_kind(client_id: str, order: Mapping[str, Any]) -> ForcedKind | None:
    if client_id.startswith("adl_autoclose"):
        return ForcedKind.ADL
    if client_id.startswith("settlement_autoclose-"):
        return ForcedKind.SETTLEMENT
    if client_id.startswith("autoclose-") or "LIQUIDATION" in (order.get("o"), order.get("ot")):
        return ForcedKind.LIQUIDATION
    return None
