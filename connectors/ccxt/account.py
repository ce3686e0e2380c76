"""One account through ccxt: snapshots by REST, streams as alarm bells, marks for what is held.

What the venue requires only a snapshot tells, so only snapshots change the book. The streams of positions and balances
say no more than "look again": ccxt's structures from streams lack what pools need, and ccxt hands an update only to
whoever waits at that moment. A snapshot that finds what no stream told shows that the stream is dead.

What was told means is the session's business (`session`); here is asked, waited and asked again.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import structlog

from connectors import FeedSettings, Handle
from connectors.backoff import Backoff
from connectors.ccxt import translate
from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountConfig
from connectors.ccxt.gateway import UNREADABLE, Gateway, guard_loop
from connectors.ccxt.marks import MarkReader
from connectors.ccxt.permissions import unknown_permissions
from connectors.ccxt.session import SNAPSHOT, AccountFeed
from connectors.ccxt.snapshot import DEFINITIONS_S, Found, Snapshots
from connectors.definitions import DefinitionTimes
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged, SnapshotReason
from monitor.telemetry import Telemetry

SNAPSHOT_SPACING_S = 1.0
CALM_S = 10.0
"""So long a snapshot may be put off by news that may be none: some exchanges tell the balance with every mark."""

WITHOUT_STREAM_S = 10.0
"""Snapshots are at least this frequent while no stream tells of changes."""

FAILURES_MAX = 3
"""After so many failures in a row the client is made anew: ccxt keeps what it once concluded, right or wrong."""

MARKETS, UNREADABLE_POSITION = "markets", "a position that cannot be read"
"""Stand in `DefinitionTimes` for all markets, and for a contract without a name, beside those held and not listed."""

MARKETS_AGAIN_S = 60.0
"""The first pause after markets that could not be read, or lacked what is held; it grows to an hour."""

JUDGE_S = 0.5
SLOW_S = 60.0

log = structlog.get_logger()


class AccountRunner:
    """See `connectors.Runner`."""

    def __init__(
        self,
        account: AccountConfig,
        feed: AccountFeed,
        handle: Handle,
        clock: Clock,
        telemetry: Telemetry,
        settings: FeedSettings,
        random: Random,
    ) -> None:
        self.venue = account.venue
        self._account = account
        self._feed = feed
        self._handle = handle
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._snapshots = Snapshots(account, clock, random)
        self._definitions = DefinitionTimes(DEFINITIONS_S, Backoff(MARKETS_AGAIN_S, DEFINITIONS_S, random))
        self._remarks: frozenset[str] = frozenset()
        self._backoff = Backoff(1.0, 60.0, random)
        self._stream_backoff = Backoff(1.0, 60.0, random)
        self._marks = MarkReader(
            self._public, self._positions, lambda: self._snapshots.catalogue, self._marked, clock,
            settings, random, self.venue, telemetry,
        )  # fmt: skip
        self._private = self._client(keys=True)
        self._due = 0.0
        self._not_before = 0.0
        self._reason = SnapshotReason.START
        self._restart = asyncio.Event()

    # -- Runner

    @property
    def name(self) -> str:
        """``<exchange>/<account>``."""
        return self._feed.name

    def health(self, now: float) -> list[FeedHealth]:
        """Marks, stream of positions, snapshots."""
        return self._feed.health(now)

    def reconcile(self) -> None:
        """Ask for a fresh snapshot soon."""
        self._want(self._clock.now())

    async def run(self) -> None:
        """Run until cancelled. Raises DangerousKeyError, or a VenueError not to `retry`, when refused at start."""
        if not self._account.allow_dangerous_key:
            raise unknown_permissions(self._account)
        log.warning(f"{self.name}: ccxt does not tell what the API key may do; it is allowed to do anything")
        guard_loop(asyncio.get_running_loop())
        self._emit(self._feed.start(self._clock.now()))
        parts: dict[str, Callable[[], Coroutine[None, None, None]]] = {
            "snapshots": self._take_snapshots,
            "definitions": self._define,
            "marks": self._marks.run,
            "positions": self._listen,
            "judge": self._judge,
        }
        tasks = [asyncio.create_task(part(), name=f"{self.name} {name}") for name, part in parts.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._private.close()

    # -- clients

    def _client(self, *, keys: bool) -> Gateway:
        return Gateway(self._account, self._settings, keys=keys)

    def _public(self) -> Gateway:
        """For marks: it has no keys, so it may be thrown away and made anew at any time."""
        gateway = self._client(keys=False)
        gateway.adopt(self._private)
        return gateway

    async def _positions(self) -> Sequence[Mapping[str, Any]]:
        return (await self._snapshots.ask(self._private))[0]

    async def _renew(self) -> None:
        """A new private client with what the old one knew of the markets."""
        old, self._private = self._private, self._client(keys=True)
        self._private.adopt(old)
        if not self._feed.streaming:
            self._restart.set()  # perhaps there can be a stream now
        await old.close()

    # -- snapshots

    def _want(self, at: float, reason: SnapshotReason | None = None) -> None:
        """Take one at this time at the latest."""
        self._due = min(self._due, max(at, self._not_before))
        if reason is not None and self._feed.sizes is not None:
            self._reason = reason

    async def _take_snapshots(self) -> None:
        failures = 0
        while True:
            await self._sleep_until(lambda: self._due)
            now = self._clock.now()
            self._not_before = now + SNAPSHOT_SPACING_S
            self._due = now + (self._account.reconcile_s if self._feed.streaming else self._without_stream_s())
            reason, self._reason = self._reason, SnapshotReason.TIMER
            try:
                self._took(await self._snapshots.take(self._private, self._feed.marks, reason))
            except VenueError as error:
                failures += 1
                self._reason = reason
                self._failed(error)
                if failures % FAILURES_MAX == 0:
                    await self._renew()
                continue
            failures = 0
            if self._feed.doubted:
                self._reason = reason
                self._want(self._clock.now())

    def _without_stream_s(self) -> float:
        return min(self._account.reconcile_s, WITHOUT_STREAM_S)

    def _failed(self, error: VenueError) -> None:
        if not error.retry and self._feed.sizes is None:
            raise error
        now = self._clock.now()
        self._telemetry.venue_errors.add(self.venue, str(error.code or "ccxt"))
        self._not_before = self._due = now + self._backoff.next(error.retry_after_s)
        self._emit(self._feed.failed(SNAPSHOT, error, now))

    def _took(self, found: Found) -> None:
        """Hand over what was found. Raises VenueError where it cannot be read."""
        now, received = self._clock.now(), time.perf_counter()
        if found.contracts:
            self._emit(self._feed.defined(found.contracts, found.sent_ms, now), received)
        self._emit(self._feed.answered(found.answers, found.sent_ms, now), received)
        self._backoff.reset()
        if self._feed.doubted:
            return
        self._marks.want(self._feed.held)
        self._remark(found.answers.remarks)

    def _remark(self, remarks: Sequence[str]) -> None:
        """Each once in the log when it comes, and once when it goes."""
        now, before = frozenset(remarks), self._remarks
        self._remarks = now
        for remark in sorted(now - before):
            log.warning(f"{self.name}: {remark}")
        for remark in sorted(before - now):
            log.info(f"{self.name}: no longer so: {remark}")

    # -- definitions

    async def _define(self) -> None:
        """Read the markets again on the timer, and sooner, after pauses that grow, while they lack what is held.

        Beside the snapshots and with a client of its own: whatever becomes of it, they go on with what is known.
        """
        await self._sleep_until(lambda: 0.0 if self._snapshots.catalogue.markets else self._clock.now() + 1.0)
        self._definitions.asked([MARKETS], (), self._clock.now())
        while True:
            await self._sleep_until(lambda: self._definitions.next([MARKETS, *self._strangers()]) or 0.0)
            wanted = [MARKETS, *self._strangers()]
            gateway = self._client(keys=True)
            gateway.adopt(self._private)
            try:
                await self._snapshots.define(gateway)
                self._private.adopt(gateway)
                lacking = self._strangers()
                self._snapshots.unreadable = False  # the next snapshot says whether it still is
                self._want(self._clock.now())
            except VenueError as error:
                self._telemetry.venue_errors.add(self.venue, str(error.code or "ccxt"))
                lacking = wanted
            finally:
                await gateway.close()
            self._definitions.asked(wanted, lacking, self._clock.now())

    def _strangers(self) -> list[str]:
        """What is held and not among the markets: perhaps it was listed since they were read."""
        unnamed = [UNREADABLE_POSITION] if self._snapshots.unreadable else []
        known = self._snapshots.catalogue.markets
        return [*unnamed, *(each.symbol for each in self._feed.held if each.symbol not in known)]

    # -- streams of the account

    async def _listen(self) -> None:
        """Hear of changes, as far as ccxt can tell of them there."""
        await self._sleep_until(lambda: 0.0 if self._feed.sizes is not None else self._clock.now() + 1.0)
        while True:
            self._restart.clear()
            if not self._private.can(Ask.WATCH_POSITIONS):
                self._without_stream("ccxt has no stream of positions")
                await self._restarted()
                continue
            # With a client of its own: after some errors ccxt takes a subscription for one that still runs.
            gateway = self._client(keys=True)
            gateway.adopt(self._private)
            try:
                reason = await self._hear(gateway)
            finally:
                await gateway.close()
            now = self._clock.now()
            self._telemetry.connects.add(self.venue, "user", "lost" if self._feed.streaming else "refused")
            self._emit(self._feed.closed(Ask.WATCH_POSITIONS, reason, now))
            self._want(now, SnapshotReason.RECONNECT)
            await self._pause(self._stream_backoff.next())

    def _without_stream(self, why: str) -> None:
        error = VenueError(f"{why}; a snapshot every {self._without_stream_s():g} s", retry=False)
        self._emit(self._feed.failed(Ask.WATCH_POSITIONS, error, self._clock.now()))

    async def _hear(self, gateway: Gateway) -> str:
        """Hold the subscriptions until one of them ends or is given up; returns why."""
        positions = asyncio.create_task(self._on_positions(gateway))
        parts: list[asyncio.Task[None]] = [positions]
        if gateway.can(Ask.WATCH_BALANCE):
            parts.append(asyncio.create_task(self._on_balance(gateway)))
        began = self._clock.now()
        try:
            while not self._restart.is_set():
                await asyncio.wait(parts, timeout=self._settings.poll_s, return_when=asyncio.FIRST_COMPLETED)
                if positions.done():
                    positions.result()
                parts = [part for part in parts if not part.done() or part.cancelled() or part.exception() is None]
                waited = self._clock.now() - began > self._settings.connect_s
                if waited and not self._feed.streaming and not self._restart.is_set() and gateway.is_connected:
                    self._emit(self._feed.opened(Ask.WATCH_POSITIONS, self._clock.now()))
                    self._subscribed()
        except VenueError as error:
            if error.code == UNREADABLE:
                self._telemetry.bad_frames.add(self.venue, "user", "unreadable")
            if not error.retry and not self._feed.streaming:
                self._without_stream(str(error))
                await self._restarted()
            return str(error)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        return "the stream did not tell of a change, and is made anew"

    def _subscribed(self) -> None:
        self._stream_backoff.reset()
        self._telemetry.connects.add(self.venue, "user", "opened")
        self._want(self._clock.now(), SnapshotReason.RECONNECT)

    async def _on_positions(self, gateway: Gateway) -> None:
        while True:
            told = await gateway.call(Ask.WATCH_POSITIONS)
            now, before = self._clock.now(), self._feed.streaming
            self._emit(self._feed.told(told, now))
            if not before:
                self._subscribed()
            self._want(max(now, self._not_before - SNAPSHOT_SPACING_S + self._patience_s(told)))
            await asyncio.sleep(0)

    def _patience_s(self, told: object) -> float:
        """How long after the last snapshot the next may wait, by what a stream tells of positions.

        Another size, nothing at all, or what cannot be read: not at all. Less than is known may be an end, or only an
        exchange that tells what changed. Else the last snapshot says the same.
        """
        rows = [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []
        known = self._feed.sizes or {}
        sizes = translate.sizes(rows, self._snapshots.catalogue)
        if len(sizes) < len(rows) or bool(rows) != bool(known) or any(known.get(k, 0.0) != s for k, s in sizes.items()):
            return 0.0
        return CALM_S if len(sizes) < len(known) else self._account.reconcile_s

    async def _on_balance(self, gateway: Gateway) -> None:
        """A help only: where it cannot be had, snapshots on the timer tell."""
        while True:
            await gateway.call(Ask.WATCH_BALANCE)
            self._telemetry.frames.add(self.venue, "user")
            self._want(max(self._clock.now(), self._not_before - SNAPSHOT_SPACING_S + CALM_S))
            await asyncio.sleep(0)

    # -- marks

    def _marked(self, tickers: Sequence[Mapping[str, Any]], source: Ask, received: float) -> Collection[str]:
        now, known = self._clock.now(), len(self._feed.marks)
        marks = self._feed.marked(tickers, source, now)
        self._emit(marks, received)
        if len(self._feed.marks) > known:
            self._want(now)  # a pool that lacked this mark can be reported now
        return [name for each in marks for name in each.instruments]

    # -- judgement

    async def _judge(self) -> None:
        while True:
            await self._pause(JUDGE_S)
            self._emit(self._feed.tick(self._clock.now()))
            if self._feed.actions:  # there is one: to give up the stream
                self._feed.actions.clear()
                self._restart.set()

    def _emit(self, events: Sequence[Event], received: float | None = None) -> None:
        received = time.perf_counter() if received is None else received
        for event in events:
            if isinstance(event, FeedChanged):
                seen = event.state in (FeedState.LIVE, FeedState.LATE)
                write = log.info if seen else log.warning
                write(
                    f"{event.stream} stream {event.state}",
                    feed=event.feed,
                    account=self._account.name,
                    detail=event.detail,
                )
            self._handle(event, received)

    # -- time

    async def _pause(self, seconds: float) -> None:
        until = self._clock.now() + seconds
        await self._sleep_until(lambda: until)

    async def _sleep_until(self, due: Callable[[], float]) -> None:
        """Wait by our clock, looking again often: `due` may come nearer while this sleeps."""
        while (left := due() - self._clock.now()) > 0.0:  # noqa: ASYNC110 - the clock is not the wall's
            await asyncio.sleep(min(max(left, 0.001), self._settings.poll_s))

    async def _restarted(self) -> None:
        while not self._restart.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SLOW_S):
                    await self._restart.wait()
