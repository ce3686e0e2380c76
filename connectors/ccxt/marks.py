"""Mark prices of what is held, from whatever ccxt can tell them by: streams first, then questions on a timer.

What ccxt's `has` promises is not what arrives: a stream of tickers may carry no mark at all. So every source is judged
by what it delivers. One that brings nothing for `mark_s` is followed by the next in the list, and after the last by the
first; one that has delivered and then falls silent gets a fresh client first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from connectors import FeedSettings
from connectors.backoff import Backoff
from connectors.ccxt.asks import Ask
from connectors.ccxt.gateway import UNREADABLE, Gateway
from connectors.ccxt.translate import Catalogue, Holding
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.telemetry import Telemetry

POLLS_PER_LIMIT = 2.5
"""How often marks are asked for within `mark_s`, where no stream brings them."""

REPLACE_BASE_S = 1.0
REPLACE_CAP_S = 60.0

Deliver = Callable[[Sequence[Mapping[str, Any]], Ask, float], Collection[str]]
"""Takes tickers, their source, and `time.perf_counter()` of their arrival; returns the instruments that had a mark."""


class MarkReader:
    """Reads the marks of what is held until cancelled.

    `make` gives a client without keys, ready to be asked; `positions` the account's own, which may say their marks.
    """

    def __init__(
        self,
        make: Callable[[], Gateway],
        positions: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]],
        catalogue: Callable[[], Catalogue],
        deliver: Deliver,
        clock: Clock,
        settings: FeedSettings,
        random: Random,
        venue: str,
        telemetry: Telemetry,
    ) -> None:
        self._make = make
        self._positions = positions
        self._catalogue = catalogue
        self._deliver = deliver
        self._clock = clock
        self._settings = settings
        self._backoff = Backoff(REPLACE_BASE_S, REPLACE_CAP_S, random)
        self._wanted: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._source = 0
        self._delivered: dict[str, float] = {}
        self._came: dict[object, Mapping[str, Any]] = {}
        self._venue = venue
        self._telemetry = telemetry
        self._opened = False
        """Whether the present source has brought a mark."""

    def want(self, held: Iterable[Holding]) -> None:
        """From now on these are wanted: instrument by ccxt's symbol."""
        wanted = {each.symbol: each.instrument for each in held if each.symbol in self._catalogue().names}
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            if not self._wanted:
                await self._pause(self._settings.poll_s)
                continue
            gateway = self._make()
            ask = self._asks(gateway)[self._source % len(self._asks(gateway))]
            began = self._clock.now()
            self._opened = False
            try:
                await self._read(gateway, ask, began)
            except VenueError as error:
                # Judged below, by what it delivered.
                self._telemetry.connects.add(self._venue, "mark", "lost" if self._opened else "refused")
                if error.code == UNREADABLE:
                    self._telemetry.bad_frames.add(self._venue, "mark", "unreadable")
            finally:
                await gateway.close()
            if self._changed.is_set():
                self._changed.clear()
                continue
            if not any(at >= began for at in self._delivered.values()):
                self._source += 1
            await self._pause(self._backoff.next())

    def _asks(self, gateway: Gateway) -> list[Ask]:
        order = (
            Ask.WATCH_MARK_PRICES,
            Ask.WATCH_TICKERS,
            Ask.WATCH_TICKER,
            Ask.FETCH_MARK_PRICES,
            Ask.FETCH_TICKERS,
            Ask.FETCH_POSITIONS,
        )
        return [ask for ask in order if gateway.can(ask)]

    async def _pause(self, seconds: float) -> None:
        """Sleep by our clock, which may run faster than the wall's in tests; end when something changes."""
        until = self._clock.now() + seconds
        while self._clock.now() < until and not self._changed.is_set():  # noqa: ASYNC110 - not the wall's clock
            await asyncio.sleep(min(self._settings.poll_s, max(0.001, until - self._clock.now())))

    async def _read(self, gateway: Gateway, ask: Ask, began: float) -> None:
        """Read one source until it falls silent, fails, or something else is wanted."""
        wanted = dict(self._wanted)
        self._changed.clear()
        if not ask.is_stream:
            await self._poll(gateway, ask, wanted, began)
            return
        parts = [asyncio.create_task(self._stream(gateway, ask, group)) for group in self._groups(ask, wanted)]
        try:
            while not self._changed.is_set() and not self._silent(wanted, began):
                done, _ = await asyncio.wait(parts, timeout=self._settings.poll_s, return_when=asyncio.FIRST_COMPLETED)
                for part in done:
                    part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def _groups(self, ask: Ask, wanted: Mapping[str, str]) -> list[list[str]]:
        """Symbols that may be asked for together: exchanges have an address for each margin coin."""
        if ask is Ask.WATCH_TICKER:
            return [[symbol] for symbol in wanted]
        groups: dict[object, list[str]] = {}
        for symbol in wanted:
            market = self._catalogue().markets[symbol]
            groups.setdefault((market.get("settle"), market.get("type"), market.get("inverse")), []).append(symbol)
        return list(groups.values())

    def _silent(self, wanted: Mapping[str, str], began: float) -> bool:
        """Whether a wanted mark is older than it may be. A source that is good for long makes up for earlier faults."""
        now = self._clock.now()
        oldest = min(max(began, self._delivered.get(name, 0.0)) for name in wanted.values())
        if now - oldest <= self._settings.mark_s:
            if now - began > 10 * self._settings.mark_s:
                self._backoff.reset()
            return False
        return True

    async def _stream(self, gateway: Gateway, ask: Ask, symbols: list[str]) -> None:
        """One subscription. ccxt tells only who waits, one symbol at a time, so its cache is looked through as well."""
        while True:
            answer = await gateway.call(ask, symbols[0] if ask is Ask.WATCH_TICKER else symbols)
            received = time.perf_counter()
            cached = (gateway.tickers.get(symbol) for symbol in symbols)
            self._take([*_tickers(answer, ask), *(ticker for ticker in cached if ticker)], ask, received)
            await asyncio.sleep(0)  # an answer that is always there already must not starve everything else

    async def _poll(self, gateway: Gateway, ask: Ask, wanted: Mapping[str, str], began: float) -> None:
        while not self._changed.is_set() and not self._silent(wanted, began):
            own = ask is Ask.FETCH_POSITIONS
            answer = await (self._positions() if own else gateway.call(ask, list(wanted)))
            self._take(_tickers(answer, ask), ask, time.perf_counter())
            await self._pause(self._settings.mark_s / POLLS_PER_LIMIT)

    def _take(self, tickers: Iterable[Mapping[str, Any]], ask: Ask, received: float) -> None:
        """Deliver what is new: an answer seen before is no sign of life."""
        fresh = []
        for ticker in tickers:
            symbol = ticker.get("symbol")
            if symbol in self._wanted and self._came.get(symbol) is not ticker:
                self._came[symbol] = ticker
                fresh.append(ticker)
        if fresh:
            marked = self._deliver(fresh, ask, received)
            now = self._clock.now()
            self._delivered.update((instrument, now) for instrument in marked)
            if marked and not self._opened:
                self._opened = True
                self._telemetry.connects.add(self._venue, "mark", "opened")


def _tickers(answer: object, ask: Ask) -> list[Mapping[str, Any]]:
    """The tickers in an answer, whatever its shape."""
    if isinstance(answer, list):
        return [each for each in answer if isinstance(each, dict)]
    if isinstance(answer, dict):
        single = ask is Ask.WATCH_TICKER or "symbol" in answer
        return [answer] if single else [each for each in answer.values() if isinstance(each, dict)]
    return []
