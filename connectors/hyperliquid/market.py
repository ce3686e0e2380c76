"""The market stream: marks of what anybody on the feed holds, one ``activeAssetCtx`` for each coin.

``allMids`` would be one stream for all, but carries mid prices, and it is the mark that liquidates. Frames bear no time
and no number: a mark's time here is that of its receipt, which is about as good, because the venue computes marks only
every three seconds. Of a coin that rests the venue may repeat nothing at all, while a stream may also fall silent on a
socket that lives; so a coin that says nothing is asked again by ending and renewing its subscription, which is answered
with the mark of now, and only the age of what came counts as health.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

import orjson

from connectors import FeedSettings
from connectors.hyperliquid.parse import is_greeting, mark
from connectors.hyperliquid.stream import PING, PING_S, subscribe, unsubscribe
from connectors.links import Links
from connectors.session import Action, Send, Timers
from connectors.wire import BadFrame, Defect
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged, Marks
from monitor.telemetry import Telemetry

CHANNEL = "activeAssetCtx"

LATE_S = 4.0
"""Marks are computed every three seconds; sooner than this none is late."""

BURST_S = 1.0
BURST_MESSAGES = 16
"""Messages in one burst: all connections of a machine together may send 2,000 a minute."""

SUBSCRIPTIONS_MAX = 900
"""The venue allows a machine 1,000; the rest is for the accounts' own. What is beyond has no marks, and says so."""

JUDGE_S = 0.5
RECOVERED = 2.0 / 3.0
"""Share of the age that is late, below which a stream is live again."""

STEADY_S = 60.0


@dataclass(slots=True)
class _Subscriptions:
    """What one open connection was asked for, and what it is still to be told."""

    coins: set[str] = field(default_factory=set)
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
        self._mark_s = settings.mark_s
        self._late_s = min(max(settings.late_s, LATE_S), settings.mark_s)
        self._ask_s = settings.mark_s / 2.0
        self._telemetry = telemetry
        self._timers = Timers()
        self._links = Links(
            self.name,
            self.actions,
            self._timers,
            self._dial,
            random,
            prove_s=settings.mark_s + BURST_S,
            life_s=settings.life_s,
        )
        self._open: dict[str, _Subscriptions] = {}
        self._frames = 0
        # For every coin wanted: when its newest mark came (of one that never came: since when it is wanted).
        self._seen: dict[str, float] = {}
        self._times_ms: dict[str, int] = {}
        self._asked: dict[str, float] = {}
        self._reachable = True
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
        self._state_since = now
        return ()

    def watch(self, instruments: frozenset[str], now: float) -> Sequence[Event]:
        """Want these and no others."""
        self._seen = {coin: self._seen.get(coin, now) for coin in instruments}
        self._times_ms = {coin: self._times_ms.get(coin, 0) for coin in instruments}
        self._asked = {coin: at for coin, at in self._asked.items() if coin in instruments}
        if not instruments:
            self._links.stop()
            self._open.clear()
            for name in ("send", "ping", "judge"):
                self._timers.clear(name)
            return self._become(FeedState.LIVE, "nothing to watch", now)
        if self._links.idle:
            self._links.begin(now)
        self._timers.pull("send", now)
        self._timers.pull("judge", now + JUDGE_S)
        self._timers.pull("ping", now + PING_S)
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
        """One frame: a mark, or an answer."""
        self._frames += 1
        try:
            told = orjson.loads(frame)
            # The way of nearly every frame, written for speed. Whatever is odd about it ends in an exception or in
            # one of the conditions, and is then looked at with care.
            if told["channel"] == CHANNEL:
                data = told["data"]
                coin, price = data["coin"], float(data["ctx"]["markPx"])
                last_ms = self._times_ms.get(coin)
                if last_ms is not None and 0.0 < price < inf:
                    # Two marks of one millisecond are still one after the other.
                    at_ms = max(int(now * 1000.0), last_ms + 1)
                    self._times_ms[coin] = at_ms
                    self._seen[coin] = now
                    if connection != self._links.live:
                        self._delivers(connection, now)
                    return (Marks(self.feed, (coin,), (price,), (at_ms,)),)
        except (ValueError, KeyError, TypeError):
            pass
        self._look(frame)
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

    def _look(self, frame: bytes | str) -> None:
        """Count what is wrong with a frame that was not used."""
        try:
            mark(orjson.loads(frame))
        except orjson.JSONDecodeError:
            if not is_greeting(frame):
                self._count_bad(Defect.JSON)
        except BadFrame as bad:
            self._count_bad(bad.defect)

    def _delivers(self, connection: str, now: float) -> None:
        """A mark came on a connection that is not the live one: it takes over, and the old one goes."""
        old = self._links.live
        if self._links.prove(connection, now) and old is not None:
            self._open.pop(old, None)

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

    def _on_ping(self, now: float) -> Sequence[Event]:
        """The venue closes a connection on which it had nothing to say for a minute."""
        self._timers.set("ping", now + PING_S)
        self.actions += [Send(connection, PING) for connection in self._open]
        return ()

    def _on_send(self, now: float) -> Sequence[Event]:
        """A burst of messages on each connection; comes back while there is more to say."""
        wanted = set(sorted(self._seen)[:SUBSCRIPTIONS_MAX])
        for connection, asked in self._open.items():
            quiet = self._quiet(now) & asked.coins if connection == self._links.live else set()
            if not wanted ^ asked.coins and not quiet:
                continue
            if now >= asked.next_send_at:
                asked.next_send_at = now + BURST_S
                self._burst(connection, asked, wanted, quiet, now)
            self._timers.pull("send", asked.next_send_at)
        return ()

    def _burst(self, connection: str, asked: _Subscriptions, wanted: set[str], quiet: set[str], now: float) -> None:
        """New coins first, then those that are asked again, the longest silent first, then those nobody wants."""
        messages: list[str] = []
        for coin in sorted(wanted - asked.coins)[:BURST_MESSAGES]:
            asked.coins.add(coin)
            messages.append(subscribe(CHANNEL, coin=coin))
        for coin in sorted(quiet, key=self._seen.__getitem__)[: (BURST_MESSAGES - len(messages)) // 2]:
            self._asked[coin] = now
            messages += [unsubscribe(CHANNEL, coin=coin), subscribe(CHANNEL, coin=coin)]
        for coin in sorted(asked.coins - wanted)[: BURST_MESSAGES - len(messages)]:
            asked.coins.discard(coin)
            messages.append(unsubscribe(CHANNEL, coin=coin))
        self.actions += [Send(connection, text) for text in messages]

    def _quiet(self, now: float) -> set[str]:
        """Coins that said nothing for a while and were not asked again since."""
        return {coin for coin, at in self._seen.items() if now - max(at, self._asked.get(coin, 0.0)) > self._ask_s}

    # --- health

    def _oldest(self, now: float) -> tuple[str, float | None]:
        """The coin whose mark is oldest, and its age."""
        if not self._seen:
            return "", None
        coin = min(self._seen, key=self._seen.__getitem__)
        return coin, now - self._seen[coin]

    def _on_judge(self, now: float) -> Sequence[Event]:
        self._telemetry.frames.add(self.venue, self.stream, amount=self._frames)
        self._frames = 0
        self._timers.set("judge", now + JUDGE_S)
        self._timers.pull("send", now)
        coin, age_s = self._oldest(now)
        state = self._state_at(age_s or 0.0)
        if state is FeedState.LIVE:
            if now - self._state_since > STEADY_S:
                self._links.steady()
            return self._become(state, "", now)
        if state is not FeedState.LATE and self._links.live is not None:
            self._links.replace(now)
        why = {FeedState.STALE: "; connected, but nothing newer comes", FeedState.DOWN: f"; {self._links.lost_reason}"}
        return self._become(state, f"no mark of {coin} for {age_s:.1f} s{why.get(state, '')}", now)

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
