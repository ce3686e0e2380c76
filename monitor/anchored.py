"""Pools with what is carried for each beyond the model: the difference to the last report (`monitor.anchoring`)."""

from dataclasses import replace

from monitor.anchoring import after_change, after_miss, anchor
from monitor.kernel import LEG_WIDTH
from monitor.margin.risk import NOTHING, Risk
from monitor.margin.tiers import NO_MAINTENANCE, UNKNOWN, Maintenance
from monitor.model.assessment import Basis
from monitor.model.events import PoolReport
from monitor.pools import AccountBook, Pools


class AnchoredPools(Pools):
    """The rows of all pools, held against reports. A pool's base in the ledger includes its offset."""

    def _anchor(self, account: AccountBook, report: PoolReport) -> None:
        """Hold a pool against the venue's report, both at the report's marks, and carry the difference."""
        pool = account.pools.get(report.scope)
        if pool is None:
            return
        marks = dict(report.marks)
        base = Risk(self.ledger.base(pool).margin_balance - self._offset(account, pool).margin_balance, 0.0)
        assets = Risk(base.margin_balance + self._collateral_value(pool, marks), 0.0)
        legs = self._pool_legs(pool)
        computed = self._basis(account, pool, legs) is Basis.COMPUTED
        if not computed and not (report.margin_balance == report.margin_balance and report.maintenance_margin >= 0.0):
            self._let_go(account, pool, base)
            return
        if not computed:
            legs = tuple(replace(leg, maintenance=NO_MAINTENANCE) for leg in legs)
        model = sum((leg.risk(marks.get(leg.instrument, leg.mark)) for leg in legs), start=assets)
        said = Risk(report.margin_balance, report.maintenance_margin)
        before = account.anchors.get(pool)
        held = anchor(said, model, computed=computed, before=before, tolerance=self.tolerance)
        if held is None:
            self._miss(account, pool)
            return
        account.anchors[pool] = held
        self.ledger.set_base(pool, base + held.offset)
        if not computed:
            self._hold(pool, NO_MAINTENANCE)

    def _miss(self, account: AccountBook, pool: int) -> None:
        """A snapshot told nothing of a pool that an earlier one had reported."""
        held = account.anchors.get(pool)
        if held is None:
            return
        base = self.ledger.base(pool) + held.offset.negative()
        account.anchors[pool] = left = after_miss(held)
        if left.is_old and self._basis(account, pool, self._pool_legs(pool)) is Basis.REPORTED:
            self._let_go(account, pool, Risk(base.margin_balance, 0.0))
        else:
            self.ledger.set_base(pool, base + left.offset)

    def _offset(self, account: AccountBook, pool: int) -> Risk:
        held = account.anchors.get(pool)
        return NOTHING if held is None else held.offset

    def _gross(self, account: AccountBook, pool: int) -> float:
        """Notional of a pool's positions; asked for only where an anchor depends on it."""
        if pool not in account.anchors:
            return 0.0
        return sum(self.ledger.notional(leg) for leg in self.ledger.chain(pool) if self._is_position(leg))

    def _change_anchor(self, account: AccountBook, pool: int, gross_before: float) -> None:
        """A pool's positions have changed: what was carried for the old ones may frighten, no longer reassure."""
        held = account.anchors.get(pool)
        if held is None:
            return
        computed = self._basis(account, pool, self._pool_legs(pool)) is Basis.COMPUTED
        growth = self._gross(account, pool) / gross_before if gross_before else 1.0
        account.anchors[pool] = changed = after_change(held, computed=computed, growth=growth)
        base = self.ledger.base(pool)
        self.ledger.set_base(
            pool,
            Risk(
                base.margin_balance - held.offset.margin_balance + changed.offset.margin_balance,
                changed.offset.maintenance_margin,
            ),
        )

    def _hold(self, pool: int, maintenance: Maintenance) -> None:
        """Legs of a pool of which the venue reports the whole: they add nothing to it, or keep it from being known."""
        for leg in self.ledger.chain(pool):
            quantity, entry_value = self.ledger.legs.table[leg * LEG_WIDTH : leg * LEG_WIDTH + 2].tolist()
            self.ledger.write_leg(leg, quantity, entry_value, maintenance)

    def _let_go(self, account: AccountBook, pool: int, base: Risk) -> None:
        """The venue does not say (any more) what the pool requires: it is unknown, whatever was said before."""
        account.anchors.pop(pool, None)
        self.ledger.set_base(pool, base)
        self._hold(pool, UNKNOWN)

    def _forget_anchors(self, account: AccountBook) -> None:
        """What was reported in another account mode says nothing in this one."""
        for pool in list(account.anchors):
            self._forget_anchor(account, pool)

    def _forget_anchor(self, account: AccountBook, pool: int) -> None:
        held = account.anchors.pop(pool, None)
        if held is not None:
            self.ledger.set_base(pool, self.ledger.base(pool) + held.offset.negative())
