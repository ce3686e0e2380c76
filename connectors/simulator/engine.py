"""The venue's own view of risk: pools, their ratios, and liquidation prices.

Everything is exact decimal arithmetic at the present marks. Liquidation prices are not computed by the venue's
published formula but found as the zero of the surplus (margin balance less maintenance margin), which is a straight
line between the prices at which a position changes bracket.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from connectors.simulator.account import Account, Holding, Market
from connectors.simulator.contracts import COIN_M
from connectors.simulator.wire import ONE, ZERO

MULTI = "multi"
_ALMOST_ZERO = Decimal("1e-15")


@dataclass(frozen=True, slots=True)
class Pool:
    """What is liquidated as one: an isolated position, or the cross positions that share collateral.

    `scope` is ``SYMBOL:long`` or ``SYMBOL:short`` for an isolated position, the margin asset for a cross pool, and
    ``multi`` for the one cross pool of multi-assets mode, whose amounts are in USD.
    """

    scope: str
    unit: str
    isolated: bool
    holdings: tuple[Holding, ...]
    balance: Decimal
    maintenance: Decimal

    @property
    def ratio(self) -> Decimal:
        """Maintenance margin over margin balance; infinite when nothing is left and risk is open."""
        if self.maintenance == ZERO and not self.holdings:
            return ZERO
        return self.maintenance / self.balance if self.balance > ZERO else Decimal("Infinity")


def isolated_pool(market: Market, holding: Holding) -> Pool:
    """The pool of one isolated position."""
    return Pool(
        scope=holding.scope,
        unit=market.contracts[holding.symbol].margin_asset,
        isolated=True,
        holdings=(holding,),
        balance=holding.isolated_wallet + market.pnl(holding),
        maintenance=market.maintenance(holding),
    )


def cross_pool(account: Account, market: Market, asset: str) -> Pool:
    """The cross pool of one margin asset in single-asset mode, also when it holds no position."""
    holdings = market.margined_in(_cross_holdings(account), asset)
    return Pool(
        scope=asset,
        unit=asset,
        isolated=False,
        holdings=tuple(holdings),
        balance=account.cross_wallets.get(asset, ZERO) + sum(map(market.pnl, holdings), ZERO),
        maintenance=sum(map(market.maintenance, holdings), ZERO),
    )


def multi_pool(account: Account, market: Market) -> Pool:
    """The one cross pool of multi-assets mode, in USD.

    Each asset's wallet plus unrealized profit counts at the asset's bid or ask rate; maintenance counts at the index.
    The venue does not publish the latter; it is this simulator's reading.
    """
    balance = maintenance = ZERO
    for name, asset in market.assets.items():
        pool = cross_pool(account, market, name)
        balance += pool.balance * market.rate(name, pool.balance)
        maintenance += pool.maintenance * market.index(asset)
    return Pool(MULTI, "USD", False, tuple(_cross_holdings(account)), balance, maintenance)


def pools(account: Account, market: Market) -> list[Pool]:
    """Every pool of an account with an open position, isolated ones first."""
    found = [isolated_pool(market, holding) for holding in account.open_holdings() if holding.isolated]
    if account.multi_assets:
        cross = [multi_pool(account, market)]
    else:
        cross = [cross_pool(account, market, asset) for asset in market.margin_assets(account.universe)]
    return found + [pool for pool in cross if pool.holdings]


def pool_of(account: Account, market: Market, holding: Holding) -> Pool:
    """The pool that an open position belongs to."""
    if holding.isolated:
        return isolated_pool(market, holding)
    if account.multi_assets:
        return multi_pool(account, market)
    return cross_pool(account, market, market.contracts[holding.symbol].margin_asset)


def liquidation_price(account: Account, market: Market, holding: Holding) -> Decimal | None:
    """The mark of the position's symbol at which its pool is liquidated, the other marks standing still.

    The long and the short of one symbol in one cross pool share it. None where no positive price does it; where two
    prices do (a nearly balanced pair), the one nearer to the present mark.
    """
    pool = pool_of(account, market, holding)
    legs = [other for other in pool.holdings if other.symbol == holding.symbol]
    contract = market.contracts[holding.symbol]
    pnl_weight = maintenance_weight = ONE
    if pool.scope == MULTI:
        own = cross_pool(account, market, contract.margin_asset)
        pnl_weight = market.rate(contract.margin_asset, own.balance)
        maintenance_weight = market.index(market.assets[contract.margin_asset])

    def share(price: Decimal) -> Decimal:
        """What these legs add to the pool's surplus at a price."""
        return sum(
            (
                market.pnl_at(leg, price) * pnl_weight
                - contract.maintenance(contract.notional(leg.amount, price)) * maintenance_weight
                for leg in legs
            ),
            ZERO,
        )

    mark = market.marks[holding.symbol]
    rest = pool.balance - pool.maintenance - share(mark)
    if contract.universe == COIN_M:
        # The surplus is straight in the inverse of the price. Nothing is below the smallest one that matters.
        floors = {row.floor / (abs(leg.amount) * contract.size) for leg in legs for row in contract.brackets}
        knots = sorted(floors - {ZERO} | {_ALMOST_ZERO})
        zeros = [ONE / value for value in _zeros(lambda value: rest + share(ONE / value), knots)]
    else:
        knots = sorted({row.floor / abs(leg.amount) for leg in legs for row in contract.brackets} | {ZERO})
        zeros = [price for price in _zeros(lambda price: rest + share(price), knots) if price > ZERO]
    return min(zeros, key=lambda price: abs(price - mark), default=None)


def bankruptcy_shift(pool: Pool, market: Market) -> Decimal:
    """The relative move against every position of a pool at once that leaves a margin balance of zero.

    The move is one of the price, under COIN-M of its inverse. Of a single position it gives the bankruptcy price; for
    several it is a way to share what is left (or what is missing, then it is negative) in proportion to notional.
    """
    return pool.balance / sum(map(market.notional, pool.holdings), ZERO)


def _cross_holdings(account: Account) -> list[Holding]:
    return [holding for holding in account.open_holdings() if not holding.isolated]


def _zeros(surplus: Callable[[Decimal], Decimal], knots: Sequence[Decimal]) -> list[Decimal]:
    """Zeros of a function that is continuous, straight between neighbouring `knots` and after the last of them."""
    zeros = []
    for low, high in pairwise(knots):
        at_low, at_high = surplus(low), surplus(high)
        if at_low * at_high < ZERO or (at_high == ZERO and at_low != ZERO):
            zeros.append(low + (high - low) * at_low / (at_low - at_high))
    last = knots[-1]
    at_last = surplus(last)
    slope = surplus(last + ONE) - at_last
    if at_last * slope < ZERO:
        zeros.append(last - at_last / slope)
    return zeros
