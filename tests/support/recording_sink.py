"""A sink that keeps what it is given, and fails or hangs when told; no network."""

import asyncio
from collections.abc import Sequence

from alerts.sink import Envelope, SinkConfig, Trouble
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment


class RecordingSink:
    """Takes everything. `failing` makes every call fail with that sentence, `hanging` makes it never return."""

    def __init__(self, name: str = "recording", **config: float) -> None:
        self.name = name
        self.overtakes = False
        self.config = SinkConfig.model_validate({"timeout_s": 0.2, "state_s": 0.02, **config})
        self.got: list[Envelope] = []
        self.connections = 0
        self.closed = 0
        self.shown: dict[str, PoolAssessment] = {}
        self.gone: list[str] = []
        self.failing = ""
        self.retry = True
        self.hanging = False
        self.tended: Sequence[Envelope] = ()
        self.trouble: list[Trouble] = []

    @property
    def ids(self) -> list[str]:
        """Ids in the order of arrival."""
        return [envelope.alert.id for envelope in self.got]

    async def connect(self) -> None:
        """Count connections."""
        await self._answer()
        self.connections += 1

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Keep the alerts."""
        await self._answer()
        self.got += batch

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Keep the state."""
        await self._answer()
        self.shown.update((pool.pool, pool) for pool in present)
        self.gone += [pool.pool for pool in gone]

    async def tend(self, firing: Sequence[Envelope]) -> None:
        """Keep what fires."""
        await self._answer()
        self.tended = firing

    def troubles(self) -> Sequence[Trouble]:
        """What a test says is in trouble."""
        return self.trouble

    async def close(self) -> None:
        """Count partings."""
        self.closed += 1

    async def _answer(self) -> None:
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise SinkError(self.failing, retry=self.retry)
