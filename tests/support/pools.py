"""Pools in few words, for tests of whatever judges or shows them."""

from dataclasses import replace
from typing import Any

from monitor.model.assessment import Basis, LegAssessment, PoolAssessment, Remedy
from monitor.model.ids import Side, pool_id


def a_leg(instrument: str = "BTCUSDT", **changes: Any) -> LegAssessment:
    """A long of half a coin, 2 % above its liquidation."""
    leg = LegAssessment(
        instrument=instrument,
        side=Side.LONG,
        size=0.5,
        mark_price=59_000.0,
        notional=29_500.0,
        unrealized_pnl=-500.0,
        maintenance_margin=118.0,
        liquidation_price=57_820.0,
        full_liquidation_price=57_820.0,
        bankruptcy_price=57_500.0,
        distance=0.02,
    )
    return replace(leg, **changes)


def a_pool(ratio: float, scope: str = "USDT", account: str = "main", **changes: Any) -> PoolAssessment:
    """A cross pool at this margin ratio that no other rule minds; 1,000 USDT of maintenance margin."""
    pool = PoolAssessment(
        pool=pool_id("binance", account, scope),
        venue="binance",
        account=account,
        scope=scope,
        basis=Basis.COMPUTED,
        unit="USDT",
        margin_balance=1000.0 / ratio if ratio else 1e9,
        maintenance_margin=1000.0,
        margin_ratio=ratio,
        venue_margin_ratio=None,
        legs=(a_leg(distance=None, liquidation_price=None),),
        distance=None,
        marked_at=1_789_999_999.5,
        model_error=None,
        remedy=Remedy(0.5, 123.456, 0.3333) if ratio > 0.5 else None,
    )
    return replace(pool, **changes)
