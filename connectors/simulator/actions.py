"""What can happen to an account, each with the events that the venue sends for it, or with none.

Every function changes the account and returns the frames of its user stream in order. A refusal leaves the account
as it was.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count
from typing import Literal

from connectors.simulator import events
from connectors.simulator.account import Account, Holding, Market, Order, PositionSide, Refusal
from connectors.simulator.events import Frame
from connectors.simulator.wire import ONE, ZERO

_order_ids = count(8_000_000_001)

FillSide = Literal["BUY", "SELL"]


@dataclass(frozen=True, slots=True)
class Context:
    """Where and when an action happens; `now_ms` is the venue's time."""

    account: Account
    market: Market
    now_ms: int

    def update(
        self, reason: str, *, changes: dict[str, Decimal], holdings: tuple[Holding, ...] = (), symbol: str = ""
    ) -> Frame:
        """An ACCOUNT_UPDATE of this account at this time."""
        return events.account_update(
            self.account, self.market, self.now_ms, reason, changes=changes, holdings=holdings, symbol=symbol
        )

    def margin_asset(self, symbol: str) -> str:
        """The margin asset of a symbol that accounts can hold."""
        contract = self.market.contract(symbol)
        if contract.universe != self.account.universe:
            raise Refusal(-1121, "Invalid symbol.")
        return contract.margin_asset

    def position_side(self, value: str | None) -> PositionSide:
        """The position side meant, which must exist in the account's position mode."""
        side = PositionSide(value) if value else PositionSide.BOTH
        if side not in self.account.sides():
            raise Refusal(-4061, "Order's position side does not match user's setting.")
        return side


def new_order(
    ctx: Context, symbol: str, side: FillSide, quantity: Decimal, price: Decimal, position_side: PositionSide
) -> Order:
    """An order with the next number."""
    number = next(_order_ids)
    return Order(number, f"web_{number}", symbol, side == "BUY", position_side, quantity, price)


def transfer(ctx: Context, *, asset: str, amount: Decimal) -> list[Frame]:
    """Move an asset in (positive) or out of the futures wallet."""
    if asset not in ctx.market.margin_assets(ctx.account.universe):
        raise Refusal(-1102, f"{asset} is not a margin asset.")
    if amount < ZERO and ctx.account.cross_wallets.get(asset, ZERO) < -amount:
        raise Refusal(-4051, "Isolated balance insufficient.")
    ctx.account.credit(asset, amount, ctx.now_ms)
    return [ctx.update("DEPOSIT" if amount >= ZERO else "WITHDRAW", changes={asset: amount})]


def fill(
    ctx: Context,
    *,
    symbol: str,
    side: FillSide,
    quantity: Decimal,
    price: Decimal | None = None,
    position_side: str | None = None,
) -> list[Frame]:
    """Trade at `price` (by default the mark) with taker fee: NEW, the fast fill, the account, the trade."""
    asset = ctx.margin_asset(symbol)
    slot = ctx.position_side(position_side)
    if quantity <= ZERO:
        raise Refusal(-4003, "Quantity less than or equal to zero.")
    paid = ctx.market.marks[symbol] if price is None else price
    signed = quantity if side == "BUY" else -quantity
    holding = ctx.account.holding(symbol, slot)
    _check_direction(holding, signed)
    contract = ctx.market.contracts[symbol]
    fee = contract.notional(quantity, paid) * contract.taker_fee_rate
    realized = _trade(ctx, holding, signed, paid, asset)
    ctx.account.credit(asset, -fee, ctx.now_ms)
    order = new_order(ctx, symbol, side, quantity, paid, slot)
    return [
        events.order_update(order, ctx.now_ms, execution="NEW", status="NEW", kind="MARKET", margin_asset=asset),
        events.trade_lite(order, paid, ctx.now_ms),
        ctx.update("ORDER", changes={asset: ZERO}, holdings=(holding,)),
        events.order_update(
            order,
            ctx.now_ms,
            execution="TRADE",
            status="FILLED",
            kind="MARKET",
            filled=quantity,
            fill_price=paid,
            realized=realized,
            commission=fee,
            margin_asset=asset,
        ),
    ]


def _check_direction(holding: Holding, signed: Decimal) -> None:
    """In hedge mode a position only shrinks to nothing, it never turns."""
    after = holding.amount + signed
    if (holding.side is PositionSide.LONG and after < ZERO) or (holding.side is PositionSide.SHORT and after > ZERO):
        raise Refusal(-2022, "ReduceOnly Order is rejected.")


def _trade(ctx: Context, holding: Holding, signed: Decimal, price: Decimal, asset: str) -> Decimal:
    """Apply a trade to the position and its wallets; returns the realized profit.

    What closes frees its share of the isolated wallet; what opens takes its initial margin from the cross wallet.
    """
    account, setting = ctx.account, ctx.account.setting(holding.symbol)
    contract = ctx.market.contracts[holding.symbol]
    closing = ZERO
    if holding.amount * signed < ZERO:
        closing = min(abs(signed), abs(holding.amount)) * (1 if signed > ZERO else -1)
    opening = signed - closing
    margin = contract.notional(opening, price) / setting.leverage if setting.isolated else ZERO
    if margin > account.cross_wallets.get(asset, ZERO):
        raise Refusal(-2019, "Margin is insufficient.")
    realized = contract.pnl(-closing, holding.entry_price, price)
    if closing:
        freed = holding.isolated_wallet * abs(closing) / abs(holding.amount)
        holding.isolated_wallet -= freed
        holding.amount += closing
        account.credit(asset, freed + realized, ctx.now_ms)
    if opening:
        holding.entry_price = contract.average(holding.amount, holding.entry_price, opening, price)
        holding.amount += opening
        holding.isolated = setting.isolated
        holding.isolated_wallet += margin
        account.credit(asset, -margin, ctx.now_ms)
    if holding.amount == ZERO:
        holding.entry_price = holding.isolated_wallet = ZERO
    holding.realized_pnl += realized
    holding.updated_ms = ctx.now_ms
    return realized


def set_position(
    ctx: Context,
    *,
    symbol: str,
    size: Decimal,
    entry_price: Decimal | None = None,
    position_side: str | None = None,
    isolated_wallet: Decimal | None = None,
    leverage: int | None = None,
) -> list[Frame]:
    """Put a position as given, without trade and without touching the cross wallet; isolated when it has a wallet."""
    asset = ctx.margin_asset(symbol)
    slot = ctx.position_side(position_side)
    if (slot is PositionSide.LONG and size < ZERO) or (slot is PositionSide.SHORT and size > ZERO):
        raise Refusal(-1102, f"A {slot} position of {size} is impossible.")
    if isolated_wallet is not None and ctx.account.multi_assets:
        raise Refusal(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")
    holding = ctx.account.holding(symbol, slot)
    setting = ctx.account.setting(symbol)
    if leverage is not None:
        setting.leverage = leverage
    setting.isolated = holding.isolated = isolated_wallet is not None
    holding.amount = size
    holding.entry_price = ZERO if size == ZERO else (entry_price or ctx.market.marks[symbol])
    holding.isolated_wallet = ZERO if size == ZERO else (isolated_wallet or ZERO)
    holding.updated_ms = ctx.now_ms
    return [ctx.update("ORDER", changes={asset: ZERO}, holdings=(holding,))]


def leverage(ctx: Context, *, symbol: str, leverage: int) -> list[Frame]:
    """Change a symbol's leverage; the isolated margin of an open position keeps its size."""
    ctx.margin_asset(symbol)
    setting = ctx.account.setting(symbol)
    if not 1 <= leverage <= ctx.market.contracts[symbol].brackets[0].max_leverage:
        raise Refusal(-4028, f"Leverage {leverage} is not valid")
    if leverage < setting.leverage and any(holding.isolated for holding in ctx.account.held(symbol)):
        raise Refusal(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions")
    setting.leverage = leverage
    return [events.leverage_update(symbol, leverage, ctx.now_ms)]


def margin_type(ctx: Context, *, symbol: str, margin_type: Literal["ISOLATED", "CROSSED"]) -> list[Frame]:
    """Change a symbol's margin type, which the venue allows only while nothing is open in it."""
    asset = ctx.margin_asset(symbol)
    if ctx.account.held(symbol):
        raise Refusal(-4048, "Margin type cannot be changed if there exists position.")
    if any(order.symbol == symbol for order in ctx.account.orders.values()):
        raise Refusal(-4047, "Margin type cannot be changed if there exists open orders.")
    if margin_type == "ISOLATED" and ctx.account.multi_assets:
        raise Refusal(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")
    setting = ctx.account.setting(symbol)
    if setting.isolated == (margin_type == "ISOLATED"):
        raise Refusal(-4046, "No need to change margin type.")
    setting.isolated = margin_type == "ISOLATED"
    rows = tuple(ctx.account.holding(symbol, side) for side in ctx.account.sides())
    for row in rows:
        row.isolated = setting.isolated
    return [ctx.update("MARGIN_TYPE_CHANGE", changes={asset: ZERO}, holdings=rows)]


def position_mode(ctx: Context, *, hedge: bool) -> list[Frame]:
    """Switch between one-way and hedge mode. The venue says nothing about it on the user stream."""
    if ctx.account.orders:
        raise Refusal(-4067, "Position side cannot be changed if there exists open orders.")
    if ctx.account.open_holdings():
        raise Refusal(-4068, "Position side cannot be changed if there exists position.")
    if ctx.account.hedge == hedge:
        raise Refusal(-4059, "No need to change position side.")
    ctx.account.hedge = hedge
    ctx.account.holdings.clear()
    return []


def multi_assets(ctx: Context, *, enabled: bool) -> list[Frame]:
    """Switch the multi-assets mode; only the flag is sent, not what follows from it."""
    if enabled and any(holding.isolated for holding in ctx.account.open_holdings()):
        raise Refusal(-4170, "Multi-Assets mode cannot be enabled with isolated-margin positions.")
    if ctx.account.multi_assets == enabled:
        raise Refusal(-4171, "No need to change Multi-Assets mode.")
    ctx.account.multi_assets = enabled
    return [events.multi_assets_update(enabled, ctx.now_ms)]


def isolated_margin(ctx: Context, *, symbol: str, amount: Decimal, position_side: str | None = None) -> list[Frame]:
    """Move margin from the cross wallet into an isolated position (positive) or back."""
    asset = ctx.margin_asset(symbol)
    holding = ctx.account.holding(symbol, ctx.position_side(position_side))
    if holding.amount == ZERO or not holding.isolated:
        raise Refusal(-4053, "Add margin only support for isolated position.")
    if amount > ctx.account.cross_wallets.get(asset, ZERO):
        raise Refusal(-4050, "Cross balance insufficient.")
    if -amount >= holding.isolated_wallet:
        raise Refusal(-4051, "Isolated balance insufficient.")
    ctx.account.credit(asset, -amount, ctx.now_ms)
    holding.isolated_wallet += amount
    holding.updated_ms = ctx.now_ms
    return [ctx.update("MARGIN_TRANSFER", changes={asset: ZERO}, holdings=(holding,))]


def funding(ctx: Context, *, symbol: str, rate: Decimal) -> list[Frame]:
    """Charge funding: a positive rate takes from longs. One event a position.

    The event of a cross position lists only the balance, that of an isolated one also the position.
    """
    asset = ctx.margin_asset(symbol)
    frames = []
    for holding in ctx.account.held(symbol):
        payment = (-ONE if holding.amount > ZERO else ONE) * ctx.market.notional(holding) * rate
        if holding.isolated:
            holding.isolated_wallet += payment
            holding.updated_ms = ctx.now_ms
        else:
            ctx.account.credit(asset, payment, ctx.now_ms)
        rows = (holding,) if holding.isolated else ()
        frames.append(ctx.update("FUNDING_FEE", changes={asset: payment}, holdings=rows, symbol=symbol))
    return frames


def deleverage(
    ctx: Context, *, symbol: str, quantity: Decimal | None = None, position_side: str | None = None
) -> list[Frame]:
    """Auto-deleveraging: the venue closes (a part of) a position at the mark, without fee, as ``adl_autoclose``."""
    asset = ctx.margin_asset(symbol)
    slot = ctx.position_side(position_side)
    holding = ctx.account.holding(symbol, slot)
    closed = min(abs(holding.amount), quantity or abs(holding.amount))
    if closed <= ZERO:
        raise Refusal(-2022, "ReduceOnly Order is rejected.")
    mark, sells = ctx.market.marks[symbol], holding.amount > ZERO
    order = replace(new_order(ctx, symbol, "SELL" if sells else "BUY", closed, mark, slot), client_id="adl_autoclose")
    realized = _trade(ctx, holding, -closed if sells else closed, mark, asset)
    return forced_close(ctx, order, holding, realized, kind="MARKET", execution="TRADE")


def forced_close(
    ctx: Context, order: Order, holding: Holding, realized: Decimal, *, kind: str, execution: str
) -> list[Frame]:
    """What is told of a position that the venue has closed with an order of its own: NEW, the account, the fill."""
    asset = ctx.margin_asset(order.symbol)
    return [
        events.order_update(order, ctx.now_ms, execution="NEW", status="NEW", kind=kind, margin_asset=asset),
        ctx.update("ORDER", changes={asset: ZERO}, holdings=(holding,)),
        events.order_update(
            order,
            ctx.now_ms,
            execution=execution,
            status="FILLED",
            kind=kind,
            filled=order.quantity,
            fill_price=order.price,
            realized=realized,
            margin_asset=asset,
        ),
    ]


def place_order(
    ctx: Context,
    *,
    symbol: str,
    side: FillSide,
    quantity: Decimal,
    price: Decimal,
    position_side: str | None = None,
) -> list[Frame]:
    """Rest a limit order in the book, where it stays until cancelled."""
    asset = ctx.margin_asset(symbol)
    order = new_order(ctx, symbol, side, quantity, price, ctx.position_side(position_side))
    ctx.account.orders[order.order_id] = order
    return [events.order_update(order, ctx.now_ms, execution="NEW", status="NEW", margin_asset=asset)]


def cancel_orders(ctx: Context, *, symbol: str) -> list[Frame]:
    """Cancel the symbol's resting orders."""
    asset = ctx.margin_asset(symbol)
    gone = [order for order in ctx.account.orders.values() if order.symbol == symbol]
    for order in gone:
        del ctx.account.orders[order.order_id]
    return [
        events.order_update(order, ctx.now_ms, execution="CANCELED", status="CANCELED", margin_asset=asset)
        for order in gone
    ]
