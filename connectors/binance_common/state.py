"""What is known of one account: events and snapshots laid over each other, by time, key by key.

Every figure of an event is absolute, so applying one twice is harmless and only its age matters. A REST answer tells
the state at some moment after the request was sent, but Binance answers from copies that may lag: an event of the last
`REST_LAG_MS` before the request is trusted more than an answer that does not know it yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isclose, isnan, nan

from connectors.binance_common.answers import (
    AccountAnswer,
    AssetIndex,
    Modes,
    RiskRow,
    SymbolConfig,
)
from connectors.binance_common.parse import INDEX_PREFIX, AccountUpdate, PositionRow, RiskLevel
from monitor.model.account import AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.ids import Slot

REST_LAG_MS = 1000

Key = tuple[str, Slot]
"""A position: symbol and slot."""


def index_name(coin: str) -> str:
    """The instrument under which a coin's index price is marked."""
    return f"{INDEX_PREFIX}{coin}USD"


@dataclass(frozen=True, slots=True)
class Answers:
    """The REST answers that make one snapshot, and the venue's time at which the first of them was asked for."""

    sent_ms: int
    modes: Modes
    configs: Mapping[str, SymbolConfig]
    account: AccountAnswer
    risk: tuple[RiskRow, ...]
    indexes: Mapping[str, AssetIndex]
    uni_mmr: float | None = None
    level: RiskLevel | None = None
    """Under portfolio margin."""

    @property
    def unusable(self) -> int:
        """How many positions lack a price, and whether the totals lack a figure: they stand, but not all is known."""
        totals = self.account.total_margin_balance + self.account.total_maintenance_margin
        return sum(not row.is_whole for row in self.risk) + isnan(totals)


@dataclass(slots=True)
class AccountState:
    """Modes, positions and wallets of one account."""

    account_mode: AccountMode = AccountMode.SINGLE_ASSET
    position_mode: PositionMode = PositionMode.ONE_WAY
    configs: dict[str, SymbolConfig] = field(default_factory=dict)
    positions: dict[Key, Position] = field(default_factory=dict)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    indexes: dict[str, AssetIndex] = field(default_factory=dict)
    margin_coins: frozenset[str] = frozenset()
    _told_ms: dict[Key | str, int] = field(default_factory=dict)
    """When the last event that was applied to a position or a coin happened."""
    _floor_ms: int = 0
    """The last snapshot knows everything that happened up to here."""

    # --- events

    def update(self, update: AccountUpdate) -> tuple[tuple[Wallet, ...], tuple[Position, ...], int]:
        """Apply an event. Returns what changed, and how many figures were older than what is known (left out)."""
        wallets = [wallet for row in update.balances if (wallet := self._balance(row, update.at_ms)) is not None]
        fresh = [row for row in update.positions if self._is_news((row.symbol, row.slot), update.at_ms)]
        positions = [position for row in fresh if (position := self._move(row, update.at_ms)) is not None]
        stale = len(update.balances) - len(wallets) + len(update.positions) - len(fresh)
        return tuple(wallets), tuple(positions), stale

    def _known_ms(self, key: Key | str) -> int:
        held = self.wallets.get(key) if isinstance(key, str) else self.positions.get(key)
        return max(self._told_ms.get(key, 0), self._floor_ms, 0 if held is None else held.updated_ms)

    def _is_news(self, key: Key | str, at_ms: int) -> bool:
        return at_ms >= self._known_ms(key)

    def _balance(self, row: tuple[str, float], at_ms: int) -> Wallet | None:
        coin, balance = row
        if not self._is_news(coin, at_ms):
            return None
        self._told_ms[coin] = at_ms
        self.wallets[coin] = self.wallet(coin, balance, at_ms)
        return self.wallets[coin]

    def _move(self, row: PositionRow, at_ms: int) -> Position | None:
        """The position after a row of an event; None where nothing was held and nothing is."""
        key = (row.symbol, row.slot)
        self._told_ms[key] = at_ms
        config = self.configs.get(row.symbol)
        leverage = config.leverage if config else None
        self.configs[row.symbol] = SymbolConfig(row.margin_mode, leverage)
        position = Position(
            instrument=row.symbol,
            slot=row.slot,
            size=row.size,
            entry_price=row.entry_price,
            margin_mode=row.margin_mode,
            isolated_wallet=row.isolated_wallet,
            leverage=leverage,
            mark_price=row.mark_price,
            updated_ms=at_ms,
        )
        if row.size != 0.0:
            self.positions[key] = position
            return position
        return position if self.positions.pop(key, None) is not None else None

    def leverage(self, symbol: str, leverage: float) -> tuple[Position, ...]:
        """Apply a new leverage; returns the positions that carry it."""
        config = self.configs.get(symbol, SymbolConfig(MarginMode.CROSS, None))
        self.configs[symbol] = replace(config, leverage=leverage)
        changed = {key: replace(held, leverage=leverage) for key, held in self.positions.items() if key[0] == symbol}
        self.positions.update(changed)
        return tuple(changed.values())

    # --- snapshots

    def absorb(self, answers: Answers) -> list[Key | str]:
        """Lay a snapshot over what is known. Returns what it corrected: positions and coins that no event explained."""
        before = (dict(self.positions), dict(self.wallets))
        self.account_mode = answers.modes.account_mode
        self.position_mode = answers.modes.position_mode
        # One that is not told any more has no price, but its stream is still needed: what ends there is noticed.
        untold = {name: replace(index, index=nan) for name, index in self.indexes.items()}
        self.indexes = {**untold, **answers.indexes}
        self.configs = dict(answers.configs)
        self._absorb_positions(answers)
        self._absorb_wallets(answers)
        self._floor_ms = answers.sent_ms - REST_LAG_MS
        self._told_ms = {key: at_ms for key, at_ms in self._told_ms.items() if at_ms > self._floor_ms}
        return self._corrected(*before)

    def _event_wins(self, key: Key | str, row_ms: int, sent_ms: int) -> bool:
        """Whether an event knows this key better: newer than the row, and maybe too new for the copy that answered."""
        told_ms = self._told_ms.get(key, 0)
        return told_ms > row_ms and told_ms > sent_ms - REST_LAG_MS

    def _absorb_positions(self, answers: Answers) -> None:
        listed = {(row.symbol, row.slot): row for row in answers.risk}
        kept = {
            key: held
            for key, held in self.positions.items()
            if key not in listed and self._event_wins(key, 0, answers.sent_ms)
        }
        for key, row in listed.items():
            if self._event_wins(key, row.updated_ms, answers.sent_ms):
                if key in self.positions:
                    kept[key] = self.positions[key]
            else:
                kept[key] = self._position(row, self.positions.get(key))
        self.positions = kept

    def _position(self, row: RiskRow, held: Position | None) -> Position:
        """A row as a position. One without an entry price keeps the entry that is known for the very same size."""
        config = self.configs.get(row.symbol)
        if config is None:
            mode = MarginMode.ISOLATED if row.isolated_wallet != 0.0 else MarginMode.CROSS
            config = SymbolConfig(mode, None)
        isolated = config.margin_mode is MarginMode.ISOLATED
        entry_price = row.entry_price
        if isnan(entry_price) and held is not None and held.size == row.size:
            entry_price = held.entry_price
        return Position(
            instrument=row.symbol,
            slot=row.slot,
            size=row.size,
            entry_price=entry_price,
            margin_mode=config.margin_mode,
            isolated_wallet=row.isolated_wallet if isolated else 0.0,
            leverage=config.leverage,
            mark_price=row.mark_price,
            updated_ms=row.updated_ms,
        )

    def _absorb_wallets(self, answers: Answers) -> None:
        listed = {row.coin: row for row in answers.account.assets}
        in_use = {row.margin_coin for row in answers.risk} | {coin for coin in self.wallets if coin in listed}
        wallets = {}
        for coin, row in listed.items():
            if self._event_wins(coin, row.updated_ms, answers.sent_ms) and coin in self.wallets:
                held = self.wallets[coin]
                wallets[coin] = self.wallet(coin, held.balance, held.updated_ms)
            elif row.cross_wallet != 0.0 or coin in in_use:
                wallets[coin] = self.wallet(coin, row.cross_wallet, row.updated_ms)
        self.wallets = wallets

    def wallet(self, coin: str, balance: float, at_ms: int) -> Wallet:
        """A coin's cross wallet, priced as the account's mode asks.

        In multi-assets mode the price is the coin's USD index and the haircut its buffer, so that
        balance * price * (1 - haircut) is Binance's own valuation for both signs. A coin that does not count as margin
        has haircut 1; one whose index is not known has price nan, also while its wallet is empty: a position may be
        margined in it, and a guess would be shown as safe.
        """
        if self.account_mode is AccountMode.SINGLE_ASSET:
            return Wallet(coin, balance, updated_ms=at_ms)
        index = self.indexes.get(f"{coin}USD")
        if index is not None:
            return Wallet(coin, balance, index.index, index.haircut(balance), at_ms)
        counts = not self.margin_coins or coin in self.margin_coins or balance < 0.0
        return Wallet(coin, balance, nan, 0.0 if counts else 1.0, at_ms)

    def _corrected(self, positions: Mapping[Key, Position], wallets: Mapping[str, Wallet]) -> list[Key | str]:
        corrected: list[Key | str] = [
            key
            for key in positions.keys() | self.positions.keys()
            if not _same_position(positions.get(key), self.positions.get(key))
        ]
        if self.account_mode is AccountMode.PORTFOLIO:
            return corrected  # its collateral moves with prices, which no event tells
        corrected += [
            coin
            for coin in wallets.keys() | self.wallets.keys()
            if not same_amount(balance_of(wallets.get(coin)), balance_of(self.wallets.get(coin)))
        ]
        return corrected

    # --- what others need

    def needs(self) -> frozenset[str]:
        """Instruments whose marks move this account."""
        held = {symbol for symbol, _ in self.positions}
        if held and self.account_mode is AccountMode.MULTI_ASSET:
            held |= {index_name(coin) for coin in self.wallets if f"{coin}USD" in self.indexes}
        return frozenset(held)


def balance_of(wallet: Wallet | None) -> float:
    """Of a coin whose wallet may not be kept, because it is empty."""
    return wallet.balance if wallet else 0.0


def same_amount(one: float, other: float) -> bool:
    """Equal as the venue prints: eight decimals, of which it rounds the last differently in two ways of telling."""
    return isclose(one, other, rel_tol=1e-9, abs_tol=2e-8)


def _same_position(one: Position | None, other: Position | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        same_amount(one.size, other.size)
        and one.margin_mode is other.margin_mode
        and same_amount(one.isolated_wallet, other.isolated_wallet)
    )
