"""The market stream: marks of what anybody on the feed holds.

One socket, one ``mark-price`` subscription for each contract, and one of ``index-tickers`` for each coin that counts as
collateral. OKX repeats a mark every 200 ms while it changes and every 10 s while it does not, an index every 100 ms and
every minute, so one that is a few seconds old proves nothing; the connection is asked with ``ping``, and an instrument
is stale when even the repetition did not come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, nan
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.market import Oldest, SocketMarket, oldest
from connectors.okx.parse import INDEX_PREFIX, PONG, Mark, index_name, index_of
from connectors.okx.parse import index as index_price_of
from connectors.okx.parse import mark as mark_of
from connectors.okx.parse import reply as reply_of
from connectors.okx.private import PING, UPGRADE
from connectors.session import Send
from connectors.wire import BadFrame, Defect
from monitor.model.assessment import FeedState
from monitor.model.events import Event, Marks
from monitor.telemetry import Telemetry

CHANNEL = "mark-price"
INDEX_CHANNEL = "index-tickers"
_ROWS: Mapping[str, Callable[[object], Mark]] = {CHANNEL: mark_of, INDEX_CHANNEL: index_price_of}

REPEAT_S = 10.0
"""OKX repeats a mark that does not change so often."""

REPEAT_LATE_S = 11.0
REPEAT_STALE_S = 12.0
INDEX_REST_S = 50.0
"""By so much longer than a mark an index that does not change may rest."""

SEND_INTERVAL_S = 0.5
"""Between two messages on one connection. OKX allows 480 subscriptions and the like an hour, in messages of up to
64 KB; pings do not count."""

ARGS_PER_MESSAGE = 200
PINGS_PER_LIMIT = 2.5
"""So many pings fit into the time after which a connection that says nothing is given up."""

TIME_JUMP_S = 60.0
"""A mark so far ahead of the others is refused: believing it would make every later one look old."""


class MarketFeed(SocketMarket):
    """Marks of one address. See `connectors.session.MarketSession` for the protocol."""

    def __init__(
        self, feed: str, market_url: str, settings: FeedSettings, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        mark_s = max(settings.mark_s, REPEAT_STALE_S)
        super().__init__(
            feed,
            venue,
            telemetry,
            random,
            lambda: market_url,
            late_s=max(settings.late_s, REPEAT_LATE_S),
            mark_s=mark_s,
            prove_s=mark_s + SEND_INTERVAL_S,
            life_s=settings.life_s,
            ping=PING,  # OKX ends connections on which nothing went for 30 s, and only this makes a quiet one speak
            ping_s=settings.mark_s / PINGS_PER_LIMIT,
        )
        self._silent_s = settings.mark_s
        self._heard_at = 0.0
        """When the live connection last said anything."""
        # For every instrument wanted: the venue's time of its newest mark (0: none yet), and since when it is wanted.
        self._times_ms: dict[str, int] = {}
        self._since: dict[str, float] = {}
        # Smallest difference between receipt and the venue's time: what the clocks differ plus the fastest way here.
        self._lag = inf

    def _want(self, instruments: frozenset[str], now: float) -> None:
        self._times_ms = {name: self._times_ms.get(name, 0) for name in instruments}
        self._since = {name: self._since.get(name, now) for name in instruments}

    # --- frames

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame: marks, or an answer to a subscription."""
        self._frames += 1
        if connection == self._links.live:
            self._heard_at = now
        try:
            data = orjson.loads(frame)
            # The way of nearly every frame, written for speed. Whatever is odd about it ends in an exception or in
            # one of the conditions, and is then looked at with care.
            if (channel := data["arg"]["channel"]) in _ROWS:
                (row,) = data["data"]
                if channel == CHANNEL:
                    name, found = row["instId"], row["markPx"]
                else:
                    name, found = index_name(row["instId"]), row["idxPx"]
                at_ms, price = int(row["ts"]), float(found) if found.__class__ is str and "_" not in found else nan
                last_ms = self._times_ms.get(name)
                lag = now - at_ms * 0.001
                if last_ms is not None and at_ms > last_ms and 0.0 < price < inf and lag > self._lag - TIME_JUMP_S:
                    self._times_ms[name] = at_ms
                    if lag < self._lag:
                        self._lag = lag
                    if connection != self._links.live:
                        self._delivers(connection, now)
                    return (Marks(self.feed, (name,), (price,), (at_ms,)),)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        return self._received_with_care(connection, frame, now)

    def _received_with_care(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        if frame in (PONG, PONG.decode()):
            return ()
        try:
            data = orjson.loads(frame)
        except orjson.JSONDecodeError:
            self._count_bad(Defect.JSON)
            return ()
        if not isinstance(data, dict):
            self._count_bad(Defect.SHAPE)
            return ()
        answer, arg = reply_of(data), data.get("arg")
        if answer is not None:
            # An answer to a subscription says only whether it was understood; the age of data says the rest.
            if not answer.good:
                self._count_bad(Defect.REJECTED)
            elif answer.event == "notice" and answer.code == UPGRADE:
                self._links.begin(now)
        elif isinstance(arg, dict) and isinstance(data.get("data"), list):
            if (parse := _ROWS.get(str(arg.get("channel")))) is not None:
                return self._marks(connection, data["data"], parse, now)
            self._count_bad(Defect.UNKNOWN_EVENT)
        else:
            self._count_bad(Defect.SHAPE)
        return ()

    def _marks(self, connection: str, rows: list[Any], parse: Callable[[object], Mark], now: float) -> Sequence[Event]:
        """The rows that are wanted and new, as one event. A bad row costs only itself."""
        names: list[str] = []
        prices: list[float] = []
        times_ms: list[int] = []
        # A new connection may tell another time: a venue that steps its clock forward is not refused for ever.
        limit_ms = (now - self._lag + TIME_JUMP_S) * 1000.0 if connection == self._links.live else inf
        for row in rows:
            try:
                mark = parse(row)
            except BadFrame as bad:
                self._count_bad(bad.defect)
                continue
            last_ms = self._times_ms.get(mark.instrument)
            if last_ms is None:
                continue
            if not last_ms < mark.at_ms <= limit_ms:
                defects = {-1: Defect.OUT_OF_ORDER, 0: Defect.DUPLICATE, 1: Defect.TIME}
                self._count_bad(defects[(mark.at_ms > last_ms) - (mark.at_ms < last_ms)])
                continue
            self._times_ms[mark.instrument] = mark.at_ms
            names.append(mark.instrument)
            prices.append(mark.price)
            times_ms.append(mark.at_ms)
        if not names:
            return ()
        self._lag = min(self._lag, now - max(times_ms) * 0.001)
        if connection != self._links.live:
            self._delivers(connection, now)
        return (Marks(self.feed, names, prices, times_ms),)

    def _delivers(self, connection: str, now: float) -> None:
        super()._delivers(connection, now)
        self._heard_at = now

    def _on_send(self, now: float) -> Sequence[Event]:
        """At most one message on each connection; comes back while there is more to say."""
        wanted = set(self._times_ms)
        for connection, asked in self._open.items():
            added, removed = wanted - asked.names, asked.names - wanted
            if not added and not removed:
                continue
            if now >= asked.next_send_at:
                operation, names = ("subscribe", added) if added else ("unsubscribe", removed)
                chunk = sorted(names)[:ARGS_PER_MESSAGE]
                asked.names ^= set(chunk)
                asked.next_send_at = now + SEND_INTERVAL_S
                said = {"op": operation, "args": [_argument(name) for name in chunk]}
                self.actions.append(Send(connection, orjson.dumps(said).decode()))
            self._timers.pull("send", asked.next_send_at)
        return ()

    # --- health

    def _prepare(self, relaxed_s: float, now: float) -> None:
        self._lag += relaxed_s

    def _oldest(self, now: float) -> Oldest:
        """The oldest mark, or an index that should have been repeated."""
        times_ms: dict[bool, dict[str, int]] = {False: {}, True: {}}
        for name, at_ms in self._times_ms.items():
            times_ms[name.startswith(INDEX_PREFIX)][name] = at_ms
        marks, indexes = (oldest(times_ms[kind], self._since, self._lag, now, self._sockets) for kind in (False, True))
        if indexes.age_s is None:
            return marks
        overdue = indexes.age_s - INDEX_REST_S > max(self._late_s, marks.age_s or 0.0)
        return indexes if overdue or marks.age_s is None else marks

    def _state_at(self, found: Oldest) -> FeedState:
        """An index may rest longer."""
        rest_s = INDEX_REST_S if found.name.startswith(INDEX_PREFIX) else 0.0
        return super()._state_at(replace(found, age_s=max(0.0, (found.age_s or 0.0) - rest_s)))

    def _verdict(self, found: Oldest, state: FeedState, now: float) -> Sequence[Event]:
        """A mark that rests may be old; a connection that does not even answer is found sooner."""
        silent_s = now - self._heard_at
        if state in (FeedState.LIVE, FeedState.LATE) and self._links.live is not None and silent_s > self._silent_s:
            self._links.replace(now, silent=True)
            return self._become(FeedState.STALE, "connected, but silent", now)
        return super()._verdict(found, state, now)


def _argument(instrument: str) -> dict[str, str]:
    """What a subscription to an instrument is called."""
    venue_name = index_of(instrument)
    if venue_name is None:
        return {"channel": CHANNEL, "instId": instrument}
    return {"channel": INDEX_CHANNEL, "instId": venue_name}
