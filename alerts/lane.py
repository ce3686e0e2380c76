"""One sink's way: how far it is, how it does, and what it refused."""

import asyncio
from dataclasses import dataclass

from alerts.sink import Envelope, Sink
from monitor.model.assessment import PoolAssessment

REFUSALS_MAX = 3
"""A sink that refused one message so often, takes a later one, and refuses it again, does not get it any more."""


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


class Lane:
    """One sink and how far it is."""

    def __init__(self, sink: Sink, cursor: int, *, knows_nothing: bool) -> None:
        self.sink = sink
        self.cursor = cursor
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        # Said again on every connection but the first of a run: a restart does not repeat what was delivered.
        self.reassert = knows_nothing
        self.shown: dict[str, PoolAssessment] = {}
        self.proven: set[str] = set()
        self.failures = 0
        self.refused = False
        self.failing_since: float | None = None
        self.detail = ""
        # How often each message was refused, by id; while there are any, messages go one at a time. `ahead` are those
        # taken while an earlier one waits for its last try.
        self.refusals: dict[str, int] = {}
        self.given_up: dict[str, None] = {}
        self.ahead: set[int] = set()
        self.rushed_until = 0.0
        """An emergency has just left without waiting for others; until this time of the loop others wait."""
        self.loss = ""
        self.lost_at = 0.0

    def is_doubtful(self, envelope: Envelope) -> bool:
        """Whether this message was refused so often that others go first."""
        identifier = envelope.alert.id
        return identifier in self.given_up or self.refusals.get(identifier, 0) >= REFUSALS_MAX
