"""What is known of one address: the newest state of each dex, the spot balances, the mode, and what follows from them.

Every state is whole and bears the venue's time, from both ways, so the newer one simply stands. In standard mode a
dex's state says everything about it. In unified and portfolio mode the equity stands in the spot balances, which bear
no time; they are asked for together with the dexes, and between two such rounds a trade moves equity from profit to
wallet and back without changing their sum.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isclose, nan

from connectors.hyperliquid.answers import Abstraction, Asset, required
from connectors.hyperliquid.parse import MAIN_DEX, DexState, Holding, SpotState
from monitor.model.account import AccountMode, MarginMode, Position, Wallet
from monitor.model.events import PoolReport
from monitor.model.ids import MULTI_SCOPE, Slot, isolated_scope, side_of
from monitor.model.instrument import ContractKind, Instrument, Tier

MODES = {
    Abstraction.STANDARD: AccountMode.SINGLE_ASSET,
    Abstraction.UNIFIED: AccountMode.MULTI_ASSET,
    Abstraction.PORTFOLIO: AccountMode.PORTFOLIO,
    Abstraction.STRANGE: AccountMode.SINGLE_ASSET,
}

RESERVED_TOLERANCE = 0.01
"""Spot and dexes are read a moment apart: by so much what spot holds may differ from what the dexes say they have."""

RESERVED_TOLERANCE_ONCE_SEEN = 0.1
"""Likewise, once the two have been seen to agree: a wild moment is not to make another account of it."""

UNREAD_MS = 10_000
"""States are told again at every block: one so much older than the newest is not what a reading would tell."""

CASH_ROUNDING = 5e-5
"""Sums of figures with six decimals; more is a payment."""

CASH_SHIFT = 0.005
"""Share of the equity by which spot and dexes may seem to disagree because marks moved between their frames."""

FUNDING_INTERVAL_S = 3600.0
"""Of every perpetual ("Funding"); no answer tells it."""

LIQUIDATION_RATIO = 0.95
"""The venue's own ratio above which it may liquidate in unified and portfolio mode: what it says to be required is held
as so much more, so that a margin ratio of 1 is the liquidation. `monitor.margin.venues.hyperliquid` has the reason, and
undoes it for the figure that the venue shows."""

_PORTFOLIO_WALLET = "USDC"


@dataclass(slots=True)
class AccountState:
    """One address. `abstraction` is what the venue calls its mode; `stands_for` what that is taken to mean."""

    assets: Mapping[str, Asset] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """The token of each dex: it has one for all its perpetuals."""
    taker_fee_rate: float | None = None
    """On the main dex."""
    abstraction: Abstraction = Abstraction.UNSTATED
    stands_for: Abstraction = Abstraction.STRANGE
    dexes: dict[str, DexState] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    """Dexes that could not be read when they last were to be, and of which nothing has been told since."""
    spot: SpotState | None = None
    wallets: dict[str, Wallet] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)

    @property
    def mode(self) -> AccountMode:
        """The mode as the model knows it."""
        return MODES[self.stands_for]

    @property
    def separate(self) -> bool:
        """Whether every dex stands alone, so that its own state says everything."""
        return self.stands_for in (Abstraction.STANDARD, Abstraction.STRANGE)

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all, as at an address that was never used."""
        values = any(state.holdings or state.total_value for state in self.dexes.values())
        return not values and (self.spot is None or self.spot.empty)

    def needs(self) -> frozenset[str]:
        """Instruments whose marks move this account."""
        return frozenset(self.positions)

    def holding(self, *, money: bool) -> frozenset[str]:
        """Dexes with positions; with `money` also those that have a balance."""
        return frozenset(dex for dex, state in self.dexes.items() if state.holdings or (money and state.total_value))

    def holdings(self) -> Iterable[tuple[str, int, Holding]]:
        """Every position with its dex and the time of its state."""
        for dex, state in self.dexes.items():
            for holding in state.holdings:
                yield dex, state.at_ms, holding

    # --- definitions

    def load(self, assets: Mapping[str, Asset]) -> None:
        """Take over what the venue says of its perpetuals. What an answer lacks for once is not unlearnt."""
        self.assets = {**self.assets, **assets}
        self.tokens = {asset.dex: asset.token for asset in self.assets.values()}

    def instruments(self) -> dict[str, Instrument]:
        """Every perpetual as it stands for this account."""
        own = {holding.coin: holding for _, _, holding in self.holdings()}
        return {coin: self._instrument(asset, own.get(coin)) for coin, asset in self.assets.items()}

    def held_instruments(self) -> dict[str, Instrument]:
        """Those that it holds."""
        found = ((self.assets.get(holding.coin), holding) for _, _, holding in self.holdings())
        return {asset.coin: self._instrument(asset, holding) for asset, holding in found if asset is not None}

    def _instrument(self, asset: Asset, holding: Holding | None) -> Instrument:
        tiers = asset.tiers if holding is None else ruling_tiers(asset, holding)
        # A builder's dex adds a share of its own to the user's rate, which nothing tells.
        fee_rate = self.taker_fee_rate if asset.dex == MAIN_DEX else None
        return Instrument(
            asset.coin,
            ContractKind.LINEAR,
            self._margin_coin(asset.dex, asset.token),
            1.0,
            tiers,
            taker_fee_rate=fee_rate,
            funding_interval_s=FUNDING_INTERVAL_S,
        )

    def _margin_coin(self, dex: str, token: str) -> str:
        """What a position draws on: where dexes stand alone, each builder's dex has a balance of its own."""
        return f"{dex}:{token}" if dex and self.separate else token

    def deviations(self) -> dict[str, tuple[float, float]]:
        """Coins whose position is ruled by another maximum leverage than their table says: (position, table)."""
        found = ((self.assets.get(holding.coin), holding) for _, _, holding in self.holdings())
        return {
            asset.coin: (holding.max_leverage or nan, asset.leverages[0])
            for asset, holding in found
            if asset is not None and asset.leverages and ruling_tiers(asset, holding) is not asset.tiers
        }

    def odd(self) -> dict[str, tuple[str, ...]]:
        """Coins whose position is unknown because of keys that count and cannot be read, and those keys."""
        return {holding.coin: holding.odd for _, _, holding in self.holdings() if holding.odd}

    # --- states

    def accept(self, states: Mapping[str, DexState]) -> tuple[list[str], list[str]]:
        """Take what is newer. Returns the dexes of states told already, and of those that are older than known."""
        repeated, outdated = [], []
        for dex, state in states.items():
            known = self.dexes.get(dex)
            if known == state:
                repeated.append(dex)
            elif known is not None and known.at_ms > state.at_ms:
                outdated.append(dex)
            else:
                self.dexes[dex] = _after(state, known)
                self.unread = self.unread.difference((dex,))
        return repeated, outdated

    def read(self, states: Mapping[str, DexState], missed: Collection[str]) -> None:
        """Take a reading. What is held on a dex that was `missed` stays as told, and its pools are unknown until then.

        A state that the stream has told at about the time of the others is as good as an answer.
        """
        self.accept(states)
        newest_ms = max((state.at_ms for state in self.dexes.values()), default=0)
        told = {dex for dex, state in self.dexes.items() if newest_ms - state.at_ms <= UNREAD_MS}
        self.unread = self.unread.difference(states).union(set(missed) - told)

    def forget_unread(self, dexes: Collection[str]) -> None:
        """Only these may be unread: there are no others any more."""
        self.unread = self.unread.intersection(dexes)

    def unseen(self) -> str:
        """The dexes that cannot be read, in words; empty where all can."""
        return f"what is held on {', '.join(sorted(self.unread))} cannot be read" if self.unread else ""

    def _is_unread(self, token: str | None) -> bool:
        """Whether a dex cannot be read on which positions in this token (None: in any) are known to be."""
        return any(token in (None, self.tokens.get(dex)) for dex, _, _ in self.holdings() if dex in self.unread)

    def _backs_unread(self, token: str) -> bool:
        """Whether a token of unified mode may back positions on a dex that cannot be read: some are known to be there.

        Or more of it is reserved than by those that can be.
        """
        seen = self._reserved().get(token, 0.0) * (1.0 + RESERVED_TOLERANCE_ONCE_SEEN)
        return self._is_unread(token) or (bool(self.unread) and not self._held(token) <= seen)

    def _held(self, token: str) -> float:
        return self.spot.held.get(token, 0.0) if self.spot else 0.0

    def _reserved(self) -> dict[str, float]:
        """What the dexes that can be read have reserved of each token, where an account is in unified mode."""
        reserved: dict[str, float] = {}
        for dex, state in self.dexes.items():
            token = self.tokens.get(dex)
            if token is not None and dex not in self.unread:
                reserved[token] = reserved.get(token, 0.0) + state.total_value
        return reserved

    def decide_mode(self) -> None:
        """What the venue's word for the mode stands for; where it states none, what the balances look like.

        An account in unified mode holds in spot what its dexes have reserved. What it holds beyond those that can be
        read may be reserved for those that cannot: then the mode stays what it was taken to be, if it ever was.
        """
        before, self.stands_for = self.stands_for, self.abstraction
        if self.abstraction is Abstraction.UNSTATED:
            seen = before is Abstraction.UNIFIED
            tolerance = RESERVED_TOLERANCE_ONCE_SEEN if seen else RESERVED_TOLERANCE
            reserved = self._reserved()
            told = {token: self._held(token) for token, value in reserved.items() if value > CASH_ROUNDING}
            same = [isclose(value, reserved[token], rel_tol=tolerance) for token, value in told.items()]
            unreadable = any(value != value for value in told.values())
            unified = seen if unreadable else bool(same) and all(same)
            self.stands_for = Abstraction.UNIFIED if unified else Abstraction.STANDARD
            short = any(value < reserved[token] * (1.0 - tolerance) for token, value in told.items())
            if self.unread and not unified and not short:
                self.stands_for = before

    def refresh(self, *, whole: bool) -> tuple[tuple[Wallet, ...], tuple[Position, ...]]:
        """Derive wallets and positions; returns those that changed, closed positions with size zero.

        `whole`: spot and dexes were read together. Otherwise wallets that spot backs are carried over a trade.
        """
        before_positions, before_wallets = self.positions, self.wallets
        self.positions = {
            holding.coin: _position(holding, at_ms, read=dex not in self.unread)
            for dex, at_ms, holding in self.holdings()
        }
        if self.separate:
            self.wallets = self._own_wallets()
        elif whole:
            self.wallets = self._spot_wallets()
        else:
            self.wallets = self._carried(before_positions)
        newest_ms = max((state.at_ms for state in self.dexes.values()), default=0)
        positions = [
            each for coin, each in self.positions.items() if not same_position(before_positions.get(coin), each)
        ]
        gone = (each for coin, each in before_positions.items() if coin not in self.positions)
        positions += [Position(each.instrument, Slot.BOTH, 0.0, each.entry_price, each.margin_mode,
                               updated_ms=newest_ms) for each in gone]  # fmt: skip
        wallets = [each for coin, each in self.wallets.items() if not same_cash(before_wallets.get(coin), each)]
        return tuple(wallets), tuple(positions)

    # --- wallets

    def _own_wallets(self) -> dict[str, Wallet]:
        """Standard mode: the equity of a dex's cross positions without their profit. Unknown in a strange mode."""
        wallets = {}
        for dex, state in self.dexes.items():
            token = self.tokens.get(dex)
            if token is None or not (state.holdings or state.total_value):
                continue
            cash = state.cross_value - _profit(state.holdings)
            coin = self._margin_coin(dex, token)
            known = self.stands_for is Abstraction.STANDARD and dex not in self.unread
            wallets[coin] = Wallet(coin, cash if known else nan, updated_ms=state.at_ms)
        return wallets

    def _spot_wallets(self) -> dict[str, Wallet]:
        """Unified mode: a token's total, which counts every profit, less isolated equity and cross profit.

        Portfolio margin counts more than tokens at par: there the equity is what its ratio implies.
        """
        balance = self._portfolio_balance()
        if balance is not None:
            coin, (_, profit, at_ms) = _PORTFOLIO_WALLET, self._sums(None)
            return {coin: Wallet(coin, balance - profit, updated_ms=at_ms)}
        totals = self.spot.totals if self.spot else {}
        wallets = {}
        for token in sorted({self.tokens[dex] for dex in self.dexes if dex in self.tokens}):
            isolated, profit, at_ms = self._sums(token)
            draws = self._draws(token)
            total = nan if self._backs_unread(token) else totals.get(token, nan if draws else 0.0)
            if total or draws:
                wallets[token] = Wallet(token, total - isolated - profit, updated_ms=at_ms)
        return wallets

    def _draws(self, token: str) -> bool:
        return any(h.margin_mode is MarginMode.CROSS and self.tokens.get(dex) == token for dex, _, h in self.holdings())

    def _sums(self, token: str | None) -> tuple[float, float, int]:
        """Isolated equity, cross profit and newest time of the dexes with this token (None: of all)."""
        isolated = profit = 0.0
        newest_ms = 0
        for dex, state in self.dexes.items():
            if token in (None, self.tokens.get(dex)):
                isolated += sum(h.margin for h in state.holdings if h.margin_mode is MarginMode.ISOLATED)
                profit += _profit(state.holdings)
                newest_ms = max(newest_ms, state.at_ms)
        return isolated, profit, newest_ms

    def _carried(self, before: Mapping[str, Position]) -> dict[str, Wallet]:
        """Wallets after trades: at the marks of now, what the positions were worth before they still are together."""
        shift: dict[str, float] = {}
        marks = {coin: each.mark_price or each.entry_price for coin, each in self.positions.items()}
        for coin in before.keys() | self.positions.keys():
            old, new = before.get(coin), self.positions.get(coin)
            if same_position(old, new):
                continue
            asset = self.assets.get(coin)
            token = asset.token if asset and self.stands_for is Abstraction.UNIFIED else _PORTFOLIO_WALLET
            mark = marks.get(coin) or (old.mark_price if old else None)
            if mark is not None:
                shift[token] = shift.get(token, 0.0) + _worth(old, mark) - _worth(new, mark)
        return {
            coin: Wallet(coin, each.balance + shift[coin], updated_ms=self._sums(None)[2]) if coin in shift else each
            for coin, each in self.wallets.items()
        }

    def seems_paid(self) -> bool:
        """Whether spot tells of money that came or went: its wallets differ by more than a move of marks explains."""
        if self.separate:
            return False
        for coin, wallet in self._spot_wallets().items():
            known = self.wallets.get(coin)
            _, profit, _ = self._sums(coin if self.stands_for is Abstraction.UNIFIED else None)
            equity = abs(wallet.balance + profit)
            if known is None or abs(known.balance - wallet.balance) > max(CASH_SHIFT * equity, CASH_ROUNDING):
                return True
        return False

    # --- reports

    def reports(self) -> tuple[PoolReport, ...]:
        """What the venue says about each pool, after a whole reading."""
        read = ((dex, holding) for dex, _, holding in self.holdings() if dex not in self.unread)
        isolated = [holding for _, holding in read if holding.margin_mode is MarginMode.ISOLATED]
        alone = [report for holding in isolated if (report := self._isolated_report(holding)) is not None]
        if self.stands_for is Abstraction.STRANGE:
            return tuple(alone)
        if self.stands_for is Abstraction.PORTFOLIO:
            return (*alone, self._portfolio_report())
        groups: dict[str, list[DexState]] = {}
        for dex, state in self.dexes.items():
            token = self.tokens.get(dex)
            if token is not None and any(h.margin_mode is MarginMode.CROSS for h in state.holdings):
                groups.setdefault(self._margin_coin(dex, token), []).append(state)
        cross = [report for coin, states in groups.items() if (report := self._cross_report(coin, states)) is not None]
        return (*alone, *cross)

    def _isolated_report(self, holding: Holding) -> PoolReport | None:
        """Equity as stated. What it requires is not, but the liquidation price is where equity meets it.

        So the report differs from the tables by what they are wrong at that price.
        """
        asset = self.assets.get(holding.coin)
        if asset is None or not asset.tiers or holding.odd:
            return None
        tiers = ruling_tiers(asset, holding)
        maintenance = required(tiers, holding.value)
        price = holding.liquidation_price
        if price is not None and price > 0.0:
            there = holding.margin + holding.size * (price - holding.mark_price)
            maintenance += there - required(tiers, abs(holding.size) * price)
        scope = isolated_scope(holding.coin, side_of(holding.size))
        return PoolReport(scope, holding.margin, maintenance, None, ((holding.coin, holding.mark_price),))

    def _cross_report(self, coin: str, states: list[DexState]) -> PoolReport | None:
        wallet = self.wallets.get(coin)
        required_of = [state.cross_maintenance for state in states]
        if wallet is None or wallet.balance != wallet.balance or any(each is None for each in required_of):
            return None
        own = self.separate
        balance = sum(state.cross_value for state in states) if own else wallet.balance + self._sums(coin)[1]
        said = sum(each or 0.0 for each in required_of)
        ratio = None if own or balance <= 0.0 else said / balance
        return PoolReport(coin, balance, said / (1.0 if own else LIQUIDATION_RATIO), ratio, _marks(states))

    def _portfolio_report(self) -> PoolReport:
        """Of nan where the venue does not tell (any more): what it once required must not stand for ever."""
        balance, ratio = self._portfolio_balance(), self.spot.portfolio_ratio if self.spot else None
        if balance is None or ratio is None:
            return PoolReport(MULTI_SCOPE, nan, nan, None, ())
        required = balance * ratio / LIQUIDATION_RATIO
        return PoolReport(MULTI_SCOPE, balance, required, ratio, _marks(self.dexes.values()))

    def _portfolio_balance(self) -> float | None:
        """Equity under portfolio margin: what its dexes require, over the ratio that the venue computed from it.

        For an account that holds nothing but USDC this is the USDC total, to nine digits.
        """
        ratio = self.spot.portfolio_ratio if self.spot else None
        needed = [state.cross_maintenance for state in self.dexes.values()]
        if self.stands_for is not Abstraction.PORTFOLIO or not ratio or ratio < 0.0 or None in needed:
            return None
        if self._is_unread(None):
            return None
        total = sum(each or 0.0 for each in needed)
        return total / ratio if total > 0.0 else None


def _after(state: DexState, known: DexState | None) -> DexState:
    """A state whose unreadable positions stand where the known ones of their coins do."""
    before = {holding.coin: holding for holding in known.holdings} if known else {}
    if not any(holding.odd and holding.coin in before for holding in state.holdings):
        return state
    holdings = (it.after(before[it.coin]) if it.odd and it.coin in before else it for it in state.holdings)
    return replace(state, holdings=tuple(holdings))


def ruling_tiers(asset: Asset, holding: Holding) -> tuple[Tier, ...]:
    """The tiers that rule a position: its own maximum leverage before the table's, where the two contradict.

    Which of a table's leverages a large position is given is not documented: the first and the one at its notional both
    count as agreement.
    """
    stated = holding.max_leverage
    if stated is None:
        return asset.tiers
    here = [
        leverage for tier, leverage in zip(asset.tiers, asset.leverages, strict=True) if holding.value >= tier.floor
    ]
    if stated in (*asset.leverages[:1], *here[-1:]):
        return asset.tiers
    return (Tier(0.0, None, 1.0 / (2.0 * stated), 0.0),)


def _position(holding: Holding, at_ms: int, *, read: bool) -> Position:
    """One of a dex that cannot be read stands as it was told, on nobody knows what."""
    isolated = holding.margin_mode is MarginMode.ISOLATED
    return Position(
        instrument=holding.coin,
        slot=Slot.BOTH,
        size=holding.size,
        entry_price=holding.entry_price,
        margin_mode=holding.margin_mode,
        isolated_wallet=(holding.margin - holding.unrealized_pnl if read else nan) if isolated else 0.0,
        leverage=holding.leverage,
        mark_price=holding.mark_price if read and holding.mark_price == holding.mark_price else None,
        updated_ms=at_ms,
    )


def _profit(holdings: Iterable[Holding]) -> float:
    """Of cross positions; that of isolated ones is in their margin."""
    return sum(holding.unrealized_pnl for holding in holdings if holding.margin_mode is MarginMode.CROSS)


def _worth(position: Position | None, mark: float) -> float:
    """What a position adds to its account's equity beside the wallet, at a mark."""
    if position is None:
        return 0.0
    return position.isolated_wallet + position.size * (mark - position.entry_price)


def _marks(states: Iterable[DexState]) -> tuple[tuple[str, float], ...]:
    cross = (h for state in states for h in state.holdings if h.margin_mode is MarginMode.CROSS)
    return tuple((holding.coin, holding.mark_price) for holding in cross)


def same_cash(one: Wallet | None, other: Wallet | None) -> bool:
    """Whether two wallets hold the same, to rounding; an unknown one is like another unknown one."""
    if one is None or other is None:
        return one is other
    return _same(one.balance, other.balance)


def _same(one: float, other: float) -> bool:
    return (one != one and other != other) or isclose(one, other, rel_tol=1e-9, abs_tol=CASH_ROUNDING)


def same_position(one: Position | None, other: Position | None) -> bool:
    """Whether two positions are the same but for the mark and rounding."""
    if one is None or other is None:
        return one is other
    return (
        (one.size == other.size or (one.size != one.size and other.size != other.size))
        and one.margin_mode is other.margin_mode
        and one.leverage == other.leverage
        and _same(one.isolated_wallet, other.isolated_wallet)
        and _same(one.entry_price * one.size, other.entry_price * other.size)
    )
