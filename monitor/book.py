"""The book of accounts: what each account holds, kept in the ledger's rows, and the answers to questions about pools.

Marks go straight to the ledger. Account events may touch Python objects per account, never per leg: a desk's hundred
thousand legs are rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from types import MappingProxyType

import numpy as np

from monitor.assess import assess_pool
from monitor.kernel import ENTRY_VALUE, LEG_WIDTH, QUANTITY, Kernel, plain_kernel
from monitor.ledger import Ledger
from monitor.margin.pnl import price_value
from monitor.margin.risk import Leg, Pool, Risk
from monitor.margin.rules import Held, VenueRules, position_scope, wallet_value, wallet_weight
from monitor.margin.tiers import NO_MAINTENANCE, UNKNOWN, Maintenance
from monitor.model.account import AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import Basis, PoolAssessment, PoolTable
from monitor.model.events import AccountDelta, AccountSnapshot, InstrumentsLoaded, Marks, PoolReport
from monitor.model.ids import Slot, isolated_scope, pool_id, side_of
from monitor.model.instrument import ContractKind, Instrument

_SLOTS = {slot: place for place, slot in enumerate(Slot)}
_COLLATERAL = 7
_WIDTH = 8
"""An instrument's slots and its place as collateral are so many keys."""
INDEX_PREFIX = "index:"
_UNKNOWN_COIN = "unknown"
_NOTHING = Risk(0.0, 0.0)


@dataclass(slots=True)
class BookChange:
    """What an account event did: rows of pools to look at again, and ids of pools that are no more."""

    touched: set[int] = field(default_factory=set)
    gone: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Exposure:
    """What stands behind marks that are missing: see `monitor.model.assessment.Blindness`."""

    instruments: list[str] = field(default_factory=list)
    age_s: float | None = None
    notional: float = 0.0
    worst_ratio: float = 0.0


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
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    """Shared with other accounts; replaced, never changed."""
    wallets: dict[str, Wallet] = field(default_factory=dict)
    legs: dict[int, int] = field(default_factory=dict)
    """Instrument index * `_WIDTH` + slot, to leg row."""
    pools: dict[str, int] = field(default_factory=dict)
    """Scope to pool row."""
    offsets: dict[int, Risk] = field(default_factory=dict)
    """Pool row to what the venue reported beyond the model."""
    model_errors: dict[int, float] = field(default_factory=dict)


class Book:
    """All accounts. Not thread-safe: one event loop owns it.

    `kernel` runs the ticks. `tolerance` is the relative model error above which a report is not trusted to make a pool
    look safer until a second report agrees.
    """

    def __init__(self, kernel: Kernel | None = None, tolerance: float = 0.005) -> None:
        self.ledger = Ledger(kernel or plain_kernel())
        self._tolerance = tolerance
        self._pool_owner: list[AccountBook | None] = []
        self._pool_scope: list[str] = []
        self._accounts: dict[tuple[str, str], AccountBook] = {}
        self._names: list[str] | None = None
        self._catalogues: list[Mapping[str, Instrument]] = []

    # -- accounts -------------------------------------------------------------------------------

    def add_account(self, venue: str, name: str, rules: VenueRules) -> None:
        """Make an account known; its feed and its pools come with its first snapshot."""
        self._accounts[venue, name] = AccountBook(venue, name, rules)

    def accounts(self) -> Iterable[AccountBook]:
        """Every account."""
        return self._accounts.values()

    def has_account(self, venue: str, name: str) -> bool:
        """Whether the account is known."""
        return (venue, name) in self._accounts

    def account(self, venue: str, name: str) -> AccountBook:
        """One account. Raises KeyError for one that was never added."""
        return self._accounts[venue, name]

    def remove_account(self, venue: str, name: str) -> BookChange:
        """Forget an account and all its pools."""
        account = self._accounts[venue, name]
        change = BookChange()
        for key in list(account.legs):
            self._remove_leg(account, key, change)
        self._drop_empty_pools(account, change)
        del self._accounts[venue, name]
        self._names = None
        return change

    def warm_up(self) -> None:
        """Run the kernel once on nothing, so that compiling it delays no tick."""
        scratch = Ledger(self.ledger.kernel)
        scratch.add_leg(scratch.instrument("", "", inverse=False), scratch.pools.new())
        scratch.apply_marks(Marks("", [""], [1.0], [1]), 0.0)

    # -- events ---------------------------------------------------------------------------------

    def apply_marks(self, marks: Marks, now: float) -> Sequence[int]:
        """Apply a frame of marks; see `Ledger.apply_marks`."""
        return self.ledger.apply_marks(marks, now)

    def load_instruments(self, event: InstrumentsLoaded) -> BookChange:
        """Take over contract definitions; open legs get their new tiers at once."""
        account = self.account(event.venue, event.account)
        change = BookChange()
        fresh = {i.symbol: i for i in event.instruments if account.instruments.get(i.symbol) != i}
        account.instruments = self._shared({**account.instruments, **fresh})
        for key, leg in account.legs.items():
            instrument = fresh.get(self.ledger.instruments.symbols[key // _WIDTH])
            if instrument is None or key % _WIDTH == _COLLATERAL:
                continue
            pool = int(self.ledger.legs.pool[leg])
            if self._pool_scope[pool] == _UNKNOWN_COIN:
                continue  # the next snapshot, which knows its margin mode, moves it to its pool
            self._require(account, leg, instrument)
            change.touched.add(pool)
        return change

    def apply_snapshot(self, snapshot: AccountSnapshot) -> BookChange:
        """Make the account what the snapshot says, save slots that newer events touched; then anchor to its reports."""
        account = self.account(snapshot.venue, snapshot.account)
        change = BookChange()
        account.feed = snapshot.feed
        if account.mode is not snapshot.account_mode:
            self._forget_offsets(account)
        account.mode, account.position_mode = snapshot.account_mode, snapshot.position_mode
        self._take_indexes(account, snapshot.reports)
        for wallet in snapshot.wallets:
            self._put_wallet(account, wallet, snapshot.at_ms)
        coins = {wallet.coin for wallet in snapshot.wallets}
        for coin in [c for c, w in account.wallets.items() if c not in coins and w.updated_ms <= snapshot.at_ms]:
            del account.wallets[coin]
        listed = set()
        for position in snapshot.positions:
            key = self._key(account, position)
            listed.add(key)
            self._put_position(account, key, position, change, snapshot.at_ms)
        for key in [k for k in account.legs if k not in listed and k % _WIDTH != _COLLATERAL]:
            if self.ledger.legs.updated_ms[account.legs[key]] <= snapshot.at_ms:
                self._remove_leg(account, key, change)
        self._settle(account, change)
        for report in snapshot.reports:
            self._anchor(account, report)
        self.ledger.rebuild(account.pools.values())
        change.touched.update(account.pools.values())
        account.synced = True
        return change

    def apply_delta(self, delta: AccountDelta) -> BookChange:
        """Apply changed wallets and positions."""
        account = self.account(delta.venue, delta.account)
        change = BookChange()
        for wallet in delta.wallets:
            self._put_wallet(account, wallet, None)
        for position in delta.positions:
            self._put_position(account, self._key(account, position), position, change, None)
        self._settle(account, change)
        return change

    def _shared(self, instruments: dict[str, Instrument]) -> Mapping[str, Instrument]:
        """One mapping for all accounts that the venue gives the same contracts and tiers: they are hundreds each."""
        self._catalogues = [c for c in self._catalogues if any(a.instruments is c for a in self._accounts.values())]
        for catalogue in self._catalogues:
            if catalogue == instruments:
                return catalogue
        self._catalogues.append(instruments)
        return instruments

    # -- positions ------------------------------------------------------------------------------

    def _key(self, account: AccountBook, position: Position) -> int:
        instrument = account.instruments.get(position.instrument)
        inverse = instrument is not None and _is_inverse(instrument)
        return (
            self.ledger.instrument(account.feed, position.instrument, inverse=inverse) * _WIDTH + _SLOTS[position.slot]
        )

    def _put_position(
        self, account: AccountBook, key: int, position: Position, change: BookChange, snapshot_ms: int | None
    ) -> None:
        ledger = self.ledger
        leg = account.legs.get(key)
        if leg is not None and _overtaken(int(ledger.legs.updated_ms[leg]), position.updated_ms, snapshot_ms):
            return
        if position.size == 0.0:
            if leg is not None:
                self._remove_leg(account, key, change)
            return
        instrument = account.instruments.get(position.instrument) or _unknown_instrument(position.instrument)
        pool = self._pool(account, _scope(account, instrument, position))
        if leg is not None and ledger.legs.pool[leg] != pool:
            self._remove_leg(account, key, change)
            leg = None
        if leg is None:
            leg = account.legs[key] = ledger.add_leg(key // _WIDTH, pool)
        ledger.legs.updated_ms[leg] = position.updated_ms
        if position.mark_price is not None:
            ledger.lend_mark(key // _WIDTH, position.mark_price)
        self._write_position(account, leg, instrument, position)
        if position.margin_mode is MarginMode.ISOLATED:
            ledger.set_base(pool, account.offsets.get(pool, _NOTHING) + Risk(position.isolated_wallet, 0.0))
        change.touched.add(pool)

    def _write_position(self, account: AccountBook, leg: int, instrument: Instrument, position: Position) -> None:
        """Set a leg's row to a position."""
        unit_price = 1.0
        if account.mode is not AccountMode.SINGLE_ASSET and position.margin_mode is MarginMode.CROSS:
            wallet = account.wallets.get(instrument.margin_coin)
            unit_price = 1.0 if wallet is None else wallet.price
        row = leg * LEG_WIDTH
        self.ledger.legs.size[leg] = position.size
        self.ledger.legs.leverage[leg] = nan if position.leverage is None else position.leverage
        self.ledger.legs.table[row + QUANTITY] = position.size * instrument.multiplier * unit_price
        self.ledger.legs.table[row + ENTRY_VALUE] = price_value(_is_inverse(instrument), position.entry_price)
        self._require(account, leg, instrument)

    def _require(self, account: AccountBook, leg: int, instrument: Instrument) -> None:
        """Ask the rules what a leg requires, and its siblings too where contracts are counted together."""
        self._require_one(account, leg, instrument)
        if account.rules.counts_pooled_size:
            for sibling in self._siblings(leg):
                if sibling != leg:
                    self._require_one(account, sibling, instrument)

    def _require_one(self, account: AccountBook, leg: int, instrument: Instrument) -> None:
        legs = self.ledger.legs
        row = leg * LEG_WIDTH
        quantity, entry_value = legs.table[row + QUANTITY : row + ENTRY_VALUE + 1].tolist()
        size, leverage = float(legs.size[leg]), float(legs.leverage[leg])
        pool = int(legs.pool[leg])
        isolated = self._pool_scope[pool] == isolated_scope(instrument.symbol, side_of(size))
        held = Held(
            instrument=instrument,
            size=size,
            pooled_size=sum(abs(float(legs.size[other])) for other in self._siblings(leg)),
            entry_price=_entry_price(_is_inverse(instrument), entry_value),
            leverage=None if leverage != leverage else leverage,
            margin_mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
        )
        unit_price = quantity / (size * instrument.multiplier)
        if account.rules.basis(account.mode, held.margin_mode) is Basis.COMPUTED:
            required = account.rules.maintenance(held)
        else:
            # The venue's figure stands in the pool's offset; before there is one, nothing is known.
            required = NO_MAINTENANCE if pool in account.offsets else UNKNOWN
        self.ledger.write_leg(leg, quantity, entry_value, required.scaled(unit_price))

    def _siblings(self, leg: int) -> Iterator[int]:
        """The legs of the same instrument in the same pool, this one included."""
        legs = self.ledger.legs
        instrument, pool = legs.instrument[leg], int(legs.pool[leg])
        return (other for other in self.ledger.chain(pool) if legs.instrument[other] == instrument)

    def _remove_leg(self, account: AccountBook, key: int, change: BookChange) -> None:
        leg = account.legs.pop(key)
        instrument = account.instruments.get(self.ledger.instruments.symbols[key // _WIDTH])
        siblings = [other for other in self._siblings(leg) if other != leg] if account.rules.counts_pooled_size else []
        change.touched.add(int(self.ledger.legs.pool[leg]))
        self.ledger.remove_leg(leg)
        if siblings and instrument is not None:
            self._require(account, siblings[0], instrument)

    # -- wallets and pools ----------------------------------------------------------------------

    def _put_wallet(self, account: AccountBook, wallet: Wallet, snapshot_ms: int | None) -> None:
        known = account.wallets.get(wallet.coin)
        if known is not None and _overtaken(known.updated_ms, wallet.updated_ms, snapshot_ms):
            return
        account.wallets[wallet.coin] = wallet

    def _settle(self, account: AccountBook, change: BookChange) -> None:
        """After wallets and positions are in: no pool without a position, and base balances of cross pools."""
        self._drop_empty_pools(account, change)
        bases: dict[int, float] = {}
        for wallet in account.wallets.values():
            pool = account.pools.get(account.rules.cross_scope(account.mode, wallet.coin))
            if pool is None:
                continue
            loose = 0.0 if self._put_collateral(account, wallet, pool, change) else wallet_value(wallet)
            bases[pool] = bases.get(pool, 0.0) + loose
        for pool, value in bases.items():
            self.ledger.set_base(pool, account.offsets.get(pool, _NOTHING) + Risk(value, 0.0))
            change.touched.add(pool)

    def _take_indexes(self, account: AccountBook, reports: Iterable[PoolReport]) -> None:
        """Use the index prices behind the reports until the stream brings some."""
        for name, mark in (mark for report in reports for mark in report.marks):
            if name.startswith(INDEX_PREFIX):
                self.ledger.lend_mark(self.ledger.instrument(account.feed, name, inverse=False), mark)

    def _put_collateral(self, account: AccountBook, wallet: Wallet, pool: int, change: BookChange) -> bool:
        """Let an index price move a wallet's value between reports, as a leg without maintenance; False if none does.

        The index is the instrument ``index:<coin>USD``, the wallet's haircut what the venue keeps off it.
        """
        i = self.ledger.instruments.index.get(account.feed, {}).get(f"{INDEX_PREFIX}{wallet.coin}USD")
        if i is None:
            return False
        key, weight = i * _WIDTH + _COLLATERAL, wallet_weight(wallet)
        leg = account.legs.get(key)
        priced = account.mode is not AccountMode.SINGLE_ASSET and self.ledger.has_mark(i) and weight != 0.0
        if leg is not None and not (priced and self.ledger.legs.pool[leg] == pool):
            self._remove_leg(account, key, change)
            leg = None
        if not priced:
            return False
        if leg is None:
            leg = account.legs[key] = self.ledger.add_leg(i, pool)
        self.ledger.legs.size[leg] = wallet.balance
        self.ledger.write_leg(leg, weight, 0.0, NO_MAINTENANCE)
        return True

    def _pool(self, account: AccountBook, scope: str) -> int:
        pool = account.pools.get(scope)
        if pool is None:
            pool = account.pools[scope] = self.ledger.pools.new()
            room = self.ledger.pools.rows.capacity - len(self._pool_owner)
            self._pool_owner += [None] * room
            self._pool_scope += [""] * room
            self._pool_owner[pool] = account
            self._pool_scope[pool] = scope
            self._names = None
        return pool

    def _drop_empty_pools(self, account: AccountBook, change: BookChange) -> None:
        """A pool is what can be liquidated: without a position there is none."""
        for scope, pool in list(account.pools.items()):
            if any(self._is_position(leg) for leg in self.ledger.chain(pool)):
                continue
            for leg in list(self.ledger.chain(pool)):
                self._remove_leg(account, int(self.ledger.legs.instrument[leg]) * _WIDTH + _COLLATERAL, change)
            del account.pools[scope]
            account.offsets.pop(pool, None)
            account.model_errors.pop(pool, None)
            self.ledger.free_pool(pool)
            self._pool_owner[pool] = None
            self._names = None
            change.touched.discard(pool)
            change.gone.append(pool_id(account.venue, account.name, scope))

    # -- anchoring ------------------------------------------------------------------------------

    def _anchor(self, account: AccountBook, report: PoolReport) -> None:
        """Keep the difference between the venue's report and the model, both at the report's marks, as an offset.

        A difference past the tolerance that the last report did not show may be a race between two answers of the
        venue: until a second report confirms it, only the part that makes the pool look more dangerous is kept.
        """
        pool = account.pools.get(report.scope)
        if pool is None:
            return
        marks = dict(report.marks)
        old = account.offsets.get(pool, _NOTHING)
        base = Risk(self.ledger.base(pool).margin_balance - old.margin_balance, 0.0)
        assets = Risk(base.margin_balance + self._collateral_value(pool, marks), 0.0)
        legs = self._pool_legs(pool)
        computed = self._basis(account, pool, legs) is Basis.COMPUTED
        if not computed and not (report.margin_balance == report.margin_balance and report.maintenance_margin >= 0.0):
            self._let_go(account, pool, base)
            return
        if not computed:
            legs = tuple(replace(leg, maintenance=NO_MAINTENANCE) for leg in legs)
        model = sum((leg.risk(marks.get(leg.instrument, leg.mark)) for leg in legs), start=assets)
        offset = Risk(report.margin_balance, report.maintenance_margin) + model.negative()
        error = max(
            _relative(offset.margin_balance, report.margin_balance),
            _relative(offset.maintenance_margin, report.maintenance_margin) if computed else 0.0,
        )
        if offset.margin_balance != offset.margin_balance or offset.maintenance_margin != offset.maintenance_margin:
            return  # a mark or a tier is missing: there is nothing to compare with
        confirmed = error <= self._tolerance or account.model_errors.get(pool, 0.0) > self._tolerance
        account.model_errors[pool] = error
        if not confirmed:
            offset = Risk(min(0.0, offset.margin_balance), max(0.0, offset.maintenance_margin))
        account.offsets[pool] = offset
        self.ledger.set_base(pool, base + offset)
        if not computed:
            self._hold(pool, NO_MAINTENANCE)

    def _hold(self, pool: int, maintenance: Maintenance) -> None:
        """Legs of a pool of which the venue reports the whole: they add nothing to it, or keep it from being known."""
        for leg in self.ledger.chain(pool):
            quantity, entry_value = self.ledger.legs.table[leg * LEG_WIDTH : leg * LEG_WIDTH + 2].tolist()
            self.ledger.write_leg(leg, quantity, entry_value, maintenance)

    def _let_go(self, account: AccountBook, pool: int, base: Risk) -> None:
        """The venue does not say (any more) what the pool requires: it is unknown, whatever was said before."""
        account.offsets.pop(pool, None)
        account.model_errors.pop(pool, None)
        self.ledger.set_base(pool, base)
        self._hold(pool, UNKNOWN)

    def _forget_offsets(self, account: AccountBook) -> None:
        """What was reported in another account mode says nothing in this one."""
        for pool, offset in account.offsets.items():
            self.ledger.set_base(pool, self.ledger.base(pool) + offset.negative())
        account.offsets.clear()
        account.model_errors.clear()

    def _basis(self, account: AccountBook, row: int, legs: Sequence[Leg]) -> Basis:
        margin_mode = MarginMode.ISOLATED if self._is_isolated(row, legs) else MarginMode.CROSS
        return account.rules.basis(account.mode, margin_mode)

    def _is_isolated(self, row: int, legs: Sequence[Leg]) -> bool:
        return bool(legs) and self._pool_scope[row] == isolated_scope(legs[0].instrument, legs[0].side)

    # -- answers --------------------------------------------------------------------------------

    def rows(self) -> list[int]:
        """The rows of all pools, in the order of `table`."""
        return [row for account in self._accounts.values() for row in account.pools.values()]

    def rebuild(self) -> float:
        """Recompute every pool's totals from its legs; returns the largest relative difference found."""
        return self.ledger.rebuild(self.rows())

    def table(self) -> PoolTable:
        """All pools as columns; what is unknown is nan."""
        if self._names is None:
            self._names = [pool_id(a.venue, a.name, s) for a in self._accounts.values() for s in a.pools]
        balance, maintenance = self.ledger.risks(np.array(self.rows(), np.int64))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(maintenance > 0.0, np.where(balance > 0.0, maintenance / balance, np.inf), 0.0)
        ratio[np.isnan(balance) | np.isnan(maintenance)] = nan
        return PoolTable(self._names, balance, maintenance, ratio)

    def pool(self, row: int) -> Pool:
        """One pool with its legs, as the calculator takes it. Raises KeyError for a row without a pool."""
        account, scope = self._owner(row), self._pool_scope[row]
        legs = self._pool_legs(row)
        base = self.ledger.base(row) + Risk(self._collateral_value(row), 0.0)
        isolated = self._is_isolated(row, legs)
        unit = (
            account.instruments[legs[0].instrument].margin_coin if isolated else account.rules.unit(account.mode, scope)
        )
        releases = isolated and account.rules.cut_releases_isolated_margin
        return Pool(account.venue, account.name, scope, unit, self._basis(account, row, legs), base, legs, releases)

    def assess(self, row: int, remedy_ratio: float | None = None) -> PoolAssessment:
        """The full assessment of one pool at the present marks; `remedy_ratio` as in `assess_pool`."""
        account = self._owner(row)
        return assess_pool(
            self.pool(row),
            account.rules,
            remedy_ratio=remedy_ratio,
            marked_at=self._marked_at(row),
            model_error=account.model_errors.get(row),
        )

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
                exposure.notional += self.ledger.notional(leg)
                exposure.worst_ratio = max(exposure.worst_ratio, self.ledger.risk(row).margin_ratio)
        return found

    def account_exposure(self, account: AccountBook) -> tuple[float, float]:
        """Notional of an account's open legs at their last marks, and the worst ratio of its pools."""
        total = sum(self.ledger.notional(leg) for key, leg in account.legs.items() if key % _WIDTH != _COLLATERAL)
        return total, max((self.ledger.risk(row).margin_ratio for row in account.pools.values()), default=0.0)

    def has_pool(self, row: int) -> bool:
        """Whether there is a pool in a row."""
        return self._pool_owner[row] is not None

    def disagrees(self, account: AccountBook) -> bool:
        """Whether the last report about any pool of the account was off the model by more than the tolerance."""
        return any(error > self._tolerance for error in account.model_errors.values())

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
        return Leg(
            instrument=symbol,
            size=abs(float(ledger.legs.size[leg])),
            quantity=quantity,
            inverse=inverse,
            entry_price=_entry_price(inverse, entry_value),
            maintenance=ledger.maintenance[leg],
            mark=ledger.instruments.mark[i],
        )

    def _marked_at(self, pool: int) -> float | None:
        """The venue's time of the oldest mark behind a pool, in seconds, None while there is none."""
        ledger = self.ledger
        times = [ledger.instruments.mark_ms[ledger.legs.instrument[leg]] for leg in ledger.chain(pool)]
        return min(times) / 1000.0 if times and min(times) else None


def _is_inverse(instrument: Instrument) -> bool:
    return instrument.kind is ContractKind.INVERSE


def _entry_price(inverse: bool, entry_value: float) -> float:
    return -1.0 / entry_value if inverse else entry_value


def _scope(account: AccountBook, instrument: Instrument, position: Position) -> str:
    if instrument.margin_coin == _UNKNOWN_COIN:
        return _UNKNOWN_COIN
    return position_scope(account.rules, account.mode, instrument, position)


def _overtaken(known_ms: int, offered_ms: int, snapshot_ms: int | None) -> bool:
    """Whether an offer is older than what is known; a snapshot also rules over news older than its request."""
    return known_ms > offered_ms and (snapshot_ms is None or known_ms > snapshot_ms)


def _unknown_instrument(symbol: str) -> Instrument:
    """A stand-in for an instrument the venue has not described yet: its leg is carried, and shown as unknown."""
    return Instrument(symbol, ContractKind.LINEAR, _UNKNOWN_COIN, 1.0, ())


def _relative(difference: float, reference: float) -> float:
    """|difference| relative to the larger of the two figures compared."""
    if difference == 0.0:
        return 0.0
    return abs(difference) / max(abs(reference), abs(reference - difference), 1e-8)
