"""The accounts that are watched: one set of runners a venue, begun anew after any fault, and changed while it runs."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from connectors import FeedSettings, Runner, connector_of
from connectors.config import BaseAccountConfig
from monitor.clock import Clock
from monitor.errors import UserError, VenueError
from monitor.model.assessment import FeedHealth
from monitor.pipeline import Pipeline
from monitor.tasks import end
from monitor.telemetry import Telemetry

if TYPE_CHECKING:
    from connectors.recorder import Recorder

RESTART_S = 2.0
RETRY_REFUSED_S = 300.0
"""An account that its venue refused is asked for again so often: a key may be mended there without a word to us."""

log = structlog.get_logger(__name__)


class Accounts:
    """What `use` was told to watch last, until `stop`. Make it inside the running loop.

    `has_watched` says whether any account was ever seen, in this run or an earlier one.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        clock: Clock,
        telemetry: Telemetry,
        has_watched: Callable[[], bool],
        recorder: "Recorder | None" = None,
    ) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._telemetry = telemetry
        self._has_watched = has_watched
        self._recorder = recorder
        self._accounts: Sequence[BaseAccountConfig] = ()
        self._settings = FeedSettings()
        self._runners: dict[str, list[Runner]] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._restarts: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[tuple[str, str], Exception] = {}
        self._changing = asyncio.Lock()
        """Held while runners are started or stopped: a change and a restart never do so at once."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets what every account was refused with, when that is all that ever happened."""

    def feeds(self, now: float) -> Sequence[FeedHealth]:
        """The health of every stream."""
        return [health for runners in self._runners.values() for runner in runners for health in runner.health(now)]

    def reconcile(self, venue: str, account: str) -> None:
        """Ask the venue about an account, soon."""
        for runner in self._runners.get(venue, ()):
            if runner.name == f"{venue}/{account}":
                runner.reconcile()

    async def use(self, accounts: Sequence[BaseAccountConfig], settings: FeedSettings) -> None:
        """Watch these and no others. Venues of which nothing changes are not disturbed."""
        async with self._changing:
            old, self._accounts = self._accounts, accounts
            was, self._settings = self._settings, settings
            for venue in sorted({account.venue for account in (*old, *accounts)}):
                before, after = _of(venue, old), _of(venue, accounts)
                if before == after and was == settings:
                    continue
                await self._stop_venue(venue)
                for account in before:
                    self._pipeline.remove_account(venue, account.name)
                self._start_venue(venue)

    async def stop(self) -> None:
        """End every runner."""
        await end(list(self._restarts.values()))
        self._restarts.clear()
        for venue in list(self._tasks):
            await self._stop_venue(venue)

    def _start_venue(self, venue: str) -> None:
        accounts = _of(venue, self._accounts)
        if not accounts:
            return
        for account in accounts:
            self._refused.pop((venue, account.name), None)
            self._pipeline.add_account(venue, account.name)
        module = connector_of(accounts[0])
        self._runners[venue] = list(
            module.build(accounts, self._pipeline.handle, self._clock, self._telemetry, self._settings, self._recorder)
        )
        self._tasks[venue] = [
            asyncio.create_task(self._keep(venue, runner), name=f"runner {runner.name}")
            for runner in self._runners[venue]
        ]

    async def _stop_venue(self, venue: str) -> None:
        self._runners.pop(venue, None)
        await end(self._tasks.pop(venue, []))

    async def _keep(self, venue: str, runner: Runner) -> None:
        """Run a runner. An account that its venue refuses is blind, and said to be, until it is let in again."""
        try:
            await runner.run()
            log.error("runner ended by itself", runner=runner.name)
        except (UserError, VenueError) as error:
            log.error("account refused", runner=runner.name, error=str(error))  # noqa: TRY400
            name = runner.name.removeprefix(f"{venue}/")
            self._refused[venue, name] = error
            self._pipeline.lose(venue, name, str(error), self._clock.now())
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
        wanted = {(account.venue, account.name) for account in self._accounts}
        if not wanted <= self._refused.keys():
            if {key for key in wanted if key[0] == venue} <= self._refused.keys():
                self._restart_later(venue, RETRY_REFUSED_S)
        elif self._has_watched():
            self._restart_later(venue, RETRY_REFUSED_S)
        elif not self.failed.done():
            self.failed.set_exception(error)

    def _restart_later(self, venue: str, pause_s: float) -> None:
        if venue not in self._restarts:
            self._restarts[venue] = asyncio.create_task(self._restart(venue, pause_s), name=f"restart {venue}")

    async def _restart(self, venue: str, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        async with self._changing:
            self._restarts.pop(venue, None)
            await self._stop_venue(venue)
            self._start_venue(venue)


def _of(venue: str, accounts: Sequence[BaseAccountConfig]) -> list[BaseAccountConfig]:
    return [account for account in accounts if account.venue == venue]
