"""The market stream: marks of what anybody on the feed holds.

One socket, one ``mark-price`` subscription for each instrument. OKX repeats a mark every 200 ms while it changes and
every 10 s while it does not, so one that is a few seconds old proves nothing; the connection is asked with ``ping``,
and an instrument is stale when even the repetition did not come.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.links import Links
from connectors.okx.parse import PONG
from connectors.okx.parse import mark as mark_of
from connectors.okx.parse import reply as reply_of
from connectors.okx.private import PING, UPGRADE
from connectors.session import Action, Send, Timers
from connectors.wire import BadFrame, Defect
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged, Marks
from monitor.telemetry import Telemetry

CHANNEL = "mark-price"

REPEAT_S = 10.0
"""OKX repeats a mark that does not change so often."""

REPEAT_LATE_S = 11.0
REPEAT_STALE_S = 12.0

SEND_INTERVAL_S = 0.5
"""Between two messages on one connection. OKX allows 480 subscriptions and the like an hour, in messages of up to
64 KB; pings do not count."""

ARGS_PER_MESSAGE = 200
PINGS_PER_LIMIT = 2.5
"""So many pings fit into the time after which a connection that says nothing is given up."""

JUDGE_S = 0.5

RECOVERED = 2.0 / 3.0
"""Share of the age that is late, below which a stream is live again."""

STEADY_S = 60.0
"""After so long without a fault the next one is treated as the first."""

LAG_RELAX = 0.001
"""Seconds by which the smallest lag seen may grow each second: a local clock that drifts is not a late stream."""

TIME_JUMP_S = 60.0
"""A mark so far ahead of the others is refused: believing it would make every later one look old."""


@dataclass(slots=True)
class _Subscriptions:
    """What one open connection was asked for."""

    names: set[str] = field(default_factory=set)
    next_send_at: float = -inf


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
        self._url = market_url
        self._silent_s = settings.mark_s
        self._mark_s = max(settings.mark_s, REPEAT_STALE_S)
        self._late_s = min(max(settings.late_s, REPEAT_LATE_S), self._mark_s)
        self._telemetry = telemetry
        self._timers = Timers()
        self._links = Links(
            self.name,
            self.actions,
            self._timers,
            self._dial,
            random,
            prove_s=self._mark_s + SEND_INTERVAL_S,
            life_s=settings.life_s,
        )
        self._open: dict[str, _Subscriptions] = {}
        self._heard_at = 0.0
        """When the live connection last said anything."""
        self._frames = 0
        # For every instrument wanted: the venue's time of its newest mark (0: none yet), and since when it is wanted.
        self._times_ms: dict[str, int] = {}
        self._since: dict[str, float] = {}
        # Smallest difference between receipt and the venue's time: what the clocks differ plus the fastest way here.
        self._lag = inf
        self._reachable = True
        self._judged_at = 0.0
        self._state = FeedState.LIVE
        self._detail = "nothing to watch"
        self._state_since = 0.0
        self._handlers = {
            "dial": self._on_dial,
            "prove": self._on_prove,
            "rollover": self._on_rollover,
            "send": self._on_send,
            "ping": self._on_ping,
            "judge": self._on_judge,
        }

    # --- inputs

    def start(self, now: float) -> Sequence[Event]:
        """Nothing is read until somebody holds something."""
        self._state_since = self._judged_at = now
        return ()

    def watch(self, instruments: frozenset[str], now: float) -> Sequence[Event]:
        """Want these and no others."""
        self._times_ms = {name: self._times_ms.get(name, 0) for name in instruments}
        self._since = {name: self._since.get(name, now) for name in instruments}
        if not instruments:
            self._links.stop()
            self._open.clear()
            for name in ("send", "ping", "judge"):
                self._timers.clear(name)
            return self._become(FeedState.LIVE, "nothing to watch", now)
        if self._links.idle:
            self._links.begin(now)
        self._timers.pull("send", now)
        self._timers.pull("ping", now + self._silent_s / PINGS_PER_LIMIT)
        self._timers.pull("judge", now + JUDGE_S)
        return ()

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Subscribe at once."""
        if self._links.opened(connection, now):
            self._reachable = True
            self._open[connection] = _Subscriptions()
            self._on_send(now)
        return ()

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """A successor is made after a while."""
        self._reachable = self._open.pop(connection, None) is not None
        self._links.closed(connection, reason, now)
        return ()

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame: marks, or an answer to a subscription."""
        self._frames += 1
        if connection == self._links.live:
            self._heard_at = now
        try:
            data = orjson.loads(frame)
            # The way of nearly every frame, written for speed. Whatever is odd about it ends in an exception or in
            # one of the conditions, and is then looked at with care.
            if data["arg"]["channel"] == CHANNEL:
                (row,) = data["data"]
                name, at_ms, price = row["instId"], int(row["ts"]), float(row["markPx"])
                last_ms = self._times_ms.get(name)
                lag = now - at_ms * 0.001
                if last_ms is not None and at_ms > last_ms and 0.0 < price < inf and lag > self._lag - TIME_JUMP_S:
                    self._times_ms[name] = at_ms
                    if lag < self._lag:
                        self._lag = lag
                    if connection != self._links.live:
                        self._delivers(connection, now)
                    return (Marks(self.feed, (name,), (price,), (at_ms,)),)
        except (ValueError, KeyError, TypeError):
            pass
        return self._received_with_care(connection, frame, now)

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
        return self._timers.run(now, self._handlers)

    def deadline(self) -> float | None:
        """When something is due."""
        return self._timers.next()

    def secrets(self) -> Collection[str]:
        """It learns none."""
        return ()

    def health(self, now: float) -> list[FeedHealth]:
        """State and age of the oldest mark wanted."""
        _, age_s = self._oldest(now)
        return [FeedHealth(self.venue, "", self.stream, self._state, age_s, self._detail)]

    # --- frames

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
            if arg.get("channel") == CHANNEL:
                return self._marks(connection, data["data"], now)
            self._count_bad(Defect.UNKNOWN_EVENT)
        else:
            self._count_bad(Defect.SHAPE)
        return ()

    def _marks(self, connection: str, rows: list[Any], now: float) -> Sequence[Event]:
        """The rows that are wanted and new, as one event. A bad row costs only itself."""
        names: list[str] = []
        prices: list[float] = []
        times_ms: list[int] = []
        # A new connection may tell another time: a venue that steps its clock forward is not refused for ever.
        limit_ms = (now - self._lag + TIME_JUMP_S) * 1000.0 if connection == self._links.live else inf
        for row in rows:
            try:
                mark = mark_of(row)
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
        """Data came on a connection that is not the live one: it takes over, and the old one goes."""
        old = self._links.live
        if self._links.prove(connection, now) and old is not None:
            self._open.pop(old, None)
        self._heard_at = now

    def _count_bad(self, defect: Defect) -> None:
        self._telemetry.bad_frames.add(self.venue, self.stream, defect.value)

    # --- connections and subscriptions

    def _dial(self, now: float) -> None:
        self._links.connect(self._url, now)

    def _on_dial(self, now: float) -> Sequence[Event]:
        self._links.on_dial(now)
        return ()

    def _on_prove(self, now: float) -> Sequence[Event]:
        if self._links.heir is not None:
            self._open.pop(self._links.heir, None)
        self._links.on_prove(now)
        return ()

    def _on_rollover(self, now: float) -> Sequence[Event]:
        self._links.on_rollover(now)
        return ()

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
                args = [{"channel": CHANNEL, "instId": name} for name in chunk]
                self.actions.append(Send(connection, orjson.dumps({"op": operation, "args": args}).decode()))
            self._timers.pull("send", asked.next_send_at)
        return ()

    def _on_ping(self, now: float) -> Sequence[Event]:
        """OKX ends connections on which nothing went for 30 s, and only this text makes a quiet one speak."""
        self._timers.set("ping", now + self._silent_s / PINGS_PER_LIMIT)
        self.actions += [Send(connection, PING) for connection in self._open]
        return ()

    # --- health

    def _oldest(self, now: float) -> tuple[str, float | None]:
        """The instrument whose mark is oldest, and its age: what has passed on the venue's clock, as far as known."""
        worst, worst_age_s = "", None
        for name, at_ms in self._times_ms.items():
            age_s = now - self._lag - at_ms * 0.001 if at_ms else now - self._since[name]
            if worst_age_s is None or age_s > worst_age_s:
                worst, worst_age_s = name, age_s
        return worst, worst_age_s

    def _on_judge(self, now: float) -> Sequence[Event]:
        self._telemetry.frames.add(self.venue, self.stream, amount=self._frames)
        self._frames = 0
        self._lag += LAG_RELAX * min(now - self._judged_at, 2 * JUDGE_S)
        self._judged_at = now
        self._timers.set("judge", now + JUDGE_S)
        name, age_s = self._oldest(now)
        state = self._state_at(age_s or 0.0)
        silent_s = now - self._heard_at
        if state in (FeedState.LIVE, FeedState.LATE) and self._links.live is not None and silent_s > self._silent_s:
            self._links.replace(now)
            return self._become(FeedState.STALE, f"connected, but silent for {silent_s:.1f} s", now)
        if state is FeedState.LIVE:
            if now - self._state_since > STEADY_S:
                self._links.steady()
            return self._become(state, "", now)
        if state is not FeedState.LATE and self._links.live is not None:
            self._links.replace(now)
        why = {FeedState.STALE: "; connected, but nothing newer comes", FeedState.DOWN: f"; {self._links.lost_reason}"}
        return self._become(state, f"no mark of {name} for {age_s:.1f} s{why.get(state, '')}", now)

    def _state_at(self, age_s: float) -> FeedState:
        """The state at this age. Back to live only well below the line, so that it does not flap."""
        if age_s <= self._late_s * (1.0 if self._state is FeedState.LIVE else RECOVERED):
            return FeedState.LIVE
        if age_s <= self._mark_s and self._state in (FeedState.LIVE, FeedState.LATE):
            return FeedState.LATE
        return FeedState.STALE if self._reachable else FeedState.DOWN

    def _become(self, state: FeedState, detail: str, now: float) -> Sequence[Event]:
        self._detail = detail
        if state is self._state:
            return ()
        self._state = state
        self._state_since = now
        return (FeedChanged(self.venue, "", self.feed, self.stream, state, now, detail),)
