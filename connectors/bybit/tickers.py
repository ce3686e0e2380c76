"""Tickers of one category on one socket of its own, because a public socket of Bybit serves a single category.

Bybit sends a snapshot after a subscription and then only what changed: an absent mark price is an unchanged one, and so
each frame of a contract proves its mark anew. A contract of which nothing changes is silent, as a dead stream is. So
one that was silent for a while is unsubscribed and subscribed again, which makes Bybit send a snapshot: nothing but
data counts as health.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.bybit.parse import INDEX_PREFIX, SPOT
from connectors.market import Asked, Oldest, Sockets, oldest
from connectors.session import Action, Send, Timers
from connectors.wire import BadFrame, Defect, mapping, millis, positive, text
from monitor.model.events import Event, Marks

PING_S = 20.0
"""Bybit ends connections on which it hears nothing; WebSocket pings do not count."""

PING = '{"op":"ping"}'
SEND_INTERVAL_S = 0.25
"""Bybit does not state a limit on messages; four a second is far below those of others."""

TOPICS_PER_MESSAGE = {SPOT: 10}
TOPICS_PER_MESSAGE_ELSEWHERE = 100
"""A request may hold 21,000 characters of topics, and ten topics of the spot market."""

QUIET_SHARE = 0.4
"""Share of the age that is stale after which a silent contract is asked for anew."""

TIME_JUMP_S = 60.0
"""A mark so far ahead of the others is refused: believing it would make every later one look old."""

_TOPIC = "tickers."
RATE, NEXT = "fundingRate", "nextFundingTime"


@dataclass(slots=True)
class _Mark:
    """What is known of one instrument. `at_ms` is 0 before its first mark."""

    since: float
    price: float = nan
    at_ms: int = 0
    heard_at: float = -inf
    asked_at: float = -inf
    """When it was last subscribed anew for its silence."""


@dataclass(slots=True)
class _Subscriptions(Asked):
    """And what the last snapshot that it has sent had a price of."""

    begun: set[str] = field(default_factory=set)
    alone: list[str] = field(default_factory=list)
    """Topics that were refused together with others: they are tried one by one."""
    pending: dict[str, list[str]] = field(default_factory=dict)


class Tickers:
    """One category. The market session passes on what happens and asks for nothing else."""

    def __init__(
        self,
        category: str,
        feed: str,
        market_url: str,
        settings: FeedSettings,
        random: Random,
        actions: list[Action],
    ) -> None:
        self.prefix = f"{feed}/mark/{category}"
        """What the names of its connections begin with."""
        self._category = category
        self._feed = feed
        self._quiet_s = QUIET_SHARE * settings.mark_s
        self._actions = actions
        self._price_key = "usdIndexPrice" if category == SPOT else "markPrice"
        self._batch = TOPICS_PER_MESSAGE.get(category, TOPICS_PER_MESSAGE_ELSEWHERE)
        self.timers = Timers()
        self.sockets = Sockets(
            self.prefix,
            lambda: f"{market_url}/{category}",
            _Subscriptions,
            actions,
            self.timers,
            random,
            prove_s=settings.mark_s + SEND_INTERVAL_S,
            life_s=settings.life_s,
            ping=PING,
            ping_s=PING_S,
        )
        self._links = self.sockets.links
        self._open = self.sockets.open
        self._marks: dict[str, _Mark] = {}
        """By the symbol on the wire."""
        self.funding: dict[str, dict[str, Any]] = {}
        """By symbol the keys about funding, as they came last."""
        self._request = 0
        # Smallest difference between receipt and the venue's time: what the clocks differ plus the fastest way here.
        self._lag = inf
        self._handlers = {**self.sockets.handlers, "send": self._on_send}

    # --- what is wanted

    def watch(self, instruments: Collection[str], now: float) -> None:
        """Want these and no others."""
        self._marks = {symbol: self._marks.get(symbol) or _Mark(now) for symbol in map(self._symbol, instruments)}
        self.funding = {symbol: told for symbol, told in self.funding.items() if symbol in self._marks}
        if instruments:
            self.sockets.begin(now)
        else:
            self.sockets.stop()

    def _symbol(self, instrument: str) -> str:
        """The wire's name: a coin's price in USD stands in the spot ticker of the coin against USDT."""
        if self._category != SPOT:
            return instrument
        return instrument.removeprefix(INDEX_PREFIX).removesuffix("USD") + "USDT"

    def _instrument(self, symbol: str) -> str:
        return symbol if self._category != SPOT else f"{INDEX_PREFIX}{symbol.removesuffix('USDT')}USD"

    def oldest(self, now: float) -> Oldest:
        """The instrument whose mark is oldest."""
        times_ms = {self._instrument(symbol): mark.at_ms for symbol, mark in self._marks.items()}
        since = {self._instrument(symbol): mark.since for symbol, mark in self._marks.items()}
        return oldest(times_ms, since, self._lag, now, self.sockets)

    def relax(self, seconds: float) -> None:
        """Let the smallest lag grow: a local clock that drifts is not a late stream."""
        self._lag += seconds

    # --- connections

    def opened(self, connection: str, now: float) -> None:
        """Subscribe at once."""
        if self.sockets.opened(connection, now):
            self._on_send(now)

    def holds(self, connection: str) -> bool:
        """Whether the connection is open, as far as we are concerned."""
        return connection in self._open

    # --- frames

    def received(self, connection: str, data: Any, now: float) -> Sequence[Event]:
        """One frame: a ticker, or an answer to a subscription or a ping. Raises BadFrame."""
        try:
            # The way of nearly every frame, written for speed. Whatever is odd about it is looked at with care.
            if data["topic"].startswith(_TOPIC):
                row, at_ms = data["data"], data["ts"]
                symbol = row["symbol"]
                mark = self._marks.get(symbol)
                if mark is None:
                    return ()
                found = row.get(self._price_key)
                if found.__class__ is str and "_" not in found:
                    price = float(found)
                    lag = now - at_ms * 0.001
                    if at_ms > mark.at_ms and 0.0 < price < inf and lag > self._lag - TIME_JUMP_S:
                        if data["type"] == "snapshot" and connection in self._open:
                            self._open[connection].begun.add(symbol)
                        if RATE in row or NEXT in row:
                            self._note_funding(symbol, row)
                        return self._take(connection, symbol, mark, price, at_ms, now)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        return self._received_with_care(connection, data, now)

    def _note_funding(self, symbol: str, row: Any) -> None:
        """What a frame does not have is as it was."""
        self.funding[symbol] = self.funding.get(symbol, {}) | {key: row[key] for key in (RATE, NEXT) if key in row}

    def _take(self, connection: str, symbol: str, mark: _Mark, price: float, at_ms: int, now: float) -> Sequence[Event]:
        mark.price, mark.at_ms, mark.heard_at = price, at_ms, now
        lag = now - at_ms * 0.001
        if lag < self._lag:
            self._lag = lag
        if connection != self._links.live:
            self.sockets.delivers(connection, now)
        return (Marks(self._feed, (self._instrument(symbol),), (price,), (at_ms,)),)

    def _received_with_care(self, connection: str, data: Any, now: float) -> Sequence[Event]:
        frame = mapping(data)
        if "op" in frame and "topic" not in frame:
            self._replied(connection, frame, now)
            return ()
        topic = text(frame.get("topic"))
        if not topic.startswith(_TOPIC):
            raise BadFrame(Defect.UNKNOWN_EVENT, f"{topic:.40} is not a topic known here")
        row = mapping(frame.get("data"))
        symbol, at_ms = text(row.get("symbol")), millis(frame.get("ts"))
        mark = self._marks.get(symbol)
        if mark is None:
            return ()
        self._note_funding(symbol, row)
        price = self._price_of(connection, symbol, mark, frame.get("type"), row)
        if price is None:
            return ()
        if now - at_ms * 0.001 <= self._lag - TIME_JUMP_S and connection == self._links.live:
            raise BadFrame(Defect.TIME, "a time ahead of all others")
        if at_ms <= mark.at_ms:
            at_ms = self._time_of_renewal(mark, frame.get("type"), at_ms)
        return self._take(connection, symbol, mark, price, at_ms, now)

    def _price_of(self, connection: str, symbol: str, mark: _Mark, kind: object, row: Any) -> float | None:
        """The mark of a frame: its own, or where it has none the one that stands; None where that is not known."""
        begun = self._open[connection].begun if connection in self._open else set[str]()
        if kind == "snapshot":
            begun.discard(symbol)  # it stands for all that came before it
        if self._price_key in row:
            price = positive(row[self._price_key])
            if kind == "snapshot":
                begun.add(symbol)
            return price
        if kind == "snapshot":
            return None  # contracts before listing and some coins have no price
        # Before its snapshot a connection may have missed the change of the price that another connection told.
        return mark.price if symbol in begun and mark.price == mark.price else None

    def _time_of_renewal(self, mark: _Mark, kind: object, at_ms: int) -> int:
        """When a snapshot was true that we asked for because of silence, should it bear the time of the last change.

        It was not yet sent when we asked. Any other frame that is not newer than the last is refused.
        """
        asked_ms = int((mark.asked_at - self._lag) * 1000.0) if mark.asked_at > mark.heard_at else 0
        if kind != "snapshot" or asked_ms <= mark.at_ms:
            raise BadFrame(Defect.DUPLICATE if at_ms == mark.at_ms else Defect.OUT_OF_ORDER, "not newer than the last")
        return asked_ms

    def _replied(self, connection: str, frame: Any, now: float) -> None:
        """An answer says only whether it was understood; the age of data says the rest."""
        asked = self._open.get(connection)
        if asked is None:
            return
        topics = asked.pending.pop(str(frame.get("req_id", "")), [])
        if frame.get("success") is not False:
            return
        # One unknown topic makes Bybit refuse all that were asked for with it.
        if len(topics) > 1:
            asked.alone += topics
            self.timers.pull("send", max(now, asked.next_send_at))
        raise BadFrame(Defect.REJECTED, "a request was refused")

    # --- subscriptions

    def _on_send(self, now: float) -> Sequence[Event]:
        """At most one message on each connection; comes back while there is more to say."""
        wanted = {_TOPIC + symbol for symbol in self._marks}
        for connection, asked in self._open.items():
            added, removed = wanted - asked.names, asked.names - wanted
            asked.alone = [topic for topic in asked.alone if topic in wanted]
            if not added and not removed and not asked.alone:
                continue
            if now >= asked.next_send_at:
                asked.next_send_at = now + SEND_INTERVAL_S
                self._send_next(connection, asked, added, removed)
            self.timers.pull("send", asked.next_send_at)
        return ()

    def _send_next(self, connection: str, asked: _Subscriptions, added: set[str], removed: set[str]) -> None:
        if added:
            chunk = sorted(added)[: self._batch]
            asked.names |= set(chunk)
            self._say(connection, asked, "subscribe", chunk)
        elif removed:
            chunk = sorted(removed)[: self._batch]
            asked.names -= set(chunk)
            asked.begun -= {topic.removeprefix(_TOPIC) for topic in chunk}
            self._say(connection, asked, "unsubscribe", chunk)
        else:
            self._say(connection, asked, "subscribe", [asked.alone.pop(0)])

    def renew(self, now: float) -> None:
        """Subscribe anew to what has been silent for a while; called regularly."""
        live = self._links.live
        asked = self._open.get(live or "")
        if live is None or asked is None:
            return
        silent = [
            symbol
            for symbol, mark in self._marks.items()
            if now - max(mark.heard_at, mark.asked_at) > self._quiet_s and _TOPIC + symbol in asked.names
        ]
        for first in range(0, len(silent), self._batch):
            chunk = [_TOPIC + symbol for symbol in silent[first : first + self._batch]]
            for op in ("unsubscribe", "subscribe"):
                self._say(live, asked, op, chunk)
        for symbol in silent:
            self._marks[symbol].asked_at = now

    def _say(self, connection: str, asked: _Subscriptions, op: str, topics: list[str]) -> None:
        self._request += 1
        request = str(self._request)
        if op == "subscribe":
            asked.pending[request] = topics
        message = {"req_id": request, "op": op, "args": topics}
        self._actions.append(Send(connection, orjson.dumps(message).decode()))

    # --- timers

    def tick(self, now: float) -> Sequence[Event]:
        """Do what is due."""
        return self.timers.run(now, self._handlers)
