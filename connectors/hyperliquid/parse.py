"""What Hyperliquid writes, in streams and answers alike, as values. Free functions: they know the wire, nothing else.

Every function raises `BadFrame` for what it cannot use. Unknown keys are ignored, because the venue adds keys without
notice; missing ones are faults. Numbers are strings, ``"0.0"`` included, and are compared as numbers only. Meaning of
the keys: Hyperliquid's documentation, "Info endpoint" and "Subscriptions".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.wire import BadFrame, Defect, mapping, millis, number, optional, positive, rows, text
from monitor.model.account import MarginMode

MAIN_DEX = ""

TOKENS = {0: "USDC", 360: "USDH", 235: "USDE", 268: "USDT0"}
"""Tokens that margin perpetuals, by index."""


def token(index: object) -> str:
    """The name of a token by its index; those not known here bear their number."""
    if isinstance(index, bool) or not isinstance(index, int):
        raise BadFrame(Defect.SHAPE, "a token is missing")
    return TOKENS.get(index, f"token{index}")


@dataclass(frozen=True, slots=True)
class Holding:
    """One row of ``assetPositions``. `size` is signed; `mark_price` is the one behind `value`.

    `margin` of an isolated position is its equity, unrealized PnL included. `max_leverage` rules its maintenance; None
    where an old answer lacks it. `liquidation_price` is None where the venue shows none.
    """

    coin: str
    size: float
    mark_price: float
    value: float
    unrealized_pnl: float
    margin_mode: MarginMode
    margin: float
    leverage: float
    max_leverage: float | None
    liquidation_price: float | None

    @property
    def entry_price(self) -> float:
        """``entryPx`` is rounded; the cost behind value and profit is not."""
        return self.mark_price - self.unrealized_pnl / self.size


@dataclass(frozen=True, slots=True)
class DexState:
    """``clearinghouseState``: one dex of an address. `cross_value` is the equity of its cross positions.

    `cross_maintenance` is None where an old answer lacks it. In unified and portfolio mode the values are only what is
    reserved for the dex, not what protects its positions.
    """

    at_ms: int
    holdings: tuple[Holding, ...]
    total_value: float
    cross_value: float
    cross_maintenance: float | None


def dex_state(value: object) -> DexState:
    """``clearinghouseState``, the same from both ways."""
    state = mapping(value)
    cross = mapping(state.get("crossMarginSummary"))
    held = (mapping(mapping(row).get("position")) for row in rows(state.get("assetPositions")))
    return DexState(
        millis(state.get("time")),
        tuple(_holding(row) for row in held if number(row.get("szi")) != 0.0),
        number(mapping(state.get("marginSummary")).get("accountValue")),
        number(cross.get("accountValue")),
        optional(state.get("crossMaintenanceMarginUsed")),
    )


def _holding(row: Mapping[str, Any]) -> Holding:
    size = number(row.get("szi"))
    value = positive(row.get("positionValue"))
    leverage = mapping(row.get("leverage"))
    stated = optional(row.get("maxLeverage"))
    holding = Holding(
        coin=text(row.get("coin")),
        size=size,
        mark_price=value / abs(size),
        value=value,
        unrealized_pnl=number(row.get("unrealizedPnl")),
        margin_mode=margin_mode(leverage.get("type")),
        margin=number(row.get("marginUsed")),
        leverage=positive(leverage.get("value")),
        max_leverage=None if stated is None else positive(stated),
        liquidation_price=optional(row.get("liquidationPx")),
    )
    if holding.entry_price <= 0.0:
        raise BadFrame(Defect.NUMBER, "profit and value contradict each other")
    return holding


def margin_mode(value: object) -> MarginMode:
    """``cross`` or ``isolated``."""
    try:
        return MarginMode(text(value))
    except ValueError:
        raise BadFrame(Defect.SHAPE, f"{value!r:.40} is not a kind of leverage") from None


def dex_states(value: object) -> dict[str, DexState]:
    """``allDexsClearinghouseState``: documented as pairs, and seen as an object."""
    pairs = value.items() if isinstance(value, dict) else (_pair(pair) for pair in rows(value))
    return {_dex(name): dex_state(state) for name, state in pairs}


def _pair(value: object) -> tuple[object, object]:
    pair = rows(value)
    if len(pair) != 2:
        raise BadFrame(Defect.SHAPE, "a pair is missing")
    return pair[0], pair[1]


def _dex(value: object) -> str:
    if not isinstance(value, str):
        raise BadFrame(Defect.SHAPE, "a dex is missing")
    return value


@dataclass(frozen=True, slots=True)
class SpotState:
    """``spotClearinghouseState``: what an address holds beside its perpetuals.

    In unified and portfolio mode `totals` protects the positions. `held` is the part that is reserved. The ratio is
    there under portfolio margin only.
    """

    totals: Mapping[str, float]
    held: Mapping[str, float]
    portfolio_ratio: float | None

    @property
    def empty(self) -> bool:
        """Whether there is nothing."""
        return not any(self.totals.values())


def spot_state(value: object) -> SpotState:
    """``spotClearinghouseState``."""
    state = mapping(value)
    balances = [mapping(row) for row in rows(state.get("balances"))]
    return SpotState(
        {token(row.get("token")): number(row.get("total")) for row in balances},
        {token(row.get("token")): number(row.get("hold")) for row in balances},
        optional(state.get("portfolioMarginRatio")),
    )


# --- frames

_GREETING = b"Websocket connection established."


def is_greeting(frame: bytes | str) -> bool:
    """The one frame that is not JSON."""
    return frame in (_GREETING, _GREETING.decode())


@dataclass(frozen=True, slots=True)
class States:
    """New states of some dexes of an address."""

    address: str
    states: Mapping[str, DexState]


@dataclass(frozen=True, slots=True)
class Spot:
    """A new state of an address's spot balances."""

    address: str
    state: SpotState


@dataclass(frozen=True, slots=True)
class ForcedFill:
    """A fill of the venue's making: the owner of `address` did not want it. `key` is unique among fills."""

    key: tuple[int, int]
    at_ms: int
    kind: str
    coin: str
    detail: str


@dataclass(frozen=True, slots=True)
class Fills:
    """What of an address's new fills was forced upon it. `past`: they are the recent ones, told at the beginning."""

    address: str
    past: bool
    forced: tuple[ForcedFill, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """The venue's answer to a subscription, or to its end."""

    ended: bool
    subscription: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""


UserFrame = States | Spot | Fills | Answered | Pong

_KNOWN = frozenset({
    "activeAssetData", "activeSpotAssetCtx", "allDexsAssetCtxs", "allMids", "assetCtxs", "bbo", "candle",
    "fastAssetCtxs", "l2Book", "notification", "openOrders", "orderUpdates", "trades", "user", "userFundings",
    "userNonFundingLedgerUpdates", "webData2", "webData3",
})  # fmt: skip
"""Channels that are not asked for. What a funding payment does is in the state that follows it."""


def user_frame(frame: object) -> UserFrame | None:
    """One frame of an account's connection; None for a channel that is known and says nothing about margin."""
    envelope = mapping(frame)
    channel = text(envelope.get("channel"))
    parse = _CHANNELS.get(channel)
    if parse is not None:
        return parse(envelope.get("data"))
    if channel in _KNOWN or channel == "activeAssetCtx":
        return None
    raise BadFrame(Defect.UNKNOWN_EVENT, f"{channel:.40} is not a channel known here")


def _all_states(data: object) -> States:
    told = mapping(data)
    return States(text(told.get("user")).lower(), dex_states(told.get("clearinghouseStates")))


def _one_state(data: object) -> States:
    told = mapping(data)
    state = dex_state(told.get("clearinghouseState"))
    return States(text(told.get("user")).lower(), {_dex(told.get("dex", MAIN_DEX)): state})


def _spot(data: object) -> Spot:
    told = mapping(data)
    return Spot(text(told.get("user")).lower(), spot_state(told.get("spotState")))


def _fills(data: object) -> Fills:
    told = mapping(data)
    address = text(told.get("user")).lower()
    fills = (mapping(row) for row in rows(told.get("fills")))
    return Fills(address, told.get("isSnapshot") is True, tuple(_forced(fills, address)))


def _forced(fills: Iterator[Mapping[str, Any]], address: str) -> Iterator[ForcedFill]:
    for fill in fills:
        kind, how = _force(fill, address)
        if kind:
            coin = text(fill.get("coin"))
            detail = f"{number(fill.get('sz')):g} {coin} at {number(fill.get('px')):g}, {how}"
            key = (_integer(fill.get("oid")), _integer(fill.get("tid")))
            yield ForcedFill(key, millis(fill.get("time")), kind, coin, detail)


def _force(fill: Mapping[str, Any], address: str) -> tuple[str, str]:
    """Which force, if any, and how. The counterparty's fill of a liquidation names the one who was liquidated."""
    direction = fill.get("dir")
    words = direction if isinstance(direction, str) else ""
    liquidation = fill.get("liquidation")
    if isinstance(liquidation, dict):
        mine = str(liquidation.get("liquidatedUser", "")).lower() == address
        return ("liquidation", f"{liquidation.get('method')} liquidation") if mine else ("", "")
    if words.lower().startswith("liquidated"):
        return "liquidation", words
    return ("adl", words) if "auto-deleveraging" in words.lower() else ("", "")


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadFrame(Defect.SHAPE, "an order's number is missing")
    return value


def _answered(data: object) -> Answered:
    told = mapping(data)
    subscription = mapping(told.get("subscription"))
    return Answered(told.get("method") == "unsubscribe", text(subscription.get("type")))


def _pong(data: object) -> Pong:
    return Pong()


def _error(data: object) -> UserFrame:
    raise BadFrame(Defect.REJECTED, "the venue refused a message")


_CHANNELS: Mapping[str, Callable[[object], UserFrame]] = {
    "allDexsClearinghouseState": _all_states,
    "clearinghouseState": _one_state,
    "spotState": _spot,
    "userFills": _fills,
    "subscriptionResponse": _answered,
    "pong": _pong,
    "error": _error,
}


def mark(frame: object) -> tuple[str, float] | None:
    """``activeAssetCtx``: coin and mark price; None for what else comes on a market connection.

    `market` reads the same keys in line, for speed, and comes here with what it could not use.
    """
    envelope = mapping(frame)
    channel = text(envelope.get("channel"))
    if channel == "activeAssetCtx":
        data = mapping(envelope.get("data"))
        return text(data.get("coin")), positive(mapping(data.get("ctx")).get("markPx"))
    if channel == "error":
        _error(None)
    if channel in ("subscriptionResponse", "pong"):
        return None
    raise BadFrame(Defect.UNKNOWN_EVENT, f"{channel:.40} carries no marks")
