"""Every venue's connector against the faults of the real world; see `tests.connectors.compliance`."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.alert import Reason
from alerts.rules import unknown
from alerts.rules.unknown import UnknownConfig
from connectors import connector_of
from connectors.recorder import Recorder, Replay
from monitor.commands.check import compare_pools
from monitor.errors import DangerousKeyError, VenueError
from monitor.model.assessment import FeedState
from monitor.model.events import AccountDelta, AccountSnapshot, FeedChanged, Marks, SnapshotReason
from tests.connectors.compliance import (
    DEADLINE_S,
    SETTINGS,
    SOAKED,
    VENUES,
    Asked,
    Ending,
    Lack,
    QuickClock,
    Refusal,
    Spoil,
    Stream,
    VenueUnderTest,
    Watch,
    watching,
)


@pytest.fixture
def clock() -> QuickClock:
    """One clock for both sides."""
    return QuickClock()


DIFFERS_BY_EXCHANGE = frozenset(
    {
        "test_marks_and_events_arrive",  # the shapes of answers and frames
        "test_a_key_that_expires_silently_is_found_by_what_events_did_not_tell",  # what holds a subscription
        "test_a_frame_without_its_figures_is_counted_and_survived",  # how they are called
        "test_the_venues_wish_for_silence_is_respected",  # how an error is told
        "test_a_key_that_is_refused_ends_the_start_with_what_to_do",
        "test_check_holds_every_pool_against_the_venues_report",  # which figures are reported
        "test_secrets_are_never_printed",  # where a signature stands
    }
)
"""Tests that exchanges of one connector may pass or fail each for itself, so that they run for all, soak or not."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every venue, or those whose connector another one tests as well with the long rounds only."""
    if "venue" not in metafunc.fixturenames:
        return
    soaked = frozenset() if metafunc.function.__name__ in DIFFERS_BY_EXCHANGE else SOAKED
    params = [pytest.param(name, marks=pytest.mark.soak if name in soaked else ()) for name in sorted(VENUES)]
    metafunc.parametrize("venue", params, indirect=True)


def test_what_differs_by_exchange_is_tested() -> None:
    """Under these names."""
    assert globals().keys() >= DIFFERS_BY_EXCHANGE


@pytest.fixture
async def venue(request: pytest.FixtureRequest, clock: QuickClock) -> AsyncIterator[VenueUnderTest]:
    """Each venue in turn."""
    async with VENUES[request.param](clock) as server:
        yield server


@pytest.fixture
async def watch(venue: VenueUnderTest, clock: QuickClock) -> AsyncIterator[Watch]:
    """A connector that is in sync."""
    async with watching(venue, clock) as running:
        await running.in_sync()
        yield running


def needs(venue: VenueUnderTest, lack: Lack) -> None:
    """Skip a test about what a venue does not have."""
    if lack in venue.lacks:
        pytest.skip(f"{venue.name}: {lack}")


def sizes(watch: Watch) -> list[float]:
    """Sizes of the position as told, by snapshots and deltas."""
    found = []
    for event in watch.events:
        if isinstance(event, AccountSnapshot | AccountDelta):
            found += [p.size / watch.venue.unit for p in event.positions if p.instrument == watch.venue.instrument]
    return found


def told(watch: Watch) -> int:
    """How often the private stream told of a change: by a delta, or where it cannot, by saying anything at all."""
    if Lack.DELTAS in watch.venue.lacks:
        return watch.telemetry.frames.get(watch.venue.name, "user")
    return len(watch.of(AccountDelta))


async def lost(watch: Watch, since: int) -> None:
    """The private stream is found dead; `since` counts the states before."""
    dead = {FeedState.STALE, FeedState.LATE} if Lack.HASTE in watch.venue.lacks else {FeedState.STALE}
    await watch.until(lambda: dead & set(watch.states("user")[since:]), "a private stream that is known to be dead")


async def marks_go_on(watch: Watch) -> None:
    """New marks keep coming."""
    seen = len(watch.of(Marks))
    await watch.until(lambda: len(watch.of(Marks)) > seen + 2, "marks that go on")


async def events_go_on(watch: Watch) -> None:
    """A trade is told by an event."""
    async with asyncio.timeout(DEADLINE_S):
        while not await watch.venue.open_connections(Stream.USER):  # noqa: ASYNC110 - it is the venue's to say
            await asyncio.sleep(0.01)
    seen = told(watch)
    await watch.venue.trade("3")
    await watch.until(lambda: told(watch) > seen and sizes(watch)[-1] == 3.0, "an event of a trade")
    await watch.venue.trade("1")


# --- streams


async def test_marks_and_events_arrive(watch: Watch) -> None:
    """The account is read, its instrument's marks come, and a trade is told."""
    (snapshot, *_) = watch.of(AccountSnapshot)
    assert [position.instrument for position in snapshot.positions] == [watch.venue.instrument]
    assert snapshot.reports
    assert {name for event in watch.of(Marks) for name in event.instruments} == {watch.venue.instrument}
    await watch.venue.trade("2")
    await watch.until(lambda: sizes(watch)[-1] == 2.0, "the new size")
    await marks_go_on(watch)


async def test_a_market_stream_that_connects_and_says_nothing_is_reported_and_replaced(watch: Watch) -> None:
    """Stale once, however often a silent connection follows a silent one; live again when data comes."""
    await watch.venue.silence(Stream.MARK)
    await watch.until(lambda: watch.state("mark") is FeedState.STALE, "a stale market stream")
    connects = watch.telemetry.connects.get(watch.venue.name, "mark", "opened")
    await watch.until(
        lambda: watch.telemetry.connects.get(watch.venue.name, "mark", "opened") > connects, "a new connection"
    )
    await watch.venue.heal()
    await watch.until(lambda: watch.state("mark") is FeedState.LIVE, "a live market stream")
    assert watch.states("mark").count(FeedState.STALE) == 1
    await marks_go_on(watch)


async def test_a_key_that_expires_with_an_event_is_replaced(watch: Watch) -> None:
    """And the events of the new stream arrive."""
    since = len(watch.states("user"))
    await watch.venue.end_stream_key(silent=False)
    await lost(watch, since)
    await watch.until(lambda: watch.state("user") is FeedState.LIVE, "a live user stream")
    await events_go_on(watch)


async def test_a_key_that_expires_silently_is_found_by_what_events_did_not_tell(watch: Watch) -> None:
    """The snapshot heals the position; the stream is stale, replaced, and tells again."""
    since, seen = len(watch.states("user")), told(watch)
    await watch.venue.end_stream_key(silent=True)
    await watch.venue.trade("5")
    await watch.until(lambda: sizes(watch)[-1] == 5.0, "the position healed by a snapshot")
    assert told(watch) == seen
    await lost(watch, since)
    await watch.until(lambda: watch.state("user") is FeedState.LIVE, "a live user stream")
    await events_go_on(watch)


@pytest.mark.parametrize("how", Ending)
@pytest.mark.parametrize("stream", Stream)
async def test_a_connection_that_ends_is_made_again(watch: Watch, stream: Stream, how: Ending) -> None:
    """However it ends; after a gap in the private stream a snapshot follows."""
    await watch.venue.end(stream, how)
    name = watch.venue.name
    await watch.until(lambda: watch.telemetry.connects.get(name, stream, "opened") > 1, "a new connection")
    await watch.in_sync()
    await (marks_go_on if stream is Stream.MARK else events_go_on)(watch)
    if stream is Stream.USER:
        assert SnapshotReason.RECONNECT in {event.reason for event in watch.of(AccountSnapshot)}


@pytest.mark.parametrize("status", [401, 403, 429, 503])
@pytest.mark.parametrize("stream", Stream)
async def test_handshakes_that_are_refused_are_tried_again(watch: Watch, stream: Stream, status: int) -> None:
    """No status is the end of it, though some are for the library's own reconnecting."""
    await watch.venue.refuse_handshakes(stream, status, times=2)
    await watch.venue.end(stream, Ending.CUT)
    name = watch.venue.name
    await watch.until(lambda: watch.telemetry.connects.get(name, stream, "opened") > 1, "a new connection")
    refused = watch.telemetry.connects.get(name, stream, "refused")
    assert refused >= 1 if Lack.CONNECTIONS in watch.venue.lacks else refused == 2
    await watch.in_sync()  # open is not subscribed: an event before that reaches nobody
    await (marks_go_on if stream is Stream.MARK else events_go_on)(watch)


@pytest.mark.parametrize("stream", Stream)
async def test_a_half_open_connection_is_found_and_made_again(watch: Watch, stream: Stream) -> None:
    """The peer neither reads nor writes nor closes."""
    await watch.venue.half_open(stream)
    name = watch.venue.name
    await watch.until(lambda: watch.telemetry.connects.get(name, stream, "opened") > 1, "a new connection")
    await watch.in_sync()
    await (marks_go_on if stream is Stream.MARK else events_go_on)(watch)


async def test_connections_are_replaced_before_their_day_is_over(venue: VenueUnderTest, clock: QuickClock) -> None:
    """The new one is made before the old one is dropped; nothing is missed and nothing alarmed."""
    needs(venue, Lack.CONNECTIONS)
    async with watching(venue, clock, settings=replace(SETTINGS, life_s=20.0)) as watch:
        await watch.in_sync()
        seen = 0
        for stream in Stream:
            opened = watch.telemetry.connects.get(venue.name, stream, "opened")
            while watch.telemetry.connects.get(venue.name, stream, "opened") == opened:
                await watch.until(lambda: True, "time")
                await asyncio.sleep(0.01)
            seen = max(seen, await venue.open_connections(stream))
        assert seen == 2
        await events_go_on(watch)
        await marks_go_on(watch)
        assert watch.telemetry.connects.get(venue.name, "mark", "lost") == 0
        assert watch.telemetry.connects.get(venue.name, "user", "lost") == 0
        assert not {FeedState.STALE, FeedState.DOWN} & {event.state for event in watch.of(FeedChanged)}


# --- frames


@pytest.mark.parametrize("how", [Spoil.GARBAGE, Spoil.TRUNCATED, Spoil.UNKNOWN_EVENT])
@pytest.mark.parametrize("stream", Stream)
async def test_a_bad_frame_is_counted_and_survived(watch: Watch, stream: Stream, how: Spoil) -> None:
    """On the private stream a snapshot follows, because the frame may have been the one that mattered."""
    if how is Spoil.UNKNOWN_EVENT:
        needs(watch.venue, Lack.FRAMES)
    await counted_and_survived(watch, stream, how)


@pytest.mark.parametrize("stream", Stream)
async def test_a_frame_without_its_figures_is_counted_and_survived(watch: Watch, stream: Stream) -> None:
    """An empty price or size is none, and never zero."""
    await counted_and_survived(watch, stream, Spoil.EMPTY_NUMBERS)


async def counted_and_survived(watch: Watch, stream: Stream, how: Spoil) -> None:
    """A bad frame is; after one on the private stream a snapshot follows."""
    snapshots = len(watch.of(AccountSnapshot))
    await watch.venue.spoil(stream, how)
    await watch.until(lambda: watch.bad(stream), "a count")
    if Lack.FRAMES not in watch.venue.lacks:  # else what cannot be read costs the connection
        assert watch.telemetry.connects.get(watch.venue.name, stream, "opened") == 1
    if stream is Stream.USER and how is not Spoil.UNKNOWN_EVENT:
        await watch.until(lambda: len(watch.of(AccountSnapshot)) > snapshots, "a snapshot")
    await events_go_on(watch)
    await marks_go_on(watch)


@pytest.mark.parametrize("stream", Stream)
async def test_a_frame_that_comes_twice_is_told_once(watch: Watch, stream: Stream) -> None:
    """And counted."""
    needs(watch.venue, Lack.FRAMES)
    if stream is Stream.MARK:
        needs(watch.venue, Lack.MARK_TIMES)
    await watch.venue.repeat_next(stream)
    await watch.venue.trade("2")
    await watch.until(lambda: "duplicate" in watch.bad(stream), "a duplicate")
    assert len(watch.of(AccountDelta)) == 1


async def test_events_out_of_order_leave_the_newest(watch: Watch) -> None:
    """The older one is dropped and counted."""
    await watch.venue.swap_next(Stream.USER)
    await watch.venue.trade("2")
    await asyncio.sleep(0.01)
    await watch.venue.trade("4")
    if Lack.FRAMES in watch.venue.lacks:
        await watch.until(lambda: sizes(watch)[-1] == 4.0, "the newest size")
        snapshots = len(watch.of(AccountSnapshot))
        await watch.until(lambda: len(watch.of(AccountSnapshot)) > snapshots + 1, "snapshots that say it again")
    else:
        await watch.until(lambda: "out_of_order" in watch.bad("user"), "an event out of order")
    assert sizes(watch)[-1] == 4.0


async def test_marks_out_of_order_leave_the_newest(watch: Watch) -> None:
    """Times never go back."""
    needs(watch.venue, Lack.MARK_TIMES)
    await watch.venue.swap_next(Stream.MARK)
    await watch.until(lambda: "out_of_order" in watch.bad("mark"), "a mark out of order")
    times = [at_ms for event in watch.of(Marks) for at_ms in event.times_ms]
    assert times == sorted(set(times))


# --- requests


@pytest.mark.parametrize("refusal", [Refusal.TOO_MANY, Refusal.BANNED, Refusal.BROKEN, Refusal.HANGS, Refusal.GARBAGE])
async def test_a_request_that_is_refused_is_made_again(
    venue: VenueUnderTest, clock: QuickClock, refusal: Refusal
) -> None:
    """At the start, when there is nothing yet to fall back on; and the reason is told."""
    await venue.refuse(refusal)
    async with watching(venue, clock) as watch:
        await watch.in_sync()
        assert watch.telemetry.reconciliations.get(venue.name, "main", "failed") == 1


@pytest.mark.parametrize("refusal", [Refusal.TOO_MANY, Refusal.BANNED])
async def test_the_venues_wish_for_silence_is_respected(
    venue: VenueUnderTest, clock: QuickClock, refusal: Refusal
) -> None:
    """By its own record: what it refused is asked again when it said, and no sooner."""
    await venue.refuse(refusal)
    async with watching(venue, clock) as watch:
        await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
        asked = await venue.asked()
    first = next(each for each in asked if each.refused)
    again = next(each for each in asked if each.about == first.about and each.at > first.at)
    assert again.at - first.at >= 2.5


async def a_minute_passes(watch: Watch, each_second: Callable[[int], Awaitable[None]]) -> None:
    """Sixty seconds of the common clock, in each of which something happens."""
    began = watch.clock.now()
    for second in range(60):
        await each_second(second)
        due = began + second + 1.0
        await watch.until(lambda due=due: watch.clock.now() >= due, "another second")


def busiest_minute(asked: Sequence[Asked]) -> float:
    """The most that requests weighed within sixty seconds."""
    return max(sum(each.weight for each in asked if 0.0 <= last.at - each.at < 60.0) for last in asked)


async def test_an_account_that_trades_each_second_is_reported_and_leaves_others_their_budget(watch: Watch) -> None:
    """Its pools go on being held against the venue's figures; half of what the venue allows is left at any time."""
    before = len(watch.of(AccountSnapshot))
    await a_minute_passes(watch, lambda second: watch.venue.trade(str(second % 3 + 1)))
    assert busiest_minute(await watch.venue.asked()) <= watch.venue.budget / 2
    taken = watch.of(AccountSnapshot)[before:]
    assert sum(bool(snapshot.reports) for snapshot in taken) >= 3


async def test_a_contract_that_the_venue_does_not_list_makes_the_pool_unknown_and_no_storm(
    venue: VenueUnderTest, clock: QuickClock
) -> None:
    """It is held, and what it requires is nobody's guess; the question for it is asked again, but not each second."""
    needs(venue, Lack.LISTING)
    await venue.unlist()
    async with watching(venue, clock, reconcile_s=60.0) as watch:
        await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
        before = len(watch.of(AccountSnapshot))
        await a_minute_passes(watch, lambda second: asyncio.sleep(0))
        pools = watch.pools()
        assert [leg.instrument for pool in pools for leg in pool.legs] == [venue.instrument]
        for pool in pools:
            verdict = unknown.judge(pool, UnknownConfig())
            assert verdict.reason is Reason.UNKNOWN
            assert venue.instrument in unknown.describe(pool, verdict).text
        assert len(watch.of(AccountSnapshot)) - before <= 15
        assert busiest_minute(await venue.asked()) <= venue.budget / 2


async def test_a_clock_that_is_off_is_measured_again(watch: Watch) -> None:
    """Once it is noticed, the same request succeeds."""
    needs(watch.venue, Lack.SIGNED_TIME)
    needs(watch.venue, Lack.CLOCK)
    await watch.venue.step_clock(30.0)
    seen = len(watch.of(AccountSnapshot))
    await watch.until(lambda: len(watch.of(AccountSnapshot)) > seen + 1, "snapshots after the step")
    assert watch.telemetry.reconciliations.get(watch.venue.name, "main", "failed") == 0
    errors = watch.telemetry.venue_errors.items()
    assert sum(errors.values()) >= 1


async def test_a_key_that_is_refused_ends_the_start_with_what_to_do(venue: VenueUnderTest, clock: QuickClock) -> None:
    """Waiting does not heal it."""
    await venue.refuse(Refusal.KEY)
    async with watching(venue, clock) as watch:
        await watch.until(watch.error, "the end of the runner")
        error = watch.error()
        assert isinstance(error, VenueError)
        assert not error.retry
        assert "check that" in str(error)


async def test_a_key_that_is_refused_later_is_reported_and_tried_again(watch: Watch) -> None:
    """Ending would be blindness."""
    await watch.venue.refuse(Refusal.KEY, times=10_000)
    await watch.until(lambda: watch.state("account") is FeedState.STALE, "a stale account")
    assert watch.error() is None
    await watch.venue.heal()
    await watch.until(lambda: watch.state("account") is FeedState.LIVE, "a live account")


async def test_a_key_that_may_do_more_than_read_is_refused(venue: VenueUnderTest, clock: QuickClock) -> None:
    """Unless it is allowed in so many words."""
    needs(venue, Lack.KEYS)
    await venue.grant()
    reason = "has no question for what a key may do" if Lack.PERMISSIONS in venue.lacks else "can do more than read"
    async with watching(venue, clock, allow_dangerous_key=False) as watch:
        await watch.until(watch.error, "the end of the runner")
        assert isinstance(watch.error(), DangerousKeyError)
        assert reason in str(watch.error())
        assert watch.of(AccountSnapshot) == []
    async with watching(venue, clock, allow_dangerous_key=True) as watch:
        await watch.in_sync()


# --- check


async def test_check_holds_every_pool_against_the_venues_report(venue: VenueUnderTest, clock: QuickClock) -> None:
    """A line of `marginwatch check` for each pool: a figure as computed beside the one reported, and they agree.

    To a thousandth, because a contract's maintenance in BTC has no more than three digits of the eight that are told.
    """
    await venue.tick()
    (account,) = venue.accounts(allow_dangerous_key=True)
    found = await connector_of(account).check(account, clock)
    pools = [pool for line in found for pool in compare_pools(account, line.events, tolerance=1e-3)]
    assert pools, found
    for pool in pools:
        assert pool.subject.startswith(f"{venue.name}/{account.name}/")
        assert pool.ok is True, pool.text
        assert re.search(r"the venue's report differs by .+ \(m.+ computed, .+ reported\)", pool.text)


# --- secrets, recording


async def test_secrets_are_never_printed(
    venue: VenueUnderTest,
    clock: QuickClock,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """With every logger at its most talkative and everything going wrong: no key, no signature, no listen key."""
    needs(venue, Lack.KEYS)
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "recording.jsonl"
    recorder = Recorder(path)
    secrets = set(venue.secrets())
    name = venue.name
    printed = ""
    await venue.refuse(Refusal.HANGS)
    async with watching(venue, clock, recorder=recorder, allow_dangerous_key=True) as watch:
        await venue.grant()
        await watch.in_sync()
        for stream in Stream:
            secrets |= set(venue.secrets())
            await venue.spoil(stream, Spoil.GARBAGE)
            await venue.end(stream, Ending.CUT)
            await watch.until(lambda s=stream: watch.telemetry.connects.get(name, s, "opened") > 1, "a reconnect")
        for refusal in (Refusal.BROKEN, Refusal.GARBAGE, Refusal.KEY):
            failed = watch.telemetry.reconciliations.get(name, "main", "failed")
            await venue.refuse(refusal)
            await watch.until(
                lambda n=failed: watch.telemetry.reconciliations.get(name, "main", "failed") > n, "a failure"
            )
        since = len(watch.states("user"))
        await venue.end_stream_key(silent=False)
        await lost(watch, since)
        await watch.in_sync()
        secrets |= set(venue.secrets())
        printed += repr(watch.events) + repr(watch.telemetry.venue_errors.items())
    recorder.close()
    out, err = capfd.readouterr()
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("aiohttp.access"))
    printed += out + err + ours + path.read_text()
    assert len(secrets) > 4
    for secret in secrets:
        assert secret not in printed


async def test_a_recording_tells_the_same_again(venue: VenueUnderTest, clock: QuickClock, tmp_path: Path) -> None:
    """Same events in the same order, at the recorded times, without a socket."""
    path = tmp_path / "recording.jsonl.gz"
    recorder = Recorder(path)
    async with watching(venue, clock, recorder=recorder) as watch:
        await watch.in_sync()
        await venue.trade("2")
        await venue.spoil(Stream.USER, Spoil.GARBAGE)
        await venue.end(Stream.USER, Ending.CUT)
        await watch.until(lambda: watch.telemetry.connects.get(venue.name, "user", "opened") > 1, "a new connection")
        await watch.until(lambda: watch.state("user") is FeedState.LIVE, "a live user stream")
        since = len(watch.states("user"))
        await venue.end_stream_key(silent=False)
        await lost(watch, since)
        await watch.in_sync()
        await venue.silence(Stream.MARK)
        await watch.until(lambda: watch.state("mark") is FeedState.STALE, "a stale market stream")
    recorder.close()
    with Replay(path) as recording:
        told = [event for _, events in recording for event in events]
        assert recording.progress > 0.9
    assert told == watch.events
