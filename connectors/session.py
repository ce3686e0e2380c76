"""The shape of every venue's sessions: plain objects without I/O, clock or logging.

Inputs are methods: what happened, and when. Each returns the events that follow from it, already normalised, and may
leave things to do in `actions`, which the caller takes after every call and carries out in order (`runner` does, and
`recorder` ignores them in a replay). `deadline` says when to call `tick` at the latest.

A session never sees credentials: the shell signs requests and log-in frames. It may see secrets that a venue hands out
(a listen key), which it names in `secrets` so that nobody writes them down.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from monitor.errors import MarginwatchError, VenueError
from monitor.model.assessment import FeedHealth
from monitor.model.events import Event


class Security(StrEnum):
    """What the shell must add to a request."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket. Answered by `opened`, or by `closed`. The address may hold a secret and is never printed."""

    connection: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text frame on an open connection."""

    connection: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """Send the log-in frame, which the shell makes because it holds the credentials."""

    connection: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close a connection. Nothing more is heard of it, not even `closed`."""

    connection: str


@dataclass(frozen=True, slots=True)
class Request:
    """Make a REST call. Answered by `responded` or `failed` under `id`, always, within the shell's deadline.

    `weight` is what the call costs in the venue's own budget. Of a question that all accounts are answered alike, an
    answer that another account was given up to `age_s` ago will do.
    """

    id: str
    method: str
    base: str
    path: str
    security: Security = Security.NONE
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    weight: int = 1
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the operator, in the log, now."""

    text: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop for good: this account cannot be watched as configured."""

    error: MarginwatchError


Action = Connect | Send | Login | Disconnect | Request | Warn | Halt


class Session(Protocol):
    """One stream's worth of a venue's protocol. `now` is always steady seconds since the epoch."""

    name: str
    venue: str
    stream: str
    actions: list[Action]

    def start(self, now: float) -> Sequence[Event]:
        """Called once, before everything else."""
        ...

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """A connection asked for has finished its handshake. That alone proves nothing."""
        ...

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """A connection asked for could not be made, or ended without having been told to."""
        ...

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One whole frame. The hot path. Nothing that a venue can send makes it raise."""
        ...

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """The body of a good answer to a request. `sent_ms` is the venue's time at which the request left."""
        ...

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """A request that got no good answer."""
        ...

    def tick(self, now: float) -> Sequence[Event]:
        """Do what is due."""
        ...

    def deadline(self) -> float | None:
        """When to call `tick` at the latest; None for never."""
        ...

    def reconcile(self, now: float) -> Sequence[Event]:
        """Take a fresh snapshot soon; sessions without snapshots do nothing."""
        ...

    def health(self, now: float) -> list[FeedHealth]:
        """How each of its streams is doing."""
        ...

    def secrets(self) -> Collection[str]:
        """Strings learnt from the venue that must not be written anywhere."""
        ...


class MarketSession(Session, Protocol):
    """A session that carries marks; it is told which instruments anybody holds."""

    def watch(self, instruments: frozenset[str], now: float) -> Sequence[Event]:
        """From now on these are wanted, and no others."""
        ...


class AccountSession(Session, Protocol):
    """A session that carries one account."""

    feed: str

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs at the moment."""
        ...


class Timers:
    """Named moments at which something is due. A handful, so a plain dictionary is the fastest queue."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def set(self, name: str, at: float) -> None:
        """Set or move."""
        self._due[name] = at

    def pull(self, name: str, at: float) -> None:
        """Set, or move only towards the present."""
        self._due[name] = min(at, self._due.get(name, at))

    def clear(self, name: str) -> None:
        """Forget; no fault when it is not set."""
        self._due.pop(name, None)

    def is_set(self, name: str) -> bool:
        """Whether it is waiting."""
        return name in self._due

    def next(self) -> float | None:
        """The earliest moment."""
        return min(self._due.values(), default=None)

    def take(self, now: float) -> list[str]:
        """Names that are due, in the order of their moments; they are forgotten."""
        due = sorted((at, name) for name, at in self._due.items() if at <= now)
        for _, name in due:
            del self._due[name]
        return [name for _, name in due]

    def run(self, now: float, handlers: Mapping[str, Callable[[float], Iterable[Event]]]) -> list[Event]:
        """Call the handler of everything that is due and collect what they return."""
        return [event for name in self.take(now) for event in handlers[name](now)]
