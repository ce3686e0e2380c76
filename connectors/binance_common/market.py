"""The market stream: marks of what anybody on the feed holds.

One socket, one ``<symbol>@markPrice@1s`` stream for each instrument, or ``!markPrice@arr@1s`` when there are many. A
path that Binance no longer feeds accepts the same subscriptions, acknowledges them and then stays silent, so nothing
but the age of the data counts as health, and where a product may be on several paths a silent one gives way to the
next.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.binance_common.parse import INDEX_PREFIX
from connectors.binance_common.parse import mark as event_of
from connectors.binance_common.product import Product
from connectors.links import Links
from connectors.session import Action, Send, Timers
from connectors.wire import BadFrame, Defect
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged, Marks
from monitor.telemetry import Telemetry

ALL_MARKS = "!markPrice@arr@1s"
ALL_INDEXES = "!assetIndex@arr"

INDIVIDUAL_STREAMS_MAX = 60
"""Above this many instruments one array frame a second costs less than the single frames it replaces. Far below the
1,024 streams that a connection may carry."""

SEND_INTERVAL_S = 0.25
"""Binance ends connections on which a client sends more than ten messages a second; pongs may count as well."""

STREAMS_PER_MESSAGE = 100
JUDGE_S = 0.5

RECOVERED = 2.0 / 3.0
"""Share of the age that is late, below which a stream is live again."""

STEADY_S = 60.0
"""After so long without a fault the next one is treated as the first."""

LAG_RELAX = 0.001
"""Seconds by which the smallest lag seen may grow each second: a local clock that drifts is not a late stream."""

TIME_JUMP_S = 5.0
"""A mark so far ahead of the others is refused: believing it would make every later one look old."""

STEPPED_S = 1.5
"""When for so long every mark is far ahead, they are believed: the venue's clock was stepped, or ours stood still."""

AGREED_S = 1.0
"""Two marks that are no further apart than this agree on the time."""

CLOCK_OFF_S = 60.0
"""How far ahead of our clock the first mark of all may be, which has no others to be held against."""

LAG_STEP_S = 0.25
"""So much at most one mark takes off the smallest lag: a few that are ahead make the others look only a little old."""

_EVENTS = ("markPriceUpdate", "assetIndexUpdate")


@dataclass(slots=True)
class _Subscriptions:
    """What one open connection was asked for."""

    streams: set[str] = field(default_factory=set)
    next_send_at: float = -inf


class MarketFeed:
    """Marks of one address. See `connectors.session.MarketSession` for the protocol."""

    def __init__(
        self, feed: str, market_url: str, settings: FeedSettings, telemetry: Telemetry, random: Random, product: Product
    ) -> None:
        self.name = f"{feed}/mark"
        self.venue = product.venue
        self.stream = "mark"
        self.feed = feed
        self.actions: list[Action] = []
        self._urls = tuple(f"{market_url}{path}" for path in product.market_paths)
        self._url = 0
        # Since June 2026 the arrays carry USD-M and COIN-M; the other's symbols are priced in other units.
        self._foreign = product.foreign
        self._single_max = product.single_streams_max
        self._mark_s = settings.mark_s
        self._late_s = min(settings.late_s, settings.mark_s)
        self._telemetry = telemetry
        self._timers = Timers()
        self._links = Links(
            self.name,
            self.actions,
            self._timers,
            self._dial,
            random,
            prove_s=settings.mark_s + SEND_INTERVAL_S,
            life_s=settings.life_s,
        )
        self._open: dict[str, _Subscriptions] = {}
        self._all = False
        self._message_id = 0
        self._frames = 0
        # For every instrument wanted: the venue's time of its newest mark (0: none yet), and since when it is wanted.
        self._times_ms: dict[str, int] = {}
        self._since: dict[str, float] = {}
        # Smallest difference between receipt and the venue's time: what the clocks differ plus the fastest way here.
        self._lag = inf
        # Lag above which a mark is taken on the fast way. Infinite while marks need a careful look: before two of them
        # agree on the time, and after one that was far ahead.
        self._lag_floor = inf
        self._lag_agreed = False
        self._ahead_since: float | None = None
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
            self._timers.clear("send")
            self._timers.clear("judge")
            return self._become(FeedState.LIVE, "nothing to watch", now)
        if self._links.idle:
            self._links.begin(now)
        self._timers.pull("send", now)
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
        if connection == self._links.heir:
            self._turn()
        self._reachable = self._open.pop(connection, None) is not None
        self._links.closed(connection, reason, now)
        return ()

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame: marks, or an answer to a subscription."""
        self._frames += 1
        try:
            data = orjson.loads(frame)
            # The way of nearly every frame, written for speed. Whatever is odd about it ends in an exception or in
            # one of the conditions, and is then looked at with care.
            if data["e"] == "markPriceUpdate":
                name, at_ms, said = data["s"], data["E"], data["p"]
                last_ms = self._times_ms.get(name)
                lag = now - at_ms * 0.001
                price = float(said)
                # `in` refuses what is not a string as well as the underscores that float() would take.
                if last_ms and at_ms > last_ms and 0.0 < price < inf and lag > self._lag_floor and "_" not in said:
                    self._times_ms[name] = at_ms
                    if lag < self._lag:
                        self._lower_lag(lag)
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
        try:
            data = orjson.loads(frame)
        except orjson.JSONDecodeError:
            self._count_bad(Defect.JSON)
            return ()
        if isinstance(data, dict) and "data" in data and "e" not in data:
            data = data["data"]
        if isinstance(data, list):
            return self._marks(connection, data, now)
        if isinstance(data, dict) and data.get("e") in _EVENTS:
            return self._marks(connection, [data], now)
        if isinstance(data, dict) and "id" in data:
            # An answer to a subscription says only whether it was understood; the age of data says the rest.
            if data.get("result") is not None or "error" in data or "code" in data:
                self._count_bad(Defect.REJECTED)
        else:
            named = isinstance(data, dict) and isinstance(data.get("e"), str)
            self._count_bad(Defect.UNKNOWN_EVENT if named else Defect.SHAPE)
        return ()

    def _marks(self, connection: str, rows: list[Any], now: float) -> Sequence[Event]:
        """The rows that are wanted and new, as one event. A bad row costs only itself."""
        names: list[str] = []
        prices: list[float] = []
        times_ms: list[int] = []
        wanted, foreign = self._times_ms, self._foreign
        if not self._lag_agreed:
            self._agree_on_lag(rows, now)
        limit_ms = (now + CLOCK_OFF_S if self._lag == inf else now - self._lag + TIME_JUMP_S) * 1000.0
        ahead_ms = 0
        kind = _kind(rows)
        prefix, key = (INDEX_PREFIX, "i") if kind == "assetIndexUpdate" else ("", "p")
        for row in rows:
            # Written for speed like `received`: an array has hundreds of rows. What is odd goes to `_odd_row`.
            try:
                name = prefix + row["s"]
                last_ms = wanted.get(name)
                if last_ms is None:
                    continue
                at_ms, said = row["E"], row[key]
                price = float(said)
                if (
                    last_ms < at_ms <= limit_ms
                    and 0.0 < price < inf
                    and "_" not in said
                    and row["e"] == kind
                    and row.get("st") != foreign
                    and (last_ms or type(at_ms) is int)
                ):
                    wanted[name] = at_ms
                    names.append(name)
                    prices.append(price)
                    times_ms.append(at_ms)
                    continue
            except (ValueError, KeyError, TypeError, AttributeError):
                pass
            ahead_ms = max(ahead_ms, self._odd_row(row, limit_ms))
        if not names:
            return self._marks(connection, rows, now) if ahead_ms and self._stepped(ahead_ms, now) else ()
        self._ahead_since = None
        self._lower_lag(min(self._lag, now - max(times_ms) * 0.001))
        if connection != self._links.live:
            self._delivers(connection, now)
        return (Marks(self.feed, names, prices, times_ms),)

    def _lower_lag(self, lag: float) -> None:
        """The smallest lag falls, but not far by one mark alone."""
        self._lag = lag if self._lag == inf else max(lag, self._lag - LAG_STEP_S)
        self._set_lag_floor()

    def _set_lag_floor(self) -> None:
        self._lag_floor = self._lag - TIME_JUMP_S if self._lag_agreed and self._ahead_since is None else inf

    def _agree_on_lag(self, rows: list[Any], now: float) -> None:
        """Hold the very first mark against the second: if it was ahead, it is the second that counts."""
        times_ms = [row["E"] for row in rows if isinstance(row, dict) and type(row.get("E")) is int]
        if self._lag == inf or not times_ms:
            return
        lag = now - max(times_ms) * 0.001
        if lag <= self._lag + AGREED_S:
            self._lag_agreed = True
            return
        self._lag = lag
        limit_ms = (now - lag + AGREED_S) * 1000.0
        for name, at_ms in self._times_ms.items():
            if at_ms > limit_ms:
                self._times_ms[name] = 0

    def _stepped(self, ahead_ms: int, now: float) -> bool:
        """No row of a frame was used, for one is far ahead. When that lasts, its time is the time from now on."""
        if self._ahead_since is None:
            self._ahead_since = now
        stepped = now - self._ahead_since >= STEPPED_S
        if stepped:
            before, self._lag, self._ahead_since = self._lag, now - ahead_ms * 0.001, None
            # What is known is as old as it was.
            step_ms = 0 if before == inf else int((before - self._lag) * 1000.0)
            self._times_ms = {name: at_ms and at_ms + step_ms for name, at_ms in self._times_ms.items()}
        self._set_lag_floor()
        return stepped

    def _odd_row(self, row: object, limit_ms: float) -> int:
        """Count what is wrong with a row that was not used; returns its time when that is too far ahead, else 0."""
        try:
            event = event_of(row, self._foreign)
        except BadFrame as bad:
            self._count_bad(bad.defect)
            return 0
        if event is None:
            return 0
        last_ms = self._times_ms.get(event.name, event.at_ms)
        defects = {-1: Defect.OUT_OF_ORDER, 0: Defect.DUPLICATE, 1: Defect.TIME}
        self._count_bad(defects[(event.at_ms > last_ms) - (event.at_ms < last_ms)])
        return event.at_ms if event.at_ms > limit_ms else 0

    def _delivers(self, connection: str, now: float) -> None:
        """Data came on a connection that is not the live one: it takes over, and the old one goes."""
        old = self._links.live
        if self._links.prove(connection, now) and old is not None:
            self._open.pop(old, None)

    def _count_bad(self, defect: Defect) -> None:
        self._telemetry.bad_frames.add(self.venue, self.stream, defect.value)

    # --- connections and subscriptions

    def _dial(self, now: float) -> None:
        self._links.connect(self._urls[self._url], now)

    def _turn(self) -> None:
        """A connection that never delivered: the next may do better on another path."""
        self._url = (self._url + 1) % len(self._urls)

    def _on_dial(self, now: float) -> Sequence[Event]:
        self._links.on_dial(now)
        return ()

    def _on_prove(self, now: float) -> Sequence[Event]:
        if self._links.heir is not None:
            self._open.pop(self._links.heir, None)
            self._turn()
        self._links.on_prove(now)
        return ()

    def _on_rollover(self, now: float) -> Sequence[Event]:
        self._links.on_rollover(now)
        return ()

    def _streams(self) -> set[str]:
        """Every stream wanted."""
        symbols = {name for name in self._times_ms if not name.startswith(INDEX_PREFIX)}
        # Between half the limit and the limit the choice stands, so that it does not flap.
        self._all = len(symbols) > (self._single_max // 2 if self._all else self._single_max)
        streams = {ALL_MARKS} if self._all else {f"{symbol.lower()}@markPrice@1s" for symbol in symbols}
        return streams | {ALL_INDEXES} if len(symbols) < len(self._times_ms) else streams

    def _on_send(self, now: float) -> Sequence[Event]:
        """At most one message on each connection; comes back while there is more to say."""
        wanted = self._streams()
        for connection, asked in self._open.items():
            added, removed = wanted - asked.streams, asked.streams - wanted
            if not added and not removed:
                continue
            if now >= asked.next_send_at:
                # What is new goes first, so that nothing is lost between the single streams and the array.
                method, names = ("SUBSCRIBE", added) if added else ("UNSUBSCRIBE", removed)
                chunk = sorted(names)[:STREAMS_PER_MESSAGE]
                asked.streams ^= set(chunk)
                asked.next_send_at = now + SEND_INTERVAL_S
                self._say(connection, method, chunk)
            self._timers.pull("send", asked.next_send_at)
        return ()

    def _say(self, connection: str, method: str, streams: list[str]) -> None:
        self._message_id += 1
        message = {"method": method, "params": streams, "id": self._message_id}
        self.actions.append(Send(connection, orjson.dumps(message).decode()))

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
        self._set_lag_floor()
        self._judged_at = now
        self._timers.set("judge", now + JUDGE_S)
        name, age_s = self._oldest(now)
        state = self._state_at(age_s or 0.0)
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
        name, age_s = self._oldest(now)
        data_at = now - age_s if age_s is not None and self._times_ms[name] else None
        return (FeedChanged(self.venue, "", self.feed, self.stream, state, now, detail, data_at),)


def _kind(rows: list[Any]) -> str | None:
    """What an array carries; one frame never mixes marks and indexes."""
    first = rows[0] if rows else None
    return first.get("e") if isinstance(first, dict) else None
