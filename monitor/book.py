"""The book of accounts: what each account holds, kept in the ledger's rows.

Marks go straight to the ledger. Account events may touch Python objects per account, never per leg: a desk's hundred
thousand legs are rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan

from monitor.anchored import AnchoredPools
from monitor.kernel import ENTRY_VALUE, LEG_WIDTH, QUANTITY, Kernel, plain_kernel
from monitor.ledger import Ledger
from monitor.margin.pnl import price_value
from monitor.margin.risk import Risk
from monitor.margin.rules import VenueRules, position_scope, wallet_value, wallet_weight
from monitor.margin.tiers import NO_MAINTENANCE, UNKNOWN
from monitor.model.account import AccountMode, MarginMode, Position, Wallet
from monitor.model.assessment import Basis
from monitor.model.events import AccountDelta, AccountSnapshot, InstrumentsLoaded, Marks, PoolReport
from monitor.model.ids import Slot, pool_id
from monitor.model.instrument import ContractKind, Instrument
from monitor.pools import COLLATERAL, INDEX_PREFIX, WIDTH, AccountBook, FormerRules

HAIRCUT_STEP = 0.005
"""Venues change the share of a coin that counts in steps of at least half a per cent."""

_SLOTS = {slot: place for place, slot in enumerate(Slot)}
_UNKNOWN_COIN = "unknown"


@dataclass(slots=True)
class BookChange:
    """What an account event did: rows of pools to look at again, and ids of pools that are no more."""

    touched: set[int] = field(default_factory=set)
    gone: list[str] = field(default_factory=list)


class Book(AnchoredPools):
    """All accounts. Not thread-safe: one event loop owns it.

    `kernel` runs the ticks. `tolerance` is the relative model error above which a report is not trusted to make a pool
    look safer until a second report agrees.
    """

    def __init__(self, kernel: Kernel | None = None, tolerance: float = 0.005) -> None:
        super().__init__(kernel or plain_kernel(), tolerance)
        self._catalogues: list[Mapping[str, Instrument]] = []

    # -- accounts -------------------------------------------------------------------------------

    def add_account(self, venue: str, name: str, rules: VenueRules) -> None:
        """Make an account known; its feed and its pools come with its first snapshot."""
        self._accounts[venue, name] = AccountBook(venue, name, rules)

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
        """Take over contract definitions; open legs get their new tiers at once.

        What the former ones were is kept for `rules_changed`, for open legs only.
        """
        account = self.account(event.venue, event.account)
        change, known = BookChange(), account.instruments
        fresh = {i.symbol: i for i in event.instruments if known.get(i.symbol) != i}
        if not fresh:
            return change
        account.instruments = self._shared({**known, **fresh})
        for key, leg in account.legs.items():
            instrument = fresh.get(self.ledger.instruments.symbols[key // WIDTH])
            if instrument is None or key % WIDTH == COLLATERAL:
                continue
            pool = int(self.ledger.legs.pool[leg])
            if self._pool_scope[pool] == _UNKNOWN_COIN:
                continue  # the next snapshot, which knows its margin mode, moves it to its pool
            if instrument.symbol in known:
                self._replace(account, leg, known[instrument.symbol], instrument)
            self._require(account, leg, instrument)
            change.touched.add(pool)
        return change

    def _replace(self, account: AccountBook, leg: int, old: Instrument, new: Instrument) -> None:
        """A leg's instrument is defined anew.

        One of another kind or coin is another contract, and what was not known before is not a change.
        """
        pool = int(self.ledger.legs.pool[leg])
        if (old.kind, old.margin_coin) != (new.kind, new.margin_coin):
            account.former.pop(pool, None)
            return
        former = replace(
            old,
            tiers=old.tiers or new.tiers,
            isolated_tiers=old.isolated_tiers or new.isolated_tiers,
            tick_size=new.tick_size if old.tick_size is None else old.tick_size,
            taker_fee_rate=new.taker_fee_rate if old.taker_fee_rate is None else old.taker_fee_rate,
        )
        if former != new:
            rules = account.former.setdefault(pool, FormerRules())
            rules.legs.setdefault(leg, (former, float(self.ledger.legs.size[leg])))
        self.ledger.legs.table[leg * LEG_WIDTH + QUANTITY] *= new.multiplier / old.multiplier

    def apply_snapshot(self, snapshot: AccountSnapshot) -> BookChange:
        """Make the account what the snapshot says, save slots that newer events touched; then anchor to its reports."""
        account = self.account(snapshot.venue, snapshot.account)
        change = BookChange()
        account.feed, account.mark_pause_s = snapshot.feed, snapshot.mark_pause_s
        account.index_pause_s = snapshot.index_pause_s
        changed_mode = account.mode is not snapshot.account_mode
        if changed_mode:
            self._forget_anchors(account)
        account.mode, account.position_mode = snapshot.account_mode, snapshot.position_mode
        self._take_reported(account, snapshot.reported)
        self._take_indexes(account, snapshot.reports, snapshot.at_ms)
        for wallet in snapshot.wallets:
            self._put_wallet(account, wallet, snapshot.at_ms)
        if changed_mode:
            account.former.clear()  # it is the account that changed, and haircuts with it
        coins = {wallet.coin for wallet in snapshot.wallets}
        for coin in [c for c, w in account.wallets.items() if c not in coins and w.updated_ms <= snapshot.at_ms]:
            del account.wallets[coin]
        listed = set()
        for position in snapshot.positions:
            key = self._key(account, position)
            listed.add(key)
            self._put_position(account, key, position, change, snapshot.at_ms, snapshot.at_ms)
        for key in [k for k in account.legs if k not in listed and k % WIDTH != COLLATERAL]:
            if self.ledger.legs.updated_ms[account.legs[key]] <= snapshot.at_ms:
                self._remove_leg(account, key, change)
        self._settle(account, change)
        for report in snapshot.reports:
            self._anchor(account, report)
        told = {report.scope for report in snapshot.reports}
        for scope, pool in account.pools.items():
            if scope not in told:
                self._miss(account, pool)
        self._rebuild(account.pools.values())
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
            self._put_position(account, self._key(account, position), position, change, delta.at_ms, None)
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
            self.ledger.instrument(account.feed, position.instrument, inverse=inverse) * WIDTH + _SLOTS[position.slot]
        )

    def _put_position(
        self,
        account: AccountBook,
        key: int,
        position: Position,
        change: BookChange,
        at_ms: int,
        snapshot_ms: int | None,
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
        before = self._gross(account, pool)
        if leg is None:
            leg = account.legs[key] = ledger.add_leg(key // WIDTH, pool)
        if instrument.margin_coin == _UNKNOWN_COIN and position.margin_mode is MarginMode.CROSS:
            account.undescribed[key] = position.instrument
        else:
            account.undescribed.pop(key, None)
        ledger.legs.updated_ms[leg] = position.updated_ms
        ledger.instruments.pause_s[key // WIDTH] = account.mark_pause_s
        if position.mark_price is not None:
            ledger.lend_mark(key // WIDTH, position.mark_price, at_ms)
        if self._write_position(account, key, leg, instrument, position):
            self._change_anchor(account, pool, before)
        if position.margin_mode is MarginMode.ISOLATED:
            ledger.set_base(pool, self._offset(account, pool) + Risk(position.isolated_wallet, 0.0))
        change.touched.add(pool)

    def _write_position(
        self, account: AccountBook, key: int, leg: int, instrument: Instrument, position: Position
    ) -> bool:
        """Set a leg's row to a position; returns whether its size or entry changed."""
        legs, row = self.ledger.legs, leg * LEG_WIDTH
        entry_value = price_value(_is_inverse(instrument), position.entry_price)
        changed = (float(legs.size[leg]), float(legs.table[row + ENTRY_VALUE])) != (position.size, entry_value)
        unit_price = self._unit_price(account, instrument, position.margin_mode)
        unknown = unit_price is None or position.entry_price != position.entry_price
        if position.entry_price != position.entry_price:
            entry_value = self.ledger.value(leg)  # stands for no profit and no loss
        legs.size[leg] = position.size
        legs.leverage[leg] = nan if position.leverage is None else position.leverage
        legs.set_adl_rank(leg, position.adl_rank)
        legs.table[row + QUANTITY] = position.size * instrument.multiplier * (1.0 if unit_price is None else unit_price)
        legs.table[row + ENTRY_VALUE] = entry_value
        self._require(account, leg, instrument)
        if unknown:  # its amounts cannot be counted: it stands in the pool as something unknown
            self.ledger.write_leg(leg, float(legs.table[row + QUANTITY]), entry_value, UNKNOWN)
        if unknown or not self._is_quoted(account, instrument, position.margin_mode):
            account.quoted.discard(key)
        else:
            account.quoted.add(key)
        return changed

    def _is_quoted(self, account: AccountBook, instrument: Instrument, margin_mode: MarginMode) -> bool:
        """Whether a position's amounts are in another coin than its pool's unit."""
        coin = instrument.margin_coin
        cross = margin_mode is MarginMode.CROSS and coin != _UNKNOWN_COIN
        return cross and account.rules.unit(account.mode, coin) != coin

    def _unit_price(self, account: AccountBook, instrument: Instrument, margin_mode: MarginMode) -> float | None:
        """The margin coin's price in the pool's unit, None where it is not known. An index is newer than a wallet."""
        if not self._is_quoted(account, instrument, margin_mode):
            return 1.0
        known = self.ledger.instruments
        i = known.index.get(account.feed, {}).get(f"{INDEX_PREFIX}{instrument.margin_coin}USD")
        if i is not None and self.ledger.has_mark(i):
            return known.mark[i]
        wallet = account.wallets.get(instrument.margin_coin)
        return None if wallet is None or wallet.price != wallet.price else wallet.price

    def requote(self) -> set[int]:
        """Value legs in other coins than their pool's unit at these coins' present prices.

        Between two calls such a leg's amounts are as they were in its coin, at the price of then: call it about once a
        second. Returns the rows of the pools that it moved.
        """
        return {pool for account in self._accounts.values() for pool in self._requote(account)}

    def _requote(self, account: AccountBook) -> set[int]:
        moved = set()
        for key in account.quoted:
            leg, instrument = account.legs[key], account.instruments[self.ledger.instruments.symbols[key // WIDTH]]
            unit_price = self._unit_price(account, instrument, MarginMode.CROSS)
            row = leg * LEG_WIDTH
            quantity = float(self.ledger.legs.size[leg]) * instrument.multiplier * (unit_price or 0.0)
            if unit_price is not None and quantity != self.ledger.legs.table[row + QUANTITY]:
                self.ledger.legs.table[row + QUANTITY] = quantity
                self._require(account, leg, instrument)
                moved.add(int(self.ledger.legs.pool[leg]))
        return moved

    def _require(self, account: AccountBook, leg: int, instrument: Instrument) -> None:
        """Ask the rules what a leg requires, and its siblings too where contracts are counted together."""
        self._require_one(account, leg, instrument)
        if account.rules.counts_pooled_size:
            for sibling in self._siblings(leg):
                if sibling != leg:
                    self._require_one(account, sibling, instrument)

    def _require_one(self, account: AccountBook, leg: int, instrument: Instrument) -> None:
        held, row = self._held(leg, instrument), leg * LEG_WIDTH
        quantity, entry_value = self.ledger.legs.table[row + QUANTITY : row + ENTRY_VALUE + 1].tolist()
        unit_price = quantity / (held.size * instrument.multiplier)
        if account.basis(self._pool_scope[int(self.ledger.legs.pool[leg])], held.margin_mode) is Basis.COMPUTED:
            required = account.rules.maintenance(held)
        else:
            # The venue's figure stands in the pool's offset; before there is one, nothing is known.
            required = NO_MAINTENANCE if int(self.ledger.legs.pool[leg]) in account.anchors else UNKNOWN
        self.ledger.write_leg(leg, quantity, entry_value, required.scaled(unit_price))

    def _remove_leg(self, account: AccountBook, key: int, change: BookChange) -> None:
        leg = account.legs.pop(key)
        account.quoted.discard(key)
        account.undescribed.pop(key, None)
        pool = int(self.ledger.legs.pool[leg])
        instrument = account.instruments.get(self.ledger.instruments.symbols[key // WIDTH])
        siblings = [other for other in self._siblings(leg) if other != leg] if account.rules.counts_pooled_size else []
        before = self._gross(account, pool)
        change.touched.add(pool)
        if pool in account.former:
            account.former[pool].legs.pop(leg, None)
        self.ledger.remove_leg(leg)
        self._change_anchor(account, pool, before)
        if siblings and instrument is not None:
            self._require(account, siblings[0], instrument)

    # -- wallets and pools ----------------------------------------------------------------------

    def _put_wallet(self, account: AccountBook, wallet: Wallet, snapshot_ms: int | None) -> None:
        known = account.wallets.get(wallet.coin)
        if known is not None and _overtaken(known.updated_ms, wallet.updated_ms, snapshot_ms):
            return
        if known is not None and _other_haircut(known, wallet):
            pool = account.pools.get(account.rules.cross_scope(account.mode, wallet.coin))
            if pool is not None:
                former = account.former.setdefault(pool, FormerRules())
                former.haircuts.setdefault(wallet.coin, known.haircut)
        account.wallets[wallet.coin] = wallet

    def _settle(self, account: AccountBook, change: BookChange) -> None:
        """After wallets and positions are in: no pool without a position, and base balances of cross pools."""
        self._drop_empty_pools(account, change)
        for key in [k for k in account.legs if k % WIDTH == COLLATERAL]:
            name = self.ledger.instruments.symbols[key // WIDTH]
            if name.removeprefix(INDEX_PREFIX).removesuffix("USD") not in account.wallets:
                self._remove_leg(account, key, change)
        bases = {
            pool: 0.0
            for pool in account.pools.values()
            if self._margin_mode(pool, self._pool_legs(pool)) is MarginMode.CROSS
        }
        for wallet in account.wallets.values():
            pool = account.pools.get(account.rules.cross_scope(account.mode, wallet.coin))
            if pool is not None and not self._put_collateral(account, wallet, pool, change):
                bases[pool] = bases.get(pool, 0.0) + wallet_value(wallet)
        if account.undescribed:
            bases = dict.fromkeys(bases, nan)
        self._requote(account)
        for pool, value in bases.items():
            self.ledger.set_base(pool, self._offset(account, pool) + Risk(value, 0.0))
            change.touched.add(pool)

    def _take_reported(self, account: AccountBook, reported: frozenset[str]) -> None:
        """Where a pool is now held as reported, or no longer, what was carried for it says nothing any more."""
        changed = [account.pools[scope] for scope in account.reported ^ reported if scope in account.pools]
        account.reported = reported
        for pool in changed:
            self._forget_anchor(account, pool)
            for leg in self.ledger.chain(pool):
                instrument = account.instruments.get(self.ledger.instruments.symbols[self.ledger.legs.instrument[leg]])
                if instrument is not None and self._is_position(leg):
                    self._require_one(account, leg, instrument)

    def _take_indexes(self, account: AccountBook, reports: Iterable[PoolReport], at_ms: int) -> None:
        """Use the index prices behind the reports until the stream brings some."""
        for name, mark in (mark for report in reports for mark in report.marks):
            if name.startswith(INDEX_PREFIX):
                self.ledger.lend_mark(self.ledger.instrument(account.feed, name, inverse=False), mark, at_ms)

    def _put_collateral(self, account: AccountBook, wallet: Wallet, pool: int, change: BookChange) -> bool:
        """Let an index price move a wallet's value between reports, as a leg without maintenance; False if none does.

        The index is the instrument ``index:<coin>USD``, the wallet's haircut what the venue keeps off it. An unknown
        balance (nan) is no leg: it would stay in the totals, which move by differences, once it is known again.
        """
        i = self.ledger.instruments.index.get(account.feed, {}).get(f"{INDEX_PREFIX}{wallet.coin}USD")
        if i is None:
            return False
        key, weight = i * WIDTH + COLLATERAL, wallet_weight(wallet)
        leg = account.legs.get(key)
        priced = account.mode is not AccountMode.SINGLE_ASSET and self.ledger.has_mark(i) and abs(weight) > 0.0
        if leg is not None and not (priced and self.ledger.legs.pool[leg] == pool):
            self._remove_leg(account, key, change)
            leg = None
        if not priced:
            return False
        if leg is None:
            leg = account.legs[key] = self.ledger.add_leg(i, pool)
        self.ledger.legs.size[leg] = wallet.balance
        self.ledger.instruments.pause_s[i] = account.index_pause_s
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
                self._remove_leg(account, int(self.ledger.legs.instrument[leg]) * WIDTH + COLLATERAL, change)
            del account.pools[scope]
            account.anchors.pop(pool, None)
            account.former.pop(pool, None)
            self.ledger.free_pool(pool)
            self._pool_owner[pool] = None
            self._names = None
            change.touched.discard(pool)
            change.gone.append(pool_id(account.venue, account.name, scope))


def _is_inverse(instrument: Instrument) -> bool:
    return instrument.kind is ContractKind.INVERSE


def _scope(account: AccountBook, instrument: Instrument, position: Position) -> str:
    if instrument.margin_coin == _UNKNOWN_COIN:
        return _UNKNOWN_COIN
    return position_scope(account.rules, account.mode, instrument, position)


def _overtaken(known_ms: int, offered_ms: int, snapshot_ms: int | None) -> bool:
    """Whether an offer is older than what is known; a snapshot also rules over news older than its request."""
    return known_ms > offered_ms and (snapshot_ms is None or known_ms > snapshot_ms)


def _other_haircut(known: Wallet, found: Wallet) -> bool:
    """Whether the venue has changed its collateral ratio, and not the holder the amount by which some venues grade it.

    OKX's graded ratio is read from its own figures and so moves a little with unrealized profit too; what profit turns
    from owned to owed, or back, is another thing.
    """
    priced = known.price == known.price and found.price == found.price
    owned = (known.balance + known.profit > 0.0) is (found.balance + found.profit > 0.0)
    return known.balance == found.balance and priced and owned and abs(known.haircut - found.haircut) >= HAIRCUT_STEP


def _unknown_instrument(symbol: str) -> Instrument:
    """A stand-in for an instrument the venue has not described yet: its leg is carried, and shown as unknown."""
    return Instrument(symbol, ContractKind.LINEAR, _UNKNOWN_COIN, 1.0, ())
