"""Who is called and who is liquidated at the present marks."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from connectors.simulator import actions, engine, events
from connectors.simulator.account import Holding
from connectors.simulator.actions import Context, new_order
from connectors.simulator.contracts import COIN_M
from connectors.simulator.engine import Pool
from connectors.simulator.events import Frame
from connectors.simulator.wire import EIGHT_PLACES, ONE, ZERO, plain

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

    venue: str
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
            "venue": self.venue,
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
        price = _closing_price(ctx, holding, mark, shift).quantize(EIGHT_PLACES)
        legs.append(LiquidatedLeg(holding.symbol, holding.side.value, holding.amount, holding.entry_price, mark, price))
        outcome.frames += _take_over(ctx, holding, price, _closing_pnl(ctx, pool, holding, price))
    if pool.scope == engine.MULTI:
        outcome.frames += _exchange_all(ctx)
    ctx.account.called.discard(pool.scope)
    venue = "binance-coinm" if ctx.account.universe == COIN_M else "binance"
    lost = (ctx.account.name, pool.scope, pool.unit, pool.balance, pool.maintenance)
    outcome.liquidations.append(Liquidation(venue, at, step, *lost, tuple(legs)))


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


def _closing_price(ctx: Context, holding: Holding, mark: Decimal, shift: Decimal) -> Decimal:
    """Where a position is closed when everything moved against the pool by `shift`."""
    long = holding.amount > ZERO
    if ctx.market.contracts[holding.symbol].universe == COIN_M:
        return mark / (ONE + shift if long else ONE - shift)
    return mark * (ONE - shift if long else ONE + shift)


def _closing_pnl(ctx: Context, pool: Pool, holding: Holding, price: Decimal) -> Decimal:
    """What closing at `price` realizes; of the pool's last position exactly what leaves nothing in its wallet.

    The prices come from a division, so that otherwise a digit far behind the point would stay.
    """
    if pool.isolated:
        return -holding.isolated_wallet
    if pool.scope != engine.MULTI and holding is pool.holdings[-1]:
        return -ctx.account.cross_wallets.get(pool.scope, ZERO)
    return ctx.market.pnl_at(holding, price)


def _take_over(ctx: Context, holding: Holding, price: Decimal, realized: Decimal) -> list[Frame]:
    """Close a position with an ``autoclose-`` order: NEW, the account, CALCULATED."""
    asset = ctx.margin_asset(holding.symbol)
    quantity = abs(holding.amount)
    side: actions.FillSide = "SELL" if holding.amount > ZERO else "BUY"
    order = new_order(ctx, holding.symbol, side, quantity, price, holding.side)
    order = replace(order, client_id=f"autoclose-{ctx.now_ms}{order.order_id}")
    ctx.account.credit(asset, realized + holding.isolated_wallet, ctx.now_ms)
    holding.realized_pnl += realized
    holding.amount = holding.entry_price = holding.isolated_wallet = ZERO
    holding.updated_ms = ctx.now_ms
    return actions.forced_close(ctx, order, holding, realized, kind="LIQUIDATION", execution="CALCULATED")


def _exchange_all(ctx: Context) -> list[Frame]:
    """The end of multi-assets mode's pool: every asset is exchanged to pay for what the positions owe.

    What that does not cover is the insurance fund's, so nothing stays in any cross wallet.
    """
    changes = {asset: -balance for asset, balance in ctx.account.cross_wallets.items() if balance != ZERO}
    for asset, change in changes.items():
        ctx.account.credit(asset, change, ctx.now_ms)
    return [ctx.update("AUTO_EXCHANGE", changes=changes)] if changes else []
