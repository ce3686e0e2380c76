"""The assess document, version 1: JSON in, an account with marks out, or every fault at once; and assessments as JSON.

The document's shape is fixed for outsiders (README, "The calculator"). Numbers may be strings; unknown keys are faults.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from monitor.errors import DocumentError, Fault
from monitor.faults import faults_of
from monitor.margin.rules import VenueRules
from monitor.margin.venues import RULES
from monitor.model.account import Account, AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import Basis, LegAssessment, PoolAssessment
from monitor.model.ids import Side, Slot
from monitor.model.instrument import ContractKind, Instrument, Tier

DOCUMENT_ACCOUNT = "document"
"""The account in the pool ids of an assess document, which has no account's name."""


def _number(value: object) -> object:
    """A number, or text that is one; true, nan, infinities and the like are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("number", "must be a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise PydanticCustomError("number", "must be a number") from None
    if not isfinite(number) or (isinstance(value, str) and not value.isascii()) or "_" in str(value):
        raise PydanticCustomError("number", "must be a finite number")
    return number


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0)]
NotNegative = Annotated[float, BeforeValidator(_number), Field(ge=0)]
Share = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CollateralPart(_Part):
    """A coin's wallet, shared by cross positions."""

    coin: Name
    balance: Number
    price: Positive | None = None
    haircut: Share = 0.0


class TierPart(_Part):
    """One maintenance tier."""

    floor: NotNegative
    cap: Positive | None
    rate: Share
    deduction: Number


class InstrumentPart(_Part):
    """One contract."""

    kind: ContractKind
    margin_coin: Name
    multiplier: Positive
    tick_size: Positive | None = None
    taker_fee_rate: Share | None = None
    tiers: Annotated[tuple[TierPart, ...], Field(min_length=1)]


class PositionPart(_Part):
    """One position."""

    instrument: Name
    side: Side
    size: Positive
    entry_price: Positive
    margin_mode: MarginMode
    isolated_margin: Number | None = None
    leverage: Positive | None = None


class Document(_Part):
    """The whole document."""

    venue: Literal[tuple(RULES)]  # type: ignore[valid-type]
    account_mode: AccountMode | None = None
    position_mode: PositionMode = PositionMode.ONE_WAY
    collateral: tuple[CollateralPart, ...]
    instruments: dict[Name, InstrumentPart]
    positions: tuple[PositionPart, ...]
    marks: dict[Name, Positive]


def read_document(text: bytes, source: str) -> tuple[Account, dict[str, float], VenueRules]:
    """Check a document and turn it into an account, its marks and its venue's rules.

    `source` is what errors call it. Raises DocumentError with every fault found.
    """
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}: "
        raise DocumentError(source, [Fault("", f"{place}not JSON: {error.msg.partition(':')[0]}")]) from None
    if not isinstance(raw, dict):
        raise DocumentError(source, [Fault("", "must be a JSON object with venue, collateral, positions, ...")])
    try:
        document = Document.model_validate(raw)
    except ValidationError as error:
        raise DocumentError(source, faults_of(error, Document)) from None
    faults = list(_contradictions(document, RULES[document.venue]))
    if faults:
        raise DocumentError(source, faults)
    return _account(document), dict(document.marks), RULES[document.venue]


def _contradictions(document: Document, rules: VenueRules) -> Iterator[Fault]:
    """What no single key can know."""
    if rules.basis(_mode(document), MarginMode.CROSS) is Basis.REPORTED:
        mode = _mode(document).value
        yield Fault("account_mode", f'found "{mode}"; only the venue can compute its maintenance margin')
    for name, instrument in document.instruments.items():
        yield from _tier_faults(f"instruments.{name}.tiers", instrument.tiers)
    yield from _collateral_faults(document, rules)
    slots: dict[tuple[str, Slot], int] = {}
    for i, position in enumerate(document.positions):
        where = f"positions[{i}]"
        if position.instrument not in document.instruments:
            yield Fault(f"{where}.instrument", f'found "{position.instrument}"; it is not among the instruments')
            continue
        if position.instrument not in document.marks:
            yield Fault(f"marks.{position.instrument}", f"missing; {where} cannot be assessed without its mark price")
        if position.margin_mode is MarginMode.ISOLATED and position.isolated_margin is None:
            yield Fault(f"{where}.isolated_margin", "missing; an isolated position has a wallet of its own")
        if position.margin_mode is MarginMode.CROSS and position.isolated_margin:
            yield Fault(f"{where}.isolated_margin", "a cross position has none; its wallet stands in collateral")
        first = slots.setdefault((position.instrument, _slot(document, position)), i)
        if first != i:
            again = "there can be one per instrument and side" if _is_hedge(document) else "hedge mode allows two sides"
            yield Fault(where, f"the same position as positions[{first}]; {again}")


def _tier_faults(where: str, tiers: Sequence[TierPart]) -> Iterator[Fault]:
    if tiers[0].floor != 0.0:
        yield Fault(f"{where}[0].floor", f"found {tiers[0].floor:g}; the first tier starts at 0")
    for i, tier in enumerate(tiers):
        last = i == len(tiers) - 1
        if tier.cap is None and not last:
            yield Fault(f"{where}[{i}].cap", "missing; only the last tier has no end")
        elif tier.cap is not None and tier.cap <= tier.floor:
            yield Fault(f"{where}[{i}].cap", f"found {tier.cap:g}; must be greater than its floor, {tier.floor:g}")
        elif not last and tiers[i + 1].floor != tier.cap:
            yield Fault(f"{where}[{i + 1}].floor", f"found {tiers[i + 1].floor:g}; tiers join, expected {tier.cap:g}")


def _collateral_faults(document: Document, rules: VenueRules) -> Iterator[Fault]:
    mode = _mode(document)
    coins: dict[str, int] = {}
    for i, part in enumerate(document.collateral):
        first = coins.setdefault(part.coin, i)
        if first != i:
            yield Fault(f"collateral[{i}].coin", f'found "{part.coin}"; it stands in collateral[{first}] already')
        if part.price is None and rules.default_price(mode, part.coin) is None:
            yield Fault(f"collateral[{i}].price", f"missing; {mode.value} mode counts {part.coin} at its price")
    for i, position in enumerate(document.positions):
        instrument = document.instruments.get(position.instrument)
        if position.margin_mode is not MarginMode.CROSS or instrument is None:
            continue
        if instrument.margin_coin not in coins:
            yield Fault("collateral", f"no {instrument.margin_coin}, on which the cross position positions[{i}] draws")


def _mode(document: Document) -> AccountMode:
    return document.account_mode or RULES[document.venue].default_account_mode


def _is_hedge(document: Document) -> bool:
    return document.position_mode is PositionMode.HEDGE


def _slot(document: Document, position: PositionPart) -> Slot:
    return Slot(position.side.value) if _is_hedge(document) else Slot.BOTH


def _account(document: Document) -> Account:
    rules = RULES[document.venue]
    wallets = tuple(
        Wallet(c.coin, c.balance, c.price or rules.default_price(_mode(document), c.coin) or 1.0, c.haircut)
        for c in document.collateral
    )
    positions = tuple(
        Position(
            instrument=p.instrument,
            slot=_slot(document, p),
            size=p.size * p.side.sign,
            entry_price=p.entry_price,
            margin_mode=p.margin_mode,
            isolated_wallet=p.isolated_margin or 0.0,
            leverage=p.leverage,
        )
        for p in document.positions
    )
    instruments = {
        symbol: Instrument(
            symbol=symbol,
            kind=i.kind,
            margin_coin=i.margin_coin,
            multiplier=i.multiplier,
            tiers=tuple(Tier(t.floor, t.cap, t.rate, t.deduction) for t in i.tiers),
            tick_size=i.tick_size,
            taker_fee_rate=i.taker_fee_rate,
        )
        for symbol, i in document.instruments.items()
    }
    modes = _mode(document), document.position_mode
    return Account(document.venue, DOCUMENT_ACCOUNT, *modes, wallets, positions, instruments)


def write_pools(pools: Sequence[PoolAssessment]) -> bytes:
    """Assessments as JSON: full precision, null for "there is none", "Infinity" for a ratio without end."""
    return orjson.dumps({"pools": [_pool(pool) for pool in pools]}, option=orjson.OPT_INDENT_2)


def _pool(pool: PoolAssessment) -> dict[str, Any]:
    return {
        "pool": pool.pool,
        "basis": pool.basis.value,
        "unit": pool.unit,
        "margin_balance": pool.margin_balance,
        "maintenance_margin": pool.maintenance_margin,
        "margin_ratio": _ratio(pool.margin_ratio),
        "venue_margin_ratio": _ratio(pool.venue_margin_ratio),
        "legs": [_leg(leg) for leg in pool.legs],
    }


def _leg(leg: LegAssessment) -> dict[str, Any]:
    return {
        "instrument": leg.instrument,
        "side": leg.side.value,
        "size": leg.size,
        "notional": leg.notional,
        "unrealized_pnl": leg.unrealized_pnl,
        "maintenance_margin": leg.maintenance_margin,
        "liquidation_price": leg.liquidation_price,
        "full_liquidation_price": leg.full_liquidation_price,
        "bankruptcy_price": leg.bankruptcy_price,
        "distance": leg.distance,
    }


def _ratio(ratio: float | None) -> float | str | None:
    """JSON has no infinity, and null would read as "there is none"."""
    return "Infinity" if ratio is not None and not isfinite(ratio) else ratio
