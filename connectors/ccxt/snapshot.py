"""One look at an account: markets, tiers, positions and balances, as ccxt answers. What they mean `session` says."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from connectors.ccxt import translate
from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountConfig, Scalar
from connectors.ccxt.facts import Facts, facts
from connectors.ccxt.gateway import NOT_OPENED, Gateway
from connectors.ccxt.session import Answers, Contract
from connectors.ccxt.translate import Catalogue, Holding, UnreadableError
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.events import SnapshotReason

_T = TypeVar("_T")

MARKETS_S = 60.0
"""For reading every market of an exchange, which may be several thousand in several answers."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answers to what was asked at `sent_ms`, and the contracts in them that are new or have changed."""

    contracts: Mapping[str, Contract]
    answers: Answers
    sent_ms: int


class Snapshots:
    """Asks for snapshots of one account. Every question has a deadline; any that fails fails the snapshot."""

    def __init__(self, account: AccountConfig, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._facts: Facts = facts(account.exchange)
        self._tiers: dict[str, list[Mapping[str, Any]]] = {}
        self._found: dict[str, Contract] = {}
        self.catalogue = Catalogue()
        """Every contract of the exchange."""
        self.due = True
        """Whether the markets are to be read anew with the next snapshot."""

    async def take(self, gateway: Gateway, marks: Container[str], reason: SnapshotReason) -> Found:
        """Ask everything; `marks` are the instruments whose mark is known. Raises VenueError."""
        await self._define(gateway)
        sent_ms = int(self._clock.now() * 1000.0)
        rows, balances = await self.ask(gateway)
        held = self._held(gateway, rows)
        contracts = await self._describe(gateway, held)
        tickers = await self._tickers(gateway, held, marks)
        return Found(contracts, Answers(reason, rows, balances, tickers), sent_ms)

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
            return translate.holdings(rows, self.catalogue)
        except UnreadableError as error:
            raise VenueError(f"{what}: {error}", retry=True) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise VenueError(f"{what}: {type(error).__name__} while reading a position", retry=True) from None

    def _params(self) -> Iterable[Mapping[str, Scalar]]:
        return self._account.params or self._facts.params

    async def _define(self, gateway: Gateway) -> None:
        if self.due or not gateway.markets:
            await gateway.call(Ask.LOAD_MARKETS, self.due and bool(gateway.markets), within_s=MARKETS_S)
            self.catalogue = Catalogue.of(gateway.markets)
            self._tiers.clear()
            self.due = False

    async def _describe(self, gateway: Gateway, held: Iterable[Holding]) -> dict[str, Contract]:
        """Contracts that are held and new, or changed."""
        fresh = {}
        for symbol in dict.fromkeys(each.symbol for each in held):
            if symbol not in self.catalogue.markets:
                continue
            if symbol not in self._tiers:
                tiers = await _tiers(gateway, symbol)
                if tiers is not None:
                    self._tiers[symbol] = tiers
            name, market = self.catalogue.names[symbol], self.catalogue.markets[symbol]
            contract = Contract(name, market, self._tiers.get(symbol, ()))
            if self._found.get(symbol) != contract:
                self._found[symbol] = fresh[symbol] = contract
        return fresh

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
