"""One look at an account: markets, tiers, positions and balances, as ccxt answers. What they mean `session` says."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from connectors.backoff import Backoff
from connectors.ccxt import translate
from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountConfig
from connectors.ccxt.facts import Facts, facts
from connectors.ccxt.gateway import NOT_OPENED, Gateway
from connectors.ccxt.kinds import Kind, Question, in_words, kind_of, kinds_of, unasked
from connectors.ccxt.session import Answers, Contract
from connectors.ccxt.translate import Catalogue, Holding, UnreadableError
from connectors.definitions import DefinitionTimes
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.events import SnapshotReason

_T = TypeVar("_T")

MARKETS_S = 60.0
"""For reading every market of an exchange, which may be several thousand in several answers."""

DEFINITIONS_S = 3600.0
"""Markets, fees and tiers change without an event, and are read again so often."""

TIERS_AGAIN_S = (5.0, 600.0)
"""The first pause and the longest after tiers that could not be had."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answers to what was asked at `sent_ms`, and the contracts in them that are new or have changed."""

    contracts: Mapping[str, Contract]
    answers: Answers
    sent_ms: int


class Snapshots:
    """Asks for snapshots of one account. Every question has a deadline.

    One for positions or balances that fails fails the snapshot. What is known of markets and tiers outlives the failure
    of reading it again.
    """

    def __init__(self, account: AccountConfig, clock: Clock, random: Random) -> None:
        self._account = account
        self._clock = clock
        self._facts: Facts = facts(account.exchange)
        self._questions: tuple[Question, ...] = tuple(map(Question.of, account.params))
        self._kinds: frozenset[Kind] = frozenset()
        self._seen: set[Kind] = set()
        """Kinds of contracts of which an answer has told."""
        self._tiers: dict[str, list[Mapping[str, Any]]] = {}
        self._tier_times = DefinitionTimes(DEFINITIONS_S, Backoff(*TIERS_AGAIN_S, random))
        self._found: dict[str, Contract] = {}
        self._faults: dict[str, str] = {}
        self.catalogue = Catalogue()
        """Every contract of the exchange."""
        self.unreadable = False
        """Whether a position in the last answer could not be read, as when its contract was listed since."""

    async def take(self, gateway: Gateway, marks: Container[str], reason: SnapshotReason) -> Found:
        """Ask everything; `marks` are the instruments whose mark is known. Raises VenueError."""
        if not self.catalogue.markets:
            await self.define(gateway)
        sent_ms = int(self._clock.now() * 1000.0)
        rows, balances = await self.ask(gateway)
        held = self._held(gateway, rows)
        contracts = await self._describe(gateway, held)
        tickers = await self._tickers(gateway, held, marks)
        self._see(rows)
        return Found(contracts, Answers(reason, rows, balances, tickers, self.remarks()), sent_ms)

    async def define(self, gateway: Gateway) -> None:
        """Read every market of the exchange, again if they are known. Raises VenueError: then the old ones stay."""
        try:
            await gateway.call(Ask.LOAD_MARKETS, bool(gateway.markets), within_s=MARKETS_S)
        except VenueError as error:
            self._faults[Ask.LOAD_MARKETS] = str(error)
            raise
        self._faults.pop(Ask.LOAD_MARKETS, None)
        self.catalogue = Catalogue.of(gateway.markets)
        self._kinds = kinds_of(self.catalogue.markets.values())
        if not self._account.params:
            self._questions = self._facts.questions(self.catalogue.markets)

    def remarks(self) -> tuple[str, ...]:
        """What a person must know beside the answers: which positions would not be seen, and what is out of date."""
        unseen = [*in_words(unasked(self._kinds, self._questions, self._facts.asks, self._seen)), *self._facts.beyond]
        told = [f"not known to be seen: positions in {'; '.join(unseen)}"] if unseen else []
        faults = dict.fromkeys(self._faults.values())
        return (*told, *(f"contracts cannot be read and may be out of date: {fault}" for fault in faults))

    def _see(self, rows: Iterable[Mapping[str, Any]]) -> None:
        markets = (self.catalogue.markets.get(str(row.get("symbol"))) for row in rows)
        self._seen.update(kind for market in markets if market and (kind := kind_of(market)))

    async def ask(self, gateway: Gateway) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """Positions and balances of every part of the account that was ever opened; at least one must be."""
        rows: list[Mapping[str, Any]] = []
        balances: list[Mapping[str, Any]] = []
        asked: list[Mapping[str, object]] = []
        absent: VenueError | None = None
        for question in self._questions:
            try:
                told = await gateway.call(Ask.FETCH_POSITIONS, None, dict(question.positions))
                rows += filter(question.owns, _expect(list, Ask.FETCH_POSITIONS, told))
                if question.balance not in asked:
                    told = await gateway.call(Ask.FETCH_BALANCE, dict(question.balance))
                    balances.append(_expect(dict, Ask.FETCH_BALANCE, told))
                    asked.append(question.balance)
            except VenueError as error:
                if error.code != NOT_OPENED:
                    raise
                absent = error
        if absent is not None and not balances:
            raise absent
        return rows, balances

    def _held(self, gateway: Gateway, rows: Iterable[Mapping[str, Any]]) -> list[Holding]:
        what = f"{gateway.exchange} {Ask.FETCH_POSITIONS.value}"
        self.unreadable = True
        try:
            held = translate.holdings(rows, self.catalogue)
        except UnreadableError as error:
            raise VenueError(f"{what}: {error}", retry=True) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise VenueError(f"{what}: {type(error).__name__} while reading a position", retry=True) from None
        self.unreadable = False
        return held

    async def _describe(self, gateway: Gateway, held: Iterable[Holding]) -> dict[str, Contract]:
        """Contracts that are held and new, or changed."""
        symbols = [symbol for symbol in dict.fromkeys(each.symbol for each in held) if symbol in self.catalogue.markets]
        fresh = self._tier_times.fresh(self._clock.now())
        if due := [symbol for symbol in symbols if symbol not in fresh]:
            await self._read_tiers(gateway, due)
        changed = {}
        for symbol in symbols:
            name, market = self.catalogue.names[symbol], self.catalogue.markets[symbol]
            contract = Contract(name, market, self._tiers.get(symbol, ()))
            if self._found.get(symbol) != contract:
                self._found[symbol] = changed[symbol] = contract
        return changed

    async def _read_tiers(self, gateway: Gateway, symbols: Iterable[str]) -> None:
        """Tiers help, and are no reason to fail: those that cannot be had stay as they were.

        The first that comes to nothing ends the round, and is asked for last in the next: a snapshot must not wait for
        one deadline after another.
        """
        left = sorted(symbols, key=self._faults.__contains__)
        asked = list(left)
        lacking = []
        while left:
            symbol = left.pop(0)
            try:
                self._tiers[symbol] = await _tiers(gateway, symbol)
                self._faults.pop(symbol, None)
            except VenueError as error:
                lacking.append(symbol)
                if symbol in self._tiers or error.retry:
                    self._faults[symbol] = str(error)
                if error.retry:
                    break
        self._tier_times.asked(asked, lacking + left, self._clock.now())

    async def _tickers(
        self, gateway: Gateway, held: Iterable[Holding], marks: Container[str]
    ) -> list[Mapping[str, Any]]:
        """Tickers of positions that neither say their mark nor have one from the stream; as far as they can be had."""
        symbols = [each.symbol for each in held if each.mark is None and each.instrument not in marks]
        ask = next((ask for ask in (Ask.FETCH_MARK_PRICES, Ask.FETCH_TICKERS) if gateway.can(ask)), None)
        if not symbols or ask is None:
            return []
        try:
            tickers = await gateway.call(ask, symbols)
        except VenueError:
            return []  # the pools that need them are unknown until a stream or the next snapshot has them
        return [ticker for ticker in _values(tickers) if ticker.get("symbol") in symbols]


def _values(tickers: object) -> list[Mapping[str, Any]]:
    return [ticker for ticker in tickers.values() if isinstance(ticker, dict)] if isinstance(tickers, dict) else []


async def _tiers(gateway: Gateway, symbol: str) -> list[Mapping[str, Any]]:
    """A contract's tiers, empty where ccxt has none. Raises VenueError."""
    single, several = Ask.FETCH_MARKET_LEVERAGE_TIERS, Ask.FETCH_LEVERAGE_TIERS
    if gateway.can(single):
        return _expect(list, single, await gateway.call(single, symbol))
    if gateway.can(several):
        return _expect(list, several, _expect(dict, several, await gateway.call(several, [symbol])).get(symbol, []))
    return []


def _expect(kind: type[_T], ask: Ask, answer: object) -> _T:
    """An answer of the kind promised: another kind taken for empty would show an account as flat."""
    if not isinstance(answer, kind):
        raise VenueError(f"{ask.value}: the answer is no {kind.__name__}", retry=True)
    return answer
