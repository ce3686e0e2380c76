"""The market stream: marks of what anybody on the feed holds.

One socket, one ``<symbol>@markPrice@1s`` stream for each instrument, or ``!markPrice@arr@1s`` when there are many. A
path that Binance no longer feeds accepts the same subscriptions, acknowledges them and then stays silent, so nothing
but the age of the data counts as health, and where a product may be on several paths a silent one gives way to the
next.
"""

from collections.abc import Sequence
from math import inf
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.binance_common.parse import INDEX_PREFIX
from connectors.binance_common.parse import mark as event_of
from connectors.binance_common.product import Product
from connectors.market import Oldest, SocketMarket, oldest
from connectors.session import Send
from connectors.wire import BadFrame, Defect, optional
from monitor.model.events import Event, Marks
from monitor.model.instrument import Funding
from monitor.telemetry import Telemetry

ALL_MARKS = "!markPrice@arr@1s"
ALL_INDEXES = "!assetIndex@arr"

INDIVIDUAL_STREAMS_MAX = 60
"""Above this many instruments one array frame a second costs less than the single frames it replaces. Far below the
1,024 streams that a connection may carry."""

SEND_INTERVAL_S = 0.25
"""Binance ends connections on which a client sends more than ten messages a second; pongs may count as well."""

STREAMS_PER_MESSAGE = 100
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


class MarketFeed(SocketMarket):
    """Marks of one address. See `connectors.session.MarketSession` for the protocol."""

    def __init__(
        self, feed: str, market_url: str, settings: FeedSettings, telemetry: Telemetry, random: Random, product: Product
    ) -> None:
        super().__init__(
            feed,
            product.venue,
            telemetry,
            random,
            lambda: self._urls[self._url],
            late_s=settings.late_s,
            mark_s=settings.mark_s,
            prove_s=settings.mark_s + SEND_INTERVAL_S,
            life_s=settings.life_s,
            fruitless=self._turn,
        )
        self._urls = tuple(f"{market_url}{path}" for path in product.market_paths)
        self._url = 0
        # Since June 2026 the arrays carry USD-M and COIN-M; the other's symbols are priced in other units.
        self._foreign = product.foreign
        self._single_max = product.single_streams_max
        self._all = False
        self._message_id = 0
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

    def _want(self, instruments: frozenset[str], now: float) -> None:
        self._times_ms = {name: self._times_ms.get(name, 0) for name in instruments}
        self._since = {name: self._since.get(name, now) for name in instruments}

    # --- frames

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
                    self._rows[name] = data
                    if lag < self._lag:
                        self._lower_lag(lag)
                    if connection != self._links.live:
                        self._delivers(connection, now)
                    return (Marks(self.feed, (name,), (price,), (at_ms,)),)
        except (ValueError, KeyError, TypeError):
            pass
        return self._received_with_care(connection, frame, now)

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
        wanted, kept, foreign = self._times_ms, self._rows, self._foreign
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
                    kept[name] = row
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

    def _funding_in(self, row: Any, now: float) -> Funding | None:
        """``r`` is the rate, ``T`` the time of the next payment; empty and zero for contracts that expire."""
        rate, at_ms = optional(row.get("r")), optional(row.get("T"))
        return None if rate is None else Funding(rate, at_ms / 1000.0 if at_ms else None)

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

    # --- connections and subscriptions

    def _turn(self) -> None:
        """A connection that never delivered: the next may do better on another path."""
        self._url = (self._url + 1) % len(self._urls)

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
            added, removed = wanted - asked.names, asked.names - wanted
            if not added and not removed:
                continue
            if now >= asked.next_send_at:
                # What is new goes first, so that nothing is lost between the single streams and the array.
                method, names = ("SUBSCRIBE", added) if added else ("UNSUBSCRIBE", removed)
                chunk = sorted(names)[:STREAMS_PER_MESSAGE]
                asked.names ^= set(chunk)
                asked.next_send_at = now + SEND_INTERVAL_S
                self._say(connection, method, chunk)
            self._timers.pull("send", asked.next_send_at)
        return ()

    def _say(self, connection: str, method: str, streams: list[str]) -> None:
        self._message_id += 1
        message = {"method": method, "params": streams, "id": self._message_id}
        self.actions.append(Send(connection, orjson.dumps(message).decode()))

    # --- health

    def _prepare(self, relaxed_s: float, now: float) -> None:
        self._lag += relaxed_s
        self._set_lag_floor()

    def _oldest(self, now: float) -> Oldest:
        return oldest(self._times_ms, self._since, self._lag, now, self._sockets)


def _kind(rows: list[Any]) -> str | None:
    """What an array carries; one frame never mixes marks and indexes."""
    first = rows[0] if rows else None
    return first.get("e") if isinstance(first, dict) else None
