"""Answers of the info endpoint that streams do not carry: definitions, mode and role."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from connectors.hyperliquid.parse import MAIN_DEX, dex_of, token
from connectors.wire import BadFrame, Defect, document, mapping, not_negative, number, positive, rows, text, usable
from monitor.model.instrument import Tier

USDC = 0

SINGLE_TIER_MAX = 50
"""A margin table of an id below this has one tier, whose maximum leverage is the id."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One perpetual as its dex defines it. `tiers` are empty where the table is missing.

    `leverages` are the maximum leverages of the tiers, in the same order.
    """

    coin: str
    dex: str
    token: str
    tiers: tuple[Tier, ...]
    leverages: tuple[float, ...]


def dexes(body: bytes) -> tuple[str, ...]:
    """``perpDexs``: names of all dexes, the main one, whose row is null, first."""
    listed = rows(document(body))
    return (MAIN_DEX, *(text(mapping(row).get("name")) for row in listed if row is not None))


def assets(body: bytes) -> dict[str, Asset]:
    """``allPerpMetas``: every perpetual of every dex. A dex or a perpetual that cannot be used is left out, alone."""
    return {asset.coin: asset for dex in usable(rows(document(body)), _dex_assets) for asset in dex}


def _dex_assets(meta: Mapping[str, Any]) -> list[Asset]:
    tables = _tables(meta.get("marginTables"))
    coin = token(meta.get("collateralToken", USDC))
    return list(usable(rows(meta.get("universe")), lambda row: _asset(row, tables, coin)))


def _asset(row: Mapping[str, Any], tables: Mapping[int, Sequence[tuple[float, float]]], margin_token: str) -> Asset:
    coin, number_of_table = text(row.get("name")), row.get("marginTableId")
    if isinstance(number_of_table, int) and number_of_table in tables:
        levels = tables[number_of_table]
    elif isinstance(number_of_table, int) and 0 < number_of_table < SINGLE_TIER_MAX:
        levels = [(0.0, float(number_of_table))]
    else:
        levels = [] if number_of_table is not None else [(0.0, positive(row.get("maxLeverage")))]
    return Asset(coin, dex_of(coin), margin_token, margin_tiers(levels), tuple(leverage for _, leverage in levels))


def _tables(value: object) -> dict[int, list[tuple[float, float]]]:
    """Tables by id; one that cannot be used is missing. Old answers have none."""
    found = {}
    for each in rows(value or []):
        try:
            number_of_table, levels = _table(each)
        except BadFrame:
            continue
        found[number_of_table] = levels
    return found


def _table(value: object) -> tuple[int, list[tuple[float, float]]]:
    pair = rows(value)
    if len(pair) != 2 or not isinstance(pair[0], int):
        raise BadFrame(Defect.SHAPE, "a margin table without an id")
    levels = [mapping(level) for level in rows(mapping(pair[1]).get("marginTiers"))]
    bounds = [(not_negative(level.get("lowerBound")), positive(level.get("maxLeverage"))) for level in levels]
    return pair[0], sorted(bounds)


def margin_tiers(levels: Sequence[tuple[float, float]]) -> tuple[Tier, ...]:
    """Tiers from lower bounds and maximum leverages ("Margin tiers").

    rate_n = 1 / (2 * maximum leverage); deduction_n = deduction_(n-1) + bound_n * (rate_n - rate_(n-1)). The last tier
    has no end.
    """
    tiers: list[Tier] = []
    for k, (bound, leverage) in enumerate(levels):
        rate = 1.0 / (2.0 * leverage)
        deduction = tiers[-1].deduction + bound * (rate - tiers[-1].rate) if tiers else 0.0
        cap = levels[k + 1][0] if k + 1 < len(levels) else None
        tiers.append(Tier(bound if tiers else 0.0, cap, rate, deduction))
    return tuple(tiers)


def required(tiers: Sequence[Tier], notional: float) -> float:
    """Maintenance of a position by these tiers; one on a bound belongs to the higher tier, which gives the same."""
    tier = next((tier for tier in reversed(tiers) if notional >= tier.floor), tiers[0])
    return notional * tier.rate - tier.deduction


def taker_fee_rate(body: bytes) -> float:
    """``userFees``: what the user pays for taking on the main dex, after all discounts."""
    return number(mapping(document(body)).get("userCrossRate"))


class Abstraction(StrEnum):
    """How an account's balances are put together ("Account abstraction modes")."""

    STANDARD = "standard"
    UNIFIED = "unified"
    PORTFOLIO = "portfolio"
    UNSTATED = "unstated"
    """The venue said ``null`` or ``default``; accounts of both kinds have been seen to."""
    STRANGE = "strange"
    """A mode that is not known here."""


_ABSTRACTIONS = {
    "disabled": Abstraction.STANDARD,
    "dexAbstraction": Abstraction.STANDARD,  # moves collateral between dexes by itself, each of which stands alone
    "default": Abstraction.UNSTATED,
    "unifiedAccount": Abstraction.UNIFIED,
    "portfolioMargin": Abstraction.PORTFOLIO,
}


def abstraction(body: bytes) -> Abstraction:
    """``userAbstraction``: a bare JSON string, or null."""
    value = document(body)
    if value is None:
        return Abstraction.UNSTATED
    return _ABSTRACTIONS.get(text(value), Abstraction.STRANGE)


@dataclass(frozen=True, slots=True)
class Role:
    """``userRole``. `owner` is the account behind an API wallet, where the venue told it."""

    name: str
    owner: str


def role(body: bytes) -> Role:
    """``userRole``."""
    answer = mapping(document(body))
    data = answer.get("data")
    owner = data.get("user") or data.get("master") if isinstance(data, dict) else None
    return Role(text(answer.get("role")), owner if isinstance(owner, str) else "")
