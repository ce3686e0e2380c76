"""The market stream: marks of what anybody on the feed holds, from one socket for each category that is needed."""

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.bybit.parse import INVERSE, LINEAR, SPOT, category_of
from connectors.bybit.tickers import NEXT, RATE, Tickers
from connectors.market import MarketBase, Oldest, Sockets
from connectors.wire import BadFrame, Defect, optional
from monitor.model.events import Event
from monitor.model.instrument import Funding
from monitor.telemetry import Telemetry


class MarketFeed(MarketBase):
    """Marks of one address. See `connectors.session.MarketSession` for the protocol."""

    def __init__(
        self, feed: str, market_url: str, settings: FeedSettings, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        super().__init__(feed, venue, telemetry, late_s=settings.late_s, mark_s=settings.mark_s)
        self._tickers = {
            category: Tickers(category, feed, market_url, settings, random, self.actions)
            for category in (LINEAR, INVERSE, SPOT)
        }
        self._by_prefix = {tickers.prefix: tickers for tickers in self._tickers.values()}
        self._by_connection: dict[str, Tickers] = {}

    # --- inputs

    def _want(self, instruments: frozenset[str], now: float) -> None:
        for category, tickers in self._tickers.items():
            tickers.watch([name for name in instruments if category_of(name) == category], now)

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Subscribe at once."""
        tickers = self._by_prefix[connection.rpartition("-")[0]]
        tickers.opened(connection, now)
        # Of connections that were dropped on purpose nothing is heard, so they are forgotten here.
        held = {name: each for name, each in self._by_connection.items() if each.holds(name)}
        self._by_connection = {**held, connection: tickers}
        return ()

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """A successor is made after a while."""
        self._by_connection.pop(connection, None)
        self._by_prefix[connection.rpartition("-")[0]].sockets.closed(connection, reason, now)
        return ()

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame."""
        self._frames += 1
        tickers = self._by_connection.get(connection)
        if tickers is None:
            return ()
        try:
            return tickers.received(connection, orjson.loads(frame), now)
        except orjson.JSONDecodeError:
            self._count_bad(Defect.JSON)
        except BadFrame as bad:
            self._count_bad(bad.defect)
        return ()

    def tick(self, now: float) -> Sequence[Event]:
        """Do what is due."""
        events = [event for tickers in self._tickers.values() for event in tickers.tick(now)]
        return [*events, *super().tick(now)]

    def deadline(self) -> float | None:
        """When something is due."""
        timers = (self._timers, *(tickers.timers for tickers in self._tickers.values()))
        return min((due for each in timers if (due := each.next()) is not None), default=None)

    # --- funding

    def _funding_rows(self) -> Mapping[str, Any]:
        return {
            symbol: told for category in (LINEAR, INVERSE) for symbol, told in self._tickers[category].funding.items()
        }

    def _funding_in(self, row: Any, now: float) -> Funding | None:
        """Empty and zero for contracts that expire."""
        rate, at_ms = optional(row.get(RATE)), optional(row.get(NEXT))
        return None if rate is None else Funding(rate, at_ms / 1000.0 if at_ms else None)

    # --- health

    def _all_sockets(self) -> Collection[Sockets[Any]]:
        return [tickers.sockets for tickers in self._tickers.values()]

    def _oldest(self, now: float) -> Oldest:
        found = [tickers.oldest(now) for tickers in self._tickers.values()]
        return max(found, key=lambda one: -1.0 if one.age_s is None else one.age_s)

    def _prepare(self, relaxed_s: float, now: float) -> None:
        for tickers in self._tickers.values():
            tickers.relax(relaxed_s)
            tickers.renew(now)
            if (tickers.oldest(now).age_s or 0.0) > self._mark_s:
                tickers.sockets.replace(now, silent=self._is_silent(now))
