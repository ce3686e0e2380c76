"""How a sink does, and how long to leave it alone after a failure. Pure; time is given."""

from dataclasses import dataclass

from monitor.errors import SinkError

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 5.0
BACKOFF_REFUSED_S = 30.0
"""Longest pause after a failure that only a person can mend, such as a wrong password."""
REFUSED_SHOWN_S = 60.0
"""How long a message that was given up is reported by `health`."""

DELIVERY = "delivery"
STATE = "state"
_PARTS = {DELIVERY, STATE}
"""What a sink does: take alerts, and show the state of the pools."""


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How a sink does; feed it to `Engine.on_sink` about once a second. The state file takes part as a sink.

    `refused` says which message the sink was given up on for, a short while ago; empty without one.
    """

    sink: str
    failing_since: float | None
    pending: int
    detail: str
    refused: str = ""


class Condition:
    """Of one sink: since when it fails, None while it works, and with which words."""

    def __init__(self) -> None:
        self.failing_since: float | None = None
        self.detail = ""
        self._failures = 0
        self._is_refused = False
        self._proven: set[str] = set()
        self._loss = ""
        self._lost_at = 0.0

    def begin(self) -> None:
        """A new connection: what was proven on the last one is not on this."""
        self._proven.clear()

    def works(self, part: str) -> bool:
        """Note that `DELIVERY` or `STATE` went well; only both together prove that a sink works.

        Returns whether it is news that it does.
        """
        self._proven.add(part)
        if self._proven < _PARTS:
            return False
        self._failures = 0
        if self.failing_since is None:
            return False
        self.failing_since, self.detail = None, ""
        return True

    def failed(self, error: Exception, timeout_s: float, now: float) -> bool:
        """Note a failure, of a sink that has `timeout_s` to answer. Returns whether it is news that it fails."""
        self._failures += 1
        self._is_refused = isinstance(error, SinkError) and not error.retry
        timed_out = isinstance(error, TimeoutError) and not str(error)
        self.detail = f"no answer within {timeout_s:g} s" if timed_out else str(error)
        if self.failing_since is not None:
            return False
        self.failing_since = now
        return True

    def lost(self, loss: str, now: float) -> None:
        """Note the message that the sink was given up on for, and why."""
        self._loss, self._lost_at = loss, now

    def health(self, sink: str, pending: int, now: float) -> SinkHealth:
        """The same in the words of the outside."""
        loss = self._loss if now < self._lost_at + REFUSED_SHOWN_S else ""
        return SinkHealth(sink, self.failing_since, pending, self.detail, loss)

    def longest_pause_s(self, *, soon: bool) -> float:
        """A bound that doubles with every failure in a row, for a pause of anything between nothing and it.

        `soon`: the next try is to tell more than the last one did.
        """
        if soon:
            return BACKOFF_FIRST_S
        longest = BACKOFF_REFUSED_S if self._is_refused else BACKOFF_MAX_S
        return min(longest, BACKOFF_FIRST_S * 2.0 ** min(self._failures - 1, 16))
