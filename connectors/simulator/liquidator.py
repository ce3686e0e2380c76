"""Who is called and who is liquidated at the present marks."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from connectors.simulator import engine, events
from connectors.simulator.account import Holding, Order
from connectors.simulator.actions import Context, new_order
from connectors.simulator.engine import Pool
from connectors.simulator.events import Frame
from connectors.simulator.wire import ONE, ZERO, plain

# The venue does not publish when it calls; its documented sample stands at 0.8064.
CALL_RATIO = Decimal("0.80")
CALM_RATIO = Decimal("0.75")
# Where the venue's own view passes these, the time is kept for the lead-time report.
RUNGS = (Decimal("0.50"), Decimal("0.70"), Decimal("0.85"), Decimal("0.95"))


@dataclass(frozen=True, slots=True)
class LiquidatedLeg:
    """One position that the venue took over: `mark` is what the decision saw, `price` where it was closed."""

    symbol: str
    position_side: str
    amount: Decimal
    entry_price: Decimal
    mark: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Liquidation:
    """One pool's end: when (venue's seconds since the epoch), at which step of the path, with which amounts."""

    at: float
    step: int
    account: str
    scope: str
    unit: str
    balance: Decimal
    maintenance: Decimal
    legs: tuple[LiquidatedLeg, ...]

    def to_json(self) -> dict[str, Any]:
        """For the control interface; decimals as strings."""
        return {
            "at": self.at,
            "step": self.step,
            "account": self.account,
            "scope": self.scope,
            "unit": self.unit,
            "margin_balance": plain(self.balance),
            "maintenance_margin": plain(self.maintenance),
            "legs": [
                {
                    "symbol": leg.symbol,
                    "position_side": leg.position_side,
                    "amount": plain(leg.amount),
                    "entry_price": plain(leg.entry_price),
                    "mark": plain(leg.mark),
                    "price": plain(leg.price),
                }
                for leg in self.legs
            ],
        }


@dataclass(slots=True)
class Outcome:
    """What one look at an account led to."""

    frames: list[Frame] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    liquidations: list[Liquidation] = field(default_factory=list)


@dataclass(slots=True)
class Peak:
    """The worst that the venue itself saw of a pool, and when each rung was first passed."""

    ratio: Decimal = ZERO
    rungs: dict[str, dict[str, float]] = field(default_factory=dict)

    def see(self, ratio: Decimal, at: float, step: int) -> None:
        """Take note of the present ratio."""
        self.ratio = max(self.ratio, ratio)
        for rung in RUNGS:
            if ratio >= rung and str(rung) not in self.rungs:
                self.rungs[str(rung)] = {"at": at, "step": step}


def check(ctx: Context, pools: Iterable[Pool], at: float, step: int) -> Outcome:
    """Call and liquidate what the present marks require; `pools` are the account's, just computed."""
    outcome = Outcome()
    present = set()
    for pool in pools:
        present.add(pool.scope)
        if pool.ratio >= ONE:
            _liquidate(ctx, pool, at, step, outcome)
        elif pool.ratio >= CALL_RATIO and pool.scope not in ctx.account.called:
            ctx.account.called.add(pool.scope)
            outcome.called.append(pool.scope)
            outcome.frames.append(events.margin_call(pool, ctx.account, ctx.market, ctx.now_ms))
        elif pool.ratio < CALM_RATIO:
            ctx.account.called.discard(pool.scope)
    ctx.account.called &= present
    return outcome


def _liquidate(ctx: Context, pool: Pool, at: float, step: int, outcome: Outcome) -> None:
    """Cancel the pool's orders, then close every position where the margin balance is used up.

    The venue first tries to close a part at the market and goes on only if that does not help; this simulator takes
    the whole pool over at once, at the price at which nothing is left.
    """
    shift = engine.bankruptcy_shift(pool, ctx.market)
    outcome.frames += _expire_orders(ctx, pool)
    legs = []
    for holding in pool.holdings:
        mark = ctx.market.marks[holding.symbol]
        price = mark * (ONE - shift if holding.amount > ZERO else ONE + shift)
        legs.append(LiquidatedLeg(holding.symbol, holding.side.value, holding.amount, holding.entry_price, mark, price))
        outcome.frames += _take_over(ctx, holding, price)
    outcome.frames += _clear_deficit(ctx, pool)
    ctx.account.called.discard(pool.scope)
    outcome.liquidations.append(
        Liquidation(at, step, ctx.account.name, pool.scope, pool.unit, pool.balance, pool.maintenance, tuple(legs))
    )


def _expire_orders(ctx: Context, pool: Pool) -> list[Frame]:
    """Orders of the isolated symbol, or all orders for a cross pool, expire because of the liquidation."""
    orders = [order for order in ctx.account.orders.values() if not pool.isolated or order.symbol == _symbol(pool)]
    for order in orders:
        del ctx.account.orders[order.order_id]
    return [
        events.order_update(
            order,
            ctx.now_ms,
            execution="EXPIRED",
            status="EXPIRED",
            margin_asset=ctx.margin_asset(order.symbol),
            expiry_reason="5",
        )
        for order in orders
    ]


def _symbol(pool: Pool) -> str:
    return pool.holdings[0].symbol


def _take_over(ctx: Context, holding: Holding, price: Decimal) -> list[Frame]:
    """Close a position with an ``autoclose-`` order: NEW, the account, CALCULATED."""
    asset = ctx.margin_asset(holding.symbol)
    quantity, realized = abs(holding.amount), holding.pnl(price)
    plain_order = new_order(
        ctx, holding.symbol, "SELL" if holding.amount > ZERO else "BUY", quantity, price, holding.side
    )
    order = Order(
        plain_order.order_id,
        f"autoclose-{ctx.now_ms}{plain_order.order_id}",
        holding.symbol,
        plain_order.buy,
        holding.side,
        quantity,
        price,
    )
    ctx.account.credit(asset, realized + holding.isolated_wallet, ctx.now_ms)
    holding.realized_pnl += realized
    holding.amount = holding.entry_price = holding.isolated_wallet = ZERO
    holding.updated_ms = ctx.now_ms
    return [
        events.order_update(order, ctx.now_ms, execution="NEW", status="NEW", kind="LIQUIDATION", margin_asset=asset),
        ctx.update("ORDER", changes={asset: ZERO}, holdings=(holding,)),
        events.order_update(
            order,
            ctx.now_ms,
            execution="CALCULATED",
            status="FILLED",
            kind="LIQUIDATION",
            filled=quantity,
            fill_price=price,
            realized=realized,
            margin_asset=asset,
        ),
    ]


def _clear_deficit(ctx: Context, pool: Pool) -> list[Frame]:
    """The insurance fund tops a wallet up that the pool's end left below zero."""
    frames = []
    for asset in ctx.market.assets if pool.unit == "USD" else (pool.unit,):
        owed = ctx.account.cross_wallets.get(asset, ZERO)
        if abs(owed) < Decimal("1e-8"):
            ctx.account.cross_wallets[asset] = ZERO  # what is left of a division is not money
        elif owed < ZERO:
            ctx.account.credit(asset, -owed, ctx.now_ms)
            frames.append(ctx.update("INSURANCE_CLEAR", changes={asset: -owed}))
    return frames
