"""One look at an account: markets, tiers, positions and balances, put together by the translator."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from connectors.ccxt import translate
from connectors.ccxt.config import AccountConfig, Scalar
from connectors.ccxt.facts import Facts, facts
from connectors.ccxt.gateway import NOT_OPENED, Ask, Gateway
from connectors.ccxt.translate import Catalogue, Holding, UnreadableError
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.account import AccountMode
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, SnapshotReason
from monitor.model.instrument import Instrument

_T = TypeVar("_T")

MARKETS_S = 60.0
"""For reading every market of an exchange, which may be several thousand in several answers."""


@dataclass(slots=True)
class Definitions:
    """What changes seldom: the contracts, and the tiers of those that are or were held."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    tiers: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    due: bool = True


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot as events, and what was found in it."""

    loaded: InstrumentsLoaded | None
    snapshot: AccountSnapshot
    held: tuple[Holding, ...]


class Snapshots:
    """Takes snapshots of one account. Every question has a deadline; any that fails fails the snapshot."""

    def __init__(self, account: AccountConfig, feed: str, clock: Clock) -> None:
        self._account = account
        self._feed = feed
        self._clock = clock
        self._facts: Facts = facts(account.exchange)
        self.definitions = Definitions()

    async def take(self, gateway: Gateway, marks: Mapping[str, float], reason: SnapshotReason) -> Taken:
        """Ask everything; `marks` by instrument are used where the venue's answers have none. Raises VenueError."""
        await self._define(gateway)
        at_ms = int(self._clock.now() * 1000.0)
        rows, balances = await self.ask(gateway)
        held = self._held(gateway, rows)
        loaded = await self._describe(gateway, held, at_ms)
        marks = {**marks, **await self._missing_marks(gateway, held, marks)}
        found = translate.pools(held, balances, self.definitions.instruments, marks, self._facts, at_ms)
        snapshot = AccountSnapshot(
            venue=self._account.venue,
            account=self._account.name,
            feed=self._feed,
            at_ms=at_ms,
            reason=reason,
            account_mode=AccountMode.SINGLE_ASSET,
            position_mode=found.position_mode,
            wallets=found.wallets,
            positions=found.positions,
            reports=found.reports,
        )
        return Taken(loaded, snapshot, tuple(held))

    async def ask(self, gateway: Gateway) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """Positions and balances of every part of the account that was ever opened; at least one must be."""
        rows: list[Mapping[str, Any]] = []
        balances: list[Mapping[str, Any]] = []
        absent: VenueError | None = None
        for params in self._params():
            try:
                rows += _expect(list, Ask.FETCH_POSITIONS, await gateway.call(Ask.FETCH_POSITIONS, None, dict(params)))
                balances.append(_expect(dict, Ask.FETCH_BALANCE, await gateway.call(Ask.FETCH_BALANCE, dict(params))))
            except VenueError as error:
                if error.code != NOT_OPENED:
                    raise
                absent = error
        if absent is not None and not balances:
            raise absent
        return rows, balances

    def _held(self, gateway: Gateway, rows: Iterable[Mapping[str, Any]]) -> list[Holding]:
        what = f"{gateway.exchange} {Ask.FETCH_POSITIONS.value}"
        try:
            return translate.holdings(rows, self.definitions.catalogue)
        except UnreadableError as error:
            raise VenueError(f"{what}: {error}", retry=True) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise VenueError(f"{what}: {type(error).__name__} while reading a position", retry=True) from None

    def _params(self) -> Iterable[Mapping[str, Scalar]]:
        return self._account.params or self._facts.params

    async def _define(self, gateway: Gateway) -> None:
        known = self.definitions
        if known.due or not gateway.markets:
            await gateway.call(Ask.LOAD_MARKETS, known.due and bool(gateway.markets), within_s=MARKETS_S)
            known.catalogue = Catalogue.of(gateway.markets)
            known.tiers.clear()
            known.due = False

    async def _describe(self, gateway: Gateway, held: Iterable[Holding], at_ms: int) -> InstrumentsLoaded | None:
        """Contracts that are held and new, or changed."""
        known = self.definitions
        fresh = []
        for symbol, name in dict.fromkeys((each.symbol, each.instrument) for each in held):
            if symbol not in known.catalogue.markets:
                continue
            if symbol not in known.tiers:
                tiers = await _tiers(gateway, symbol)
                if tiers is not None:
                    known.tiers[symbol] = tiers
            contract = translate.instrument(known.catalogue.markets[symbol], name, known.tiers.get(symbol, ()))
            if contract is not None and known.instruments.get(name) != contract:
                known.instruments[name] = contract
                fresh.append(contract)
        return InstrumentsLoaded(self._account.venue, self._account.name, tuple(fresh), at_ms) if fresh else None

    async def _missing_marks(
        self, gateway: Gateway, held: Iterable[Holding], marks: Mapping[str, float]
    ) -> Mapping[str, float]:
        """Marks of positions that neither say theirs nor have one from the stream; as far as they can be had."""
        symbols = [each.symbol for each in held if each.mark is None and each.instrument not in marks]
        ask = next((ask for ask in (Ask.FETCH_MARK_PRICES, Ask.FETCH_TICKERS) if gateway.can(ask)), None)
        if not symbols or ask is None:
            return {}
        try:
            tickers = await gateway.call(ask, symbols)
        except VenueError:
            return {}  # the pools that need them are unknown until a stream or the next snapshot has them
        found = [translate.mark(ticker, self.definitions.catalogue) for ticker in _values(tickers)]
        return {mark.instrument: mark.price for mark in found if mark is not None}


def _values(tickers: object) -> list[Mapping[str, Any]]:
    return [ticker for ticker in tickers.values() if isinstance(ticker, dict)] if isinstance(tickers, dict) else []


async def _tiers(gateway: Gateway, symbol: str) -> list[Mapping[str, Any]] | None:
    """A contract's tiers, empty where ccxt has none, None to ask again later: they help, and are no reason to fail."""
    single, several = Ask.FETCH_MARKET_LEVERAGE_TIERS, Ask.FETCH_LEVERAGE_TIERS
    try:
        if gateway.can(single):
            return _expect(list, single, await gateway.call(single, symbol))
        if gateway.can(several):
            return _expect(list, several, _expect(dict, several, await gateway.call(several, [symbol])).get(symbol, []))
    except VenueError as error:
        return None if error.retry else []
    return []


def _expect(kind: type[_T], ask: Ask, answer: object) -> _T:
    """An answer of the kind promised: another kind taken for empty would show an account as flat."""
    if not isinstance(answer, kind):
        raise VenueError(f"{ask.value}: the answer is no {kind.__name__}", retry=True)
    return answer
