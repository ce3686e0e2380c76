"""What every market session does alike: connections that count once they deliver, and marks judged by their age."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any, Generic, TypeVar

from connectors.links import Links
from connectors.session import Action, Send, Timers
from connectors.wire import BadFrame, Defect
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged, FundingTold
from monitor.model.instrument import Funding
from monitor.telemetry import Telemetry

JUDGE_S = 0.5

RECOVERED = 2.0 / 3.0
"""Share of the age that is late, below which a stream is live again."""

FUNDING_S = 10.0
"""How often it is looked at what the marks' rows tell of funding, which changes slowly and moves no figure."""

STEADY_S = 60.0
"""After so long without a fault the next one is treated as the first."""

LAG_RELAX = 0.001
"""Seconds by which the smallest lag seen may grow each second: a local clock that drifts is not a late stream."""

_NOTHING = "nothing to watch"

S = TypeVar("S")


class Sockets(Generic[S]):
    """Connections to one address, and for each that is open what it was asked for.

    `begun` makes the record of what a new connection was asked for; `fruitless` is told when one came to nothing.
    The owner runs `handlers` from its own timers, and one of its own named ``send``.
    """

    def __init__(
        self,
        name: str,
        url: Callable[[], str],
        begun: Callable[[], S],
        actions: list[Action],
        timers: Timers,
        random: Random,
        *,
        prove_s: float,
        life_s: float,
        ping: str = "",
        ping_s: float = 0.0,
        fruitless: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._begun = begun
        self._actions = actions
        self._timers = timers
        self._ping = ping
        self._ping_s = ping_s
        self._fruitless = fruitless
        self.links = Links(name, actions, timers, self._dial, random, prove_s=prove_s, life_s=life_s)
        self.open: dict[str, S] = {}
        self.reachable = True
        self.handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            "dial": self.links.on_dial,
            "prove": self._on_prove,
            "rollover": self.links.on_rollover,
            "ping": self._on_ping,
        }

    def begin(self, now: float) -> None:
        """Something is wanted: be connected, and look soon at what is to be said."""
        if self.links.idle:
            self.links.begin(now)
        self._timers.pull("send", now)
        if self._ping:
            self._timers.pull("ping", now + self._ping_s)

    def stop(self) -> None:
        """Nothing is wanted any more."""
        self.links.stop()
        self.open.clear()
        for name in ("send", "ping"):
            self._timers.clear(name)

    def opened(self, connection: str, now: float) -> bool:
        """Whether the connection is one of these; then it is to be told what is wanted."""
        if not self.links.opened(connection, now):
            return False
        self.reachable = True
        self.open[connection] = self._begun()
        return True

    def closed(self, connection: str, reason: str, now: float) -> None:
        """A successor is made after a while."""
        if connection == self.links.heir:
            self._fruitless()
        self.reachable = self.open.pop(connection, None) is not None
        self.links.closed(connection, reason, now)

    def delivers(self, connection: str, now: float) -> None:
        """Data came on a connection that is not the live one: it takes over, and the old one goes."""
        old = self.links.live
        if self.links.prove(connection, now) and old is not None:
            self.open.pop(old, None)

    def replace(self, now: float, *, silent: bool = False) -> None:
        """What is wanted does not come, or (`silent`) nothing at all: make another connection."""
        if self.links.live is not None:
            self.links.replace(now, silent=silent)

    def _dial(self, now: float) -> None:
        self.links.connect(self._url(), now)

    def _on_prove(self, now: float) -> Sequence[Event]:
        if self.links.heir is not None:
            self.open.pop(self.links.heir, None)
            self._fruitless()
        return self.links.on_prove(now)

    def _on_ping(self, now: float) -> Sequence[Event]:
        self._timers.set("ping", now + self._ping_s)
        self._actions += [Send(connection, self._ping) for connection in self.open]
        return ()


@dataclass(frozen=True, slots=True)
class Oldest:
    """The instrument whose mark is oldest, its age (None: nothing is wanted), and where its marks come from.

    `marked` is False when there was no mark at all: then the age is how long one has been wanted.
    """

    name: str
    age_s: float | None
    marked: bool
    sockets: Sockets[Any]


def oldest(
    times_ms: Mapping[str, int], since: Mapping[str, float], lag: float, now: float, sockets: Sockets[Any]
) -> Oldest:
    """The oldest of marks with these times of the venue's clock (0: none yet), which is `lag` seconds behind ours.

    Of two as old it is one that never came. The age is what has passed on the venue's clock, as far as known.
    """
    worst = Oldest("", None, False, sockets)
    for name, at_ms in times_ms.items():
        age_s = now - lag - at_ms * 0.001 if at_ms else now - since[name]
        if worst.age_s is None or (age_s, not at_ms) > (worst.age_s, not worst.marked):
            worst = Oldest(name, age_s, at_ms > 0, sockets)
    return worst


class MarketBase(ABC):
    """Marks of one address, judged by their age; a venue adds what it asks for and what its frames tell."""

    def __init__(self, feed: str, venue: str, telemetry: Telemetry, *, late_s: float, mark_s: float) -> None:
        self.name = f"{feed}/mark"
        self.venue = venue
        self.stream = "mark"
        self.feed = feed
        self.actions: list[Action] = []
        self._mark_s = mark_s
        self._late_s = min(late_s, mark_s)
        self._telemetry = telemetry
        self._timers = Timers()
        self._frames = 0
        self._judged_at = 0.0
        self._frame_at = 0.0
        self._state = FeedState.LIVE
        self._detail = _NOTHING
        self._state_since = 0.0
        self._rows: dict[str, Any] = {}
        """Of each instrument the newest row with its mark, as it came: what else is in it is looked at off the fast
        way."""
        self._funding: dict[str, Funding] = {}
        self._handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            "judge": self._on_judge,
            "funding": self._on_funding,
        }

    # --- for the venue

    @abstractmethod
    def _want(self, instruments: frozenset[str], now: float) -> None:
        """From now on these are wanted, and no others."""

    @abstractmethod
    def _all_sockets(self) -> Collection[Sockets[Any]]:
        """Every address it reads."""

    @abstractmethod
    def _oldest(self, now: float) -> Oldest:
        """The instrument whose mark is oldest."""

    def _funding_rows(self) -> Mapping[str, Any]:
        """By instrument what was told of funding, among other things."""
        return self._rows

    def _funding_in(self, row: Any, now: float) -> Funding | None:
        """What a row tells of funding; None where it tells nothing. Raises BadFrame."""
        return None

    @abstractmethod
    def _prepare(self, relaxed_s: float, now: float) -> None:
        """Before each judgement; `relaxed_s` is by how much the smallest lag may have grown since the last."""

    # --- inputs

    def start(self, now: float) -> Sequence[Event]:
        """Nothing is read until somebody holds something."""
        self._state_since = self._judged_at = self._frame_at = now
        return ()

    def watch(self, instruments: frozenset[str], now: float) -> Sequence[Event]:
        """Want these and no others."""
        self._want(instruments, now)
        self._rows = {name: row for name, row in self._rows.items() if name in instruments}
        if not instruments:
            self._timers.clear("judge")
            self._timers.clear("funding")
            return self._become(FeedState.LIVE, _NOTHING, now)
        self._timers.pull("judge", now + JUDGE_S)
        self._timers.pull("funding", now + 2.0 * JUDGE_S)
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
        """State and age of the oldest mark wanted; none where it never came."""
        found = self._oldest(now)
        age_s = found.age_s if found.marked else None
        return [FeedHealth(self.venue, "", self.stream, self._state, age_s, self._detail)]

    def _count_bad(self, defect: Defect) -> None:
        self._telemetry.bad_frames.add(self.venue, self.stream, defect.value)

    # --- funding

    def _on_funding(self, now: float) -> Sequence[Event]:
        """Tell what has changed."""
        found = {name: self._funding_of(row, now) for name, row in self._funding_rows().items()}
        self._timers.set("funding", now + (FUNDING_S if found else 2.0 * JUDGE_S))
        told = tuple((name, funding) for name, funding in found.items() if funding != self._funding.get(name))
        self._funding = {name: funding for name, funding in found.items() if funding is not None}
        return (FundingTold(self.feed, told),) if told else ()

    def _funding_of(self, row: Any, now: float) -> Funding | None:
        """What cannot be read is not told: no figure depends on it."""
        try:
            return self._funding_in(row, now)
        except BadFrame:
            return None

    # --- judgement

    def _on_judge(self, now: float) -> Sequence[Event]:
        self._telemetry.frames.add(self.venue, self.stream, amount=self._frames)
        if self._frames:
            self._frame_at = now
        self._frames = 0
        self._prepare(LAG_RELAX * min(now - self._judged_at, 2 * JUDGE_S), now)
        self._judged_at = now
        self._timers.set("judge", now + JUDGE_S)
        found = self._oldest(now)
        return self._verdict(found, self._state_at(found), now)

    def _verdict(self, found: Oldest, state: FeedState, now: float) -> Sequence[Event]:
        links = found.sockets.links
        if state is FeedState.LIVE:
            if now - self._state_since > STEADY_S:
                for sockets in self._all_sockets():
                    sockets.links.steady()
            return self._become(state, "", now)
        if state is not FeedState.LATE:
            found.sockets.replace(now, silent=self._is_silent(now))
        why = {FeedState.STALE: "connected, but nothing newer comes", FeedState.DOWN: links.lost_reason}.get(state, "")
        # No age in the words: they are told once, and the age goes on.
        about = f"{found.name} is the oldest" if found.marked else f"no mark of {found.name} yet"
        return self._become(state, f"{why}; {about}" if why else about, now)

    def _is_silent(self, now: float) -> bool:
        """Whether nothing at all comes, on no connection."""
        return now - self._frame_at > self._late_s

    def _state_at(self, found: Oldest) -> FeedState:
        """The state at this age. Back to live only well below the line, so that it does not flap."""
        age_s = found.age_s or 0.0
        if age_s <= self._late_s * (1.0 if self._state is FeedState.LIVE else RECOVERED):
            return FeedState.LIVE
        if age_s <= self._mark_s and self._state in (FeedState.LIVE, FeedState.LATE):
            return FeedState.LATE
        return FeedState.STALE if found.sockets.reachable else FeedState.DOWN

    def _become(self, state: FeedState, detail: str, now: float) -> Sequence[Event]:
        self._detail = detail
        if state is self._state:
            return ()
        self._state = state
        self._state_since = now
        found = self._oldest(now)
        data_at = now - found.age_s if found.age_s is not None and found.marked else None
        return (FeedChanged(self.venue, "", self.feed, self.stream, state, now, detail, data_at),)


@dataclass(slots=True)
class Asked:
    """What one open connection was asked for, and when it may be told more."""

    names: set[str] = field(default_factory=set)
    next_send_at: float = -inf


class SocketMarket(MarketBase):
    """A market session that reads one address, which `url` tells. A new connection has `prove_s` to deliver."""

    def __init__(
        self,
        feed: str,
        venue: str,
        telemetry: Telemetry,
        random: Random,
        url: Callable[[], str],
        *,
        late_s: float,
        mark_s: float,
        prove_s: float,
        life_s: float,
        ping: str = "",
        ping_s: float = 0.0,
        fruitless: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(feed, venue, telemetry, late_s=late_s, mark_s=mark_s)
        self._sockets = Sockets(
            self.name,
            url,
            Asked,
            self.actions,
            self._timers,
            random,
            prove_s=prove_s,
            life_s=life_s,
            ping=ping,
            ping_s=ping_s,
            fruitless=fruitless,
        )
        self._links = self._sockets.links
        self._open = self._sockets.open
        self._handlers |= {**self._sockets.handlers, "send": self._on_send}

    @abstractmethod
    def _on_send(self, now: float) -> Sequence[Event]:
        """Timer ``send``: tell each connection what is wanted, as fast as the venue likes it."""

    def watch(self, instruments: frozenset[str], now: float) -> Sequence[Event]:
        """Want these and no others."""
        if instruments:
            self._sockets.begin(now)
        else:
            self._sockets.stop()
        return super().watch(instruments, now)

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Subscribe at once."""
        if self._sockets.opened(connection, now):
            self._on_send(now)
        return ()

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """A successor is made after a while."""
        self._sockets.closed(connection, reason, now)
        return ()

    def _all_sockets(self) -> Collection[Sockets[Any]]:
        return (self._sockets,)

    def _delivers(self, connection: str, now: float) -> None:
        self._sockets.delivers(connection, now)
