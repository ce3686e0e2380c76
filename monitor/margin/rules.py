"""What a venue's margin rules must answer, and the one place that turns an account into pools with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Protocol

from monitor.margin.risk import Leg, Pool, Risk
from monitor.margin.tiers import UNKNOWN, Maintenance
from monitor.model.account import Account, AccountMode, MarginMode, Position, Wallet
from monitor.model.assessment import Basis
from monitor.model.ids import isolated_scope
from monitor.model.instrument import ContractKind, Instrument


@dataclass(frozen=True, slots=True)
class Held:
    """What the rules may want to know of a position to say its maintenance.

    `size` is signed, in contracts; `pooled_size` is the sum of all contracts of this instrument in the position's pool,
    both sides counted. `leverage` is None when it is not known. `mode` is that of its account.
    """

    instrument: Instrument
    size: float
    pooled_size: float
    entry_price: float
    leverage: float | None
    margin_mode: MarginMode
    mode: AccountMode = AccountMode.SINGLE_ASSET


class VenueRules(Protocol):
    """One venue's margin rules; pure. Modules in `monitor/margin/venues/` provide one each as `RULES`."""

    venue: str
    cut_releases_isolated_margin: bool
    """Whether closing part of an isolated position frees the same part of its wallet."""
    counts_pooled_size: bool
    """Whether a position's maintenance depends on the other side of the same instrument (`Held.pooled_size`)."""
    default_account_mode: AccountMode

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """Scope of the cross pool that a wallet of `coin`, or a position margined in it, belongs to."""
        ...

    def unit(self, mode: AccountMode, coin: str) -> str:
        """Unit of that cross pool."""
        ...

    def basis(self, mode: AccountMode, margin_mode: MarginMode) -> Basis:
        """Whether these rules can say what such positions require; if not, it is held as the venue last reported it."""
        ...

    def maintenance(self, held: Held) -> Maintenance:
        """What is required for a position, in its margin coin; `UNKNOWN` when the rules cannot say."""
        ...

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """The price of a coin in its cross pool's unit when nobody states one; None where one must be stated."""
        ...

    def venue_margin_ratio(
        self, ratio: float, mode: AccountMode = AccountMode.SINGLE_ASSET, margin_mode: MarginMode = MarginMode.CROSS
    ) -> float | None:
        """The figure that the venue itself would show for our margin ratio of such a pool, None where it shows none.

        It may show figures of another kind, or liquidate at another, for some of them.
        """
        ...


def wallet_weight(wallet: Wallet) -> float:
    """How many coins of a wallet count: less by the haircut, or more where a debt is counted at more than its price.

    A debt is never shortened by a haircut. Profit that the haircut is taken on as well counts with the balance, and is
    then taken off, because the positions count it themselves.
    """
    owned = wallet.balance + wallet.profit
    counted = owned * (1.0 - wallet.haircut) if owned > 0.0 or wallet.haircut < 0.0 else owned
    return counted - wallet.profit


def wallet_value(wallet: Wallet) -> float:
    """A wallet in its pool's unit; nan where it is not empty and its price is not known."""
    weight = wallet_weight(wallet)
    return weight * wallet.price if weight else 0.0


def position_scope(rules: VenueRules, mode: AccountMode, instrument: Instrument, position: Position) -> str:
    """The pool that a position belongs to."""
    if position.margin_mode is MarginMode.ISOLATED:
        return isolated_scope(instrument.symbol, position.side)
    return rules.cross_scope(mode, instrument.margin_coin)


def make_leg(
    held: Held, maintenance: Maintenance, mark: float, unit_price: float = 1.0, adl_rank: int | None = None
) -> Leg:
    """A position as a leg. `unit_price` is the margin coin's price in the pool's unit."""
    instrument = held.instrument
    return Leg(
        instrument=instrument.symbol,
        size=abs(held.size),
        quantity=held.size * instrument.multiplier * unit_price,
        inverse=instrument.kind is ContractKind.INVERSE,
        entry_price=held.entry_price,
        maintenance=maintenance.scaled(unit_price),
        mark=mark,
        adl_rank=adl_rank,
    )


def account_pools(account: Account, marks: Mapping[str, float], rules: VenueRules) -> list[Pool]:
    """Group an account's positions into pools, in the order of the positions; a wallet without a position is no pool.

    A position whose mark is absent gets nan, so that everything that depends on it is unknown. Raises KeyError for a
    position whose instrument is not in the account.
    """
    prices = {wallet.coin: wallet.price for wallet in account.wallets}
    members: dict[str, list[tuple[Position, Instrument]]] = {}
    for position in account.positions:
        instrument = account.instruments[position.instrument]
        scope = position_scope(rules, account.account_mode, instrument, position)
        members.setdefault(scope, []).append((position, instrument))
    return [_pool(account, scope, positions, marks, prices, rules) for scope, positions in members.items()]


def _pool(
    account: Account,
    scope: str,
    members: Sequence[tuple[Position, Instrument]],
    marks: Mapping[str, float],
    prices: Mapping[str, float],
    rules: VenueRules,
) -> Pool:
    mode, first, coin = account.account_mode, members[0][0], members[0][1].margin_coin
    basis = rules.basis(mode, first.margin_mode)
    isolated = first.margin_mode is MarginMode.ISOLATED
    if isolated:
        unit, balance = coin, first.isolated_wallet
    else:
        unit = rules.unit(mode, coin)
        balance = sum(wallet_value(w) for w in account.wallets if rules.cross_scope(mode, w.coin) == scope)
    pooled: dict[str, float] = {}
    for position, _ in members:
        pooled[position.instrument] = pooled.get(position.instrument, 0.0) + abs(position.size)
    legs = []
    for position, instrument in members:
        unit_price = 1.0 if unit == instrument.margin_coin else prices.get(instrument.margin_coin, nan)
        held = Held(
            instrument,
            position.size,
            pooled[position.instrument],
            position.entry_price,
            position.leverage,
            position.margin_mode,
            mode,
        )
        # What a venue would have to report is not known here.
        required = rules.maintenance(held) if basis is Basis.COMPUTED else UNKNOWN
        mark = marks.get(position.instrument, nan)
        legs.append(make_leg(held, required, mark, unit_price, position.adl_rank))
    releases = isolated and rules.cut_releases_isolated_margin
    return Pool(
        account.venue,
        account.name,
        scope,
        unit,
        basis,
        Risk(balance, 0.0),
        tuple(legs),
        releases,
        mode=mode,
        margin_mode=first.margin_mode,
    )
