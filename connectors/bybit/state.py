"""What is known of one account: events and snapshots laid over each other, by sequence and time, key by key.

Every figure of an event is absolute, so applying one twice is harmless and only its age matters. A REST answer tells
the state at some moment after the request was sent, but Bybit says that its reads lag when markets are wild: an event
of the last `REST_LAG_MS` before the request is trusted more than an answer that does not know it yet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isclose, nan

from connectors.bybit.answers import Definitions, Mode, Step, WalletAnswer
from connectors.bybit.answers import instruments as instruments_of
from connectors.bybit.isolated import isolated_wallet
from connectors.bybit.parse import (
    INDEX_PREFIX,
    INVERSE,
    CoinRow,
    PositionRow,
    PositionUpdate,
    Totals,
    WalletUpdate,
    category_of,
)
from monitor.model.account import AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.events import AccountSnapshot, PoolReport, SnapshotReason
from monitor.model.ids import MULTI_SCOPE, Slot, isolated_scope, side_of
from monitor.model.instrument import ContractKind, Instrument

REST_LAG_MS = 2000
RATE_UNIT = 0.0001
"""The last digit of the rates, after which Bybit cuts off."""

MARKS_MOVE_MAX = 0.01
"""Marks do not move further between two answers to questions asked together. Value and maintenance follow them."""

USD_VALUE_MIN = 0.01
"""Values in USD below this have too few digits to tell a coin's price."""

DOLLARS = frozenset({"USDT", "USDC"})

Key = tuple[str, Slot]
"""A position: symbol and slot."""

Order = tuple[int, int]
"""What puts the states of one position in order: Bybit's sequence, and the time within it."""


def index_name(coin: str) -> str:
    """The instrument under which a coin's price in USD is marked."""
    return f"{INDEX_PREFIX}{coin}USD"


@dataclass(frozen=True, slots=True)
class Answers:
    """The REST answers that make one snapshot, and the venue's time at which the first of them was asked for."""

    sent_ms: int
    mode: Mode
    positions: tuple[PositionRow, ...]
    wallet: WalletAnswer
    indexes: Mapping[str, float]
    steps: Mapping[str, tuple[Step, ...]] | None
    """None where they were not told."""
    inverse_apart: bool = False


@dataclass(slots=True)
class AccountState:
    """Mode, positions and wallets of one account."""

    mode: Mode = Mode.CROSS
    inverse_apart: bool = False
    """Whether inverse contracts draw on an account of their own, of which nothing is read."""
    instruments: dict[str, Instrument] = field(default_factory=dict)
    rows: dict[Key, PositionRow] = field(default_factory=dict)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    indexes: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, tuple[Step, ...]] | None = None
    """As they were told last; None before they ever were."""
    _counts: dict[str, bool] = field(default_factory=dict)
    _owed: dict[str, float] = field(default_factory=dict)
    _told: dict[Key, tuple[Order, int]] = field(default_factory=dict)
    """Order and time of the last event that was applied to a position."""
    _told_ms: dict[str, int] = field(default_factory=dict)
    """Time of the last event that was applied to a coin."""
    _floor_ms: int = 0
    """The last snapshot knows everything that happened up to here."""

    @property
    def account_mode(self) -> AccountMode:
        """A unified account shares all its collateral, in isolated mode with nobody."""
        return AccountMode.PORTFOLIO if self.mode is Mode.PORTFOLIO else AccountMode.MULTI_ASSET

    @property
    def position_mode(self) -> PositionMode:
        """Bybit sets it for each symbol; one hedge is enough to call it so."""
        hedged = any(slot is not Slot.BOTH for _, slot in self.rows)
        return PositionMode.HEDGE if hedged else PositionMode.ONE_WAY

    # --- events

    def move(self, update: PositionUpdate) -> tuple[tuple[Position, ...], int]:
        """Apply positions of an event. Returns what changed, and how many were older than what is known (left out)."""
        changed, stale = [], 0
        for row in update.positions:
            key = (row.symbol, row.slot)
            if not self._is_news(key, row):
                stale += 1
                continue
            self._told[key] = (_order(row), update.at_ms)
            was_open = self.rows.pop(key, None) is not None
            if row.size != 0.0:
                self.rows[key] = row
            if row.size != 0.0 or was_open:
                changed.append(self.position(row))
        return tuple(changed), stale

    def _is_news(self, key: Key, row: PositionRow) -> bool:
        told = self._told.get(key)
        known = self.rows.get(key)
        orders = [told[0]] if told else []
        orders += [_order(known)] if known else []
        if orders:
            return not _is_older(_order(row), max(orders))
        return row.updated_ms >= self._floor_ms

    def pay(self, update: WalletUpdate) -> tuple[tuple[Wallet, ...], int]:
        """Apply coins of an event; like `move`."""
        changed, stale = [], 0
        for row in update.coins:
            held = self.wallets.get(row.coin)
            known_ms = max(self._told_ms.get(row.coin, 0), self._floor_ms, held.updated_ms if held else 0)
            if update.at_ms < known_ms:
                stale += 1
                continue
            self._told_ms[row.coin] = update.at_ms
            self.wallets[row.coin] = self.wallet(row, update.at_ms)
            changed.append(self.wallets[row.coin])
        return tuple(changed), stale

    # --- snapshots

    def absorb(self, answers: Answers) -> list[Key | str]:
        """Lay a snapshot over what is known. Returns what it corrected: positions and coins that no event explained."""
        before = dict(self.rows), dict(self.wallets)
        same_mode = self.mode is answers.mode
        self.mode, self.inverse_apart = answers.mode, answers.inverse_apart
        self.indexes = dict(answers.indexes)
        self.steps = self.steps if answers.steps is None else answers.steps
        self._absorb_positions(answers)
        self._absorb_wallets(answers)
        self._floor_ms = answers.sent_ms - REST_LAG_MS
        self._told = {key: told for key, told in self._told.items() if told[1] > self._floor_ms}
        self._told_ms = {coin: at_ms for coin, at_ms in self._told_ms.items() if at_ms > self._floor_ms}
        return self._corrected(*before) if same_mode else []

    def _absorb_positions(self, answers: Answers) -> None:
        listed = {(row.symbol, row.slot): row for row in answers.positions}
        recent = {key: told[0] for key, told in self._told.items() if told[1] > answers.sent_ms - REST_LAG_MS}
        kept = {key: row for key, row in self.rows.items() if key in recent and key not in listed}
        for key, row in listed.items():
            if key not in recent or not _is_older(_order(row), recent[key]):
                kept[key] = row
            elif key in self.rows:
                kept[key] = self.rows[key]
        self.rows = kept

    def _absorb_wallets(self, answers: Answers) -> None:
        recent = {coin: ms for coin, ms in self._told_ms.items() if ms > answers.sent_ms - REST_LAG_MS}
        # An answer leaves out coins of which there is nothing, as far as it knows yet.
        wallets = {coin: held for coin, held in self.wallets.items() if coin in recent}
        for row in answers.wallet.coins:
            held = self.wallets.get(row.coin)
            told_ms = recent.get(row.coin, 0)
            if held is not None and told_ms:
                row = replace(row, balance=held.balance, owed=self._owed.get(row.coin))
                wallets[row.coin] = self.wallet(row, told_ms)
            elif row.balance != 0.0 or row.equity or (row.owed is None and row.equity is None):
                wallets[row.coin] = self.wallet(row, answers.sent_ms)
        self.wallets = wallets

    def load(self, told: Definitions) -> tuple[Instrument, ...]:
        """Take over contracts that are held. Returns what is new or changed.

        A table that lacks a contract for once does not unlearn its tiers, nor its fee.
        """
        known = self.instruments
        tiers = {symbol: it.tiers for symbol, it in known.items() if it.tiers} | dict(told.tiers)
        fees = {symbol: it.taker_fee_rate for symbol, it in known.items() if it.taker_fee_rate is not None}
        found = instruments_of(told.contracts, tiers, fees | dict(told.fees))
        changed = tuple(it for symbol, it in found.items() if known.get(symbol) != it)
        self.instruments.update(found)
        return changed

    def seems_another_mode(self, totals: Totals | None) -> bool:
        """Whether the figures of the account say so: they are empty in isolated mode, and in no other."""
        if totals is None or totals.maintenance_margin == 0.0:
            return False
        return (totals.maintenance_margin is None) is not (self.mode is Mode.ISOLATED)

    def margin_wallets(self) -> tuple[Wallet, ...]:
        """All wallets, and the empty ones."""
        return (*self.wallets.values(), *self.empty_wallets())

    def empty_wallets(self) -> tuple[Wallet, ...]:
        """One for each margin coin in use that the account holds nothing of: the positions need its price."""
        coins = dict.fromkeys(it.margin_coin for symbol, _ in self.rows if (it := self.instruments.get(symbol)))
        return tuple(Wallet(coin, 0.0, self._price(None, coin)) for coin in coins if coin not in self.wallets)

    def wallet(self, row: CoinRow, at_ms: int) -> Wallet:
        """A coin with its price in USD, and the share of it that does not count as collateral."""
        if row.counts is not None:
            self._counts[row.coin] = row.counts
        balance = row.balance
        if row.owed is None:  # a debt that is not told is not paid, and one that never was told may be any
            balance -= self._owed.get(row.coin, nan)
        else:
            self._owed[row.coin] = row.owed
        return Wallet(row.coin, balance, self._price(row, row.coin), self._haircut(row.coin, balance), at_ms)

    def _price(self, row: CoinRow | None, coin: str) -> float:
        """By Bybit's own valuation where it has digits enough, else its index; nan when nobody tells."""
        if row is not None and row.equity and row.usd_value and abs(row.usd_value) >= USD_VALUE_MIN:
            price = row.usd_value / row.equity
            if price > 0.0:
                return price
        held = self.wallets.get(coin)
        if held is not None and held.price == held.price:
            return held.price
        return self.indexes.get(coin) or (1.0 if coin in DOLLARS else self._price_by_mark(coin))

    def _price_by_mark(self, coin: str) -> float:
        """An inverse contract quotes its coin in USD."""
        marks = (
            row.mark_price
            for row in self.rows.values()
            if row.mark_price and (it := self.instruments.get(row.symbol))
            if it.margin_coin == coin and it.kind is ContractKind.INVERSE
        )
        return next(marks, nan)

    def _haircut(self, coin: str, balance: float) -> float:
        """What the collateral ratio leaves out, step by step; everything where the coin is no collateral.

        nan where nobody ever told the ratios of an account that shares its collateral.
        """
        steps = {} if self.steps is None else self.steps
        if not balance > 0.0 or (coin in DOLLARS and coin not in steps):
            return 0.0
        if not self._counts.get(coin, True) or self.mode is Mode.ISOLATED:
            return 1.0
        if self.steps is None:
            return nan
        counted, floor = 0.0, 0.0
        for limit, share in steps.get(coin, ()):
            counted += share * max(0.0, min(balance, limit) - floor)
            floor = limit
        return 1.0 - counted / balance

    def _corrected(self, rows: Mapping[Key, PositionRow], wallets: Mapping[str, Wallet]) -> list[Key | str]:
        corrected: list[Key | str] = [
            key for key in rows.keys() | self.rows.keys() if not _same_size(rows.get(key), self.rows.get(key))
        ]
        corrected += [
            coin
            for coin in wallets.keys() | self.wallets.keys()
            if not _same_balance(_balance_of(wallets.get(coin)), _balance_of(self.wallets.get(coin)))
        ]
        return corrected

    # --- what others need

    def position(self, row: PositionRow) -> Position:
        """A row as the account's mode makes it."""
        apart = self._is_apart(row)
        isolated = apart or self.mode is Mode.ISOLATED
        wallet = 0.0
        if isolated and row.size:
            wallet = nan if apart else isolated_wallet(row, self.instruments.get(row.symbol))
        return Position(
            instrument=row.symbol,
            slot=row.slot,
            size=row.size,
            entry_price=row.entry_price,
            margin_mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
            isolated_wallet=wallet,
            leverage=row.leverage,
            mark_price=row.mark_price,
            updated_ms=row.updated_ms,
            adl_rank=row.adl_rank,
        )

    def positions(self) -> tuple[Position, ...]:
        """Every open position."""
        return tuple(self.position(row) for row in self.rows.values())

    def snapshot(
        self, venue: str, account: str, feed: str, reason: SnapshotReason, answers: Answers
    ) -> AccountSnapshot:
        """Everything, as it is after `absorb`."""
        return AccountSnapshot(
            venue=venue,
            account=account,
            feed=feed,
            at_ms=answers.sent_ms,
            reason=reason,
            account_mode=self.account_mode,
            position_mode=self.position_mode,
            wallets=self.margin_wallets(),
            positions=self.positions(),
            reports=self.reports(answers),
        )

    def collateral(self) -> frozenset[str]:
        """Coins beside the dollars that are owned or owed and so move the account with their price."""
        return frozenset(coin for coin, it in self.wallets.items() if it.balance != 0.0 and coin not in DOLLARS)

    def lacks_ratios(self) -> bool:
        """Whether coins are owned of which it is not known what they count for."""
        return any(wallet.haircut != wallet.haircut for wallet in self.wallets.values())

    def symbols(self) -> frozenset[str]:
        """Contracts that are held."""
        return frozenset(symbol for symbol, _ in self.rows)

    def needs(self) -> frozenset[str]:
        """Instruments whose marks move this account."""
        held = set(self.symbols())
        if held and self.mode is not Mode.ISOLATED:
            held |= {index_name(coin) for coin in self.collateral() if coin in self.indexes}
        return frozenset(held)

    def apart(self) -> frozenset[str]:
        """Contracts that are held in an account of their own: what they stand on is not known."""
        return frozenset(row.symbol for row in self.rows.values() if self._is_apart(row))

    def _is_apart(self, row: PositionRow) -> bool:
        return self.inverse_apart and category_of(row.symbol) == INVERSE

    def _pool_rows(self) -> list[PositionRow]:
        """Positions that share the collateral of the account, where its mode is one in which they do."""
        return [row for row in self.rows.values() if not self._is_apart(row)]

    def agrees(self, answers: Answers) -> bool:
        """Whether answers tell what is held, after `absorb`: sizes of all positions, balances of all coins less debts.

        If not, something moved while they were taken or before they knew, and a comparison with the model would show a
        difference that is not there.
        """
        sizes = {(row.symbol, row.slot): row.size for row in answers.positions}
        if sizes != {key: row.size for key, row in self.rows.items()}:
            return False
        told = {row.coin: self._net(row) for row in answers.wallet.coins}
        return all(
            _same_amount(told.get(coin, 0.0), _balance_of(self.wallets.get(coin)))
            for coin in told.keys() | self.wallets.keys()
        )

    def _net(self, row: CoinRow) -> float:
        """What is owned less what is owed; a debt that is not told is the one that was told last."""
        return row.balance - (self._owed.get(row.coin, nan) if row.owed is None else 0.0)

    def reports(self, answers: Answers) -> tuple[PoolReport, ...]:
        """What the venue says about each pool, after `absorb`.

        A row tells all of an isolated position. Of a whole account two answers tell, which must agree with what is
        held; under portfolio margin they are taken anyway, because nothing but a report tells what is required.
        """
        if self.mode is Mode.ISOLATED:
            found = (self._isolated_report(row) for row in self.rows.values())
            return tuple(report for report in found if report is not None)
        if not self._pool_rows():
            return ()
        agrees = self.agrees(answers)
        if self.mode is Mode.PORTFOLIO:
            return (self._account_report(answers.wallet, agrees=agrees),)
        totals = answers.wallet.totals
        told = totals.margin_balance is not None and totals.maintenance_margin is not None
        return (self._account_report(answers.wallet, agrees=True),) if agrees and told else ()

    def _isolated_report(self, row: PositionRow) -> PoolReport | None:
        wallet = self.position(row).isolated_wallet
        if row.maintenance_margin is None or row.unrealized_pnl is None or wallet != wallet:
            return None
        scope = isolated_scope(row.symbol, side_of(row.size))
        return PoolReport(scope, wallet + row.unrealized_pnl, row.maintenance_margin, None, _marks([row]))

    def _account_report(self, wallet: WalletAnswer, *, agrees: bool) -> PoolReport:
        """The account as a whole; nan for a figure that is left empty. `agrees`: see `agrees`."""
        totals = wallet.totals
        indexes = tuple((name, self.indexes[name.removeprefix(INDEX_PREFIX)[:-3]]) for name in self._index_names())
        balance = nan if totals.margin_balance is None else totals.margin_balance
        maintenance = nan if totals.maintenance_margin is None else totals.maintenance_margin
        balance = effective_balance(balance, maintenance, totals.maintenance_rate)
        if agrees and all(row.symbol in self.instruments for row in self._pool_rows()):
            balance += self._pnl_moved(wallet)
            maintenance += self._maintenance_moved(wallet)
        return PoolReport(
            MULTI_SCOPE, balance, maintenance, totals.maintenance_rate, _marks(self._pool_rows()) + indexes
        )

    def _pnl_moved(self, wallet: WalletAnswer) -> float:
        """By how much profit, in USD, moved from the wallet's answer to that of the positions.

        The two are asked for together and made at different marks; the report is to be true at the positions'. The
        account's ``totalPerpUPL`` is the profit of perpetuals and futures alone (API, "Get Wallet Balance"), so what it
        differs by is the move of the marks and nothing else, as long as every one of them is among the positions. Where
        a coin has margin or profit and no position here, the difference may be that coin's: then it only frightens.
        """
        prices, rows = self._prices(), self._pool_rows()
        pnl = sum((_or_nan(row.unrealized_pnl) * prices.get(self._margin_coin(row), nan) for row in rows), start=0.0)
        moved = pnl - _or_nan(wallet.totals.perp_pnl)
        if not abs(moved) <= MARKS_MOVE_MAX * sum(map(_value, rows)):
            return 0.0
        seen = {self._margin_coin(row) for row in rows}
        whole = all(coin.coin in seen or not (coin.unrealized_pnl or coin.maintenance_margin) for coin in wallet.coins)
        return moved if whole else min(0.0, moved)

    def _maintenance_moved(self, wallet: WalletAnswer) -> float:
        """Likewise of maintenance, coin by coin.

        It moves with the marks in proportion, so a difference of more than their share of it is something else: options
        in this coin, or a rule for hedges. The venue's figure stands then.
        """
        prices, moved = self._prices(), 0.0
        for coin in wallet.coins:
            rows = [row for row in self._pool_rows() if self._margin_coin(row) == coin.coin]
            required = sum((_or_nan(row.maintenance_margin) for row in rows), start=0.0)
            difference = required - _or_nan(coin.maintenance_margin)
            value = difference * prices.get(coin.coin, nan)
            if abs(difference) <= MARKS_MOVE_MAX * required and value == value:
                moved += value
        return moved

    def _prices(self) -> dict[str, float]:
        return {wallet.coin: wallet.price for wallet in self.margin_wallets()}

    def _margin_coin(self, row: PositionRow) -> str:
        instrument = self.instruments.get(row.symbol)
        return instrument.margin_coin if instrument else ""

    def _index_names(self) -> list[str]:
        return sorted(name for name in self.needs() if name.startswith(INDEX_PREFIX))


def effective_balance(balance: float, maintenance: float, rate: float | None) -> float:
    """The balance that Bybit's own rate is reckoned with.

    accountMMRate = maintenance / (margin balance - haircut loss of open spot orders + order loss); Bybit does not state
    the losses. A rate that is higher than without them shows what they take away, to its last digit, which is cut off.
    """
    told = rate is not None and maintenance > 0.0 and balance > 0.0
    if rate is None or not told or rate <= maintenance / balance:
        return balance
    return maintenance / (rate + RATE_UNIT)


def _or_nan(figure: float | None) -> float:
    return nan if figure is None else figure


def _value(row: PositionRow) -> float:
    """Value at the mark, in dollars or what comes near them."""
    inverse = category_of(row.symbol) == INVERSE
    return abs(row.size) if inverse else abs(row.size) * (row.mark_price or row.entry_price)


def _marks(rows: Iterable[PositionRow]) -> tuple[tuple[str, float], ...]:
    return tuple({row.symbol: row.mark_price for row in rows if row.mark_price is not None}.items())


def _order(row: PositionRow) -> Order:
    return row.seq, row.updated_ms


def _is_older(one: Order, other: Order) -> bool:
    """By sequence where both have one, and by time within it: leverage and margin move without a new sequence."""
    if one[0] > 0 and other[0] > 0 and one[0] != other[0]:
        return one[0] < other[0]
    return one[1] < other[1]


def _balance_of(wallet: Wallet | None) -> float:
    return wallet.balance if wallet else 0.0


def _same_amount(one: float, other: float) -> bool:
    both_unknown = one != one and other != other
    return both_unknown or isclose(one, other, rel_tol=1e-9, abs_tol=2e-8)


def _same_balance(one: float, other: float) -> bool:
    """A debt grows by its interest every hour; whether an event tells of that is not documented."""
    return _same_amount(one, other) or (one < 0.0 and other < 0.0)


def _same_size(one: PositionRow | None, other: PositionRow | None) -> bool:
    if one is None or other is None:
        return one is other
    return _same_amount(one.size, other.size)
