"""Keeping one WebSocket alive by making the next before dropping the last."""

from collections.abc import Callable, Sequence
from random import Random

from connectors.backoff import Backoff
from connectors.session import Action, Connect, Disconnect, Timers
from monitor.model.events import Event

RETRY_BASE_S = 1.0
RETRY_CAP_S = 10.0
"""Every second of it is blindness, and a try costs the venue one handshake: far below any limit."""
REPLACE_BASE_S = 5.0
REPLACE_CAP_S = 300.0
"""A connection that works but lacks something is replaced at once, then ever more seldom: the venue may simply have
nothing to say (a settled contract), and the other streams on the connection are not to suffer for it."""

LIFE_JITTER = 0.02
"""Share of a connection's life by which it may end sooner, so that many do not end together."""


class Links:
    """A `live` connection and, while one is being replaced, its `heir`.

    `dial` is called when it is time to make a connection; the owner answers with `connect`, at once or after fetching
    what the address needs, or with `fail`. The owner calls `prove` when a connection has shown that it delivers: only
    then is the old one dropped. The owner runs `handlers` from its own timers.
    """

    __slots__ = (
        "_count", "_dial", "_dialling", "_life_s", "_prefix", "_prove_s", "_random", "_replacing", "_retrying",
        "_timers", "actions", "heir", "live", "lost_reason",
    )  # fmt: skip

    def __init__(
        self,
        prefix: str,
        actions: list[Action],
        timers: Timers,
        dial: Callable[[float], None],
        random: Random,
        *,
        prove_s: float,
        life_s: float,
    ) -> None:
        self._prefix = prefix
        self.actions = actions
        self._timers = timers
        self._dial = dial
        self._random = random
        self._prove_s = prove_s
        self._life_s = life_s
        self._retrying = Backoff(RETRY_BASE_S, RETRY_CAP_S, random)
        self._replacing = Backoff(REPLACE_BASE_S, REPLACE_CAP_S, random)
        self._count = 0
        self._dialling = False
        self.live: str | None = None
        self.heir: str | None = None
        self.lost_reason = ""

    @property
    def dialling(self) -> bool:
        """Whether `dial` was called and is still to be answered."""
        return self._dialling

    @property
    def idle(self) -> bool:
        """Whether there is no connection and none is on its way."""
        return self.live is None and self.heir is None and not self._dialling and not self._timers.is_set("dial")

    def begin(self, now: float) -> None:
        """Make a connection now, unless one is being made."""
        if self.heir is None and not self._dialling:
            self._timers.clear("dial")
            self._dialling = True
            self._dial(now)

    def connect(self, url: str, now: float) -> str:
        """The address is known: open it. Returns the new connection's name."""
        self._dialling = False
        self._count += 1
        self.heir = f"{self._prefix}-{self._count}"
        self.actions.append(Connect(self.heir, url))
        # A guard only: the shell has a deadline of its own for the handshake and will say `closed`.
        self._timers.set("prove", now + 60.0)
        return self.heir

    def opened(self, connection: str, now: float) -> bool:
        """Whether the connection is one of ours; the heir now has `prove_s` to deliver."""
        if connection == self.heir:
            self._timers.set("prove", now + self._prove_s)
        return connection in (self.heir, self.live)

    def prove(self, connection: str, now: float) -> bool:
        """The connection delivers. True when it thereby took over."""
        if connection != self.heir:
            return False
        if self.live is not None:
            self.actions.append(Disconnect(self.live))
        self.live, self.heir = connection, None
        self._timers.clear("prove")
        self._timers.set("rollover", now + self._life_s * (1.0 - self._random.uniform(0.0, LIFE_JITTER)))
        return True

    def fail(self, reason: str, now: float, at_least_s: float | None = None) -> None:
        """The connection being made came to nothing; try again later."""
        self._dialling = False
        self.heir = None
        self.lost_reason = reason
        self._timers.clear("prove")
        self._timers.set("dial", now + self._retrying.next(at_least_s))

    def closed(self, connection: str, reason: str, now: float) -> bool:
        """Whether the connection was one of ours; a successor is on its way."""
        if connection == self.heir:
            self.fail(reason, now)
            return True
        if connection != self.live:
            return False
        self.live = None
        self.lost_reason = reason
        self._timers.clear("rollover")
        if self.heir is None and not self._dialling and not self._timers.is_set("dial"):
            self._timers.set("dial", now + self._retrying.next())
        return True

    def replace(self, now: float, *, silent: bool = False) -> None:
        """The live connection does not carry what it should: make another, the first time at once.

        `silent`: it carries nothing at all, so that nothing suffers from another soon.
        """
        if self.heir is None and not self._dialling and not self._timers.is_set("dial"):
            backoff = self._retrying if silent else self._replacing
            first = backoff.failures == 0
            wait_s = backoff.next()
            self._timers.set("dial", now if first else now + wait_s)

    def abandon(self) -> None:
        """The connection being made is not wanted any more, nor is the address that was to come."""
        if self.heir is not None:
            self.actions.append(Disconnect(self.heir))
            self.heir = None
            self._timers.clear("prove")
        self._dialling = False

    def steady(self) -> None:
        """All has been well for a while: waits start from the bottom again."""
        self._retrying.reset()
        self._replacing.reset()

    def stop(self) -> None:
        """Drop everything; `begin` starts anew."""
        for connection in (self.live, self.heir):
            if connection is not None:
                self.actions.append(Disconnect(connection))
        self.live = self.heir = None
        self._dialling = False
        for name in ("dial", "prove", "rollover"):
            self._timers.clear(name)

    def on_dial(self, now: float) -> Sequence[Event]:
        """Timer ``dial``."""
        self.begin(now)
        return ()

    def on_rollover(self, now: float) -> Sequence[Event]:
        """Timer ``rollover``: venues end connections after a day, so ours ends first."""
        self.begin(now)
        return ()

    def on_prove(self, now: float) -> Sequence[Event]:
        """Timer ``prove``: the heir has said nothing for too long."""
        if self.heir is not None:
            self.actions.append(Disconnect(self.heir))
            self.fail("connected, but nothing was delivered", now)
        return ()
