"""What is known of one account: pushes and snapshots laid over each other, by time, key by key.

Every figure of a push is absolute, so applying one twice is harmless and only its age matters. OKX repeats everything
every few seconds; what says nothing new is not told on. A push of the last `REST_LAG_MS` before a snapshot's request is
trusted more than an answer that does not know it yet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isclose, nan

from connectors.okx.answers import Config
from connectors.okx.parse import AccountRow, CoinRow, PositionRow
from monitor.model.account import AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.events import PoolReport
from monitor.model.ids import MULTI_SCOPE, Slot, isolated_scope, side_of
from monitor.model.instrument import ContractKind, Instrument

REST_LAG_MS = 1000

DEFAULT_TAKER_FEE_RATE = 0.0005
"""Of a regular user; only used to complete a report that has no ratio."""

Key = tuple[str, Slot]
"""A position: symbol and slot."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The REST answers that make one snapshot, and the venue's time at which the first of them was asked for."""

    sent_ms: int
    config: Config
    balance: AccountRow
    positions: tuple[PositionRow, ...]
    others: frozenset[str]


@dataclass(slots=True)
class AccountState:
    """Modes, positions and wallets of one account."""

    account_mode: AccountMode = AccountMode.SINGLE_ASSET
    position_mode: PositionMode = PositionMode.ONE_WAY
    positions: dict[Key, Position] = field(default_factory=dict)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    _told_ms: dict[Key | str, int] = field(default_factory=dict)
    """When the last push that was applied to a position or a currency was made."""
    _floor_ms: int = 0
    """The last snapshot knows everything that happened up to here."""

    # --- pushes

    def _is_news(self, key: Key | str, at_ms: int) -> bool:
        return at_ms >= max(self._told_ms.get(key, 0), self._floor_ms)

    def move(self, rows: Iterable[PositionRow]) -> tuple[tuple[Position, ...], int]:
        """Apply positions. Returns those that changed, and how many rows were older than what is known (left out)."""
        changed, stale = [], 0
        for row in rows:
            key = (row.instrument, row.slot)
            if not self._is_news(key, row.at_ms):
                stale += 1
                continue
            self._told_ms[key] = row.at_ms
            known, found = self.positions.get(key), position(row)
            if row.size != 0.0:
                self.positions[key] = found
            else:
                self.positions.pop(key, None)
            if _differs(known, found) or (known is not None and known.adl_rank != found.adl_rank):
                changed.append(found)
        return tuple(changed), stale

    def close_absent(self, listed: Iterable[PositionRow], at_ms: int) -> tuple[Position, ...]:
        """The venue has listed everything that was open at a time: what it did not name is closed."""
        named = {(row.instrument, row.slot) for row in listed}
        gone = [
            key for key in self.positions if key not in named and at_ms > max(self._told_ms.get(key, 0), self._floor_ms)
        ]
        closed = []
        for key in gone:
            self._told_ms[key] = at_ms
            closed.append(replace(self.positions.pop(key), size=0.0, updated_ms=at_ms))
        return tuple(closed)

    def pay(self, row: AccountRow) -> tuple[tuple[Wallet, ...], int]:
        """Apply currencies. Returns those that changed, and how many were older than what is known (left out).

        A currency's own time stands still while only its price moves, so it is the account's time that orders pushes.
        """
        changed, stale = [], 0
        for coin in row.coins:
            if not self._is_news(coin.coin, row.at_ms):
                stale += 1
                continue
            self._told_ms[coin.coin] = row.at_ms
            known, found = self.wallets.get(coin.coin), self.wallet(coin, row.at_ms)
            if known is None and not found.balance:
                continue
            self.wallets[coin.coin] = found
            if known is None or not _same_wallet(known, found):
                changed.append(found)
        return tuple(changed), stale

    def wallet(self, coin: CoinRow, at_ms: int) -> Wallet:
        """A currency's cash, priced as the account's mode asks.

        In futures mode a currency is a pool of its own. In the others it counts in USD, less OKX's tiered discount,
        which is taken from OKX's own figures (``disEq`` / ``eqUsd``) because it goes by the amount. A debt is not
        discounted. Where a price or a discount is not told the value is unknown: a guess would be shown as safe.
        """
        if self.account_mode is AccountMode.SINGLE_ASSET:
            return Wallet(coin.coin, coin.cash, updated_ms=at_ms)
        price, haircut = coin.price_usd, 0.0
        if coin.cash > 0.0 and coin.equity_usd:
            counted = coin.discounted_usd
            haircut = nan if counted is None else min(1.0, max(0.0, 1.0 - counted / coin.equity_usd))
        unknown = price is None or haircut != haircut
        return Wallet(
            coin.coin, coin.cash, nan if price is None or unknown else price, 0.0 if unknown else haircut, at_ms
        )

    # --- snapshots

    def absorb(self, answers: Answers) -> list[Key | str]:
        """Lay a snapshot over what is known. Returns what it corrected: positions and coins that no push explained."""
        before, cash = dict(self.positions), {coin: wallet.balance for coin, wallet in self.wallets.items()}
        self.account_mode = answers.config.account_mode
        self.position_mode = answers.config.position_mode
        self._absorb_positions(answers)
        self._absorb_wallets(answers)
        self._floor_ms = answers.sent_ms - REST_LAG_MS
        self._told_ms = {key: at_ms for key, at_ms in self._told_ms.items() if at_ms > self._floor_ms}
        corrected: list[Key | str] = [
            key for key in before.keys() | self.positions.keys() if _differs(before.get(key), self.positions.get(key))
        ]
        now = {coin: wallet.balance for coin, wallet in self.wallets.items()}
        return corrected + [
            coin for coin in cash.keys() | now.keys() if not _same(cash.get(coin, 0.0), now.get(coin, 0.0))
        ]

    def _push_wins(self, key: Key | str, row_ms: int, sent_ms: int) -> bool:
        """Whether a push knows this key better: newer than the row, and maybe too new for the answer."""
        told_ms = self._told_ms.get(key, 0)
        return told_ms > row_ms and told_ms > sent_ms - REST_LAG_MS

    def _absorb_positions(self, answers: Answers) -> None:
        listed = {(row.instrument, row.slot): row for row in answers.positions}
        kept = {}
        for key in listed.keys() | self.positions.keys():
            row = listed.get(key)
            if self._push_wins(key, row.at_ms if row else 0, answers.sent_ms):
                if key in self.positions:
                    kept[key] = self.positions[key]
            elif row is not None:
                kept[key] = position(row)
        self.positions = kept

    def _absorb_wallets(self, answers: Answers) -> None:
        used = {row.coin for row in answers.positions} | self.wallets.keys()
        wallets = {}
        for coin in answers.balance.coins:
            known = self.wallets.get(coin.coin)
            found = self.wallet(coin, coin.at_ms)
            if known is not None and self._push_wins(coin.coin, coin.at_ms, answers.sent_ms):
                found = replace(found, balance=known.balance, updated_ms=known.updated_ms)
            if found.balance or coin.coin in used:
                wallets[coin.coin] = found
        self.wallets = wallets

    # --- what others need

    def needs(self) -> frozenset[str]:
        """Instruments whose marks move this account."""
        return frozenset(symbol for symbol, _ in self.positions)

    def reports(self, answers: Answers) -> tuple[PoolReport, ...]:
        """What the venue says about each pool; empty when its answer does not agree with a push that came since.

        Then something moved while the answers were taken, and a comparison with the model would show a difference that
        is not there. What OKX requires, its fee to close included, is equity / ratio, both its own figures.
        """
        told = {(row.instrument, row.slot): row.size for row in answers.positions}
        if told != {key: held.size for key, held in self.positions.items()}:
            return ()
        alone = [row for row in answers.positions if row.margin_mode is MarginMode.ISOLATED]
        shared = [row for row in answers.positions if row.margin_mode is MarginMode.CROSS]
        if self.account_mode is AccountMode.SINGLE_ASSET:
            divided = {row.coin for row in alone}
            found = [
                self._coin_report(coin, [r for r in shared if r.coin == coin.coin], coin.coin in divided)
                for coin in answers.balance.coins
            ]
        else:
            balance = answers.balance
            found = [
                self._report(
                    MULTI_SCOPE, balance.adjusted_equity, balance.maintenance_margin, balance.venue_ratio, shared
                )
            ]
        return tuple(report for report in (*map(self._isolated_report, alone), *found) if report is not None)

    def _isolated_report(self, row: PositionRow) -> PoolReport | None:
        if row.margin is None or row.unrealized_pnl is None:
            return None
        scope, equity = isolated_scope(row.instrument, side_of(row.size)), row.margin + row.unrealized_pnl
        return self._report(scope, equity, row.maintenance_margin, row.venue_ratio, [row])

    def _coin_report(self, coin: CoinRow, held: list[PositionRow], divided: bool) -> PoolReport | None:
        """None where the equity is not told, or is `divided` and the isolated positions' part of it is not told."""
        if coin.equity is None or (divided and coin.isolated_equity is None):
            return None
        equity = coin.equity - (coin.isolated_equity or 0.0)
        return self._report(coin.coin, equity, coin.maintenance_margin, coin.venue_ratio, held)

    def _report(
        self, scope: str, equity: float | None, required: float | None, ratio: float | None, held: list[PositionRow]
    ) -> PoolReport | None:
        if not held or equity is None:
            return None
        marks = tuple({row.instrument: row.mark_price for row in held if row.mark_price is not None}.items())
        if ratio is not None and ratio > 0.0 and equity > 0.0:
            return PoolReport(scope, equity, equity / ratio, ratio, marks)
        if required is None:
            return None
        fees = sum(self._fee(row) for row in held)
        return None if fees != fees else PoolReport(scope, equity, required + fees, ratio, marks)

    def _fee(self, row: PositionRow) -> float:
        """To close a position, in its pool's unit; nan when that is not known."""
        instrument = self.instruments.get(row.instrument)
        if instrument is None or row.mark_price is None:
            return nan
        rate = DEFAULT_TAKER_FEE_RATE if instrument.taker_fee_rate is None else instrument.taker_fee_rate
        inverse = instrument.kind is ContractKind.INVERSE
        notional = abs(row.size) * instrument.multiplier * (1.0 / row.mark_price if inverse else row.mark_price)
        if self.account_mode is AccountMode.SINGLE_ASSET or row.margin_mode is MarginMode.ISOLATED:
            return notional * rate
        wallet: Mapping[str, Wallet] = self.wallets
        return notional * rate * (wallet[row.coin].price if row.coin in wallet else nan)


def position(row: PositionRow) -> Position:
    """A row as a position."""
    return Position(
        instrument=row.instrument,
        slot=row.slot,
        size=row.size,
        entry_price=row.entry_price,
        margin_mode=row.margin_mode,
        isolated_wallet=row.margin or 0.0,
        leverage=row.leverage,
        mark_price=row.mark_price,
        updated_ms=row.at_ms,
        adl_rank=row.adl_rank,
    )


def _same(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _differs(known: Position | None, found: Position | None) -> bool:
    """Whether a position says anything that is not known. One that is closed and was not held says nothing."""
    if known is None or found is None:
        one = known or found
        return one is not None and one.size != 0.0
    return not (
        _same(known.size, found.size)
        and _same(known.entry_price, found.entry_price)
        and _same(known.isolated_wallet, found.isolated_wallet)
        and known.leverage == found.leverage
    )


def _same_wallet(known: Wallet, found: Wallet) -> bool:
    return _same(known.balance, found.balance) and (known.price, known.haircut) == (found.price, found.haircut)
