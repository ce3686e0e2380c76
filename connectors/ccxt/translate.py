"""ccxt's unified structures -> our events. Pure: what ccxt gave goes in, values come out.

ccxt gives dictionaries in which anything may be None, and fills some of what an exchange left out by its own guesses.
So every figure passes `figure`; a position that cannot be read fails the whole snapshot, because leaving it out would
show the account as safer than it is; and a pool of which something that counts is not known is reported as nan, which
the book shows as unknown.

**Where a pool's figures come from.** Maintenance: the venue's figure per position, held until the next snapshot; where
there is none, its tier's rate and the fee to close on the whole notional, which is never too little. Margin balance of
an isolated position: ccxt's `collateral` (with profit), but no more than what puts the liquidation at the liquidation
price that the venue reports. Of a cross pool: `facts`, else what that liquidation price says. A pool at its liquidation
price has balance = maintenance, so at the mark its balance is maintenance + q * (v(mark) - v(liquidation price)).

**Where ccxt does not tell whether a position is isolated**, and the exchange is not one of cross positions only
(`facts`), no balance of the account's is taken to be behind it, and no other position to help it. It stands in the pool
of its coin: alone there it has what its own liquidation price says, which is so in either case; beside others the pool
is unknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any

from connectors.ccxt.facts import Balance, CrossFigures, Facts, Isolated, figure
from monitor.model.account import MarginMode, Position, PositionMode, Wallet
from monitor.model.events import PoolReport
from monitor.model.ids import Slot, isolated_scope, side_of
from monitor.model.instrument import ContractKind, Instrument, Tier

PROFIT_TOLERANCE = 0.01
"""Share of the notional by which the venue's profit may differ from the contract's terms: its mark is never quite ours,
but terms that are misread (a contract size, an inverse contract) are off by far more."""

_MARK_KEYS = ("markPrice", "mark_price", "markPx")
"""Exchanges' names of the mark in a ticker, where ccxt leaves it in `info`. Never `last`: it is not the mark."""

_ISOLATED = {"isolated": True, "cross": False}

_TIME_KEYS = ("time", "ts", "time_ms")

Market = Mapping[str, Any]


class UnreadableError(ValueError):
    """A position that ccxt does not tell enough of to be sure how large it is, and where."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An exchange's contracts: market by ccxt's symbol, and our name of each."""

    markets: Mapping[str, Market] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(markets: Mapping[str, Market]) -> "Catalogue":
        """Contracts under the exchange's own symbol, or under ccxt's where two share one."""
        contracts = {symbol: market for symbol, market in markets.items() if market.get("contract")}
        count: dict[str, int] = {}
        for market in contracts.values():
            count[str(market.get("id"))] = count.get(str(market.get("id")), 0) + 1
        names = {s: str(m["id"]) if count[str(m.get("id"))] == 1 and m.get("id") else s for s, m in contracts.items()}
        return Catalogue(contracts, names)


@dataclass(frozen=True, slots=True)
class Holding:
    """One position as ccxt tells it, every figure checked; None where it does not. `size` is signed, in contracts."""

    symbol: str
    instrument: str
    coin: str
    size: float
    isolated: bool | None
    multiplier: float | None
    inverse: bool
    known: bool
    """Whether profit follows from the mark by a linear or inverse contract (an option's does not)."""
    entry: float | None
    mark: float | None
    pnl: float | None
    collateral: float | None
    maintenance: float | None
    liquidation: float | None
    notional: float | None
    leverage: float | None
    hedged: bool

    @property
    def quantity(self) -> float:
        """Signed size times the multiplier."""
        return self.size * (self.multiplier or nan)

    def value(self, price: float) -> float:
        """v(p) of the contract."""
        return -1.0 / price if self.inverse else price

    def profit(self, price: float) -> float:
        """From the entry to `price`, in the margin coin; nan where something is missing."""
        return nan if self.entry is None else self.quantity * (self.value(price) - self.value(self.entry))

    def worth(self, price: float) -> float:
        """Notional at `price`, in the margin coin."""
        return abs(self.quantity * self.value(price))


def holding(position: Mapping[str, Any], catalogue: Catalogue) -> Holding | None:
    """One of ccxt's positions; None where nothing is held. Raises UnreadableError."""
    contracts = figure(position.get("contracts"))
    if contracts == 0.0 or (contracts is None and not _anything(position)):
        return None
    symbol, side = position.get("symbol"), position.get("side")
    if not isinstance(symbol, str) or contracts is None or side not in ("long", "short"):
        raise UnreadableError("a position without symbol, side or size")
    market = catalogue.markets.get(symbol, {})
    multiplier = _positive(market.get("contractSize")) or _positive(position.get("contractSize"))
    return Holding(
        symbol=symbol,
        instrument=catalogue.names.get(symbol, symbol),
        coin=str(market.get("settle") or "unknown"),
        size=abs(contracts) if side == "long" else -abs(contracts),
        isolated=_ISOLATED.get(str(position.get("marginMode"))),
        multiplier=multiplier,
        inverse=market.get("inverse") is True,
        known=bool(market) and not market.get("option") and market.get("linear") is not market.get("inverse"),
        entry=_positive(position.get("entryPrice")),
        mark=_positive(position.get("markPrice")),
        pnl=figure(position.get("unrealizedPnl")),
        collateral=figure(position.get("collateral")),
        maintenance=_positive(position.get("maintenanceMargin")),
        liquidation=_positive(position.get("liquidationPrice")),
        notional=_positive(position.get("notional")),
        leverage=_positive(position.get("leverage")),
        hedged=position.get("hedged") is True,
    )


_OF_OPEN = (
    "entryPrice", "liquidationPrice", "notional", "unrealizedPnl", "initialMargin", "maintenanceMargin", "collateral",
)  # fmt: skip


def _anything(position: Mapping[str, Any]) -> bool:
    """Whether a position without a size says anything else that only an open one has: a side is enough."""
    return position.get("side") in ("long", "short") or any(figure(position.get(key)) for key in _OF_OPEN)


def _positive(value: object) -> float | None:
    number = figure(value)
    return number if number is not None and number > 0.0 else None


def holdings(positions: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> list[Holding]:
    """Every open position. Raises UnreadableError."""
    found = (holding(position, catalogue) for position in positions)
    return [each for each in found if each is not None]


def instrument(market: Market, name: str, tiers: Sequence[Mapping[str, Any]]) -> Instrument | None:
    """A contract with its tiers, where ccxt has them; None for one whose terms are not known."""
    multiplier, settle = _positive(market.get("contractSize")), market.get("settle")
    if multiplier is None or not isinstance(settle, str) or market.get("linear") is market.get("inverse"):
        return None
    kind = ContractKind.INVERSE if market.get("inverse") else ContractKind.LINEAR
    return Instrument(
        name,
        kind,
        settle,
        multiplier,
        tuple(_tiers(tiers)),
        taker_fee_rate=figure(market.get("taker")),
    )


def _tiers(rows: Sequence[Mapping[str, Any]]) -> Iterable[Tier]:
    """Tiers by notional. Whether the whole position stands at its tier's rate ccxt does not say; that is never less."""
    for row in rows:
        floor, rate = figure(row.get("minNotional")), figure(row.get("maintenanceMarginRate"))
        if floor is not None and rate is not None and 0.0 < rate <= 1.0:
            yield Tier(floor, _positive(row.get("maxNotional")), rate, 0.0)


# -- pools ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pools:
    """An account in our terms."""

    wallets: tuple[Wallet, ...]
    positions: tuple[Position, ...]
    reports: tuple[PoolReport, ...]
    position_mode: PositionMode


def pools(
    held: Sequence[Holding],
    balances: Sequence[Balance],
    instruments: Mapping[str, Instrument],
    marks: Mapping[str, float],
    known: Facts,
    at_ms: int,
) -> Pools:
    """Positions, wallets and what the venue reports of every pool. `marks` are used where a position has none."""
    isolated: dict[str, list[Holding]] = {}
    cross: dict[str, list[Holding]] = {}
    for told in held:
        each = replace(told, isolated=False) if told.isolated is None and known.cross_only else told
        scope = isolated_scope(each.instrument, side_of(each.size))
        (isolated if each.isolated else cross).setdefault(scope if each.isolated else each.coin, []).append(each)
    wallets = {coin: total for balance in balances for coin, total in _totals(balance)}
    reports: list[PoolReport] = []
    positions: list[Position] = []
    tables = instruments if known.tiers_by_notional else {}
    for scope, members in isolated.items():
        report = _isolated(scope, members, tables, marks)
        reports.append(report)
        wallet = report.margin_balance - sum(each.profit(_mark(each, marks)) for each in members)
        positions += [_position(_merged(members), MarginMode.ISOLATED, wallet, marks, at_ms)]
    for coin, members in cross.items():
        inside = _inside([each for legs in isolated.values() for each in legs if each.coin == coin])
        report = _cross(coin, members, _told(balances, coin, inside, known), tables, marks)
        reports.append(report)
        wallets[coin] = report.margin_balance - sum(each.profit(_mark(each, marks)) for each in members)
        sides = {isolated_scope(each.instrument, side_of(each.size)): each.instrument for each in members}
        same = [[m for m in members if isolated_scope(m.instrument, side_of(m.size)) == side] for side in sides]
        positions += [_position(_merged(legs), MarginMode.CROSS, 0.0, marks, at_ms) for legs in same]
    both = {(each.instrument, side_of(each.size)) for each in held}
    hedged = len({name for name, _ in both}) < len(both) or any(each.hedged for each in held)
    return Pools(
        tuple(Wallet(coin, total, updated_ms=at_ms) for coin, total in wallets.items() if total == total),
        tuple(positions),
        tuple(reports),
        PositionMode.HEDGE if hedged else PositionMode.ONE_WAY,
    )


def _totals(balance: Balance) -> Iterable[tuple[str, float]]:
    """Every coin that is there, as ccxt's `total`; what the coin's pool has is worked out where there is one."""
    totals = balance.get("total")
    for coin, value in (totals if isinstance(totals, dict) else {}).items():
        total = figure(value)
        if total:
            yield coin, total


def _merged(same: Sequence[Holding]) -> Holding:
    """Positions that an exchange keeps apart although they are one for us: the sum, at the average entry."""
    if len(same) == 1:
        return same[0]
    size = sum(each.size for each in same)
    entries = [each.entry for each in same]
    entry = None
    if None not in entries and not same[0].inverse:
        entry = sum(each.size * (each.entry or 0.0) for each in same) / size
    elif None not in entries:
        entry = size / sum(each.size / (each.entry or 1.0) for each in same)
    return replace(same[0], size=size, entry=entry)


def _position(one: Holding, mode: MarginMode, wallet: float, marks: Mapping[str, float], at_ms: int) -> Position:
    mark = _mark(one, marks)
    isolated = mode is MarginMode.ISOLATED
    slots = (Slot.ISOLATED_LONG, Slot.ISOLATED_SHORT) if isolated else (Slot.LONG, Slot.SHORT)
    return Position(
        instrument=one.instrument,
        # By side in every mode: a snapshot tells everything, and no two positions may fall into one slot.
        slot=slots[one.size < 0],
        size=one.size,
        entry_price=one.entry or (mark if mark == mark else 1.0),
        margin_mode=mode,
        isolated_wallet=wallet if wallet == wallet else 0.0,
        leverage=one.leverage,
        mark_price=None if mark != mark else mark,
        updated_ms=at_ms,
    )


def _mark(one: Holding, marks: Mapping[str, float]) -> float:
    return one.mark or marks.get(one.instrument, nan)


def _marks(members: Sequence[Holding], marks: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple({each.instrument: _mark(each, marks) for each in members}.items())


def _report(
    scope: str, balance: float, maintenance: float, members: Sequence[Holding], marks: Mapping[str, float]
) -> PoolReport:
    sound = all(_adds_up(each, _mark(each, marks)) for each in members)
    return PoolReport(
        scope,
        balance if sound else nan,
        maintenance if sound else nan,
        None,
        _marks(members, marks) if sound else (),
    )


def _adds_up(one: Holding, mark: float) -> bool:
    """Whether the contract's terms give the profit that the venue states; unproven terms of inverse ones do not."""
    if not one.known or one.multiplier is None or one.entry is None or mark != mark:
        return False
    if one.pnl is None or one.mark is None:
        return not one.inverse
    return abs(one.profit(mark) - one.pnl) <= PROFIT_TOLERANCE * one.worth(mark)


def required(one: Holding, instruments: Mapping[str, Instrument], mark: float) -> float:
    """The venue's figure, else its tier's rate and the taker fee on all of the notional, else nan.

    Some venues count the fee to close, and some take each rate for its own part only: this is never less than theirs.
    """
    if one.maintenance is not None:
        return one.maintenance
    contract = instruments.get(one.instrument)
    notional = one.notional or one.worth(mark)
    tiers = contract.tiers if contract else ()
    rates = [tier.rate for tier in tiers if tier.floor <= notional]
    fee_rate = max(0.0, contract.taker_fee_rate or 0.0) if contract else 0.0
    return (max(rates) + fee_rate) * notional if rates else nan


def _to_liquidation(members: Sequence[Holding], marks: Mapping[str, float]) -> float | None:
    """How far the pool's balance is above what it requires, by the liquidation prices reported; the least of them.

    Positions of one instrument in a pool are liquidated together, at one price of it.
    """
    cushions = []
    for name in dict.fromkeys(each.instrument for each in members):
        legs = [each for each in members if each.instrument == name]
        price = next((each.liquidation for each in legs if each.liquidation), None)
        quantity = sum(each.quantity for each in legs)
        if price is not None and quantity:
            mark = _mark(legs[0], marks)
            cushions.append(quantity * (legs[0].value(mark) - legs[0].value(price)))
    return min(cushions, default=None)


def _isolated(
    scope: str, members: Sequence[Holding], instruments: Mapping[str, Instrument], marks: Mapping[str, float]
) -> PoolReport:
    one = members[0]
    mark = _mark(one, marks)
    maintenance = required(one, instruments, mark)
    cushion = _to_liquidation(members, marks)
    candidates = [] if cushion is None else [maintenance + cushion]
    if one.collateral is not None:
        candidates.append(one.collateral)
    apart = len(members) > 1  # which of them a wallet belongs to cannot be shown in one pool
    balance = nan if apart or not candidates else _least(candidates)
    return _report(scope, balance, maintenance, members, marks)


def _cross(
    coin: str,
    members: Sequence[Holding],
    told: CrossFigures,
    instruments: Mapping[str, Instrument],
    marks: Mapping[str, float],
) -> PoolReport:
    maintenance = sum(required(each, instruments, _mark(each, marks)) for each in members)
    if any(each.isolated is None for each in members):
        told = CrossFigures()
        maintenance = maintenance if len(members) == 1 else nan
    if told.maintenance_margin is not None:
        maintenance = told.maintenance_margin
    cushion = _to_liquidation(members, marks)
    balance = nan if cushion is None else maintenance + cushion
    if told.margin_balance is not None:
        balance = told.margin_balance
    return _report(coin, balance, maintenance, members, marks)


def _least(values: Sequence[float]) -> float:
    """The least; nan if any is."""
    return nan if any(value != value for value in values) else min(values)


def _inside(isolated: Sequence[Holding]) -> Isolated:
    values = [each.collateral for each in isolated]
    known = [value for value in values if value is not None]
    return Isolated(len(values), sum(known) if len(known) == len(values) else None)


def _told(balances: Sequence[Balance], coin: str, isolated: Isolated, known: Facts) -> CrossFigures:
    for balance in balances:
        figures = known.cross(balance, coin, isolated)
        if figures.margin_balance is not None:
            return figures
    return CrossFigures()


# -- marks ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark price; `at_ms` is the venue's time, None where it told none."""

    instrument: str
    price: float
    at_ms: int | None


def mark(ticker: Mapping[str, Any], catalogue: Catalogue, *, timed: bool = True) -> Mark | None:
    """The mark price in a ticker, None where there is none of a contract; without its time where not `timed`."""
    symbol = ticker.get("symbol")
    name = catalogue.names.get(symbol) if isinstance(symbol, str) else None
    if name is None:
        return None
    raw = ticker.get("info")
    info = raw if isinstance(raw, dict) else {}
    price = _positive(ticker.get("markPrice")) or next(filter(None, (_positive(info.get(k)) for k in _MARK_KEYS)), None)
    if price is None:
        return None
    times = (_milliseconds(value) for value in (ticker.get("timestamp"), *map(info.get, _TIME_KEYS)))
    at_ms = next(filter(None, times), None) if timed else None
    return Mark(name, price, None if at_ms is None else int(at_ms))


def _milliseconds(value: object) -> float | None:
    """A time that can only be milliseconds since the epoch."""
    number = figure(value)
    return number if number is not None and number > 1e12 else None


def sizes(positions: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> dict[tuple[str, str], float]:
    """Size by symbol and side as a stream tells it, zero for what is closed; what cannot be read is left out."""
    told = {}
    for position in positions:
        symbol, side, contracts = position.get("symbol"), position.get("side"), figure(position.get("contracts"))
        if isinstance(symbol, str) and symbol in catalogue.names and contracts is not None:
            told[symbol, str(side)] = abs(contracts)
    return told
