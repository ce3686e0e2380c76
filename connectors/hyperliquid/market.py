"""The market stream: marks of what anybody on the feed holds, one ``activeAssetCtx`` for each coin.

``allMids`` would be one stream for all, but carries mid prices, and it is the mark that liquidates. Frames bear no time
and no number: a mark's time here is that of its receipt, which is about as good, because the venue computes marks only
every three seconds. Of a coin that rests the venue may repeat nothing at all, while a stream may also fall silent on a
socket that lives; so a coin that says nothing is asked again by ending and renewing its subscription, which is answered
with the mark of now, and only the age of what came counts as health.
"""

from collections.abc import Sequence
from math import inf
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.hyperliquid.parse import is_greeting, mark
from connectors.hyperliquid.stream import PING, PING_S, subscribe, unsubscribe
from connectors.market import Asked, Oldest, SocketMarket
from connectors.session import Send
from connectors.wire import BadFrame, Defect, number, optional
from monitor.model.events import Event, Marks
from monitor.model.instrument import Funding
from monitor.telemetry import Telemetry

CHANNEL = "activeAssetCtx"

LATE_S = 4.0
"""Marks are computed every three seconds; sooner than this none is late."""

HOUR_S = 3600.0

BURST_S = 1.0
BURST_MESSAGES = 16
"""Messages in one burst: all connections of a machine together may send 2,000 a minute."""

SUBSCRIPTIONS_MAX = 900
"""The venue allows a machine 1,000; the rest is for the accounts' own. What is beyond has no marks, and says so."""


class MarketFeed(SocketMarket):
    """Marks of one address. See `connectors.session.MarketSession` for the protocol."""

    def __init__(
        self, feed: str, market_url: str, settings: FeedSettings, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        super().__init__(
            feed,
            venue,
            telemetry,
            random,
            lambda: market_url,
            late_s=max(settings.late_s, LATE_S),
            mark_s=settings.mark_s,
            prove_s=settings.mark_s + BURST_S,
            life_s=settings.life_s,
            ping=PING,  # the venue closes a connection on which it had nothing to say for a minute
            ping_s=PING_S,
        )
        self._ask_s = settings.mark_s / 2.0
        # For every coin wanted: when its newest mark came (of one that never came: since when it is wanted).
        self._seen: dict[str, float] = {}
        self._times_ms: dict[str, int] = {}
        self._asked: dict[str, float] = {}

    def _want(self, instruments: frozenset[str], now: float) -> None:
        self._seen = {coin: self._seen.get(coin, now) for coin in instruments}
        self._times_ms = {coin: self._times_ms.get(coin, 0) for coin in instruments}
        self._asked = {coin: at for coin, at in self._asked.items() if coin in instruments}

    # --- frames

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame: a mark, or an answer."""
        self._frames += 1
        try:
            told = orjson.loads(frame)
            # The way of nearly every frame, written for speed. Whatever is odd about it ends in an exception or in
            # one of the conditions, and is then looked at with care.
            if told["channel"] == CHANNEL:
                data = told["data"]
                coin, found = data["coin"], data["ctx"]["markPx"]
                price = float(found) if found.__class__ is str and "_" not in found else number(found)
                last_ms = self._times_ms.get(coin)
                if last_ms is not None and 0.0 < price < inf:
                    # Two marks of one millisecond are still one after the other.
                    at_ms = max(int(now * 1000.0), last_ms + 1)
                    self._times_ms[coin] = at_ms
                    self._seen[coin] = now
                    self._rows[coin] = data["ctx"]
                    if connection != self._links.live:
                        self._delivers(connection, now)
                    return (Marks(self.feed, (coin,), (price,), (at_ms,)),)
        except (ValueError, KeyError, TypeError):
            pass
        self._look(frame)
        return ()

    def _look(self, frame: bytes | str) -> None:
        """Count what is wrong with a frame that was not used."""
        try:
            mark(orjson.loads(frame))
        except orjson.JSONDecodeError:
            if not is_greeting(frame):
                self._count_bad(Defect.JSON)
        except BadFrame as bad:
            self._count_bad(bad.defect)

    def _funding_in(self, row: Any, now: float) -> Funding | None:
        """``funding`` is the hourly rate, paid at the full hour ("Funding")."""
        rate = optional(row.get("funding"))
        return None if rate is None else Funding(rate, (now // HOUR_S + 1.0) * HOUR_S)

    # --- subscriptions

    def _on_send(self, now: float) -> Sequence[Event]:
        """A burst of messages on each connection; comes back while there is more to say."""
        wanted = set(sorted(self._seen)[:SUBSCRIPTIONS_MAX])
        for connection, asked in self._open.items():
            quiet = self._quiet(now) & asked.names if connection == self._links.live else set()
            if not wanted ^ asked.names and not quiet:
                continue
            if now >= asked.next_send_at:
                asked.next_send_at = now + BURST_S
                self._burst(connection, asked, wanted, quiet, now)
            self._timers.pull("send", asked.next_send_at)
        return ()

    def _burst(self, connection: str, asked: Asked, wanted: set[str], quiet: set[str], now: float) -> None:
        """New coins first, then those that are asked again, the longest silent first, then those nobody wants."""
        messages: list[str] = []
        for coin in sorted(wanted - asked.names)[:BURST_MESSAGES]:
            asked.names.add(coin)
            messages.append(subscribe(CHANNEL, coin=coin))
        for coin in sorted(quiet, key=self._seen.__getitem__)[: (BURST_MESSAGES - len(messages)) // 2]:
            self._asked[coin] = now
            messages += [unsubscribe(CHANNEL, coin=coin), subscribe(CHANNEL, coin=coin)]
        for coin in sorted(asked.names - wanted)[: BURST_MESSAGES - len(messages)]:
            asked.names.discard(coin)
            messages.append(unsubscribe(CHANNEL, coin=coin))
        self.actions += [Send(connection, text) for text in messages]

    def _quiet(self, now: float) -> set[str]:
        """Coins that said nothing for a while and were not asked again since."""
        return {coin for coin, at in self._seen.items() if now - max(at, self._asked.get(coin, 0.0)) > self._ask_s}

    # --- health

    def _prepare(self, relaxed_s: float, now: float) -> None:
        self._timers.pull("send", now)

    def _oldest(self, now: float) -> Oldest:
        if not self._seen:
            return Oldest("", None, False, self._sockets)
        # Of two as old the one that never came.
        coin = min(self._seen, key=lambda name: (self._seen[name], self._times_ms[name] > 0))
        return Oldest(coin, now - self._seen[coin], self._times_ms[coin] > 0, self._sockets)
