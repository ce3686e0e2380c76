"""What two monitors leave for each other in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from alerts import pair as module
from alerts import scripts
from alerts.alert import Acknowledgement, Alert, Severity, Silence
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.lease import Voice
from alerts.message import encode
from alerts.pair import ORDER_S, PAGE, Pair, PairConfig
from alerts.redis_link import Command, RedisConfig, RedisLink, connector
from alerts.sink import Envelope, Stamp, Surroundings
from alerts.sinks.redis import build
from alerts.words import Word, read, write
from monitor.clock import SystemClock
from monitor.errors import SinkError
from tests.support.pools import a_pool
from tests.support.redis_server import RedisServer
from tests.support.server_process import until, until_answer

ACCOUNT = ("binance", "main")
KEY = "margin_ratio:binance/main/USDT"
ACKS = "marginwatch:pair:acks"
SEEN = "marginwatch:pair:seen:binance/main"
WORDS = "marginwatch:pair:words:binance/main"
LEASE = "marginwatch:pair:lease:binance/main"
STANDING = "marginwatch:pair:standing:binance/main"


def alerts(*ratios: float) -> list[Alert]:
    """What is said of one pool that goes through these ratios."""
    engine = Engine(AlertsConfig(), "box", salt="salt")
    said = [alert for ratio in ratios for alert in engine.on_pool(a_pool(ratio), 1_790_000_000.0)]
    return [alert for alert in said if alert.key == KEY]


@dataclass
class Monitor:
    """One side, and what it was told."""

    pair: Pair
    reached: dict[str, int] = field(default_factory=lambda: {"redis": 0, "push": 0})
    begun: list[Sequence[Word] | None] = field(default_factory=list)
    followed: list[Alert] = field(default_factory=list)
    salts: list[str] = field(default_factory=list)
    silences: list[Sequence[Silence]] = field(default_factory=list)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    firing: list[Alert] = field(default_factory=lambda: alerts(0.72))
    sees: bool = True
    failing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pair.begin = lambda account, words: self.begun.append(words)
        self.pair.share_salt = self.salts.append
        self.pair.share_silences = self.silences.append
        self.pair.acknowledge = lambda key, by: self.acknowledged.append((key, by))
        self.pair.firing = lambda: self.firing
        self.pair.reached = lambda: self.reached
        self.pair.follow = self.followed.extend
        self.pair.sees = lambda account: self.sees
        self.pair.failing = lambda: self.failing
        self.pair.watch([ACCOUNT])

    @property
    def voice(self) -> Voice:
        """Where it stands."""
        return self.pair.voices()[ACCOUNT]

    def say(self, sequence: int, *alerts: Alert, lacking: str = "") -> None:
        """Alerts that every sink has, or all but one."""
        for number, alert in enumerate(alerts, sequence):
            self.pair.said(number, alert)
        reached = sequence + len(alerts) - 1
        self.reached = {sink: sequence - 1 if sink == lacking else reached for sink in self.reached}

    async def until_it_speaks(self) -> None:
        """A lease that Redis does not know is had after one lease."""
        await until(lambda: self.voice is Voice.SPEAKS and bool(self.begun), "speaks")


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


async def is_noted(server: RedisServer, alert: Alert, lacking: str = "") -> None:
    """Wait until this is the last word noted of its key."""
    async with server.client() as client:

        async def noted() -> bool:
            word = await client.hget(WORDS, alert.key)
            return word is not None and read(word.encode()) == Word(alert, frozenset(lacking.split()))

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
    async with running(first) as speaking:
        await first.until_it_speaks()
        assert first.begun == [[]]
        async with running(second):
            assert (first.voice, second.voice) == (Voice.SPEAKS, Voice.FOLLOWS)
            assert first.salts[-1] == second.salts[-1]
            assert first.pair.speaks(said)
            assert not second.pair.speaks(said)
            assert second.pair.speaker(ACCOUNT) == first.pair.me
            first.say(7, said)
            await is_noted(server, said)
            await until(lambda: second.followed == [said], "followed")
            assert second.begun == []
            speaking.cancel()
            await until(lambda: second.voice is Voice.SPEAKS and bool(second.begun), "taken over")
            assert second.begun == [[Word(said)]]


@pytest.mark.integration
async def test_who_takes_over_is_told_what_was_noted_and_not_what_was_not(server: RedisServer) -> None:
    """With the sinks that lack it; a word that no sink has had is said again by the other one."""
    speaker = monitor(server)
    warned, worse, other = *alerts(0.72, 0.90), replace(alerts(0.72)[0], key=f"{KEY}2")
    async with running(speaker):
        await speaker.until_it_speaks()
        speaker.say(1, warned)
        await is_noted(server, warned)
        speaker.say(2, other, lacking="push")
        await is_noted(server, other, "push")
        speaker.pair.said(3, worse)
    heir = monitor(server)
    async with running(heir):
        await heir.until_it_speaks()
        (words,) = heir.begun
        assert words == [Word(warned), Word(other, frozenset({"push"}))]


@pytest.mark.integration
async def test_a_silent_speaker_is_replaced_and_its_stamp_is_worth_nothing(server: RedisServer) -> None:
    """Redis does not take its alert any more, even if it believes that it may speak, unless it has forgotten why."""
    first, second = monitor(server), monitor(server)
    (said,) = alerts(0.72)
    async with running(first):
        await first.until_it_speaks()
        stale = first.pair.stamp(said)
        assert stale is not None
        first.pair._leave = first.pair._link.close  # type: ignore[method-assign]
    async with running(second):
        await until(lambda: second.voice is Voice.SPEAKS, "taken over")
        assert second.begun == [[]]
        for stamp, count in ((stale, 0), (second.pair.stamp(said), 1), (stale, 1)):
            assert await delivered(server, said, stamp) == count
    async with server.client() as client:
        await client.delete(LEASE)
    assert await delivered(server, said, stale) == 2


async def delivered(server: RedisServer, said: Alert, stamp: Stamp | None) -> int:
    """Hand an alert to Redis with this stamp; how many it has then."""
    sink = build(RedisConfig(url=server.url), Surroundings(SystemClock(), "box", fence=lambda alert: stamp))
    await sink.connect()
    await sink.deliver([Envelope(1, said, encode(said))])
    await sink.close()
    async with server.client() as client:
        return int(await client.xlen("marginwatch:alerts"))


@pytest.mark.integration
async def test_orders_reach_the_one_that_speaks(server: RedisServer) -> None:
    """An acknowledgement is passed on."""
    first, second = monitor(server), monitor(server)
    async with running(first):
        await first.until_it_speaks()
        async with running(second):
            second.pair.pass_on(KEY, "ann")
            await until(lambda: first.acknowledged == [(KEY, "ann")], "acknowledged")
            assert second.acknowledged == []


def silence(identifier: str, seconds: float = 600.0) -> Silence:
    """A silence that began a moment ago."""
    now = round(SystemClock().now())
    return Silence(identifier, "binance/main", now + seconds, "ann", "moving", False, now)


@pytest.mark.integration
async def test_silences_of_both_are_those_of_each(server: RedisServer) -> None:
    """Given at one moment, ended while the other makes one, forgotten by Redis: both come to the same."""
    first, second = monitor(server), monitor(server)
    a, b, c = map(silence, "abc")

    def kept(subject: Monitor) -> set[str]:
        return {each.id for each in subject.silences[-1]} if subject.silences else set()

    async with running(first), running(second), server.client() as client:
        first.pair.tell_silences([a])
        second.pair.tell_silences([b])
        await until(lambda: kept(first) == kept(second) == {"a", "b"}, "both have both")
        first.pair.tell_silences([b])
        second.pair.tell_silences([a, b, c])
        await until(lambda: kept(first) == kept(second) == {"b", "c"}, "one is over, one is new")
        await client.flushall()
        back = monitor(server)
        back.pair.tell_silences([a])
        async with running(back):
            await until(lambda: kept(back) == {"b", "c"}, "heard by one that comes back")


@pytest.mark.integration
async def test_a_redis_that_is_not_there_leaves_nobody_silent(tmp_path: Path) -> None:
    """Both go on alone, each from what is known to it, and agree again when it is back."""
    with RedisServer(tmp_path) as server:
        first, second = monitor(server), monitor(server)
        (said,) = alerts(0.72)
        async with running(first):
            await first.until_it_speaks()
            async with running(second):
                first.say(1, said)
                await until(lambda: second.followed == [said], "followed")
                server.kill()
                await until(lambda: (first.voice, second.voice) == (Voice.ALONE, Voice.ALONE), "both alone")
                assert first.begun[-1] is None
                assert second.begun == [[Word(said)]]
                server.start()
                voices = [Voice.FOLLOWS, Voice.SPEAKS]
                await until(lambda: sorted(each.voice for each in (first, second)) == voices, "one voice")
                await is_noted(server, said)


@asynccontextmanager
async def a_pair(server: RedisServer, *said: Alert, lease_s: float = 2.0) -> AsyncIterator[tuple[Monitor, Monitor]]:
    """One that speaks and has said this, and one that follows it and has heard so."""
    first, second = monitor(server, lease_s=lease_s), monitor(server, lease_s=lease_s)
    async with running(first):
        await first.until_it_speaks()
        async with running(second):
            if said:
                first.say(1, *said)
            await until(lambda: len(second.followed) == len(said), "followed")
            yield first, second


async def have_both_asked(server: RedisServer, *pairs: Monitor) -> None:
    """Wait until Redis has heard of each of these since now, and once more."""
    async with server.client() as client:
        for _ in range(2):
            before = int((await client.time())[0]) * 1000 + (await client.time())[1] // 1000

            async def asked(since: int = before) -> bool:
                beats = dict(await client.zrange("marginwatch:pair:members", 0, -1, withscores=True))
                return all(beats.get(each.pair.me, 0) > since for each in pairs)

            await until_answer(asked, "both have asked")


@pytest.mark.integration
@pytest.mark.parametrize("fault", ["emptied", "restarted"])
async def test_a_redis_that_forgot_everything_is_told_again_and_nobody_else_begins(
    server: RedisServer, fault: str
) -> None:
    """The one that speaks goes on, under its token and salt, and notes again all that it has said, however much."""
    said = [replace(alerts(0.72)[0], key=f"{KEY}{number}") for number in range(3 * PAGE // 2)]
    async with a_pair(server, *said) as (first, second), server.client() as client:
        token, salt = await client.hget(LEASE, "token"), await client.get("marginwatch:pair:salt")
        if fault == "emptied":
            await client.flushall()
        else:
            server.kill()
            server.start()
        for each in said:
            await is_noted(server, each)
        await have_both_asked(server, first, second)
        assert (first.voice, second.voice) == (Voice.SPEAKS, Voice.FOLLOWS)
        assert (first.begun, second.begun) == ([[]], [])
        more = replace(said[0], key=f"{KEY} more")
        first.say(1000, more)
        await until(lambda: second.followed[-1] == more, "the other one reads on")
    async with server.client() as client:
        assert (await client.hget(LEASE, "token"), await client.get("marginwatch:pair:salt")) == (token, salt)
        assert second.salts[-1] == first.salts[-1] == salt


@pytest.mark.integration
async def test_who_takes_over_from_an_emptied_redis_goes_on_from_what_it_had_read(server: RedisServer) -> None:
    """Redis is emptied and the one that spoke is gone: one lease later the other one speaks, and notes it again."""
    (said,) = alerts(0.72)
    async with a_pair(server, said) as (first, second):

        async def hangs(asked_at: float) -> None:
            await asyncio.Event().wait()

        first.pair._beat = hangs  # type: ignore[method-assign]
        async with server.client() as client:
            await client.flushall()
        await second.until_it_speaks()
        assert second.begun == [[Word(said)]]
        await is_noted(server, said)


@pytest.mark.integration
async def test_a_monitor_that_starts_with_an_empty_redis_takes_nothing_from_the_one_that_speaks(
    server: RedisServer,
) -> None:
    """Both restarted together, and it asks first: neither lease nor salt are its own."""
    async with a_pair(server) as (first, _), server.client() as client:
        salt = first.salts[-1]
        newcomer = monitor(server, lease_s=2.0)
        first.pair._timeout_s = 0.0  # loses Redis until the other one has asked
        await until(lambda: first.pair._is_lost, "lost")
        await client.flushall()
        await newcomer.pair.first_beat()
        first.pair._timeout_s = 1.0
        async with running(newcomer):
            await have_both_asked(server, first, newcomer)
            assert (first.voice, newcomer.voice) == (Voice.SPEAKS, Voice.FOLLOWS)
            assert await client.get("marginwatch:pair:salt") == salt == newcomer.salts[-1]
            assert newcomer.begun == []


@pytest.mark.integration
async def test_very_much_that_was_said_is_read_over_several_beats(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that leases are renewed in between; one that takes over begins when it has read everything."""
    monkeypatch.setattr(module, "PAGES_SHARE", 0.0)
    many = PAGE + 1
    (said,) = alerts(0.72)
    (lease, words, order) = (f"marginwatch:pair:{kind}:binance/main" for kind in ("lease", "words", "order"))
    async with server.client() as client:
        keys = [f"{KEY}{number}" for number in range(many)]
        await client.hset(words, mapping={key: write(Word(replace(said, key=key))) for key in keys})
        await client.zadd(order, {key: number for number, key in enumerate(keys, 1)})
        await client.hset(lease, mapping={"holder": "somebody", "token": 3, "till": 10**15})
        follower = monitor(server, lease_s=6.0)
        await follower.pair.first_beat()
        assert len(follower.followed) == PAGE
        await follower.pair.first_beat()
        assert len(follower.followed) == many
        await client.hset(lease, "till", 0)
        heir = monitor(server, lease_s=6.0)
        await heir.pair.first_beat()
        assert (heir.voice, heir.begun, heir.pair.speaks_for(ACCOUNT)) == (Voice.SPEAKS, [], False)
        await heir.pair.first_beat()
        assert heir.pair.speaks_for(ACCOUNT)
        (begun,) = heir.begun
        assert begun is not None
        assert len(begun) == many
        await heir.pair._link.close()
        await follower.pair._link.close()


class Note:
    """A `Memory` of one note."""

    def __init__(self) -> None:
        self.text: str | None = None

    def keep(self, name: str, text: str) -> None:
        """See `Memory`."""
        self.text = text

    def note(self, name: str) -> str | None:
        """See `Memory`."""
        return self.text


@pytest.mark.integration
async def test_what_was_shared_outlives_a_run(server: RedisServer) -> None:
    """Also one that ends before Redis could be told: the ids stay the same, and what was ended stays ended."""
    note, first = Note(), monitor(server)
    first.pair.recall(note)
    async with running(first):
        await first.until_it_speaks()
    first.pair.tell_silences([silence("a")])
    first.pair.tell_silences([])
    again = monitor(server)
    again.pair.recall(note)
    assert again.salts == [first.salts[-1]]
    again.pair.tell_silences([silence("a")])
    async with running(again):
        await until(lambda: again.silences == [[]], "still ended")
    note.text = "[]"
    monitor(server).pair.recall(note)


def test_a_stamp_is_for_alerts_of_accounts(tmp_path: Path) -> None:
    """A monitor speaks of its own sinks without asking."""
    pair = Pair(PairConfig(), RedisLink(lambda: None), "marginwatch", 1.0, SystemClock(), "box")  # type: ignore[arg-type, return-value]
    (said,) = alerts(0.72)
    own = replace(said, venue=None, account=None, severity=Severity.WARNING)
    assert pair.stamp(own) is None
    assert pair.speaks(own)


@pytest.mark.integration
async def test_what_is_acknowledged_at_the_one_that_speaks_is_so_at_the_one_that_follows(server: RedisServer) -> None:
    """For as long as it has not worsened there; what nobody can read is as if nobody had said it."""
    (fires,) = alerts(0.72)
    worse = replace(fires, key=f"{KEY}2", severity=Severity.CRITICAL)
    async with a_pair(server) as (first, second), server.client() as client:
        second.firing = [fires, worse]
        assert second.acknowledged == []
        first.firing = [replace(each, acknowledged=Acknowledgement("ann", fires.at)) for each in (fires, worse)]
        first.firing[1] = replace(first.firing[1], severity=Severity.WARNING)
        await until(lambda: (KEY, "ann") in second.acknowledged, "acknowledged")
        assert {key for key, _ in second.acknowledged} == {KEY}
        seen = await client.getdel(SEEN)
        await until_answer(lambda: client.exists(SEEN), "told again after Redis has forgotten it")
        assert await client.get(SEEN) == seen
        second.firing = [replace(fires, acknowledged=Acknowledgement("ann", fires.at)), worse]
        await client.set(SEEN, b"\xff")
        await have_both_asked(server, first, second)
        assert second.voice is Voice.FOLLOWS
        assert first.acknowledged == []


@pytest.mark.integration
async def test_an_order_that_nobody_took_in_time_is_not_carried_out_later(server: RedisServer) -> None:
    """It was for what fired then: what fires under the same key days later is not acknowledged by it."""
    async with a_pair(server) as (first, second), server.client() as client:
        first.firing = []
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
    async with running(first):
        await first.until_it_speaks()
        async with running(second):
            await until(lambda: second.pair.speaks(there), "has an account of its own")
            first.pair.watch([ACCOUNT, ("binance", "other")])
            await until(lambda: first.pair.speaker(("binance", "other")) == second.pair.me, "both know who speaks")
            first.pair.pass_on(there.key, "ann")
            await until(lambda: second.acknowledged == [(there.key, "ann")], "acknowledged")
            assert first.acknowledged == []


@pytest.mark.integration
async def test_an_order_for_another_one_that_cannot_be_reached_is_carried_out_here(tmp_path: Path) -> None:
    """Redis is gone, and the one that the order was for with it: whoever goes on alone does as it was told."""
    with RedisServer(tmp_path) as server:
        async with a_pair(server, lease_s=0.6) as (_, second):
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
        await first.until_it_speaks()
        first.say(1, said)
        await is_noted(server, said)
    heir = monitor(server)
    link, asked = heir.pair._link, heir.pair._link.ask

    async def breaks_once(commands: Sequence[Command]) -> list[Any]:
        if scripts.CHANGED in commands[0]:
            link.ask = asked  # type: ignore[method-assign]
            raise SinkError("redis: the connection was reset")
        return await asked(commands)

    link.ask = breaks_once  # type: ignore[method-assign]
    async with running(heir):
        await until(lambda: heir.begun == [[Word(said)]], "taken up")


@pytest.mark.integration
async def test_who_cannot_read_what_was_said_speaks_all_the_same(server: RedisServer) -> None:
    """Not at once, since it may say again what was said; but not to speak at all would be worse."""
    async with server.client() as client:
        await client.set(WORDS, "nonsense")
        await client.zadd("marginwatch:pair:order:binance/main", {KEY: 1})
        await client.hset(LEASE, mapping={"holder": "somebody", "token": 3, "till": 0})
    subject = monitor(server)
    async with running(subject):
        assert (subject.voice, subject.pair.speaks_for(ACCOUNT)) == (Voice.SPEAKS, False)
        await until(lambda: subject.pair.speaks_for(ACCOUNT), "speaks")
        assert subject.begun == []


@pytest.mark.integration
async def test_what_was_passed_over_is_not_noted_as_said(server: RedisServer) -> None:
    """A sink's place moves past what came while the lease was over; another monitor must not take that for said."""
    subject = monitor(server)
    unsaid, later = alerts(0.72)[0], replace(alerts(0.72)[0], key=f"{KEY}2")
    leave = subject.pair._leave
    subject.pair._leave = subject.pair._link.close  # type: ignore[method-assign]
    async with running(subject):
        await subject.until_it_speaks()
    await until(lambda: not subject.pair.speaks(unsaid), "the lease is over")
    subject.say(1, unsaid)
    subject.pair._leave = leave  # type: ignore[method-assign]
    async with running(subject), server.client() as client:
        assert subject.begun == [[], None]
        subject.say(2, later)
        await is_noted(server, later)
        assert not await client.hexists(WORDS, KEY)


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


async def has_told(server: RedisServer, *standings: str) -> None:
    """Wait until Redis has been told of these standings and no others."""
    async with server.client() as client:

        async def told() -> bool:
            found = await client.hvals(STANDING)
            return sorted(each.partition(" ")[0] for each in found) == sorted(standings)

        await until_answer(told, f"standings {', '.join(standings)}")


@pytest.mark.integration
async def test_a_speaker_that_is_blind_gives_way_and_does_not_take_it_back(server: RedisServer) -> None:
    """The other one is handed what was said, and to which sinks; both as good as each other changes nothing."""
    (said,) = alerts(0.72)
    async with a_pair(server, lease_s=1.5) as (first, second), server.client() as client:
        await has_told(server, "0", "0")
        token = int(await client.hget(LEASE, "token"))
        first.say(1, said, lacking="push")
        first.failing = {"push"}
        first.sees = False
        await until(lambda: bool(second.begun), "handed over")
        assert (first.voice, second.voice) == (Voice.FOLLOWS, Voice.SPEAKS)
        assert second.begun == [[Word(said, frozenset({"push"}))]]
        assert int(await client.hget(LEASE, "token")) == token + 1
        first.sees, first.failing = True, set()
        await has_told(server, "0", "0")
        await have_both_asked(server, first, second)
        assert int(await client.hget(LEASE, "token")) == token + 1
        second.failing = {"mqtt"}
        await until(lambda: first.voice is Voice.SPEAKS and len(first.begun) > 1, "handed back")
        assert int(await client.hget(LEASE, "token")) == token + 2


@pytest.mark.integration
async def test_what_is_in_the_air_is_waited_for_before_an_account_is_handed_over(server: RedisServer) -> None:
    """A sink that works is about to acknowledge it: it is noted first, and so not said again; but not for ever."""
    (said,) = alerts(0.72)
    for is_acknowledged in (True, False):
        async with a_pair(server, lease_s=1.5) as (first, second):
            second.begun.clear()
            await has_told(server, "0", "0")
            first.sees = False
            first.pair.said(1, said)
            await until(lambda: bool(first.pair._leases.heirs(SystemClock().now())), "could be handed over")
            if is_acknowledged:
                assert first.voice is Voice.SPEAKS
                first.reached = {"redis": 1, "push": 1}
            await until(lambda: bool(second.begun), "handed over")
            assert second.begun == [[Word(said)] if is_acknowledged else []]
        async with server.client() as client:
            await client.flushall()


@pytest.mark.integration
async def test_nobody_is_handed_an_account_who_cannot_speak_for_it(server: RedisServer) -> None:
    """One that left, or does not watch the account any more: a blind speaker is better than none."""
    async with a_pair(server, lease_s=1.5) as (first, second), server.client() as client:
        await has_told(server, "0", "0")
        second.pair.watch([])
        await has_told(server, "0")
        first.sees = False
        await has_told(server, "1000")
        async with running(monitor(server, lease_s=1.5)):
            await have_both_asked(server, first, second)
        await has_told(server, "1000")
        await have_both_asked(server, first, second)
        assert (first.voice, await client.hget(LEASE, "token")) == (Voice.SPEAKS, "1")
        # Nonsense is nobody's standing.
        await client.hset(STANDING, mapping={"a": "", "b": "0", "c": "x 9", "d": f"0 {10**15} "})
        await has_told(server, "1000")
        assert (first.voice, await client.hget(LEASE, "token")) == (Voice.SPEAKS, "1")


@pytest.mark.integration
async def test_an_account_that_nobody_takes_up_comes_back(server: RedisServer) -> None:
    """The other one hangs in the moment when it is handed the account: one lease later the first one speaks again."""
    async with a_pair(server, lease_s=1.5) as (first, second), server.client() as client:
        await has_told(server, "0", "0")

        async def hangs(asked_at: float) -> None:
            await asyncio.Event().wait()

        first.sees = False
        await until(lambda: first.voice is Voice.FOLLOWS, "gives way")
        second.pair._beat = hangs  # type: ignore[method-assign]
        await until(lambda: len(first.begun) > 1 and first.voice is Voice.SPEAKS, "speaks again")
        assert int(await client.hget(LEASE, "token")) == 3
