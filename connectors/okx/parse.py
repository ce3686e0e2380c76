"""Frames of OKX's streams as values. Free functions: they know the wire and nothing else.

Every number of OKX's is a string, and one that does not apply is ``""``: never zero. Functions raise `BadFrame` for
what they cannot use. Unknown keys are ignored. Meaning of the keys: OKX's V5 documentation of each channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.wire import BadFrame, Defect, adl_rank, mapping, millis, number, optional, positive, rows, text
from monitor.model.account import MarginMode
from monitor.model.ids import Slot

SWAP = "SWAP"
PONG = b"pong"

_SLOTS = {
    ("net", MarginMode.CROSS): Slot.BOTH,
    ("long", MarginMode.CROSS): Slot.LONG,
    ("short", MarginMode.CROSS): Slot.SHORT,
    ("net", MarginMode.ISOLATED): Slot.ISOLATED_BOTH,
    ("long", MarginMode.ISOLATED): Slot.ISOLATED_LONG,
    ("short", MarginMode.ISOLATED): Slot.ISOLATED_SHORT,
}
"""A cross and an isolated position of one instrument can stand side by side, so each has slots of its own."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of the mark-price channel."""

    instrument: str
    price: float
    at_ms: int


def mark(row: object) -> Mark:
    """`market` reads the same keys in line, for speed, and comes here with what it could not use."""
    fields = mapping(row)
    return Mark(text(fields.get("instId")), positive(fields.get("markPx")), millis(fields.get("ts")))


@dataclass(frozen=True, slots=True)
class PositionRow:
    """One swap position, as the channel and the REST endpoint tell it. `size` is signed; zero means closed.

    `margin` is the isolated position's own, without unrealized PnL. `maintenance_margin` is without the fee to close.
    `venue_ratio` is OKX's, which falls towards danger. None is what OKX left empty. `at_ms` is when it was pushed, for
    a REST answer when it last changed.
    """

    instrument: str
    slot: Slot
    size: float
    margin_mode: MarginMode
    coin: str
    entry_price: float
    mark_price: float | None
    margin: float | None
    unrealized_pnl: float | None
    maintenance_margin: float | None
    venue_ratio: float | None
    leverage: float | None
    at_ms: int
    adl_rank: int | None = None


def margin_mode(value: object) -> MarginMode:
    """``cross`` or ``isolated``."""
    try:
        return MarginMode(text(value))
    except ValueError:
        raise BadFrame(Defect.SHAPE, f"{value!r:.40} is not a margin mode") from None


def position(fields: Mapping[str, Any]) -> PositionRow:
    """A row of type SWAP.

    In net mode the sign of ``pos`` is the direction. Otherwise it is positive for both sides, and negative in older
    answers for shorts, so only ``posSide`` counts.
    """
    mode, side = margin_mode(fields.get("mgnMode")), fields.get("posSide")
    slot = _SLOTS.get((str(side), mode))
    if slot is None:
        raise BadFrame(Defect.SHAPE, f"{side!r:.40} is not a position side")
    size = number(fields.get("pos"))
    if side != "net":
        size = abs(size) if side == "long" else -abs(size)
    entry_price = optional(fields.get("avgPx"))
    if size != 0.0 and (entry_price is None or entry_price <= 0.0):
        raise BadFrame(Defect.NUMBER, "an open position without an entry price")
    margin = optional(fields.get("margin"))
    if size != 0.0 and mode is MarginMode.ISOLATED and margin is None:
        raise BadFrame(Defect.NUMBER, "an isolated position without its margin")
    return PositionRow(
        instrument=text(fields.get("instId")),
        slot=slot,
        size=size,
        margin_mode=mode,
        coin=str(fields.get("ccy", "")),
        entry_price=entry_price or 0.0,
        mark_price=_price(fields.get("markPx")),
        margin=margin,
        unrealized_pnl=optional(fields.get("upl")),
        maintenance_margin=optional(fields.get("mmr")),
        venue_ratio=optional(fields.get("mgnRatio")),
        leverage=_price(fields.get("lever")),
        at_ms=_time(fields),
        adl_rank=adl_rank(fields.get("adl")),
    )


def _price(value: object) -> float | None:
    """Above zero, or None."""
    found = optional(value)
    return found if found is not None and found > 0.0 else None


def _time(fields: Mapping[str, Any]) -> int:
    """Two pushes may share one ``uTime``, so ``pTime`` orders them where there is one."""
    return millis(fields.get("pTime") or fields.get("uTime"))


@dataclass(frozen=True, slots=True)
class Positions:
    """A set of position rows: an event, or a page of the whole set (`last` on its last page).

    `others` are kinds of contracts beside swaps among the rows.
    """

    rows: tuple[PositionRow, ...]
    whole: bool
    page: int
    last: bool
    others: frozenset[str]

    @property
    def at_ms(self) -> int:
        """When it was pushed; 0 without a row."""
        return max((row.at_ms for row in self.rows), default=0)


def positions(listed: list[Any]) -> tuple[tuple[PositionRow, ...], frozenset[str]]:
    """The swaps among rows, and what else there is."""
    found = [mapping(row) for row in listed]
    kinds = frozenset(text(row.get("instType")) for row in found if optional(row.get("pos")) != 0.0)
    return tuple(position(row) for row in found if row.get("instType") == SWAP), kinds - {SWAP}


@dataclass(frozen=True, slots=True)
class CoinRow:
    """One currency of an account; amounts in it, None where OKX left them empty.

    `equity` includes isolated positions (`isolated_equity`) and profit; `cash` neither. `discounted_usd` is what counts
    in multi-currency mode. `venue_ratio` and `maintenance_margin` are filled in futures mode only, while a cross
    position is open.
    """

    coin: str
    cash: float
    equity: float | None
    isolated_equity: float | None
    price_usd: float | None
    equity_usd: float | None
    discounted_usd: float | None
    maintenance_margin: float | None
    venue_ratio: float | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class AccountRow:
    """The account: figures over all currencies, in USD and empty in futures mode, and its currencies."""

    adjusted_equity: float | None
    maintenance_margin: float | None
    venue_ratio: float | None
    coins: tuple[CoinRow, ...]
    at_ms: int


def account(fields: Mapping[str, Any]) -> AccountRow:
    """The row of the account channel and of the balance endpoint."""
    return AccountRow(
        optional(fields.get("adjEq")),
        optional(fields.get("mmr")),
        optional(fields.get("mgnRatio")),
        tuple(_coin(mapping(row)) for row in rows(fields.get("details"))),
        millis(fields.get("uTime")),
    )


def _coin(row: Mapping[str, Any]) -> CoinRow:
    return CoinRow(
        coin=text(row.get("ccy")),
        cash=number(row.get("cashBal")),
        equity=optional(row.get("eq")),
        isolated_equity=optional(row.get("isoEq")),
        price_usd=_price(row.get("coinUsdPrice")),
        equity_usd=optional(row.get("eqUsd")),
        discounted_usd=optional(row.get("disEq")),
        maintenance_margin=optional(row.get("mmr")),
        venue_ratio=optional(row.get("mgnRatio")),
        at_ms=millis(row.get("uTime")),
    )


@dataclass(frozen=True, slots=True)
class Warned:
    """Rows of the liquidation-warning channel: instrument and a sentence for each."""

    rows: tuple[tuple[str, str], ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The balance_and_position channel: what happened, and to which instruments. Figures come by other channels."""

    event: str
    instruments: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to log-in or subscription, or a message about the connection."""

    event: str
    channel: str
    code: str
    text: str

    @property
    def good(self) -> bool:
        """Whether nothing was refused."""
        return self.event in ("login", "subscribe", "unsubscribe", "notice", "channel-conn-count")


UserFrame = Reply | Positions | AccountRow | Warned | Changed


def reply(frame: Mapping[str, Any]) -> Reply | None:
    """A frame that carries no data, None for one that does."""
    event = frame.get("event")
    if not isinstance(event, str):
        return None
    arg = frame.get("arg")
    channel = frame.get("channel") or (arg.get("channel") if isinstance(arg, dict) else "") or ""
    return Reply(event, str(channel), str(frame.get("code", "")), str(frame.get("msg", ""))[:200])


def private_frame(data: object) -> UserFrame:
    """One frame of the private stream."""
    frame = mapping(data)
    answer = reply(frame)
    if answer is not None:
        return answer
    channel = mapping(frame.get("arg")).get("channel")
    match channel:
        case "positions":
            return _positions(frame)
        case "account":
            return account(_only(frame))
        case "liquidation-warning":
            warned = [mapping(row) for row in rows(frame.get("data"))]
            return Warned(tuple(_warned(row) for row in warned), max((_time(row) for row in warned), default=0))
        case "balance_and_position":
            row = _only(frame)
            moved = (mapping(each).get("instId") for each in rows(row.get("posData", [])))
            return Changed(text(row.get("eventType")), tuple(text(name) for name in moved), millis(row.get("pTime")))
        case str(name):
            raise BadFrame(Defect.UNKNOWN_EVENT, f"{name:.40} is not a channel known here")
    raise BadFrame(Defect.SHAPE, "no channel")


def _only(frame: Mapping[str, Any]) -> Mapping[str, Any]:
    data = rows(frame.get("data"))
    if len(data) != 1:
        raise BadFrame(Defect.SHAPE, "not one row")
    return mapping(data[0])


def _positions(frame: Mapping[str, Any]) -> Positions:
    """Without ``eventType`` (older recordings) it is taken for an event, which closes nothing that it does not name."""
    found, others = positions(rows(frame.get("data")))
    whole = frame.get("eventType") == "snapshot"
    page = frame.get("curPage", 1)
    if not isinstance(page, int) or isinstance(page, bool):
        raise BadFrame(Defect.SHAPE, "a page without a number")
    return Positions(found, whole, page, whole and frame.get("lastPage", True) is True, others)


def _warned(row: Mapping[str, Any]) -> tuple[str, str]:
    name, ratio = text(row.get("instId")), optional(row.get("mgnRatio"))
    size, price = optional(row.get("pos")), optional(row.get("markPx"))
    told = "" if ratio is None else f", OKX's margin ratio {ratio:.2%} (100% is liquidation)"
    at = "" if price is None else f" at mark {price:g}"
    return name, f"{row.get('mgnMode', '')} {row.get('posSide', '')} {size or 0.0:g} contracts{at}{told}"
