"""What a venue's margin rules must answer, and the one place that turns an account into pools with them."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Protocol

from monitor.margin.risk import Leg, Pool, Risk
from monitor.margin.tiers import Segment, scale
from monitor.model.account import Account, AccountMode, MarginMode, Position, Wallet
from monitor.model.assessment import Basis
from monitor.model.ids import isolated_scope
from monitor.model.instrument import Instrument


class VenueRules(Protocol):
    """One venue's margin rules; pure. Modules in `monitor/margin/venues/` provide one each as `RULES`."""

    venue: str
    cut_releases_isolated_margin: bool
    """Whether closing part of an isolated position frees the same part of its wallet."""

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """Scope of the cross pool that a wallet of `coin`, or a position margined in it, belongs to."""
        ...

    def unit(self, mode: AccountMode, coin: str) -> str:
        """Unit of that cross pool."""
        ...

    def segments(self, instrument: Instrument, size: float) -> tuple[Segment, ...]:
        """Maintenance by notional in the margin coin, for `size` (signed contracts); empty when it is not known."""
        ...

    def full_segments(self, instrument: Instrument, size: float) -> tuple[Segment, ...] | None:
        """The same for the last liquidation stage, None where there is only one."""
        ...

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """The price of a coin in its cross pool's unit when nobody states one; None where one must be stated."""
        ...

    def venue_margin_ratio(self, ratio: float) -> float | None:
        """The figure that the venue itself would show for our margin ratio, None where it shows none."""
        ...


def wallet_value(wallet: Wallet) -> float:
    """A wallet in its pool's unit after haircut. A debt is not shortened by a haircut."""
    value = wallet.balance * wallet.price
    return value * (1.0 - wallet.haircut) if value > 0.0 else value


def position_scope(rules: VenueRules, mode: AccountMode, instrument: Instrument, position: Position) -> str:
    """The pool that a position belongs to."""
    if position.margin_mode is MarginMode.ISOLATED:
        return isolated_scope(instrument.symbol, position.side)
    return rules.cross_scope(mode, instrument.margin_coin)


def make_leg(
    rules: VenueRules, instrument: Instrument, position: Position, mark: float, unit_price: float = 1.0
) -> Leg:
    """A position as a leg. `unit_price` is the margin coin's price in the pool's unit."""
    full = rules.full_segments(instrument, position.size)
    return Leg(
        instrument=instrument.symbol,
        size=abs(position.size),
        quantity=position.size * instrument.multiplier * unit_price,
        inverse=instrument.kind.value == "inverse",
        entry_price=position.entry_price,
        segments=scale(rules.segments(instrument, position.size), unit_price),
        full_segments=None if full is None else scale(full, unit_price),
        mark=mark,
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
    isolated = first.margin_mode is MarginMode.ISOLATED
    if isolated:
        unit, balance = coin, first.isolated_wallet
    else:
        unit = rules.unit(mode, coin)
        balance = sum(wallet_value(w) for w in account.wallets if rules.cross_scope(mode, w.coin) == scope)
    legs = []
    for position, instrument in members:
        unit_price = 1.0 if unit == instrument.margin_coin else prices.get(instrument.margin_coin, nan)
        mark = marks.get(position.instrument, nan)
        legs.append(make_leg(rules, instrument, position, mark, unit_price))
    releases = isolated and rules.cut_releases_isolated_margin
    return Pool(account.venue, account.name, scope, unit, Basis.COMPUTED, Risk(balance, 0.0), tuple(legs), releases)
