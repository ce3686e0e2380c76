"""Frames of OKX's streams as values. Free functions: they know the wire and nothing else.

Every number of OKX's is a string, and one that does not apply is ``""``: never zero. Functions raise `BadFrame` for
what they cannot use. Of a position or a currency that can be told from the others but not be read whole, the figures
are nan or None, so that its pool is unknown and the rest of the account is not. Unknown keys are ignored. Meaning of
the keys: OKX's V5 documentation of each channel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

from connectors.wire import BadFrame, Defect, adl_rank, mapping, millis, number, optional, positive, rows, text
from monitor.model.account import MarginMode
from monitor.model.ids import Slot

SWAP, FUTURES, OPTION = "SWAP", "FUTURES", "OPTION"
MARGIN = "MARGIN"
"""Kinds of positions: three of contracts, and coins bought with what was borrowed."""

PONG = b"pong"
INDEX_PREFIX = "index:"
"""A coin's price in USD is marked as instrument ``index:BTCUSD``; OKX's name of that index is ``BTC-USD``."""

DOLLAR = "USD"

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


def index(row: object) -> Mark:
    """One row of the index-tickers channel, or of the REST endpoint of that name."""
    fields = mapping(row)
    return Mark(index_name(text(fields.get("instId"))), positive(fields.get("idxPx")), millis(fields.get("ts")))


def index_name(venue_name: str) -> str:
    """The instrument under which one of OKX's indexes is marked."""
    return f"{INDEX_PREFIX}{venue_name.replace('-', '')}"


def index_of(instrument: str) -> str | None:
    """OKX's name of the index that an instrument is; None for a contract."""
    if not instrument.startswith(INDEX_PREFIX):
        return None
    return f"{instrument.removeprefix(INDEX_PREFIX).removesuffix(DOLLAR)}-{DOLLAR}"


def is_swap(symbol: str) -> bool:
    """Whether a contract never expires."""
    return symbol.endswith(f"-{SWAP}")


@dataclass(frozen=True, slots=True)
class PositionRow:
    """One position in a contract, as the channel and the REST endpoint tell it. `size` is signed; zero means closed.

    `margin` is the isolated position's own, without unrealized PnL. `maintenance_margin` is without the fee to close.
    `venue_ratio` is OKX's, which falls towards danger. None is what OKX left empty; `entry_price` and `margin` are nan
    where they are needed and cannot be read. `at_ms` is when it was pushed, for a REST answer when it last changed.
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
    coin_price_usd: float | None = None


def margin_mode(value: object) -> MarginMode:
    """``cross`` or ``isolated``."""
    try:
        return MarginMode(text(value))
    except ValueError:
        raise BadFrame(Defect.SHAPE, f"{value!r:.40} is not a margin mode") from None


def position(fields: Mapping[str, Any]) -> PositionRow:
    """A row of a contract.

    In net mode the sign of ``pos`` is the direction. Otherwise it is positive for both sides, and negative in older
    answers for shorts, so only ``posSide`` counts. Without contract, slot, size or time it cannot be used at all.
    """
    mode, side = margin_mode(fields.get("mgnMode")), fields.get("posSide")
    slot = _SLOTS.get((str(side), mode))
    if slot is None:
        raise BadFrame(Defect.SHAPE, f"{side!r:.40} is not a position side")
    size = number(fields.get("pos"))
    if side != "net":
        size = abs(size) if side == "long" else -abs(size)
    opened, alone = size != 0.0, mode is MarginMode.ISOLATED
    entry_price, margin = _read(_price, fields.get("avgPx")), _read(optional, fields.get("margin"))
    return PositionRow(
        instrument=text(fields.get("instId")),
        slot=slot,
        size=size,
        margin_mode=mode,
        coin=str(fields.get("ccy", "")),
        entry_price=entry_price or (nan if opened else 0.0),
        mark_price=_read(_price, fields.get("markPx")),
        margin=nan if opened and alone and margin is None else margin,
        unrealized_pnl=_read(optional, fields.get("upl")),
        maintenance_margin=_read(optional, fields.get("mmr")),
        venue_ratio=_read(optional, fields.get("mgnRatio")),
        leverage=_read(_price, fields.get("lever")),
        at_ms=_time(fields),
        adl_rank=adl_rank(fields.get("adl")),
        coin_price_usd=_read(_price, fields.get("usdPx")),
    )


def _read(parse: Callable[[object], float | None], value: object) -> float | None:
    """What a field says, None also where it says nothing that can be used."""
    try:
        return parse(value)
    except BadFrame:
        return None


def _price(value: object) -> float | None:
    """Above zero, or None."""
    found = optional(value)
    return found if found is not None and found > 0.0 else None


def _time(fields: Mapping[str, Any]) -> int:
    """Two pushes may share one ``uTime``, so ``pTime`` orders them where there is one."""
    return millis(fields.get("pTime") or fields.get("uTime"))


@dataclass(frozen=True, slots=True)
class Other:
    """What else is held: its kind, the currency that is its margin, and None for a margin mode that is not known."""

    kind: str
    coin: str
    margin_mode: MarginMode | None


@dataclass(frozen=True, slots=True)
class Positions:
    """A set of position rows: an event, or a page of the whole set (`last` on its last page)."""

    rows: tuple[PositionRow, ...]
    whole: bool
    page: int
    last: bool
    others: frozenset[Other]

    @property
    def at_ms(self) -> int:
        """When it was pushed; 0 without a row."""
        return max((row.at_ms for row in self.rows), default=0)


def positions(listed: list[Any]) -> tuple[tuple[PositionRow, ...], frozenset[Other]]:
    """The contracts among rows, and what else there is."""
    found = [mapping(row) for row in listed]
    others = [row for row in found if row.get("instType") == MARGIN and _read(optional, row.get("pos")) != 0.0]
    # A kind that is new is a contract that is not described, and so unknown.
    return tuple(position(row) for row in found if row.get("instType") != MARGIN), frozenset(map(_other, others))


def _other(row: Mapping[str, Any]) -> Other:
    mode = row.get("mgnMode")
    known = next((each for each in MarginMode if each.value == mode), None)
    return Other(text(row.get("instType")), str(row.get("ccy", "")), known)


@dataclass(frozen=True, slots=True)
class CoinRow:
    """One currency of an account; amounts in it, None where OKX left them empty, `cash` nan where it cannot be read.

    `equity` includes isolated positions (`isolated_equity`) and profit; `cash` neither. `profit` is that of the cross
    positions. `discounted_usd` is what counts in multi-currency mode. `venue_ratio` and `maintenance_margin` are filled
    in futures mode only, while a cross position is open.
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
    profit: float | None = None


@dataclass(frozen=True, slots=True)
class AccountRow:
    """The account: figures over all currencies, in USD and empty in futures mode, and its currencies.

    With `whole` it is a page of all currencies with a balance (`last` on the last page), without it an event.
    """

    adjusted_equity: float | None
    maintenance_margin: float | None
    venue_ratio: float | None
    coins: tuple[CoinRow, ...]
    at_ms: int
    whole: bool = False
    page: int = 1
    last: bool = True


def account(fields: Mapping[str, Any], *, whole: bool = False, page: int = 1, last: bool = True) -> AccountRow:
    """The row of the account channel and of the balance endpoint."""
    return AccountRow(
        _read(optional, fields.get("adjEq")),
        _read(optional, fields.get("mmr")),
        _read(optional, fields.get("mgnRatio")),
        tuple(_coin(mapping(row)) for row in rows(fields.get("details"))),
        millis(fields.get("uTime")),
        whole,
        page,
        last,
    )


def _coin(row: Mapping[str, Any]) -> CoinRow:
    cash = _read(number, row.get("cashBal"))
    return CoinRow(
        coin=text(row.get("ccy")),
        cash=nan if cash is None else cash,
        equity=_read(optional, row.get("eq")),
        isolated_equity=_read(optional, row.get("isoEq")),
        price_usd=_read(_price, row.get("coinUsdPrice")),
        equity_usd=_read(optional, row.get("eqUsd")),
        discounted_usd=_read(optional, row.get("disEq")),
        maintenance_margin=_read(optional, row.get("mmr")),
        venue_ratio=_read(optional, row.get("mgnRatio")),
        at_ms=millis(row.get("uTime")),
        profit=_read(optional, row.get("upl")),
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
            whole, page, last = _place(frame)
            return account(_only(frame), whole=whole, page=page, last=last)
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
    found, others = positions(rows(frame.get("data")))
    return Positions(found, *_place(frame), others)


def _place(frame: Mapping[str, Any]) -> tuple[bool, int, bool]:
    """Whether a frame belongs to a whole set, which page of it it is, and whether it is the last.

    Without ``eventType`` (older recordings) it is taken for an event, which closes nothing that it does not name.
    """
    whole = frame.get("eventType") == "snapshot"
    page = frame.get("curPage", 1)
    if not isinstance(page, int) or isinstance(page, bool):
        raise BadFrame(Defect.SHAPE, "a page without a number")
    return whole, page, whole and frame.get("lastPage", True) is True


def _warned(row: Mapping[str, Any]) -> tuple[str, str]:
    name, ratio = text(row.get("instId")), optional(row.get("mgnRatio"))
    size, price = optional(row.get("pos")), optional(row.get("markPx"))
    told = "" if ratio is None else f", OKX's margin ratio {ratio:.2%} (100% is liquidation)"
    at = "" if price is None else f" at mark {price:g}"
    return name, f"{row.get('mgnMode', '')} {row.get('posSide', '')} {size or 0.0:g} contracts{at}{told}"
