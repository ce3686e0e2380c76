"""The present state of the pools, shown to one sink round after round."""

import asyncio

from alerts.batches import batches
from alerts.sink import Sink
from monitor.model.assessment import PoolAssessment
from monitor.model.sources import PoolSource

STATE_BATCH_MAX = 16
"""Pools published in one go: between two of them an alert gets its turn."""


class Showing:
    """Knows what the sink was shown, so as to tell it what is gone."""

    def __init__(self, sink: Sink, source: PoolSource | None) -> None:
        self._sink = sink
        self._source = source
        self._shown: dict[str, PoolAssessment] = {}

    async def round(self) -> None:
        """Show everything once. Raises SinkError and TimeoutError."""
        present = dict(self._source.assessments()) if self._source is not None else {}
        gone = [pool for name, pool in self._shown.items() if name not in present]
        # At least one call, even of nothing: it is the round trip that notices a dead connection.
        for index, batch in enumerate(batches(list(present.values()), STATE_BATCH_MAX) or [[]]):
            async with asyncio.timeout(self._sink.config.timeout_s):
                await self._sink.publish_state(batch, () if index else gone)
            self._shown.update((pool.pool, pool) for pool in batch)
        for pool in gone:
            del self._shown[pool.pool]
