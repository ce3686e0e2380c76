"""What Hyperliquid writes, in streams and answers alike, as values. Free functions: they know the wire, nothing else.

Every function raises `BadFrame` for what it cannot use, but a figure of a position or of a balance that cannot be read
is nan: it costs what it is about, not all that came with it. Unknown keys are ignored, because the venue adds keys
without notice; missing ones are faults. Numbers are strings, ``"0.0"`` included, and are compared as numbers only.
Meaning of the keys: Hyperliquid's documentation, "Info endpoint" and "Subscriptions".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import copysign, nan
from typing import Any

from connectors.wire import BadFrame, Defect, mapping, millis, number, positive, rows, text, usable
from monitor.model.account import MarginMode

MAIN_DEX = ""

WORDS_MAX = 200

TOKENS = {0: "USDC", 360: "USDH", 235: "USDE", 268: "USDT0"}
"""Tokens that margin perpetuals, by index."""


def dex_of(coin: str) -> str:
    """The dex of a perpetual, whose name stands before it on builders' dexes."""
    return coin.rpartition(":")[0]


def token(index: object) -> str:
    """The name of a token by its index; those not known here bear their number."""
    if isinstance(index, bool) or not isinstance(index, int):
        raise BadFrame(Defect.SHAPE, "a token is missing")
    return TOKENS.get(index, f"token{index}")


@dataclass(frozen=True, slots=True)
class Holding:
    """One row of ``assetPositions``. `size` is signed; `mark_price` is the one behind `value`.

    `margin` of an isolated position is its equity, unrealized PnL included. `max_leverage` rules its maintenance; None
    where an old answer lacks it. `liquidation_price` is None where the venue shows none. `odd` names keys that count
    and could not be read: then the position is unknown, and what they stand for is nan.
    """

    coin: str
    size: float
    mark_price: float
    value: float
    unrealized_pnl: float
    margin_mode: MarginMode
    margin: float
    leverage: float | None
    max_leverage: float | None
    liquidation_price: float | None
    odd: tuple[str, ...] = ()

    @property
    def entry_price(self) -> float:
        """``entryPx`` is rounded; the cost behind value and profit is not. nan for a position that is unknown."""
        return nan if self.odd else self.mark_price - self.unrealized_pnl / self.size

    def after(self, before: "Holding") -> "Holding":
        """Of the same coin: a size and a kind that cannot be read stay as they were, so that its pool keeps its id."""
        size = before.size if _SIZE in self.odd else self.size
        return replace(self, size=size, margin_mode=before.margin_mode if _KIND in self.odd else self.margin_mode)


_SIZE, _KIND = "szi", "leverage.type"


@dataclass(frozen=True, slots=True)
class DexState:
    """``clearinghouseState``: one dex of an address. `cross_value` is the equity of its cross positions.

    `cross_maintenance` is None where it cannot be read, or an old answer lacks it. In unified and portfolio mode the
    values are only what is reserved for the dex, not what protects its positions.
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
        tuple(_holding(row) for row in held if _figure(row.get("szi")) != 0.0),
        _figure(mapping(state.get("marginSummary")).get("accountValue")),
        _figure(cross.get("accountValue")),
        _figure_or_none(state.get("crossMaintenanceMarginUsed")),
    )


def _figure(value: object, read: Callable[[object], float] = number) -> float:
    """nan for what cannot be read."""
    try:
        return read(value)
    except BadFrame:
        return nan


def _figure_or_none(value: object, read: Callable[[object], float] = number) -> float | None:
    """None for what is empty, absent, or cannot be read."""
    figure = _figure(value, read)
    return figure if figure == figure else None


def _holding(row: Mapping[str, Any]) -> Holding:
    said = row.get("leverage")
    leverage = said if isinstance(said, dict) else {}
    kind, size = leverage.get("type"), _figure(row.get("szi"))
    # Of a kind that is not known, it is taken to draw on what the others share.
    margin_mode = MarginMode(kind) if kind in _KINDS else MarginMode.CROSS
    value = _figure(row.get("positionValue"), positive)
    profit = _figure(row.get("unrealizedPnl"))
    if value - copysign(profit, profit * size) <= 0.0:
        profit = nan  # the two contradict each other
    margin, rules = _figure(row.get("marginUsed")), row.get("maxLeverage")
    figures = {
        _SIZE: size,
        "positionValue": value,
        "unrealizedPnl": profit,
        # What a cross position has in use only limits new ones.
        "marginUsed": margin if margin_mode is MarginMode.ISOLATED else 0.0,
        "maxLeverage": 0.0 if rules is None or rules == "" else _figure(rules, positive),
    }
    odd = [name for name, figure in figures.items() if figure != figure]
    return Holding(
        coin=text(row.get("coin")),
        size=size,
        mark_price=value / abs(size),
        value=value,
        unrealized_pnl=profit,
        margin_mode=margin_mode,
        margin=margin,
        leverage=_figure_or_none(leverage.get("value"), positive),
        max_leverage=_figure_or_none(rules, positive),
        liquidation_price=_figure_or_none(row.get("liquidationPx")),
        odd=tuple(odd if kind in _KINDS else [_KIND, *odd]),
    )


_KINDS = tuple(MarginMode)


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
    balances = dict(usable(rows(state.get("balances")), lambda row: (token(row.get("token")), row)))
    return SpotState(
        {coin: _figure(row.get("total")) for coin, row in balances.items()},
        {coin: _figure(row.get("hold")) for coin, row in balances.items()},
        _figure_or_none(state.get("portfolioMarginRatio")),
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
class Refused:
    """The venue refuses a message; `words` are its own, for people."""

    words: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""


UserFrame = States | Spot | Fills | Answered | Refused | Pong

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


def _refused(data: object) -> Refused:
    return Refused(data[:WORDS_MAX] if isinstance(data, str) else "")


_CHANNELS: Mapping[str, Callable[[object], UserFrame]] = {
    "allDexsClearinghouseState": _all_states,
    "clearinghouseState": _one_state,
    "spotState": _spot,
    "userFills": _fills,
    "subscriptionResponse": _answered,
    "pong": _pong,
    "error": _refused,
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
        raise BadFrame(Defect.REJECTED, "the venue refused a message")
    if channel in ("subscriptionResponse", "pong"):
        return None
    raise BadFrame(Defect.UNKNOWN_EVENT, f"{channel:.40} carries no marks")
