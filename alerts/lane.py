"""One sink's way: how far it is, how it does, and what it refuses."""

import asyncio
from dataclasses import dataclass

from alerts.refusals import Refusals
from alerts.sink import Sink
from monitor.model.assessment import PoolAssessment


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How a sink does; feed it to `Engine.on_sink` about once a second. The state file takes part as a sink.

    `refused` says which message the sink was given up on for, a short while ago; of the state file, that it was begun
    anew lately and where the damaged one is. Empty without one.
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
        self.refusals = Refusals()
        self.rushed_until = 0.0
        """An emergency has just left without waiting for others; until this time of the loop others wait."""
        self.loss = ""
        self.lost_at = 0.0
