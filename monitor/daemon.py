"""The running daemon: the one place that wires connectors, pipeline, sinks and HTTP, and stops them in bounded time."""

import asyncio
import gc
import platform
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

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
from alerts.sink import Surroundings
from alerts.sinks.prometheus import Build, Exposition
from alerts.view import AlertView
from connectors import FeedSettings
from monitor.accounts import Accounts
from monitor.book import Book
from monitor.clock import Clock, Setting, SystemClock
from monitor.config import Config
from monitor.errors import UserError
from monitor.heartbeat import Heartbeat
from monitor.http import HttpServer
from monitor.kernel import best_kernel
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.sdnotify import Notifier
from monitor.sharing import Sharing
from monitor.tasks import end
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
        self._vitality = Vitality.beginning(self._clock.now())
        self._reloading = asyncio.Lock()
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
            self._engine.restore(outbox.restored, now)
            self.pipeline = Pipeline(
                self._book, self._engine, self._deliver, self._clock, self.telemetry, self._pipeline_settings()
            )
            self._dispatcher = Dispatcher(outbox, built, self._clock, self.telemetry, self.pipeline)
            ran_before = outbox.sequence > 0
            accounts = self._accounts = Accounts(
                self.pipeline,
                self._clock,
                self.telemetry,
                lambda: ran_before or any(account.synced for account in self._book.accounts()),
                self._recorder,
            )
            self.pipeline.feeds, self.pipeline.reconcile = accounts.feeds, accounts.reconcile
            view = self.view = AlertView(self._dispatcher, self._engine, self.config.alerts)
            if self._pair is not None:
                sharing = Sharing(
                    self._pair, self._engine, self._dispatcher, outbox, self.pipeline, self._clock, self._deliver
                )
                await sharing.join(self._configured())
                view.pair = self._pair
                keeping = asyncio.create_task(self._pair.run(), name="pair")
                stack.push_async_callback(end, [keeping])
            build = Build(_version(), platform.python_version(), self._kernel_name)
            metrics = Exposition(self.pipeline, self.telemetry, view, build, self.config.metrics)
            token = self.config.http.token or own_token(self.config.state.path)
            http = HttpServer(self.config.http, self.pipeline, view, metrics, self._clock, handling, token)
            await http.start(self._source)
            stack.push_async_callback(http.stop)
            self.urls = http.urls
            delivery = asyncio.create_task(self._dispatcher.run(), name="dispatcher")
            stack.push_async_callback(end, [delivery])
            self._deliver(self._engine.retain(self._configured(), self._sink_names(), now))
            stack.push_async_callback(accounts.stop)
            await accounts.use(self.config.accounts, self._feed_settings())
            self._vitality = Vitality.beginning(now)
            warm = asyncio.create_task(self._warm(), name="warm")
            stack.push_async_callback(end, [warm])
            if self.config.heartbeat.url is not None:
                self._heartbeat = Heartbeat(
                    self.config.heartbeat, self.config.heartbeat.url, self._is_well, self._clock, self.telemetry
                )
                beating = asyncio.create_task(self._heartbeat.run(), name="heartbeat")
                stack.push_async_callback(end, [beating])
            quiet_collector()
            self._notifier.ready(self._watching())
            await _maybe(started(self))
            await _until(stop, accounts.failed, delivery, warm)
            self._notifier.stopping()

    def _surroundings(self, handling: EngineHandling, outbox: Outbox) -> Surroundings:
        return Surroundings(
            self._clock,
            socket.gethostname(),
            handling,
            None if self._pair is None else self._pair.stamp,
            self._configured(),
            None if self._pair is None else self._pair.speaks_for,
            self._is_well,
            outbox,
        )

    def _configured(self) -> set[tuple[str, str]]:
        return {(account.venue, account.name) for account in self.config.accounts}

    # -- alerts ---------------------------------------------------------------------------------

    def _keep_silences(self, silences: Sequence[Silence]) -> None:
        self._outbox.keep_silences(silences)
        if self._pair is not None:
            self._pair.tell_silences(silences)

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
                is_whole, _ = self.pipeline.ready()
                self._vitality.look(now, self.pipeline.watched(), self.pipeline.blind(), is_whole=is_whole)
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

    def _feed_settings(self) -> FeedSettings:
        return FeedSettings(mark_s=self.config.alerts.stale_feed.mark_s)

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
            async with self._reloading:
                outcome = await self._take(fresh)
        self._notifier.ready("; ".join(part for part in (self._watching(), outcome) if part))

    def _watching(self) -> str:
        count = len(self.config.accounts)
        return "watching 1 account" if count == 1 else f"watching {count} accounts"

    async def _take(self, fresh: Config) -> str:
        """Put it into effect; returns what of it is not yet, in words, empty for nothing."""
        now = self._clock.now()
        later = ", ".join(f"[{name}]" for name in LATER if getattr(self._began_with, name) != getattr(fresh, name))
        self.config = fresh
        self.view.config = fresh.alerts
        if self._pair is not None:
            self._pair.watch(self._configured())
        self._book.tolerance = fresh.alerts.model_error.tolerance
        self._deliver(self._engine.reconfigure(fresh.alerts, now))
        self.pipeline.reconfigure(self._pipeline_settings())
        await self._accounts.use(fresh.accounts, self._feed_settings())
        self._deliver(self._engine.retain(self._configured(), self._sink_names(), now))
        log.info("configuration reloaded", accounts=len(fresh.accounts))
        if not later:
            return ""
        words = "these sections changed and take effect at the next start"
        log.warning(words, sections=later)
        return f"{words}: {later}"


async def _until(stop: asyncio.Event, *parts: asyncio.Future[None]) -> None:
    """Wait for `stop`; raise the error of a part that must not end but did."""
    waiting = asyncio.create_task(stop.wait(), name="stop")
    try:
        ended: set[asyncio.Future[Any]] = {waiting, *parts}
        done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        for part in done - {waiting}:
            part.result()
    finally:
        waiting.cancel()


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


def _version() -> str:
    try:
        return version("marginwatch")
    except PackageNotFoundError:
        return "unknown"


async def _maybe(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result
