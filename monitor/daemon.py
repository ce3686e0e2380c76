"""The running daemon: the one place that wires connectors, pipeline, sinks and HTTP, and stops them in bounded time."""

import asyncio
import gc
import platform
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import structlog

from alerts import sinks
from alerts.alert import HEARTBEAT, Alert, Silence
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.handling import EngineHandling
from alerts.outbox import Outbox
from alerts.paging import escalations
from alerts.pair import Pair
from alerts.redis_link import RedisLink, connector
from alerts.sink import Stamp, Surroundings
from alerts.sinks.prometheus import Build, Exposition
from alerts.view import AlertView
from alerts.words import Word
from connectors import FeedSettings, Runner, connector_of
from connectors.config import BaseAccountConfig
from monitor.book import Book
from monitor.clock import Clock, Setting, SystemClock
from monitor.config import Config
from monitor.errors import UserError, VenueError
from monitor.heartbeat import Heartbeat
from monitor.http import HttpServer
from monitor.kernel import best_kernel
from monitor.model.assessment import FeedHealth
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.sdnotify import Notifier
from monitor.telemetry import Telemetry
from monitor.terminal import LOOK_S, Terminal
from monitor.token import own_token
from monitor.vitality import Vitality, is_heard

if TYPE_CHECKING:
    from connectors.recorder import Recorder

WARM_S = 0.05
"""Pause between two slices of the warm side when nothing waits."""
WARM_BUSY_S = 0.01
SINKS_S = 1.0
STOP_S = 3.0
"""How long connections may take to say goodbye."""
RESTART_S = 2.0
RETRY_REFUSED_S = 300.0
"""An account that its venue refused is asked for again so often: a key may be mended there without a word to us."""
GC_ALLOCATIONS = 20_000
"""New containers between two collections; the interpreter's own 700 mean one in the middle of every other alert."""

LATER = tuple(each.name for each in fields(Config) if each.name not in ("accounts", "alerts"))
"""The sections that take effect at the next start."""

log = structlog.get_logger(__name__)


class Daemon:
    """One daemon from `run` to its end. `source` is what errors call the configuration.

    `reread` gives the configuration anew, for SIGHUP; without it there is nothing to read again.
    """

    def __init__(
        self,
        config: Config,
        *,
        source: str = "configuration",
        reread: Callable[[], Config] | None = None,
        clock: Clock | None = None,
        recorder: "Recorder | None" = None,
    ) -> None:
        self.config = config
        self._began_with = config
        """Accounts and alerts may be replaced while it runs; everything else holds as it was at the start."""
        self._source = source
        self._reread = reread
        self._clock = clock or SystemClock()
        self._recorder = recorder
        self.telemetry = Telemetry()
        self._notifier = Notifier.from_environment()
        routes = () if config.sinks.push is None else tuple(each.route for each in config.sinks.push.route)
        self._engine = Engine(config.alerts, socket.gethostname(), escalations=lambda alert: escalations(routes, alert))
        kernel = best_kernel()
        self._kernel_name = kernel.name
        self._book = Book(kernel, config.alerts.model_error.tolerance)
        self._runners: dict[str, list[Runner]] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._restarts: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[tuple[str, str], Exception] = {}
        self._changing = asyncio.Lock()
        """Held while runners are started or stopped: a reload and a restart never do so at once."""
        self._ran_before = False
        self._failed: asyncio.Future[None] | None = None
        self._vitality = Vitality.beginning(self._clock.now())
        self._setting = Setting()
        self._pair = _pair_of(config, self._clock)
        self._heartbeat: Heartbeat | None = None
        self.urls: list[str] = []
        """Where HTTP answers, once started."""

    async def run(
        self, stop: asyncio.Event, started: Callable[["Daemon"], Awaitable[None] | None] = lambda d: None
    ) -> None:
        """Watch until `stop` is set. `started` is called once everything runs (the accounts may not be in sync yet).

        Raises UserError for what the configuration asks and cannot be had, and what every account was refused with when
        that is all that ever happened.
        """
        handling = EngineHandling(self._engine, self._deliver, self._keep_silences, self._clock, self._elsewhere)
        names = list(sinks.sections(self.config.sinks))
        # Before anybody counts on us: compiling takes seconds on a small machine, and nothing else runs meanwhile.
        self._book.warm_up()
        async with AsyncExitStack() as stack:
            outbox = self._outbox = Outbox.open(self.config.state.path, names, self._clock, self.telemetry)
            stack.callback(outbox.close)
            built = sinks.build(self.config.sinks, self._surroundings(handling, outbox))
            now = self._clock.now()
            self._ran_before = outbox.sequence > 0
            self._engine.restore(outbox.restored, now)
            self.pipeline = Pipeline(
                self._book, self._engine, self._deliver, self._clock, self.telemetry, self._pipeline_settings()
            )
            self._dispatcher = Dispatcher(outbox, built, self._clock, self.telemetry, self.pipeline)
            self.pipeline.feeds = self._feeds
            self.pipeline.reconcile = self._reconcile
            view = self.view = AlertView(self._dispatcher, self._engine, self.config.alerts)
            await self._join(stack)
            build = Build(_version(), platform.python_version(), self._kernel_name)
            metrics = Exposition(self.pipeline, self.telemetry, view, build, self.config.metrics)
            token = self.config.http.token or own_token(self.config.state.path)
            http = HttpServer(self.config.http, self.pipeline, view, metrics, self._clock, handling, token)
            await http.start(self._source)
            stack.push_async_callback(http.stop)
            self.urls = http.urls
            delivery = asyncio.create_task(self._dispatcher.run(), name="dispatcher")
            stack.push_async_callback(_cancel, [delivery])
            self._deliver(self._engine.retain(self._configured(), self._sink_names(), now))
            self._failed = asyncio.get_running_loop().create_future()
            stack.push_async_callback(self._stop_accounts)
            async with self._changing:
                for venue in sorted({account.venue for account in self.config.accounts}):
                    self._start_venue(venue)
            self._vitality = Vitality.beginning(now)
            warm = asyncio.create_task(self._warm(), name="warm")
            stack.push_async_callback(_cancel, [warm])
            if self.config.heartbeat.url is not None:
                self._heartbeat = Heartbeat(
                    self.config.heartbeat, self.config.heartbeat.url, self._is_well, self._clock, self.telemetry
                )
                beating = asyncio.create_task(self._heartbeat.run(), name="heartbeat")
                stack.push_async_callback(_cancel, [beating])
            quiet_collector()
            self._notifier.ready(self._watching())
            await _maybe(started(self))
            await self._until(stop, delivery, warm)
            self._notifier.stopping()

    def _surroundings(self, handling: EngineHandling, outbox: Outbox) -> Surroundings:
        return Surroundings(
            self._clock,
            socket.gethostname(),
            handling,
            self._fence,
            self._configured(),
            None if self._pair is None else self._pair.speaks_for,
            self._is_well,
            outbox,
        )

    async def _until(self, stop: asyncio.Event, *parts: asyncio.Task[None]) -> None:
        """Wait for `stop`; raise the error of a part that must not end but did."""
        if self._failed is None:
            raise AssertionError("nothing is running")
        waiting = asyncio.create_task(stop.wait(), name="stop")
        try:
            ended: set[asyncio.Future[object]] = {waiting, self._failed, *parts}  # type: ignore[arg-type]
            done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            for part in done - {waiting}:
                part.result()
        finally:
            waiting.cancel()

    # -- accounts -------------------------------------------------------------------------------

    def _configured(self) -> set[tuple[str, str]]:
        return {(account.venue, account.name) for account in self.config.accounts}

    def _start_venue(self, venue: str) -> None:
        """Start all accounts of a venue."""
        accounts = _of(venue, self.config.accounts)
        if not accounts:
            return
        for account in accounts:
            self._refused.pop((venue, account.name), None)
            self.pipeline.add_account(venue, account.name)
        settings = FeedSettings(mark_s=self.config.alerts.stale_feed.mark_s)
        module = connector_of(accounts[0])
        self._runners[venue] = list(
            module.build(accounts, self.pipeline.handle, self._clock, self.telemetry, settings, self._recorder)
        )
        self._tasks[venue] = [
            asyncio.create_task(self._keep(venue, runner), name=f"runner {runner.name}")
            for runner in self._runners[venue]
        ]

    async def _stop_venue(self, venue: str) -> None:
        self._runners.pop(venue, None)
        await _cancel(self._tasks.pop(venue, []))

    async def _stop_accounts(self) -> None:
        await _cancel(list(self._restarts.values()))
        self._restarts.clear()
        for venue in list(self._tasks):
            await self._stop_venue(venue)

    async def _keep(self, venue: str, runner: Runner) -> None:
        """Run a runner. An account that its venue refuses is blind, and said to be, until it is let in again."""
        try:
            await runner.run()
            log.error("runner ended by itself", runner=runner.name)
        except (UserError, VenueError) as error:
            log.error("account refused", runner=runner.name, error=str(error))  # noqa: TRY400
            self._refused[venue, runner.name.removeprefix(f"{venue}/")] = error
            self.pipeline.lose(venue, runner.name.removeprefix(f"{venue}/"), str(error), self._clock.now())
            self._judge_refusals(venue, error)
            return
        except Exception:
            # A fault here must not blind this venue for longer than it takes to begin anew.
            log.exception("runner failed in a way it should not", runner=runner.name)
        self._restart_later(venue, RESTART_S)

    def _judge_refusals(self, venue: str, error: Exception) -> None:
        """With every account refused at the first start ever there is nothing to watch: say why and end.

        Later the same is an alert, because whoever relies on the warnings may not look at a service that ended. It is
        tried again, seldom; while other accounts of the venue are watched, only by a reload, so as not to disturb them.
        """
        if not self._configured() <= self._refused.keys():
            if {key for key in self._configured() if key[0] == venue} <= self._refused.keys():
                self._restart_later(venue, RETRY_REFUSED_S)
        elif self._ran_before or any(account.synced for account in self._book.accounts()):
            self._restart_later(venue, RETRY_REFUSED_S)
        else:
            self._fail(error)

    def _restart_later(self, venue: str, pause_s: float) -> None:
        if venue not in self._restarts:
            self._restarts[venue] = asyncio.create_task(self._restart(venue, pause_s), name=f"restart {venue}")

    async def _restart(self, venue: str, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        async with self._changing:
            self._restarts.pop(venue, None)
            await self._stop_venue(venue)
            self._start_venue(venue)

    def _fail(self, error: Exception) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    def _feeds(self, now: float) -> Sequence[FeedHealth]:
        return [health for runners in self._runners.values() for runner in runners for health in runner.health(now)]

    def _reconcile(self, venue: str, account: str) -> None:
        for runner in self._runners.get(venue, ()):
            if runner.name == f"{venue}/{account}":
                runner.reconcile()

    # -- alerts ---------------------------------------------------------------------------------

    def _keep_silences(self, silences: Sequence[Silence]) -> None:
        self._outbox.keep_silences(silences)
        if self._pair is not None:
            self._pair.tell_silences(silences)

    # -- two monitors ---------------------------------------------------------------------------

    async def _join(self, stack: AsyncExitStack) -> None:
        """Share the accounts with another monitor, if so configured, and know who speaks before anything is seen."""
        pair = self._pair
        if pair is None:
            return
        pair.begin, pair.reached = self._begin_to_speak, self._dispatcher.reached
        pair.follow = self._engine.follow
        pair.share_salt, pair.share_silences = self._engine.share_salt, self._share_silences
        pair.firing = self._engine.firing
        pair.acknowledge = lambda key, by: self._deliver(self._engine.acknowledge(key, by, self._clock.now()))
        self._dispatcher.speaks, self._dispatcher.noted = pair.speaks, pair.said
        pair.watch(self._configured())
        pair.recall(self._outbox)
        pair.tell_silences(self._engine.silences())
        await pair.first_beat()
        self.view.pair = pair
        keeping = asyncio.create_task(pair.run(), name="pair")
        stack.push_async_callback(_cancel, [keeping])

    def _begin_to_speak(self, account: tuple[str, str], words: Sequence[Word] | None) -> None:
        """Go on from what others said; without `words`, from what this monitor itself said last."""
        now, pair = self._clock.now(), self._pair
        if words is None and pair is not None:
            for each in self._dispatcher.last_said(*account):
                pair.said(each.sequence, each.alert)
        own = self._dispatcher.last_words(*account)
        alerts = own if words is None else [word.alert for word in words]
        # What this monitor said and nobody knows of any more: as far as it goes it fires, so that its end is not lost.
        doubtful = {alert.key for alert in own} - {alert.key for alert in alerts}
        alerts = [*alerts, *(alert for alert in own if alert.key in doubtful)]
        self._dispatcher.take_over(*account, alerts)
        for word in words or ():
            if lacking := word.lacking & self._dispatcher.reached().keys():
                self._dispatcher.submit([word.alert], only=lacking)
        self._deliver(self._engine.take_over(*account, alerts, now, self._dispatcher.spoken, doubtful))
        self.pipeline.rejudge(*account, now)

    def _share_silences(self, silences: Sequence[Silence]) -> None:
        self._deliver(self._engine.share_silences(silences, self._clock.now()))
        self._outbox.keep_silences(silences)

    def _fence(self, alert: Alert) -> Stamp | None:
        return None if self._pair is None else self._pair.stamp(alert)

    def _elsewhere(self, key: str, by: str) -> bool:
        """Whether another monitor speaks for the alert `key`; it is then told that `by` has seen it."""
        found = next((alert for alert in self._engine.firing() if alert.key == key), None)
        if self._pair is None or found is None or self._pair.speaks(found):
            return False
        self._pair.pass_on(key, by)
        return True

    def _sink_names(self) -> list[str]:
        push = self._began_with.sinks.push
        routes = () if push is None else push.route
        known = (sink.sink for sink in self._dispatcher.health())
        # A route that nothing was pushed through yet has no health; what an earlier run said of it still holds.
        own = () if self._began_with.heartbeat.url is None else (HEARTBEAT,)
        return [*own, *known, *(f"push.{route.name}" for route in routes)]

    def _deliver(self, said: Sequence[Alert]) -> None:
        # While another monitor speaks for an account, what is seen here is kept by the engine and said by nobody.
        self._dispatcher.submit(said if self._pair is None else [alert for alert in said if self._pair.speaks(alert)])

    async def _warm(self) -> None:
        """The warm side of the pipeline, the health of the sinks, and the sign of life."""
        next_sinks = 0.0
        next_watchdog = 0.0
        watchdog_s = (self._notifier.watchdog_s or 0.0) / 3.0
        while True:
            now = self._clock.now()
            busy = self.pipeline.warm(now)
            if now >= next_sinks:
                next_sinks = now + SINKS_S
                self._look_after_sinks(now)
                self._look_at_the_wall_clock()
                self._vitality.look(now, self.pipeline.watched(), self.pipeline.blind())
            if watchdog_s and now >= next_watchdog:
                next_watchdog = now + watchdog_s
                if self._vitality.decides(now, self._began_with.heartbeat.restart_s):
                    self._notifier.watchdog()
            await asyncio.sleep(WARM_BUSY_S if busy else WARM_S)

    def _look_at_the_wall_clock(self) -> None:
        if isinstance(self._clock, SystemClock) and self._setting.news(set_by_s := self._clock.set_by_s()):
            words = "this machine's clock was set; until the next start, messages and quiet hours go by it as it was"
            log.warning(words, set_by_s=round(set_by_s))

    def _look_after_sinks(self, now: float) -> None:
        health = [
            (sink.sink, sink.failing_since, sink.pending, sink.detail, sink.refused)
            for sink in self._dispatcher.health()
        ]
        if self._heartbeat is not None:
            health.append((HEARTBEAT, self._heartbeat.failing_since, 0, self._heartbeat.detail, ""))
        for sink, failing_since, pending, detail, refused in health:
            self._deliver(self._engine.on_sink(sink, failing_since, pending, detail, now, refused))

    def _is_well(self) -> bool:
        """Whether the dead-man's switch may be told so: everything is seen, and a warning would get out."""
        failing = {each.sink: each.failing_since is not None for each in self._dispatcher.health()}
        return is_heard(failing) and self._vitality.sees_all(self._clock.now(), self._began_with.heartbeat.patience_s)

    def _pipeline_settings(self) -> PipelineSettings:
        alerts = self.config.alerts
        return PipelineSettings(
            mark_s=alerts.stale_feed.mark_s,
            remedy_ratio=alerts.margin_ratio.first_release,
            remedy_distance=alerts.distance.first_release,
            shown_max=self._began_with.metrics.max_pools,
        )

    # -- reload ---------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Read the configuration again: alerts and accounts take effect, the rest at the next start. Keeps alert state.

        A configuration that is wrong is logged and changes nothing.
        """
        if self._reread is None:
            return
        self._notifier.reloading()
        try:
            fresh = self._reread()
        except UserError as error:
            outcome = "the changed configuration was refused and nothing has changed"
            first, *others = faults = str(error).splitlines()
            for fault in faults:
                log.error(outcome, problem=fault)  # noqa: TRY400
            more = f" (and {len(others)} more, in the log)" if others else ""
            outcome = f"{outcome}: {first}{more}"
        else:
            async with self._changing:
                outcome = await self._take(fresh)
        self._notifier.ready("; ".join(part for part in (self._watching(), outcome) if part))

    def _watching(self) -> str:
        count = len(self.config.accounts)
        return "watching 1 account" if count == 1 else f"watching {count} accounts"

    async def _take(self, fresh: Config) -> str:
        """Put it into effect; returns what of it is not yet, in words, empty for nothing."""
        old, now = self.config, self._clock.now()
        later = ", ".join(f"[{name}]" for name in LATER if getattr(self._began_with, name) != getattr(fresh, name))
        self.config = fresh
        self.view.config = fresh.alerts
        if self._pair is not None:
            self._pair.watch(self._configured())
        self._book.tolerance = fresh.alerts.model_error.tolerance
        self._deliver(self._engine.reconfigure(fresh.alerts, now))
        self.pipeline.reconfigure(self._pipeline_settings())
        feeds_changed = old.alerts.stale_feed.mark_s != fresh.alerts.stale_feed.mark_s
        for venue in sorted({account.venue for account in (*old.accounts, *fresh.accounts)}):
            before, after = _of(venue, old.accounts), _of(venue, fresh.accounts)
            if before == after and not feeds_changed:
                continue
            await self._stop_venue(venue)
            for account in before:
                self.pipeline.remove_account(venue, account.name)
            if after:
                self._start_venue(venue)
        self._deliver(self._engine.retain(self._configured(), self._sink_names(), now))
        log.info("configuration reloaded", accounts=len(fresh.accounts))
        if not later:
            return ""
        words = "these sections changed and take effect at the next start"
        log.warning(words, sections=later)
        return f"{words}: {later}"


async def serve(
    config: Config,
    *,
    source: str = "configuration",
    reread: Callable[[], Config] | None = None,
    recorder: "Recorder | None" = None,
    started: Callable[[Daemon], Awaitable[None] | None] = lambda daemon: None,
) -> None:
    """Run a daemon until SIGTERM or SIGINT, or until the terminal that it runs in is closed; any other SIGHUP reloads.

    Raises as `Daemon.run` does.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    terminal = Terminal()
    daemon = Daemon(config, source=source, reread=reread, recorder=recorder)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(daemon.reload(), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def hang_up() -> None:
        if terminal.hung_up(loop.time()):
            terminal.let_go()
            log.info("the terminal is gone; ending")
            stop.set()
        else:
            reload()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    looking = asyncio.create_task(_look_at(terminal), name="terminal")
    try:
        await daemon.run(stop, started)
    finally:
        looking.cancel()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _look_at(terminal: Terminal) -> None:
    while terminal.counts:
        terminal.look(asyncio.get_running_loop().time())
        await asyncio.sleep(LOOK_S)


def quiet_collector() -> None:
    """Keep the garbage collector away from ticks: what start-up left is not looked through again, the young seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)


def _pair_of(config: Config, clock: Clock) -> Pair | None:
    redis = config.sinks.redis
    if not config.pair.enabled or redis is None:
        return None
    link = RedisLink(connector(redis))
    return Pair(config.pair, link, redis.prefix, redis.timeout_s, clock, socket.gethostname())


def _of(venue: str, accounts: Sequence[BaseAccountConfig]) -> list[BaseAccountConfig]:
    return [account for account in accounts if account.venue == venue]


def _version() -> str:
    try:
        return version("marginwatch")
    except PackageNotFoundError:
        return "unknown"


async def _maybe(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them, in bounded time."""
    for task in tasks:
        task.cancel()
    if tasks:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S + 2.0):
                await asyncio.gather(*tasks, return_exceptions=True)
