"""What two monitors leave for each other in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from alerts.alert import Acknowledgement, Alert, Severity, Silence
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.lease import Voice
from alerts.message import encode
from alerts.pair import ORDER_S, Pair, PairConfig, Words
from alerts.redis_link import Command, RedisConfig, RedisLink, connector
from alerts.sink import Envelope, Surroundings
from alerts.sinks.redis import build
from monitor.clock import SystemClock
from monitor.errors import SinkError
from tests.support.pools import a_pool
from tests.support.redis_server import RedisServer
from tests.support.server_process import until, until_answer

ACCOUNT = ("binance", "main")
KEY = "margin_ratio:binance/main/USDT"


def alerts(*ratios: float) -> list[Alert]:
    """What is said of one pool that goes through these ratios."""
    engine = Engine(AlertsConfig(), "box", salt="salt")
    said = [alert for ratio in ratios for alert in engine.on_pool(a_pool(ratio), 1_790_000_000.0)]
    return [alert for alert in said if alert.key == KEY]


def test_only_the_last_word_of_a_key_waits_to_be_noted() -> None:
    """Until every sink has it; what belongs to no account is nobody else's business."""
    first, second = alerts(0.72, 0.90)
    words = Words()
    words.add(1, first)
    words.add(2, second)
    words.add(3, replace(first, key="sink_failure:redis", venue=None, account=None))
    assert words.done(1) == []
    assert words.done(2) == [(2, second)]
    words.noted([(1, first)])
    assert words.done(9) == [(2, second)]
    words.noted([(2, second)])
    assert words.done(9) == []
    words.add(4, second)
    words.forget(ACCOUNT)
    assert words.done(9) == []


@dataclass
class Monitor:
    """One side, and what it was told."""

    pair: Pair
    reached: int = 0
    begun: list[Sequence[Alert] | None] = field(default_factory=list)
    salts: list[str] = field(default_factory=list)
    silences: list[Sequence[Silence]] = field(default_factory=list)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    firing: list[Alert] = field(default_factory=lambda: alerts(0.72))

    def __post_init__(self) -> None:
        self.pair.begin = lambda account, words: self.begun.append(words)
        self.pair.share_salt = self.salts.append
        self.pair.share_silences = self.silences.append
        self.pair.acknowledge = lambda key, by: self.acknowledged.append((key, by))
        self.pair.firing = lambda: self.firing
        self.pair.everywhere = lambda: self.reached
        self.pair.watch([ACCOUNT])

    @property
    def voice(self) -> Voice:
        """Where it stands."""
        return self.pair.voices()[ACCOUNT]


def monitor(server: RedisServer, **config: float) -> Monitor:
    """A monitor with quick leases."""
    settings = RedisConfig(url=server.url)
    pair_config = PairConfig.model_validate({"enabled": True, "lease_s": 0.6, **config})
    return Monitor(Pair(pair_config, RedisLink(connector(settings)), "marginwatch", 1.0, SystemClock(), "box"))


@asynccontextmanager
async def running(subject: Monitor) -> AsyncIterator[asyncio.Task[None]]:
    """Keep its leases; ends in order."""
    await subject.pair.first_beat()
    task = asyncio.create_task(subject.pair.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def is_noted(server: RedisServer) -> None:
    """Wait until a word is noted."""
    async with server.client() as client:

        async def noted() -> bool:
            return bool(await client.hexists("marginwatch:pair:words:binance/main", KEY))

        await until_answer(noted, "noted")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis."""
    with RedisServer(tmp_path) as running_server:
        yield running_server


@pytest.mark.integration
async def test_the_first_speaks_and_the_second_follows_until_the_first_leaves(server: RedisServer) -> None:
    """It is handed what was noted, at once when the first leaves in order; both make the same ids."""
    first, second = monitor(server), monitor(server)
    (said,) = alerts(0.72)
    await first.pair.first_beat()
    async with running(second):
        async with running(first):
            assert (first.voice, second.voice) == (Voice.SPEAKS, Voice.FOLLOWS)
            assert first.begun == [[]]
            assert set(first.salts) == set(second.salts)
            assert first.pair.speaks(said)
            assert not second.pair.speaks(said)
            assert second.pair.speaker(ACCOUNT) == first.pair.me
            first.pair.said(7, said)
            first.reached = 7
            await is_noted(server)
            assert second.begun == []
        await until(lambda: second.voice is Voice.SPEAKS, "taken over")
        assert second.begun == [[said]]


@pytest.mark.integration
async def test_who_takes_over_is_told_what_was_noted_and_not_what_was_not(server: RedisServer) -> None:
    """A word that some sink has not had is said again by the other one."""
    speaker = monitor(server)
    warned, worse = alerts(0.72, 0.90)
    async with running(speaker):
        assert speaker.voice is Voice.SPEAKS
        speaker.pair.said(1, warned)
        speaker.reached = 1
        await is_noted(server)
        speaker.pair.said(2, worse)
    heir = monitor(server)
    async with running(heir):
        assert heir.voice is Voice.SPEAKS
        (words,) = heir.begun
        assert words == [warned]


@pytest.mark.integration
async def test_a_silent_speaker_is_replaced_and_its_stamp_is_worth_nothing(server: RedisServer) -> None:
    """Redis does not take its alert any more, even if it believes that it may speak."""
    first, second = monitor(server), monitor(server)
    (said,) = alerts(0.72)
    await first.pair.first_beat()
    stale = first.pair.stamp(said)
    assert stale is not None
    async with running(second):
        await until(lambda: second.voice is Voice.SPEAKS, "taken over")
        assert second.begun == [[]]
        for stamp, count in ((stale, 0), (second.pair.stamp(said), 1)):
            around = Surroundings(SystemClock(), "box", fence=lambda alert, stamp=stamp: stamp)
            sink = build(RedisConfig(url=server.url), around)
            await sink.connect()
            await sink.deliver([Envelope(1, said, encode(said))])
            await sink.close()
            async with server.client() as client:
                assert await client.xlen("marginwatch:alerts") == count


@pytest.mark.integration
async def test_orders_reach_the_one_that_speaks(server: RedisServer) -> None:
    """An acknowledgement is passed on; a silence is shared both ways."""
    first, second = monitor(server), monitor(server)
    silence = Silence("ab", "binance/main", 1_790_000_600.0, "ann", "moving", False, 1_790_000_000.0)
    async with running(first), running(second):
        second.pair.pass_on(KEY, "ann")
        second.pair.tell_silences([silence])
        await until(lambda: first.acknowledged == [(KEY, "ann")], "acknowledged")
        await until(lambda: bool(first.silences) and list(first.silences[-1]) == [silence], "silenced")
        assert second.acknowledged == []


@pytest.mark.integration
async def test_a_redis_that_is_not_there_leaves_nobody_silent(tmp_path: Path) -> None:
    """Both go on alone, each from what is known to it, and agree again when it is back."""
    with RedisServer(tmp_path) as server:
        first, second = monitor(server), monitor(server)
        async with running(first), running(second):
            assert (first.voice, second.voice) == (Voice.SPEAKS, Voice.FOLLOWS)
            server.kill()
            await until(lambda: (first.voice, second.voice) == (Voice.ALONE, Voice.ALONE), "both alone")
            assert first.begun[-1] is None
            assert second.begun[-1] == ()
            server.start()
            await until(
                lambda: sorted(each.voice for each in (first, second)) == [Voice.FOLLOWS, Voice.SPEAKS], "one voice"
            )


def test_a_stamp_is_for_alerts_of_accounts(tmp_path: Path) -> None:
    """A monitor speaks of its own sinks without asking."""
    pair = Pair(PairConfig(), RedisLink(lambda: None), "marginwatch", 1.0, SystemClock(), "box")  # type: ignore[arg-type, return-value]
    (said,) = alerts(0.72)
    own = replace(said, venue=None, account=None, severity=Severity.WARNING)
    assert pair.stamp(own) is None
    assert pair.speaks(own)


ACKS = "marginwatch:pair:acks"


@pytest.mark.integration
async def test_what_is_acknowledged_at_the_one_that_speaks_is_so_at_the_one_that_follows(server: RedisServer) -> None:
    """For as long as it has not worsened there; what nobody can read is as if nobody had said it."""
    first, second = monitor(server), monitor(server)
    (fires,) = alerts(0.72)
    worse = replace(fires, key=f"{KEY}2", severity=Severity.CRITICAL)
    second.firing = [fires, worse]
    async with running(first), running(second), server.client() as client:
        assert second.acknowledged == []
        first.firing = [replace(each, acknowledged=Acknowledgement("ann", fires.at)) for each in (fires, worse)]
        first.firing[1] = replace(first.firing[1], severity=Severity.WARNING)
        await until(lambda: (KEY, "ann") in second.acknowledged, "acknowledged")
        assert {key for key, _ in second.acknowledged} == {KEY}
        second.firing = [replace(fires, acknowledged=Acknowledgement("ann", fires.at)), worse]
        await client.set("marginwatch:pair:seen:binance/main", b"\xff")
        assert second.voice is Voice.FOLLOWS
    assert first.acknowledged == []


@pytest.mark.integration
async def test_an_order_that_nobody_took_in_time_is_not_carried_out_later(server: RedisServer) -> None:
    """It was for what fired then: what fires under the same key days later is not acknowledged by it."""
    first, second = monitor(server), monitor(server)
    first.firing = []
    async with running(first), running(second), server.client() as client:
        second.pair.pass_on(KEY, "ann")
        await until_answer(lambda: client.hexists(ACKS, KEY), "passed on")
        made_at, _, by = (await client.hget(ACKS, KEY)).partition(" ")
        assert by == "ann"
        await client.hset(ACKS, KEY, f"{int(made_at) - 2 * int(ORDER_S)} ann")
        first.firing = alerts(0.72)

        async def dropped() -> bool:
            return not await client.exists(ACKS)

        await until_answer(dropped, "dropped")
    assert first.acknowledged == []


@pytest.mark.integration
async def test_an_order_is_left_for_the_one_that_speaks_for_its_account(server: RedisServer) -> None:
    """Both speak, each for an account of its own: the order is given at one and meant for the other."""
    first, second = monitor(server), monitor(server)
    here, there = alerts(0.72)[0], replace(alerts(0.72)[0], key=f"{KEY}2", account="other")
    for each in (first, second):
        each.firing = [here, there]
    second.pair.watch([ACCOUNT, ("binance", "other")])
    async with running(first), running(second):
        first.pair.watch([ACCOUNT, ("binance", "other")])
        await until(lambda: not first.pair.speaks(there), "both know who speaks")
        first.pair.pass_on(there.key, "ann")
        await until(lambda: second.acknowledged == [(there.key, "ann")], "acknowledged")
    assert first.acknowledged == []


@pytest.mark.integration
async def test_an_order_for_another_one_that_cannot_be_reached_is_carried_out_here(tmp_path: Path) -> None:
    """Redis is gone, and the one that the order was for with it: whoever goes on alone does as it was told."""
    with RedisServer(tmp_path) as server:
        first, second = monitor(server), monitor(server)
        async with running(first), running(second):
            server.kill()
            second.pair.pass_on(KEY, "ann")
            await until(lambda: second.acknowledged == [(KEY, "ann")], "acknowledged")
            assert second.voice is Voice.ALONE


@pytest.mark.integration
async def test_what_was_said_is_taken_up_though_the_line_breaks_in_between(server: RedisServer) -> None:
    """The lease is had and the words are not read yet: they are at the next beat, and nothing goes by unsaid."""
    first = monitor(server)
    (said,) = alerts(0.72)
    async with running(first):
        first.pair.said(1, said)
        first.reached = 1
        await is_noted(server)
    heir = monitor(server)
    link, asked = heir.pair._link, heir.pair._link.ask

    async def breaks_once(commands: Sequence[Command]) -> list[Any]:
        if commands[0][0] == "HVALS":
            link.ask = asked  # type: ignore[method-assign]
            raise SinkError("redis: the connection was reset")
        return await asked(commands)

    link.ask = breaks_once  # type: ignore[method-assign]
    async with running(heir):
        await until(lambda: heir.begun == [[said]], "taken up")


@pytest.mark.integration
async def test_what_was_passed_over_is_not_noted_as_said(server: RedisServer) -> None:
    """A sink's place moves past what came while the lease was over; another monitor must not take that for said."""
    subject = monitor(server)
    unsaid, later = alerts(0.72)[0], replace(alerts(0.72)[0], key=f"{KEY}2")
    await subject.pair.first_beat()
    await until(lambda: not subject.pair.speaks(unsaid), "the lease is over")
    subject.pair.said(1, unsaid)
    subject.reached = 1
    async with running(subject), server.client() as client:
        assert subject.begun == [[], None]
        subject.pair.said(2, later)
        subject.reached = 2
        words = "marginwatch:pair:words:binance/main"
        await until_answer(lambda: client.hexists(words, later.key), "the later one is noted")
        assert not await client.hexists(words, KEY)


@pytest.mark.integration
async def test_nonsense_in_redis_silences_nobody(server: RedisServer) -> None:
    """What cannot be read is as good as no Redis: the monitor goes on alone, and is back in line afterwards."""
    subject = monitor(server)
    async with server.client() as client:
        await client.set("marginwatch:pair:salt", b"\xff")
        async with running(subject) as task:
            await until(lambda: subject.voice is Voice.ALONE, "alone")
            assert not task.done()
            await client.set("marginwatch:pair:salt", "salt")
            await until(lambda: subject.voice is Voice.SPEAKS, "back in line")
