"""Answers of Bybit's REST endpoints as values. Raises `BadFrame` like `parse`.

Endpoints and keys: Bybit's V5 documentation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from connectors.bybit.parse import CoinRow, PositionRow, Totals, coin, position, totals
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
from monitor.model.instrument import ContractKind, Instrument, Tier


def result(body: bytes) -> Mapping[str, Any]:
    """``result`` of the envelope."""
    return mapping(mapping(document(body)).get("result"))


def listed(body: bytes) -> list[Any]:
    """``result.list``."""
    return rows(result(body).get("list"))


def cursor(body: bytes) -> str:
    """Where the next page begins; empty on the last."""
    value = result(body).get("nextPageCursor")
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a key may do beside reading, in words; empty for a read-only key. `api_key` is what the answer repeats."""

    dangerous: tuple[str, ...]
    days_left: int | None
    api_key: str


def permissions(body: bytes) -> Permissions:
    """``query-api``. Only ``readOnly`` decides: a read-only key lists what it may read in the same words."""
    answer = result(body)
    read_only = answer.get("readOnly")
    if isinstance(read_only, bool) or not isinstance(read_only, int):
        raise BadFrame(Defect.SHAPE, "no readOnly in the key's permissions")
    days, key = answer.get("deadlineDay"), answer.get("apiKey")
    dangerous: tuple[str, ...] = ()
    if read_only != 1:
        granted = answer.get("permissions")
        sections = granted.items() if isinstance(granted, dict) else ()
        dangerous = tuple(f"{name}: {', '.join(map(str, can))}" for name, can in sorted(sections) if can)
        dangerous = dangerous or ("it is a read-write key",)
    return Permissions(
        dangerous,
        days if isinstance(days, int) and not isinstance(days, bool) and days > 0 else None,
        key if isinstance(key, str) else "",
    )


class Mode(StrEnum):
    """``marginMode`` of the account."""

    ISOLATED = "ISOLATED_MARGIN"
    CROSS = "REGULAR_MARGIN"
    PORTFOLIO = "PORTFOLIO_MARGIN"


@dataclass(frozen=True, slots=True)
class Info:
    """``account/info``."""

    mode: Mode
    unified: bool
    inverse_apart: bool
    """Whether inverse contracts are held in an account of their own, and share nothing with the unified one."""


CLASSIC = 1
SHARED_SINCE = 5


def info(body: bytes) -> Info:
    """``account/info``; status 1 is a classic account, 3 and 4 unified account 1.0, 5 and 6 unified account 2.0.

    Only the last has inverse contracts in it (API, "Different Account Modes"); one that is not told may be any.
    """
    answer = result(body)
    status = answer.get("unifiedMarginStatus")
    shared = isinstance(status, int) and status >= SHARED_SINCE
    try:
        mode = Mode(text(answer.get("marginMode")))
    except ValueError:
        raise BadFrame(Defect.SHAPE, f"{answer.get('marginMode')!r:.40} is not a margin mode") from None
    return Info(mode, status != CLASSIC, not shared)


@dataclass(frozen=True, slots=True)
class WalletAnswer:
    """``wallet-balance`` of the unified account."""

    totals: Totals
    coins: tuple[CoinRow, ...]


def wallet(body: bytes) -> WalletAnswer:
    """``wallet-balance``."""
    accounts = [mapping(row) for row in listed(body)]
    if not accounts:
        raise BadFrame(Defect.SHAPE, "no unified account")
    return WalletAnswer(totals(accounts[0]), tuple(coin(mapping(row)) for row in rows(accounts[0].get("coin", []))))


def positions(body: bytes) -> tuple[PositionRow, ...]:
    """One page of ``position/list``; flat rows are left out."""
    found = (position(mapping(row)) for row in listed(body))
    return tuple(row for row in found if row.size != 0.0)


@dataclass(frozen=True, slots=True)
class Listed:
    """One contract of ``instruments-info``."""

    symbol: str
    kind: ContractKind
    margin_coin: str
    tick_size: float | None
    funding_interval_s: float | None


def contracts(body: bytes) -> dict[str, Listed]:
    """One page of ``instruments-info``."""
    return {found.symbol: found for found in usable(listed(body), _contract)}


def _contract(row: Mapping[str, Any]) -> Listed:
    kind = text(row.get("contractType"))
    inverse = kind.startswith("Inverse")
    if not inverse and not kind.startswith("Linear"):
        raise BadFrame(Defect.SHAPE, f"{kind:.40} is not a contract type known here")
    ticks = row.get("priceFilter")
    tick = optional(ticks.get("tickSize")) if isinstance(ticks, dict) else None
    return Listed(
        text(row.get("symbol")),
        ContractKind.INVERSE if inverse else ContractKind.LINEAR,
        text(row.get("settleCoin")),
        tick or None,
        (optional(row.get("fundingInterval")) or 0.0) * 60.0 or None,  # in minutes; none where there is no funding
    )


def tiers(bodies: Iterable[bytes]) -> dict[str, tuple[Tier, ...]]:
    """``risk-limit``: maintenance tiers by symbol; a symbol of which a tier cannot be used has none.

    Rates are shares or percent, depending on the version of the answer: the initial rate, which is 1 / leverage, shows
    which. The last tier has no end: a value past the venue's limit keeps the last rate.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for body in bodies:
        for row in listed(body):
            found.setdefault(text(mapping(row).get("symbol")), []).append(mapping(row))
    tables = {}
    for symbol, table in found.items():
        try:
            tables[symbol] = _table(table)
        except BadFrame:
            continue
    return tables


def _table(table: list[Mapping[str, Any]]) -> tuple[Tier, ...]:
    ladder = sorted(table, key=lambda row: positive(row.get("riskLimitValue")))
    found: list[Tier] = []
    for row in ladder:
        last = found[-1] if found else Tier(0.0, 0.0, 0.0, 0.0)
        floor, rate = last.cap or 0.0, not_negative(row.get("maintenanceMargin")) * _unit(row)
        deduction = optional(row.get("mmDeduction"))
        if deduction is None:
            # Empty on the first tier, and absent from older answers: it is what makes maintenance continuous.
            deduction = last.deduction + floor * (rate - last.rate)
        found.append(Tier(floor, positive(row.get("riskLimitValue")), rate, deduction))
    last = found[-1]
    return (*found[:-1], Tier(last.floor, None, last.rate, last.deduction))


def _unit(row: Mapping[str, Any]) -> float:
    """0.01 where the rates of a row are percent, else 1."""
    expected = 1.0 / positive(row.get("maxLeverage"))
    given = positive(row.get("initialMargin"))
    for unit in (1.0, 0.01):
        if 0.5 < given * unit / expected < 2.0:
            return unit
    raise BadFrame(Defect.NUMBER, "an initial margin that does not fit the leverage")


def fees(body: bytes) -> dict[str, float]:
    """``fee-rate``: the user's taker rate by symbol. It may be below zero, where a maker is paid for taking."""
    return dict(usable(listed(body), lambda row: (text(row.get("symbol")), number(row.get("takerFeeRate")))))


def usd_indexes(body: bytes) -> dict[str, float]:
    """``tickers`` of the spot category: the price in USD of every coin that is quoted in USDT."""
    found = usable(listed(body), lambda row: (text(row.get("symbol")), positive(row.get("usdIndexPrice"))))
    return {symbol.removesuffix("USDT"): price for symbol, price in found if symbol.endswith("USDT")}


Step = tuple[float, float]
"""Up to this many coins (inf for the last step), this share counts."""


def collateral_steps(body: bytes) -> dict[str, tuple[Step, ...]]:
    """``spot-margin-trade/collateral``: by coin, what share of it counts as collateral, step by step."""
    return dict(usable(listed(body), _steps))


def _steps(row: Mapping[str, Any]) -> tuple[str, tuple[Step, ...]]:
    found = []
    for each in rows(row.get("collateralRatioList")):
        step = mapping(each)
        limit = optional(step.get("maxQty"))
        found.append((float("inf") if limit is None else limit, not_negative(step.get("collateralRatio"))))
    return text(row.get("currency")), tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class Incident:
    """A maintenance or an incident of the platform."""

    id: str
    title: str
    begin_ms: int
    end_ms: int


def incidents(body: bytes) -> tuple[Incident, ...]:
    """``system/status``: what is going on at the moment and concerns contracts (products 1 and 2), if it says."""
    return tuple(usable((row for row in listed(body) if _concerns(row)), _incident))


def _concerns(row: object) -> bool:
    if not isinstance(row, dict) or row.get("state") != "ongoing":
        return False
    products = row.get("product")
    return not isinstance(products, list) or not products or bool({1, 2} & set(products))


def _incident(row: Mapping[str, Any]) -> Incident:
    return Incident(
        text(row.get("id")), str(row.get("title", ""))[:200], millis(row.get("begin")), millis(row.get("end") or 0)
    )


@dataclass(frozen=True, slots=True)
class Definitions:
    """What was told of contracts. `lacking` are those of the `asked` of which not everything was told."""

    contracts: Mapping[str, Listed]
    tiers: Mapping[str, tuple[Tier, ...]]
    fees: Mapping[str, float]
    asked: frozenset[str]
    lacking: frozenset[str]


def instruments(
    found: Mapping[str, Listed], tables: Mapping[str, tuple[Tier, ...]], rates: Mapping[str, float]
) -> dict[str, Instrument]:
    """Contracts of one base unit (linear) or one dollar (inverse); empty tiers where the venue gave none."""
    return {
        symbol: Instrument(
            symbol,
            it.kind,
            it.margin_coin,
            1.0,
            tables.get(symbol, ()),
            it.tick_size,
            rates.get(symbol),
            it.funding_interval_s,
        )
        for symbol, it in found.items()
    }
