"""What a monitor knows and says when it begins to speak for an account that another one watches, too."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from alerts.alert import Alert, Silence, State
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.pair import Pair, PairConfig
from alerts.redis_link import RedisConfig, RedisLink, connector
from alerts.words import Word
from monitor.book import Book
from monitor.clock import SystemClock
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.sharing import Sharing
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool
from tests.support.recording_sink import RecordingSink
from tests.support.server_process import until

HERE = ("binance", "main")
AT = 1_790_000_000.0
NOBODY = "redis://127.0.0.1:1"
"""No Redis answers there: nobody speaks unless a test says so."""


@dataclass
class Monitor:
    """One of two, which has joined."""

    pair: Pair
    engine: Engine
    dispatcher: Dispatcher
    outbox: Outbox
    sink: RecordingSink

    def see(self, ratio: float) -> list[Alert]:
        """What the engine makes of a pool, and keeps to itself."""
        return self.engine.on_pool(a_pool(ratio), AT)

    async def has(self, *ids: str) -> None:
        """Wait until the sink has these and no others."""
        await until(lambda: self.dispatcher.pending() == {"recording": 0}, "delivered")
        assert self.sink.ids == list(ids)


@asynccontextmanager
async def joined(path: Path) -> AsyncIterator[Monitor]:
    """Over a state file that knows the sink, as of a monitor that speaks for nobody yet."""
    clock, telemetry, sink, settings = SystemClock(), Telemetry(), RecordingSink(), RedisConfig(url=NOBODY)
    Outbox.open(path, [sink.name], clock, telemetry).close()
    with Outbox.open(path, [sink.name], clock, telemetry) as outbox:
        engine = Engine(AlertsConfig(), "box")
        dispatcher = Dispatcher(outbox, [sink], clock, telemetry)
        pair = Pair(PairConfig(enabled=True), RedisLink(connector(settings)), "marginwatch", 0.2, clock, "box")
        pipeline = Pipeline(Book(), engine, dispatcher.submit, clock, telemetry, PipelineSettings())
        await Sharing(pair, engine, dispatcher, outbox, pipeline, clock, dispatcher.submit).join({HERE})
        dispatcher.spoken.speaks = lambda alert: True
        task = asyncio.create_task(dispatcher.run())
        try:
            yield Monitor(pair, engine, dispatcher, outbox, sink)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def words(*alerts: Alert, lacking: Sequence[str] = ()) -> list[Word]:
    """As the pair hands them over."""
    return [Word(alert, frozenset(lacking)) for alert in alerts]


async def test_what_the_other_one_said_is_not_said_again(tmp_path: Path) -> None:
    """What this one saw as well is known; what is worse is said."""
    async with joined(tmp_path / "state") as now:
        said = now.see(0.75)
        now.pair.begin(HERE, words(*said))
        assert now.engine.firing() == said
        await now.has()
        (worse,) = now.see(0.9)
        now.dispatcher.submit([worse])
        await now.has(worse.id)


async def test_what_nobody_said_is_said_now(tmp_path: Path) -> None:
    """This one saw it while another one spoke, or was to."""
    async with joined(tmp_path / "state") as now:
        (seen,) = now.see(0.75)
        now.pair.begin(HERE, [])
        await now.has(seen.id)


async def test_a_word_goes_to_the_sinks_that_lack_it(tmp_path: Path) -> None:
    """The other one had no time to; a sink that is not configured here is none of ours."""
    async with joined(tmp_path / "state") as now:
        said = now.see(0.75)
        now.pair.begin(HERE, words(*said, lacking=["recording", "elsewhere"]))
        await now.has(said[0].id)


async def test_without_others_it_goes_on_from_its_own_words(tmp_path: Path) -> None:
    """Nothing is said twice."""
    async with joined(tmp_path / "state") as now:
        (said,) = now.see(0.75)
        now.dispatcher.submit([said])
        await now.has(said.id)
        now.pair.begin(HERE, None)
        await now.has(said.id)
        assert now.engine.firing() == [said]


async def test_what_nobody_knows_of_any_more_is_said_once_more(tmp_path: Path) -> None:
    """This one's own word, which what the others left does not name: its end must not be lost."""
    async with joined(tmp_path / "state") as now:
        (said,) = now.see(0.75)
        now.dispatcher.submit([said])
        await now.has(said.id)
        now.pair.begin(HERE, [])
        (again,) = now.engine.firing()
        assert (again.key, again.state, again.serial) == (said.key, State.FIRING, said.serial + 1)
        await now.has(said.id, again.id)


async def test_the_others_silences_are_kept_and_heeded(tmp_path: Path) -> None:
    """What fires under one is said to be silent."""
    async with joined(tmp_path / "state") as now:
        (said,) = now.see(0.75)
        silence = Silence("s1", "binance/main", SystemClock().now() + 600.0, "ann", "upgrade", emergency=False, at=AT)
        now.pair.share_silences([silence])
        (firing,) = now.engine.firing()
        assert (firing.key, firing.silenced) == (said.key, silence)
        await until(lambda: now.outbox.saved == 1, "saved")
    with Outbox.open(tmp_path / "state", ["recording"], SystemClock(), Telemetry()) as outbox:
        assert [each.id for each in outbox.restored.silences] == [silence.id]
