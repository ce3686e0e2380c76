"""The market stream: marks of what anybody on the feed holds, from one socket for each category that is needed."""

from collections.abc import Collection, Sequence
from random import Random

import orjson

from connectors import FeedSettings
from connectors.bybit.parse import INVERSE, LINEAR, SPOT, category_of
from connectors.bybit.tickers import Tickers
from connectors.session import Action, Timers
from connectors.wire import BadFrame, Defect
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged
from monitor.telemetry import Telemetry

JUDGE_S = 0.5
RECOVERED = 2.0 / 3.0
"""Share of the age that is late, below which a stream is live again."""

STEADY_S = 60.0
"""After so long without a fault the next one is treated as the first."""

LAG_RELAX = 0.001
"""Seconds by which the smallest lag seen may grow each second."""


class MarketFeed:
    """Marks of one address. See `connectors.session.MarketSession` for the protocol."""

    def __init__(
        self, feed: str, market_url: str, settings: FeedSettings, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        self.name = f"{feed}/mark"
        self.venue = venue
        self.stream = "mark"
        self.feed = feed
        self.actions: list[Action] = []
        self._mark_s = settings.mark_s
        self._late_s = min(settings.late_s, settings.mark_s)
        self._telemetry = telemetry
        self._timers = Timers()
        self._tickers = {
            category: Tickers(category, feed, market_url, settings, telemetry, random, venue, self.actions)
            for category in (LINEAR, INVERSE, SPOT)
        }
        self._by_prefix = {tickers.prefix: tickers for tickers in self._tickers.values()}
        self._by_connection: dict[str, Tickers] = {}
        self._wanted: frozenset[str] = frozenset()
        self._frames = 0
        self._judged_at = 0.0
        self._state = FeedState.LIVE
        self._detail = "nothing to watch"
        self._state_since = 0.0

    # --- inputs

    def start(self, now: float) -> Sequence[Event]:
        """Nothing is read until somebody holds something."""
        self._state_since = self._judged_at = now
        return ()

    def watch(self, instruments: frozenset[str], now: float) -> Sequence[Event]:
        """Want these and no others."""
        self._wanted = instruments
        for category, tickers in self._tickers.items():
            tickers.watch([name for name in instruments if category_of(name) == category], now)
        if not instruments:
            self._timers.clear("judge")
            return self._become(FeedState.LIVE, "nothing to watch", now)
        self._timers.pull("judge", now + JUDGE_S)
        return ()

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Subscribe at once."""
        tickers = self._by_connection[connection] = self._by_prefix[connection.rpartition("-")[0]]
        tickers.opened(connection, now)
        return ()

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """A successor is made after a while."""
        self._by_connection.pop(connection, None)
        self._by_prefix[connection.rpartition("-")[0]].closed(connection, reason, now)
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

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """It asks for nothing."""
        return ()

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """It asks for nothing."""
        return ()

    def reconcile(self, now: float) -> Sequence[Event]:
        """There is no snapshot of a market stream."""
        return ()

    def tick(self, now: float) -> Sequence[Event]:
        """Do what is due."""
        events = [event for tickers in self._tickers.values() for event in tickers.tick(now)]
        return [*events, *self._timers.run(now, {"judge": self._on_judge})]

    def deadline(self) -> float | None:
        """When something is due."""
        timers = (self._timers, *(tickers.timers for tickers in self._tickers.values()))
        return min((due for each in timers if (due := each.next()) is not None), default=None)

    def secrets(self) -> Collection[str]:
        """It learns none."""
        return ()

    def health(self, now: float) -> list[FeedHealth]:
        """State and age of the oldest mark wanted."""
        _, age_s, _ = self._oldest(now)
        return [FeedHealth(self.venue, "", self.stream, self._state, age_s, self._detail)]

    def _count_bad(self, defect: Defect) -> None:
        self._telemetry.bad_frames.add(self.venue, self.stream, defect.value)

    # --- health

    def _oldest(self, now: float) -> tuple[str, float | None, Tickers]:
        """The instrument whose mark is oldest, its age, and whose it is."""
        found = [(*tickers.oldest(now), tickers) for tickers in self._tickers.values()]
        return max(found, key=lambda one: -1.0 if one[1] is None else one[1])

    def _on_judge(self, now: float) -> Sequence[Event]:
        self._telemetry.frames.add(self.venue, self.stream, amount=self._frames)
        self._frames = 0
        for tickers in self._tickers.values():
            tickers.relax(LAG_RELAX * min(now - self._judged_at, 2 * JUDGE_S))
            tickers.renew(now)
            if (tickers.oldest(now)[1] or 0.0) > self._mark_s:
                tickers.replace(now)
        self._judged_at = now
        self._timers.set("judge", now + JUDGE_S)
        name, age_s, oldest = self._oldest(now)
        state = self._state_at(age_s or 0.0, oldest)
        if state is FeedState.LIVE:
            if now - self._state_since > STEADY_S:
                for tickers in self._tickers.values():
                    tickers.steady()
            return self._become(state, "", now)
        why = {FeedState.STALE: "; connected, but nothing newer comes", FeedState.DOWN: f"; {oldest.lost_reason}"}
        return self._become(state, f"no mark of {name} for {age_s:.1f} s{why.get(state, '')}", now)

    def _state_at(self, age_s: float, oldest: Tickers) -> FeedState:
        """The state at this age. Back to live only well below the line, so that it does not flap."""
        if age_s <= self._late_s * (1.0 if self._state is FeedState.LIVE else RECOVERED):
            return FeedState.LIVE
        if age_s <= self._mark_s and self._state in (FeedState.LIVE, FeedState.LATE):
            return FeedState.LATE
        return FeedState.STALE if oldest.reachable else FeedState.DOWN

    def _become(self, state: FeedState, detail: str, now: float) -> Sequence[Event]:
        self._detail = detail
        if state is self._state:
            return ()
        self._state = state
        self._state_since = now
        return (FeedChanged(self.venue, "", self.feed, self.stream, state, now, detail),)
