"""Answers of OKX's REST endpoints as values. Raises `BadFrame` like `parse`.

Endpoints and keys: OKX's V5 documentation. Every answer is ``{"code": "0", "data": [...]}``; the shell has looked at
the code already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from connectors.okx import parse
from connectors.okx.parse import OPTION, AccountRow, Other, PositionRow
from connectors.wire import (
    BadFrame,
    Defect,
    document,
    mapping,
    millis,
    not_negative,
    number,
    optional,
    positive,
    rows,
    text,
    usable,
)
from monitor.model.account import AccountMode, PositionMode
from monitor.model.instrument import ContractKind, Instrument, Tier

_MODES = {
    "1": AccountMode.SINGLE_ASSET,  # spot mode: no swaps in it
    "2": AccountMode.SINGLE_ASSET,
    "3": AccountMode.MULTI_ASSET,
    "4": AccountMode.PORTFOLIO,
}

READS = "read_only"


def data(body: bytes) -> list[Any]:
    """The rows of an answer."""
    return rows(mapping(document(body)).get("data"))


def _one(body: bytes) -> Mapping[str, Any]:
    found = data(body)
    if len(found) != 1:
        raise BadFrame(Defect.SHAPE, "not one row")
    return mapping(found[0])


@dataclass(frozen=True, slots=True)
class Config:
    """``account/config``: modes, and what the key may do (empty when OKX did not say)."""

    account_mode: AccountMode
    position_mode: PositionMode
    permissions: tuple[str, ...]
    warns: bool

    @property
    def dangerous(self) -> tuple[str, ...]:
        """What the key may do beside reading; what is not known here counts as dangerous."""
        return tuple(name for name in self.permissions if name != READS)


def config(body: bytes) -> Config:
    """``account/config``. `warns`: whether OKX sends its own warnings at 300 % (``liquidationGear``)."""
    row = _one(body)
    mode = _MODES.get(str(row.get("acctLv")))
    if mode is None:
        raise BadFrame(Defect.SHAPE, f"{row.get('acctLv')!r:.40} is not an account level")
    position_mode = {"net_mode": PositionMode.ONE_WAY, "long_short_mode": PositionMode.HEDGE}.get(
        str(row.get("posMode"))
    )
    if position_mode is None:
        raise BadFrame(Defect.SHAPE, f"{row.get('posMode')!r:.40} is not a position mode")
    told = row.get("perm")
    granted = told.split(",") if isinstance(told, str) else ()
    names = tuple(sorted({name.strip() for name in granted if name.strip()}))
    return Config(mode, position_mode, names, str(row.get("liquidationGear", "")) != "0")


def balance(body: bytes) -> AccountRow:
    """``account/balance``."""
    return parse.account(_one(body))


def positions(body: bytes) -> tuple[tuple[PositionRow, ...], frozenset[Other]]:
    """``account/positions``: the open contracts (naming one can bring closed ones), and what else is held."""
    found, others = parse.positions(data(body))
    return tuple(row for row in found if row.size != 0.0), others


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract: the instrument without tiers and fee, and the group that its fee goes by."""

    instrument: Instrument
    group: str


def contracts(body: bytes) -> dict[str, Contract]:
    """``account/instruments`` by symbol. Contracts = ``ctVal`` * ``ctMult`` coins (linear) or dollars (inverse).

    An option's price, its mark as well, is told in the coin that it is settled in: its profit is linear in its mark.
    """
    return {found.instrument.symbol: found for found in usable(data(body), _contract)}


def _contract(row: Mapping[str, Any]) -> Contract:
    try:
        kind = ContractKind.LINEAR if row.get("instType") == OPTION else ContractKind(text(row.get("ctType")))
    except ValueError:
        raise BadFrame(Defect.SHAPE, "neither linear nor inverse") from None
    multiplier = positive(row.get("ctVal")) * positive(row.get("ctMult"))
    instrument = Instrument(
        text(row.get("instId")), kind, text(row.get("settleCcy")), multiplier, (), optional(row.get("tickSz")) or None
    )
    return Contract(instrument, str(row.get("groupId", "")))


def family(symbol: str) -> str:
    """The family whose tiers and limits a contract shares: ``BTC-USDT`` of ``BTC-USDT-SWAP``."""
    base, _, rest = symbol.partition("-")
    return f"{base}-{rest.partition('-')[0]}"


def tiers(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """``position-tiers`` by family, in contracts. A family of which a row cannot be used is left out.

    OKX begins a tier one contract, or one lot, past the last one's end; here tiers join, so that a size between the two
    belongs to the higher. The last one has no end: a size past OKX's limit keeps its rate.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in map(mapping, data(body)):
        found.setdefault(str(row.get("instFamily") or row.get("uly") or ""), []).append(row)
    tables = usable(({"family": name, "rows": listed} for name, listed in found.items()), _table)
    return dict(tables)


def _table(told: Mapping[str, Any]) -> tuple[str, tuple[Tier, ...]]:
    table = sorted(map(_tier, told["rows"]), key=lambda tier: tier.floor)
    if any(tier.cap is None for tier in table[:-1]):
        raise BadFrame(Defect.NUMBER, "a tier without an end below others")
    floors = [0.0, *(tier.cap or 0.0 for tier in table)]
    joined = [replace(tier, floor=floor) for tier, floor in zip(table, floors, strict=False)]
    return told["family"], (*joined[:-1], replace(joined[-1], cap=None))


def _tier(row: Mapping[str, Any]) -> Tier:
    cap = None if row.get("maxSz") in (None, "") else positive(row.get("maxSz"))
    return Tier(number(row.get("minSz")), cap, not_negative(row.get("mmr")), 0.0)


def indexes(body: bytes) -> frozenset[str]:
    """``index-tickers``: the coins that have an index in USD."""
    return frozenset(usable(data(body), _indexed))


def _indexed(row: Mapping[str, Any]) -> str:
    coin, _, quote = text(row.get("instId")).rpartition("-")
    if quote != parse.DOLLAR:
        raise BadFrame(Defect.SHAPE, "an index in another currency")
    return coin


def funding_intervals(body: bytes) -> dict[str, float]:
    """``funding-rate`` by symbol: seconds between the coming payment and the one after it."""
    return dict(usable(data(body), _interval))


def _interval(row: Mapping[str, Any]) -> tuple[str, float]:
    interval_ms = millis(row.get("nextFundingTime")) - millis(row.get("fundingTime"))
    return text(row.get("instId")), positive(interval_ms) * 0.001


@dataclass(frozen=True, slots=True)
class Fees:
    """``trade-fee``: taker rates by fee group, and OKX's older way of telling them by margin coin."""

    groups: Mapping[str, float]
    inverse: float | None
    usdt: float | None
    usdc: float | None

    def rate(self, contract: Contract) -> float | None:
        """What closing a contract costs this account."""
        if contract.group in self.groups:
            return self.groups[contract.group]
        if contract.instrument.kind is ContractKind.INVERSE:
            return self.inverse
        return self.usdc if contract.instrument.margin_coin == "USDC" else self.usdt


def fees(body: bytes) -> Fees:
    """``trade-fee`` of swaps. OKX writes what is charged as negative; a rebate is not counted on."""
    row = _one(body)
    groups = dict(
        usable(rows(row.get("feeGroup") or []), lambda each: (text(each.get("groupId")), _fee(each, "taker")))
    )
    known = {name: rate for name, rate in groups.items() if rate is not None}
    return Fees(known, _fee(row, "taker"), _fee(row, "takerU"), _fee(row, "takerUSDC"))


def _fee(row: Mapping[str, Any], name: str) -> float | None:
    rate = optional(row.get(name))
    return None if rate is None else max(0.0, -rate)
