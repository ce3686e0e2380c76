"""Pools in the ledger's rows: whose they are, and the answers to questions about them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from types import MappingProxyType

import numpy as np

from monitor.anchoring import Anchor
from monitor.assess import assess_pool
from monitor.kernel import ENTRY_VALUE, LEG_WIDTH, QUANTITY, Kernel
from monitor.ledger import Ledger
from monitor.margin.risk import Leg, Pool, Risk
from monitor.margin.rulechange import rules_changed
from monitor.margin.rules import Held, VenueRules, wallet_value
from monitor.model.account import AccountMode, MarginMode, PositionMode, Wallet
from monitor.model.assessment import Basis, PoolAssessment, PoolTable
from monitor.model.ids import Side, isolated_scope, pool_id, side_of
from monitor.model.instrument import ContractKind, Instrument
from monitor.model.rulechange import RulesChanged

COLLATERAL = 7
WIDTH = 8
"""An instrument's slots and its place as collateral are so many keys."""
INDEX_PREFIX = "index:"
"""Of the instruments that price collateral, for example ``index:BTCUSD``."""


@dataclass(slots=True)
class Exposure:
    """What stands behind marks that are missing: see `monitor.model.assessment.Blindness`."""

    instruments: list[str] = field(default_factory=list)
    age_s: float | None = None
    amounts: dict[str, float] = field(default_factory=dict)
    """Notional by unit."""
    worst_ratio: float = 0.0


@dataclass(slots=True)
class FormerRules:
    """The rules of a pool that have been replaced, until it is known and told what that moved; the oldest are kept."""

    legs: dict[int, tuple[Instrument, float]] = field(default_factory=dict)
    """Leg row to the definition it had, and its size then: a contract that is split is held in another number."""
    haircuts: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class AccountBook:
    """What the book keeps per account beside the rows."""

    venue: str
    name: str
    rules: VenueRules
    feed: str = ""
    mode: AccountMode = AccountMode.SINGLE_ASSET
    position_mode: PositionMode = PositionMode.ONE_WAY
    synced: bool = False
    mark_pause_s: float = 0.0
    """How long its venue may say nothing of a mark that does not change."""
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    """Shared with other accounts; replaced, never changed."""
    wallets: dict[str, Wallet] = field(default_factory=dict)
    legs: dict[int, int] = field(default_factory=dict)
    """Instrument index * `WIDTH` + slot, to leg row."""
    pools: dict[str, int] = field(default_factory=dict)
    """Scope to pool row."""
    anchors: dict[int, Anchor] = field(default_factory=dict)
    """Pool row to what the venue reported beyond the model."""
    former: dict[int, FormerRules] = field(default_factory=dict)
    """Pool row to the rules it had, where what their change moved has not been told yet."""
    quoted: set[int] = field(default_factory=set)
    """Keys of legs whose amounts are in another coin than their pool's unit, at that coin's price."""
    undescribed: dict[int, str] = field(default_factory=dict)
    """Keys of cross legs in contracts that the venue has not described, to their symbols: what they do to the cross
    pools nobody knows."""
    index_pause_s: float = 0.0
    """The same as `mark_pause_s`, of prices of collateral."""
    reported: frozenset[str] = frozenset()
    """Scopes whose requirement is held as reported, whatever the mode."""

    def basis(self, scope: str, margin_mode: MarginMode) -> Basis:
        """What the figures of a pool rest on."""
        return Basis.REPORTED if scope in self.reported else self.rules.basis(self.mode, margin_mode)


class Pools:
    """The rows of all pools, and what there is to know about them."""

    def __init__(self, kernel: Kernel, tolerance: float) -> None:
        self.ledger = Ledger(kernel)
        self.tolerance = tolerance
        self.drift = 0.0
        """The largest relative difference that rebuilding totals has found; whoever reads it may set it back."""
        self._pool_owner: list[AccountBook | None] = []
        self._pool_scope: list[str] = []
        self._accounts: dict[tuple[str, str], AccountBook] = {}
        self._names: list[str] | None = None

    def accounts(self) -> Iterable[AccountBook]:
        """Every account."""
        return self._accounts.values()

    def has_account(self, venue: str, name: str) -> bool:
        """Whether the account is known."""
        return (venue, name) in self._accounts

    def account(self, venue: str, name: str) -> AccountBook:
        """One account. Raises KeyError for one that was never added."""
        return self._accounts[venue, name]

    def rows(self) -> list[int]:
        """The rows of all pools, in the order of `table`."""
        return [row for account in self._accounts.values() for row in account.pools.values()]

    def rebuild(self) -> float:
        """Recompute every pool's totals from its legs; returns the largest relative difference found."""
        return self._rebuild(self.rows())

    def _rebuild(self, pools: Iterable[int]) -> float:
        drift = self.ledger.rebuild(pools)
        self.drift = max(self.drift, drift)
        return drift

    def table(self) -> PoolTable:
        """All pools as columns; what is unknown is nan. Of how old they are nothing is known here."""
        if self._names is None:
            self._names = [pool_id(a.venue, a.name, s) for a in self._accounts.values() for s in a.pools]
        balance, maintenance = self.ledger.risks(np.array(self.rows(), np.int64))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(balance > 0.0, np.maximum(maintenance, 0.0) / balance, np.inf)
            ratio[(balance == 0.0) & (maintenance <= 0.0)] = 0.0
        ratio[np.isnan(balance) | np.isnan(maintenance)] = nan
        return PoolTable(self._names, balance, maintenance, ratio, np.zeros(len(ratio), np.bool_))

    def pool(self, row: int) -> Pool:
        """One pool with its legs, as the calculator takes it. Raises KeyError for a row without a pool."""
        account, scope = self._owner(row), self._pool_scope[row]
        legs, rules = self._pool_legs(row), account.rules
        base = self.ledger.base(row) + Risk(self._collateral_value(row), 0.0)
        margin_mode = self._margin_mode(row, legs)
        isolated = margin_mode is MarginMode.ISOLATED
        unit = account.instruments[legs[0].instrument].margin_coin if isolated else rules.unit(account.mode, scope)
        basis = account.basis(scope, margin_mode)
        releases = isolated and rules.cut_releases_isolated_margin
        lacking = () if isolated else tuple(f"contract {symbol}" for symbol in account.undescribed.values())
        modes = (account.mode, margin_mode)
        return Pool(account.venue, account.name, scope, unit, basis, base, legs, releases, lacking, *modes)

    def assess(
        self, row: int, remedy_ratio: float | None = None, remedy_distance: float | None = None
    ) -> PoolAssessment:
        """The full assessment of one pool at the present marks; the remedies as in `assess_pool`."""
        account = self._owner(row)
        held = account.anchors.get(row)
        return assess_pool(
            self.pool(row),
            account.rules,
            remedy_ratio=remedy_ratio,
            remedy_distance=remedy_distance,
            marked_at=self._marked_at(row),
            model_error=None if held is None or held.is_old else held.error,
            disagreement=None if held is None or held.is_old else held.disagreement,
        )

    def with_former_rules(self) -> list[int]:
        """Rows of pools of which it is still to be told what a change of rules moved."""
        return [row for account in self._accounts.values() for row in account.former]

    def forget_former_rules(self, row: int) -> None:
        """It has been told, or there is nothing to tell."""
        self._owner(row).former.pop(row, None)

    def rules_changed(self, row: int, present: PoolAssessment) -> RulesChanged | None:
        """What the change of rules moved in a pool, None for nothing; see `monitor.margin.rulechange`.

        `present` is the pool's assessment at the present marks, of which the figures are known.
        """
        account = self._owner(row)
        former, pool = account.former.get(row), self.pool(row)
        if former is None:
            return None
        before = self._under(account, row, pool, former)
        definitions = {
            old.symbol: (old, account.instruments[old.symbol])
            for old, _ in former.legs.values()
            if old != account.instruments[old.symbol]
        }
        haircuts = {
            coin: (old, account.wallets[coin].haircut)
            for coin, old in former.haircuts.items()
            if coin in account.wallets and account.wallets[coin].haircut != old
        }
        ticks = {
            symbol: max(each.tick_size or 0.0 for each in (found, *definitions.get(symbol, ())))
            for symbol in {leg.instrument for leg in pool.legs}
            if (found := account.instruments.get(symbol)) is not None
        }
        assessed = (before, assess_pool(before, account.rules))
        return rules_changed(assessed, (pool, present), definitions, haircuts, ticks)

    def _under(self, account: AccountBook, row: int, pool: Pool, former: FormerRules) -> Pool:
        """The pool as it would be now had its rules not been replaced."""
        rows = [leg for leg in self.ledger.chain(row) if self._is_position(leg)]
        legs = tuple(
            self._leg_under(account, at, leg, pool.basis, *former.legs[at]) if at in former.legs else leg
            for at, leg in zip(reversed(rows), pool.legs, strict=True)
        )
        value = sum(self._revalued(account, coin, haircut) for coin, haircut in former.haircuts.items())
        return replace(pool, base=pool.base + Risk(value, 0.0), legs=legs)

    def _leg_under(
        self, account: AccountBook, row: int, leg: Leg, basis: Basis, instrument: Instrument, size: float
    ) -> Leg:
        present = account.instruments[instrument.symbol]
        held = self._held(row, instrument)
        unit_price = leg.quantity / (held.size * present.multiplier)
        if instrument.multiplier != present.multiplier:
            held = replace(held, size=size, pooled_size=held.pooled_size * size / held.size)
        maintenance = account.rules.maintenance(held).scaled(unit_price)
        return replace(
            leg,
            quantity=held.size * instrument.multiplier * unit_price,
            maintenance=maintenance if basis is Basis.COMPUTED else leg.maintenance,
        )

    def _revalued(self, account: AccountBook, coin: str, haircut: float) -> float:
        """By how much more a wallet would count with a former haircut."""
        wallet = account.wallets.get(coin)
        if wallet is None:
            return 0.0
        i = self.ledger.instruments.index.get(account.feed, {}).get(f"{INDEX_PREFIX}{coin}USD")
        if i is not None and i * WIDTH + COLLATERAL in account.legs:
            wallet = replace(wallet, price=self.ledger.instruments.mark[i])
        return wallet_value(replace(wallet, haircut=haircut)) - wallet_value(wallet)

    def exposure(self, ages: Mapping[int, float | None]) -> Mapping[tuple[str, str], Exposure]:
        """What stands behind instruments of which the newest mark has these ages, by (venue, account)."""
        found: dict[tuple[str, str], Exposure] = {}
        for i, age in ages.items():
            symbol = self.ledger.instruments.symbols[i]
            for leg in self.ledger.lists.legs(i).tolist():
                row = int(self.ledger.legs.pool[leg])
                owner = self._owner(row)
                exposure = found.setdefault((owner.venue, owner.name), Exposure(age_s=age))
                if symbol not in exposure.instruments:
                    exposure.instruments.append(symbol)
                    exposure.age_s = None if age is None or exposure.age_s is None else max(age, exposure.age_s)
                unit = self._unit(owner, row, symbol)
                exposure.amounts[unit] = exposure.amounts.get(unit, 0.0) + self.ledger.notional(leg)
                exposure.worst_ratio = _worse(exposure.worst_ratio, self.ledger.risk(row).margin_ratio)
        return found

    def instruments_of(self, account: AccountBook) -> list[str]:
        """The instruments that an account's positions are in."""
        symbols = self.ledger.instruments.symbols
        return sorted({symbols[key // WIDTH] for key in account.legs if key % WIDTH != COLLATERAL})

    def unknown(self, row: int, reason: str) -> PoolAssessment:
        """An assessment of which nothing is known, for `reason`."""
        account = self._owner(row)
        return PoolAssessment(
            pool=self.name_of(row),
            venue=account.venue,
            account=account.name,
            scope=self._pool_scope[row],
            basis=Basis.COMPUTED,
            unit="",
            margin_balance=nan,
            maintenance_margin=nan,
            margin_ratio=nan,
            venue_margin_ratio=None,
            legs=(),
            unknown=(reason,),
        )

    def account_exposure(self, account: AccountBook) -> Exposure:
        """What stands behind all of an account: its open legs at their last marks, and the worst ratio of its pools."""
        found, symbols = Exposure(self.instruments_of(account)), self.ledger.instruments.symbols
        for key, leg in account.legs.items():
            if key % WIDTH != COLLATERAL:
                unit = self._unit(account, int(self.ledger.legs.pool[leg]), symbols[key // WIDTH])
                found.amounts[unit] = found.amounts.get(unit, 0.0) + self.ledger.notional(leg)
        for row in account.pools.values():
            found.worst_ratio = _worse(found.worst_ratio, self.ledger.risk(row).margin_ratio)
        return found

    def _unit(self, account: AccountBook, row: int, symbol: str) -> str:
        """In what the figures of a pool are that holds the instrument."""
        scope = self._pool_scope[row]
        isolated = scope in (isolated_scope(symbol, Side.LONG), isolated_scope(symbol, Side.SHORT))
        return account.instruments[symbol].margin_coin if isolated else account.rules.unit(account.mode, scope)

    def has_pool(self, row: int) -> bool:
        """Whether there is a pool in a row."""
        return self._pool_owner[row] is not None

    def disagrees(self, account: AccountBook) -> bool:
        """Whether the last report about any pool of the account was off the model by more than the tolerance."""
        return any(held.error > self.tolerance and not held.is_old for held in account.anchors.values())

    def row_of(self, venue: str, account: str, pool: str) -> int | None:
        """The row of a pool by its id, None when there is none."""
        book = self._accounts.get((venue, account))
        return None if book is None else book.pools.get(pool.removeprefix(pool_id(venue, account, "")))

    def name_of(self, row: int) -> str:
        """The id of the pool in a row. Raises KeyError for a row without a pool."""
        account = self._owner(row)
        return pool_id(account.venue, account.name, self._pool_scope[row])

    def _owner(self, row: int) -> AccountBook:
        owner = self._pool_owner[row]
        if owner is None:
            raise KeyError(row)
        return owner

    def _collateral_value(self, pool: int, marks: Mapping[str, float] = MappingProxyType({})) -> float:
        """What indexes price in a pool, at `marks` where they say, else at the present ones."""
        known, total = self.ledger.instruments, 0.0
        for leg in self.ledger.chain(pool):
            if not self._is_position(leg):
                i = int(self.ledger.legs.instrument[leg])
                quantity = float(self.ledger.legs.table[leg * LEG_WIDTH + QUANTITY])
                total += quantity * marks.get(known.symbols[i], known.mark[i])
        return total

    def _is_position(self, leg: int) -> bool:
        return not self.ledger.instruments.symbols[self.ledger.legs.instrument[leg]].startswith(INDEX_PREFIX)

    def _pool_legs(self, pool: int) -> tuple[Leg, ...]:
        """The positions of a pool, oldest first."""
        legs = [self._leg(leg) for leg in self.ledger.chain(pool) if self._is_position(leg)]
        return tuple(reversed(legs))

    def _leg(self, leg: int) -> Leg:
        ledger = self.ledger
        i = int(ledger.legs.instrument[leg])
        symbol, inverse = ledger.instruments.symbols[i], ledger.instruments.inverse[i]
        row = leg * LEG_WIDTH
        quantity, entry_value = ledger.legs.table[row + QUANTITY : row + ENTRY_VALUE + 1].tolist()
        defined = self._owner(int(ledger.legs.pool[leg])).instruments.get(symbol)
        return Leg(
            instrument=symbol,
            size=abs(float(ledger.legs.size[leg])),
            quantity=quantity,
            inverse=inverse,
            entry_price=entry_price_of(inverse, entry_value),
            maintenance=ledger.maintenance[leg],
            mark=ledger.instruments.mark[i],
            adl_rank=ledger.legs.adl_rank(leg),
            funding=ledger.instruments.funding[i],
            funding_interval_s=None if defined is None else defined.funding_interval_s,
        )

    def _siblings(self, leg: int) -> Iterator[int]:
        """The legs of the same instrument in the same pool, this one included."""
        legs = self.ledger.legs
        instrument, pool = legs.instrument[leg], int(legs.pool[leg])
        return (other for other in self.ledger.chain(pool) if legs.instrument[other] == instrument)

    def _held(self, leg: int, instrument: Instrument) -> Held:
        """What the rules may want to know of a leg, its instrument defined as given."""
        legs = self.ledger.legs
        account = self._owner(int(legs.pool[leg]))
        entry_value = float(legs.table[leg * LEG_WIDTH + ENTRY_VALUE])
        size, leverage = float(legs.size[leg]), float(legs.leverage[leg])
        isolated = self._pool_scope[int(legs.pool[leg])] == isolated_scope(instrument.symbol, side_of(size))
        return Held(
            instrument=instrument,
            size=size,
            pooled_size=sum(abs(float(legs.size[other])) for other in self._siblings(leg)),
            entry_price=entry_price_of(instrument.kind is ContractKind.INVERSE, entry_value),
            leverage=None if leverage != leverage else leverage,
            margin_mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
            mode=account.mode,
        )

    def _marked_at(self, pool: int) -> float | None:
        """The venue's time of the oldest mark behind a pool, in seconds, None while there is none."""
        ledger = self.ledger
        times = [ledger.instruments.mark_ms[ledger.legs.instrument[leg]] for leg in ledger.chain(pool)]
        return min(times) / 1000.0 if times and min(times) else None

    def _basis(self, account: AccountBook, row: int, legs: Sequence[Leg]) -> Basis:
        return account.basis(self._pool_scope[row], self._margin_mode(row, legs))

    def _margin_mode(self, row: int, legs: Sequence[Leg]) -> MarginMode:
        isolated = legs and self._pool_scope[row] == isolated_scope(legs[0].instrument, legs[0].side)
        return MarginMode.ISOLATED if isolated else MarginMode.CROSS


def entry_price_of(inverse: bool, entry_value: float) -> float:
    """The price whose v(p) this is."""
    return -1.0 / entry_value if inverse else entry_value


def _worse(known: float, ratio: float) -> float:
    """The higher of two ratios; one that is unknown (nan) takes nothing away from a known one."""
    return ratio if ratio > known else known
