"""Which runners run for which accounts, and what becomes of those that end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alerts.config import AlertsConfig
from alerts.engine import Engine
from connectors import FeedSettings, Runner
from connectors.config import BaseAccountConfig
from connectors.hyperliquid.config import AccountConfig
from monitor import accounts as module
from monitor.accounts import Accounts
from monitor.book import Book
from monitor.clock import ManualClock
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.telemetry import Telemetry
from tests.support.server_process import until

SETTINGS = FeedSettings()
REFUSED = VenueError("the key is not known", retry=False)


class Running:
    """A runner that goes on until a test ends it."""

    def __init__(self, name: str, fate: "asyncio.Future[None] | None") -> None:
        self.name = name
        self.asked = 0
        self._fate = fate

    async def run(self) -> None:
        """Until its fate is known, for ever without one."""
        await (self._fate or asyncio.get_running_loop().create_future())

    def health(self, now: float) -> list[FeedHealth]:
        """Nothing that anybody asks for here."""
        return []

    def reconcile(self) -> None:
        """Count."""
        self.asked += 1


class Venues:
    """Stands for every venue: a runner an account. `fates` are those of the next runners, by name."""

    def __init__(self) -> None:
        self.fates: dict[str, asyncio.Future[None]] = {}
        self.built: Counter[str] = Counter()
        self.runners: dict[str, Running] = {}

    def build(self, accounts: Sequence[BaseAccountConfig], *rest: Any) -> Sequence[Runner]:
        """As a connector does."""
        names = [f"{account.venue}/{account.name}" for account in accounts]
        self.built.update(names)
        made = {name: Running(name, self.fates.pop(name, None)) for name in names}
        self.runners |= made
        return list(made.values())

    def end(self, name: str, error: Exception | None = None) -> None:
        """The fate of the next runner of this name: it ends at once."""
        fate = self.fates[name] = asyncio.get_running_loop().create_future()
        if error is None:
            fate.set_result(None)
        else:
            fate.set_exception(error)


@pytest.fixture
def venues(monkeypatch: pytest.MonkeyPatch) -> Venues:
    """Without a network, and with pauses of hundredths of a second."""
    made = Venues()
    monkeypatch.setattr(module, "connector_of", lambda account: made)
    monkeypatch.setattr(module, "RESTART_S", 0.01)
    monkeypatch.setattr(module, "RETRY_REFUSED_S", 0.01)
    return made


def account(name: str) -> AccountConfig:
    """One that is watched by its address."""
    return AccountConfig.model_validate({"name": name, "venue": "hyperliquid", "address": f"0x{name:0>40}"})


A, B = account("a"), account("b")


@asynccontextmanager
async def watching(
    *accounts: AccountConfig, has_watched: Callable[[], bool] = lambda: False
) -> AsyncIterator[Accounts]:
    """Watch these until the block ends."""
    clock, telemetry = ManualClock(), Telemetry()
    engine = Engine(AlertsConfig(), "box")
    pipeline = Pipeline(Book(), engine, lambda said: None, clock, telemetry, PipelineSettings())
    subject = Accounts(pipeline, clock, telemetry, has_watched)
    try:
        await subject.use(accounts, SETTINGS)
        yield subject
    finally:
        await subject.stop()


def booked(subject: Accounts) -> set[str]:
    """The accounts that the book knows."""
    return {each.name for each in subject._pipeline.book.accounts()}


async def test_every_account_has_its_runner_until_it_is_watched_no_more(venues: Venues) -> None:
    """The others of its venue begin anew; what does not change is not disturbed."""
    async with watching(A, B) as subject:
        await subject.use((A, B), SETTINGS)
        assert (venues.built, booked(subject)) == ({"hyperliquid/a": 1, "hyperliquid/b": 1}, {"a", "b"})
        await subject.use((B,), SETTINGS)
        assert (venues.built, booked(subject)) == ({"hyperliquid/a": 1, "hyperliquid/b": 2}, {"b"})
        await subject.use((), SETTINGS)
        assert booked(subject) == set()


async def test_other_settings_are_for_all(venues: Venues) -> None:
    """They hold for the runners that are there as well."""
    async with watching(A) as subject:
        await subject.use((A,), FeedSettings(mark_s=9.0))
        assert venues.built["hyperliquid/a"] == 2


async def test_only_the_account_that_is_meant_is_asked_for_anew(venues: Venues) -> None:
    """One that is not watched is nobody's."""
    async with watching(A, B) as subject:
        subject.reconcile("hyperliquid", "b")
        subject.reconcile("okx", "b")
        assert [venues.runners[f"hyperliquid/{name}"].asked for name in "ab"] == [0, 1]


@pytest.mark.parametrize("error", [None, ZeroDivisionError("a fault of ours")])
async def test_a_runner_that_ends_is_begun_anew(venues: Venues, error: Exception | None) -> None:
    """However it ended."""
    venues.end("hyperliquid/a", error)
    async with watching(A) as subject:
        await until(lambda: venues.built["hyperliquid/a"] == 2, "begun anew")
        assert not subject.failed.done()


async def test_who_is_refused_everywhere_at_the_first_start_is_told_why(venues: Venues) -> None:
    """There is nothing to watch."""
    for name in "ab":
        venues.end(f"hyperliquid/{name}", REFUSED)
    async with watching(A, B) as subject:
        with pytest.raises(VenueError, match="the key is not known"):
            await asyncio.wait_for(subject.failed, 5.0)
        assert venues.built == {"hyperliquid/a": 1, "hyperliquid/b": 1}


async def test_who_has_watched_before_asks_again(venues: Venues) -> None:
    """Nobody may be looking at a service that ended."""
    venues.end("hyperliquid/a", REFUSED)
    async with watching(A, has_watched=lambda: True) as subject:
        await until(lambda: venues.built["hyperliquid/a"] == 2, "asked again")
        assert not subject.failed.done()


async def test_one_that_is_refused_does_not_disturb_the_others(venues: Venues) -> None:
    """It is asked for again when the accounts change."""
    venues.end("hyperliquid/a", REFUSED)
    async with watching(A, B) as subject:
        await until(lambda: bool(subject._refused), "refused")
        assert not subject._restarts
        await subject.use((A,), SETTINGS)
        assert not subject._refused
        assert venues.built == {"hyperliquid/a": 2, "hyperliquid/b": 1}
