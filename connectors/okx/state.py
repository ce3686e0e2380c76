"""What is known of one account: pushes and snapshots laid over each other, by time, key by key.

Every figure of a push is absolute, so applying one twice is harmless and only its age matters. OKX repeats everything
every few seconds; what says nothing new is not told on. A push of the last `REST_LAG_MS` before a snapshot's request is
trusted more than an answer that does not know it yet.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isclose, nan

from connectors.okx.answers import Config
from connectors.okx.parse import DOLLAR, AccountRow, CoinRow, Other, PositionRow, index_name, is_swap
from monitor.model.account import AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.events import PoolReport
from monitor.model.ids import MULTI_SCOPE, Slot, isolated_scope, side_of
from monitor.model.instrument import ContractKind, Instrument, Tier

REST_LAG_MS = 1000

DOLLARS = frozenset({"USD", "USDT", "USDC", "USDG"})
"""What is a dollar in all but name counts as one where OKX leaves its price or its discount empty."""

INDEXES_MAX = 100
"""Currencies whose index is read. OKX sends each up to ten times a second, and accounts hold dust of many coins: what
is worth less than the first hundred is priced by each push of the account."""

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
    others: frozenset[Other]


@dataclass(slots=True)
class AccountState:
    """Modes, positions and wallets of one account."""

    account_mode: AccountMode = AccountMode.SINGLE_ASSET
    position_mode: PositionMode = PositionMode.ONE_WAY
    positions: dict[Key, Position] = field(default_factory=dict)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    reported: frozenset[str] = frozenset()
    """Scopes of pools that hold what is not computed: contracts that expire, options, borrowed coins."""
    indexed: frozenset[str] = frozenset()
    """Currencies whose price is to be read from its index."""
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
        What a whole set does not name is empty.
        """
        changed, stale = [], 0
        for coin in row.coins:
            if not self._is_news(coin.coin, row.at_ms):
                stale += 1
                continue
            self._told_ms[coin.coin] = row.at_ms
            known, found = self.wallets.get(coin.coin), self.wallet(coin, row.at_ms)
            if known is None and not found.balance and not found.profit:
                continue
            self.wallets[coin.coin] = found
            if known is None or not _same_wallet(known, found):
                changed.append(found)
        if row.whole:
            changed += self._empty_absent({coin.coin for coin in row.coins}, row.at_ms)
        return tuple(changed), stale

    def _empty_absent(self, named: Collection[str], at_ms: int) -> list[Wallet]:
        emptied = []
        for coin, held in self.wallets.items():
            gone = coin not in named and at_ms > max(self._told_ms.get(coin, 0), self._floor_ms)
            if gone and (held.balance or held.profit):
                emptied.append(replace(held, balance=0.0, profit=0.0, updated_ms=at_ms))
        for wallet in emptied:
            self._told_ms[wallet.coin] = at_ms
            self.wallets[wallet.coin] = wallet
        return emptied

    def wallet(self, coin: CoinRow, at_ms: int) -> Wallet:
        """A currency's cash, priced as the account's mode asks.

        In futures mode a currency is a pool of its own. In the others it counts in USD, less OKX's tiered discount,
        which OKX takes on the currency's equity, that is on cash and profit together (help centre, "multi-currency
        margin"); a debt is not discounted. What counts is taken from OKX's own figure (``disEq``), because the discount
        goes by the amount. So at each report and each push, which OKX repeats every 5 s, the pool's balance is OKX's.

        In between, the discounted equity moves with the currency's index, and what positions have gained or lost since
        counts in full, because a pool adds profits up: a loss by the discounted share of it too much, which errs
        towards danger, and a gain too, by haircut * what was gained since the last push. (In a discount in steps the
        haircut of what is added is that of the highest step, and not the mean.)

        Where a price or a discount is not told the value is unknown: a guess would be shown as safe.
        """
        if self.account_mode is AccountMode.SINGLE_ASSET:
            return Wallet(coin.coin, coin.cash, updated_ms=at_ms)
        price, profit = _price(coin), _profit(coin)
        if coin.coin in DOLLARS and coin.discounted_usd is None:
            return Wallet(coin.coin, coin.cash, price, updated_ms=at_ms)  # in full, and so profit counts as it is
        owned = coin.cash + profit
        if owned <= 0.0:
            return Wallet(coin.coin, coin.cash, price, 0.0, at_ms, profit)
        counted = nan if coin.discounted_usd is None else coin.discounted_usd / price
        haircut = 1.0 - counted / owned
        if haircut != haircut:
            return Wallet(coin.coin, coin.cash, nan, nan, at_ms, profit)
        return Wallet(coin.coin, coin.cash, price, max(0.0, haircut), at_ms, profit)

    # --- snapshots

    def absorb(self, answers: Answers) -> list[Key | str]:
        """Lay a snapshot over what is known. Returns what it corrected: positions and coins that no push explained."""
        before, cash = dict(self.positions), {coin: wallet.balance for coin, wallet in self.wallets.items()}
        same_mode = self.account_mode is answers.config.account_mode
        self.account_mode = answers.config.account_mode
        self.position_mode = answers.config.position_mode
        self._absorb_positions(answers)
        self._absorb_wallets(answers, same_mode=same_mode)
        self.reported = self._not_computed(answers)
        self._floor_ms = answers.sent_ms - REST_LAG_MS
        self._told_ms = {key: at_ms for key, at_ms in self._told_ms.items() if at_ms > self._floor_ms}
        corrected: list[Key | str] = [
            key
            for key in before.keys() | self.positions.keys()
            if _differs(before.get(key), self.positions.get(key))
            if not is_unread(before.get(key)) and not is_unread(self.positions.get(key))
        ]
        now = {coin: wallet.balance for coin, wallet in self.wallets.items()}
        return corrected + [
            coin for coin in cash.keys() | now.keys() if _contradicts(cash.get(coin, 0.0), now.get(coin, 0.0))
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

    def _absorb_wallets(self, answers: Answers, *, same_mode: bool) -> None:
        used = {row.coin for row in answers.positions} | self.wallets.keys()
        wallets = {}
        for coin in answers.balance.coins:
            known = self.wallets.get(coin.coin)
            found = self.wallet(coin, coin.at_ms)
            if known is not None and self._push_wins(coin.coin, coin.at_ms, answers.sent_ms):
                found = known if same_mode else replace(found, balance=known.balance, updated_ms=known.updated_ms)
            if found.balance or coin.coin in used:
                wallets[coin.coin] = found
        for row in answers.positions:
            if row.margin_mode is MarginMode.CROSS and row.coin not in wallets:
                wallets[row.coin] = self._empty(row, answers.sent_ms)
        self.wallets = wallets

    def _empty(self, row: PositionRow, at_ms: int) -> Wallet:
        """OKX lists no currency without a balance, but the positions that it margins need its price."""
        if self.account_mode is AccountMode.SINGLE_ASSET:
            return Wallet(row.coin, 0.0, updated_ms=at_ms)
        return Wallet(row.coin, 0.0, row.coin_price_usd or (1.0 if row.coin in DOLLARS else nan), updated_ms=at_ms)

    def _not_computed(self, answers: Answers) -> frozenset[str]:
        """The scopes of pools in which something else than a swap stands."""
        single = self.account_mode is AccountMode.SINGLE_ASSET
        found = set()
        for row in answers.positions:
            if not is_swap(row.instrument):
                found.add(self._scope(row.instrument, row.size, row.margin_mode, row.coin))
        for other in answers.others:
            if other.margin_mode is not MarginMode.ISOLATED:
                found.add(other.coin if single else MULTI_SCOPE)
        return frozenset(found)

    def _scope(self, symbol: str, size: float, mode: MarginMode, coin: str) -> str:
        if mode is MarginMode.ISOLATED:
            return isolated_scope(symbol, side_of(size))
        return coin if self.account_mode is AccountMode.SINGLE_ASSET else MULTI_SCOPE

    def follow_indexes(self, listed: Collection[str]) -> None:
        """Choose the currencies whose index is to be read, among those that have one.

        One that was chosen stays until it is gone: an index that is no longer read would keep its last price.
        """
        if self.account_mode is AccountMode.SINGLE_ASSET:
            self.indexed = frozenset()
            return
        worth = {coin: abs((it.balance + it.profit) * it.price) for coin, it in self.wallets.items()}
        followed = {coin for coin in self.indexed if worth.get(coin)}
        new = [coin for coin, value in worth.items() if value > 0.0 and coin in listed and coin not in followed]
        new.sort(key=lambda coin: -worth[coin])
        self.indexed = frozenset(followed.union(new[: max(0, INDEXES_MAX - len(followed))]))

    # --- what others need

    def held(self) -> frozenset[str]:
        """Contracts in which there is a position."""
        return frozenset(symbol for symbol, _ in self.positions)

    def table(self, symbol: str, mode: MarginMode) -> tuple[Tier, ...]:
        """The tiers of a contract in a margin mode; empty while they are not known."""
        instrument = self.instruments.get(symbol)
        if instrument is None:
            return ()
        return (instrument.isolated_tiers or ()) if mode is MarginMode.ISOLATED else instrument.tiers

    def needs(self) -> frozenset[str]:
        """Instruments whose marks move this account."""
        shared = any(held.margin_mode is MarginMode.CROSS for held in self.positions.values())
        return self.held() | (frozenset(map(_index, self.indexed)) if shared else frozenset())

    def reports(self, answers: Answers) -> tuple[PoolReport, ...]:
        """What the venue says about each pool; empty when its answer does not agree with a push that came since.

        Then something moved while the answers were taken, and a comparison with the model would show a difference that
        is not there; so it is with a computed pool whose cash has changed since. What OKX requires, its fee to close
        included, is equity / ratio, both its own figures. Of a pool that is held as reported it is also told that OKX
        tells nothing.
        """
        told = {(row.instrument, row.slot): row.size for row in answers.positions}
        if told != {key: held.size for key, held in self.positions.items()}:
            return ()
        alone = [row for row in answers.positions if row.margin_mode is MarginMode.ISOLATED]
        shared = [row for row in answers.positions if row.margin_mode is MarginMode.CROSS]
        if self.account_mode is AccountMode.SINGLE_ASSET:
            divided = {row.coin for row in alone}
            coins = {coin.coin: coin for coin in answers.balance.coins}
            found = [
                self._coin_report(name, coins.get(name), [r for r in shared if r.coin == name], name in divided)
                for name in dict.fromkeys(row.coin for row in shared)
            ]
        else:
            found = [self._account_report(answers.balance, shared)]
        return tuple(report for report in (*map(self._isolated_report, alone), *found) if report is not None)

    def _isolated_report(self, row: PositionRow) -> PoolReport | None:
        scope = isolated_scope(row.instrument, side_of(row.size))
        equity = None if row.margin is None or row.unrealized_pnl is None else row.margin + row.unrealized_pnl
        return self._report(scope, equity, row.maintenance_margin, row.venue_ratio, [row])

    def _coin_report(
        self, name: str, coin: CoinRow | None, held: list[PositionRow], divided: bool
    ) -> PoolReport | None:
        """The equity is not known where it is not told, or is `divided` and isolated positions' part of it is not.

        None where a push has told another balance.
        """
        if coin is None:
            return self._report(name, None, None, None, held)
        if name not in self.reported and not self._agrees(coin):
            return None
        whole = coin.equity is not None and not (divided and coin.isolated_equity is None)
        equity = (coin.equity or 0.0) - (coin.isolated_equity or 0.0) if whole else None
        return self._report(name, equity, coin.maintenance_margin, coin.venue_ratio, held)

    def _account_report(self, balance: AccountRow, held: list[PositionRow]) -> PoolReport | None:
        """Of the one pool, with the indexes behind it, which are needed even where nothing else is told."""
        if not held:
            return None
        figures = balance.adjusted_equity, balance.maintenance_margin, balance.venue_ratio
        computed = self.account_mode is AccountMode.MULTI_ASSET and MULTI_SCOPE not in self.reported
        agrees = not computed or all(map(self._agrees, balance.coins))
        found = self._report(MULTI_SCOPE, *figures, held) if agrees else None
        found = found or PoolReport(MULTI_SCOPE, nan, nan, None, ())
        prices = {coin.coin: _price(coin) for coin in balance.coins if coin.coin in self.indexed}
        indexes = tuple((_index(coin), price) for coin, price in prices.items() if price == price)
        return replace(found, marks=found.marks + indexes)

    def _agrees(self, coin: CoinRow) -> bool:
        """Whether no push has told another balance."""
        held = self.wallets.get(coin.coin)
        return held is None or _same(held.balance, coin.cash)

    def _report(
        self, scope: str, equity: float | None, required: float | None, ratio: float | None, held: list[PositionRow]
    ) -> PoolReport | None:
        """None where OKX does not tell enough, unless that is to be told."""
        if not held:
            return None
        marks = tuple({row.instrument: row.mark_price for row in held if row.mark_price is not None}.items())
        if equity is not None and equity == equity:
            if ratio is not None and ratio > 0.0 and equity > 0.0:
                return PoolReport(scope, equity, equity / ratio, ratio, marks)
            fees = sum(self._fee(row) for row in held)
            if required is not None and fees == fees:
                return PoolReport(scope, equity, required + fees, ratio, marks)
        portfolio = self.account_mode is AccountMode.PORTFOLIO and scope == MULTI_SCOPE
        return PoolReport(scope, nan, nan, None, marks) if portfolio or scope in self.reported else None

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


def held_tables(positions: Iterable[Position]) -> set[tuple[str, MarginMode]]:
    """The tables of tiers that the swaps among positions go by."""
    return {(held.instrument, held.margin_mode) for held in positions if is_swap(held.instrument)}


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


def _index(coin: str) -> str:
    """The instrument under which a currency's price in USD is marked."""
    return index_name(f"{coin}-{DOLLAR}")


def _price(coin: CoinRow) -> float:
    """A currency in USD; nan where it is not told, and is no dollar."""
    if coin.price_usd is not None:
        return coin.price_usd
    told = coin.equity_usd / coin.equity if coin.equity_usd and coin.equity else 0.0
    return told if told > 0.0 else 1.0 if coin.coin in DOLLARS else nan


def _profit(coin: CoinRow) -> float:
    """Of the cross positions in a currency; nan where it is not told."""
    if coin.profit is not None:
        return coin.profit
    return nan if coin.equity is None else coin.equity - (coin.isolated_equity or 0.0) - coin.cash


def _same(one: float, other: float) -> bool:
    """Also where neither is known."""
    return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (one != one and other != other)


def _contradicts(known: float, found: float) -> bool:
    """Whether a balance is not the one known; one that could not be read is nan and contradicts nothing."""
    return known == known and found == found and not _same(known, found)


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


def is_unread(position: Position | None) -> bool:
    """Whether what its figures rest on could not be read."""
    return position is not None and not (position.entry_price + position.isolated_wallet < inf)


def _same_wallet(known: Wallet, found: Wallet) -> bool:
    one, other = ((wallet.balance, wallet.price, wallet.haircut, wallet.profit) for wallet in (known, found))
    return all(map(_same, one, other))
