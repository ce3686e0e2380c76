"""Accounts and markets for the simulator's tests, in few words."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from connectors.simulator import actions
from connectors.simulator.account import Account, Market
from connectors.simulator.actions import Context
from connectors.simulator.contracts import DEFAULT_ASSETS, DEFAULT_CONTRACTS, DEFAULT_MARKS, Bracket, bracket_table
from connectors.simulator.scenario import AccountSpec, Scenario, VenueSpec

NOW_MS = 1_790_000_000_000
FOREVER = Decimal(10) ** 15


def flat_table(rate: str) -> tuple[Bracket, ...]:
    """One bracket for every notional, as the worked examples assume."""
    return (Bracket(1, Decimal(0), FOREVER, Decimal(rate), Decimal(0), 125),)


def table_with(rate: str, cum: str, floor: str) -> tuple[Bracket, ...]:
    """A table whose second and last bracket has this rate and `cum`; the first is what makes it continuous."""
    below = Decimal(rate) - Decimal(cum) / Decimal(floor)
    return bracket_table([("0", str(below), 2), (floor, rate, 1)], str(FOREVER))


def market(marks: Mapping[str, str] | None = None, tables: Mapping[str, tuple[Bracket, ...]] | None = None) -> Market:
    """The catalogue, with marks and bracket tables of our own."""
    contracts = {contract.symbol: contract for contract in DEFAULT_CONTRACTS}
    for symbol, table in (tables or {}).items():
        contracts[symbol] = replace(contracts[symbol], brackets=table)
    prices = dict(DEFAULT_MARKS) | {symbol: Decimal(price) for symbol, price in (marks or {}).items()}
    return Market(contracts, {asset.name: asset for asset in DEFAULT_ASSETS}, prices)


def account(*, hedge: bool = False, multi_assets: bool = False, **wallets: str) -> Account:
    """An account with wallets."""
    cross = {asset: Decimal(quantity) for asset, quantity in wallets.items()}
    return Account("main", "key", "secret", hedge=hedge, multi_assets=multi_assets, cross_wallets=cross)


def context(owner: Account, place: Market, now_ms: int = NOW_MS) -> Context:
    """For actions."""
    return Context(owner, place, now_ms)


def hold(ctx: Context, symbol: str, size: str, entry: str, **more: Any) -> None:
    """Put a position; `wallet` makes it isolated, `side` is the position side."""
    wallet = more.pop("wallet", None)
    actions.set_position(
        ctx,
        symbol=symbol,
        size=Decimal(size),
        entry_price=Decimal(entry),
        isolated_wallet=None if wallet is None else Decimal(wallet),
        position_side=more.pop("side", None),
        **more,
    )


def stage(*accounts: AccountSpec, **venue: Any) -> Scenario:
    """A scenario whose prices move only when told."""
    chosen = accounts or (AccountSpec(name="main", wallets={"USDT": Decimal(10000)}),)
    return Scenario(
        name="stage",
        start="manual",
        accounts=chosen,
        venue=VenueSpec(**({"republish_s": 0.0} | venue)),
        marks={"BTCUSDT": Decimal(60000), "ETHUSDT": Decimal(3000)},
    )
