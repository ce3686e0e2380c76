"""Connectors: one folder per venue, bytes in and normalised events out.

The daemon takes a venue from `venues`, validates its accounts with the venue's `AccountConfig`, calls `build` and runs
every runner it gets in a task of its own. Nothing else here is meant for outsiders except `connectors.recorder`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from connectors.config import BaseAccountConfig
from monitor.clock import Clock
from monitor.model.assessment import FeedHealth
from monitor.model.events import Event
from monitor.telemetry import Telemetry

if TYPE_CHECKING:
    from connectors.plan import Plan
    from connectors.recorder import Recorder

Handle = Callable[[Event, float], None]
"""Takes an event and `time.perf_counter()` of the moment its frame was received; called from the reader."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """When a stream counts as late or stale, and how long the shells wait. All in seconds."""

    mark_s: float = 5.0
    """A mark older than this is stale; its connection is replaced."""
    late_s: float = 3.0
    """A mark older than this is late. Never more than `mark_s`."""
    life_s: float = 23 * 3600.0
    """A connection older than about this is replaced; venues end them after a day."""
    connect_s: float = 10.0
    """For the TCP, TLS and WebSocket handshakes together."""
    request_s: float = 10.0
    """For one REST call, from the first byte sent to the last received."""
    send_s: float = 5.0
    """For one frame to leave."""
    ping_s: float = 15.0
    """Between our own WebSocket pings; a half-open connection is found after `ping_s` + `pong_s` at the latest."""
    pong_s: float = 10.0
    """For the answer to a ping."""
    poll_s: float = 0.25
    """Longest sleep of a runner, so that a clock that was moved is noticed."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One finding of `check`: good (True), bad (False) or not known (None), about what, and the sentence to print.

    `careful` marks what is good and yet to be looked at by a person. `events` carries the snapshot (and the instruments
    before it) on the line that reports one, so that the caller can compute the pools and hold them against the venue's
    reports in it.
    """

    ok: bool | None
    subject: str
    text: str
    events: tuple[Event, ...] = ()
    careful: bool = False


class Runner(Protocol):
    """One connection keeper: a market feed, or one account's private stream and snapshots."""

    @property
    def name(self) -> str:
        """Unique, for task names and logs."""
        ...

    async def run(self) -> None:
        """Run until cancelled. Raises DangerousKeyError, or a VenueError not to `retry`, when refused at start."""
        ...

    def health(self, now: float) -> list[FeedHealth]:
        """How each of its streams is doing."""
        ...

    def reconcile(self) -> None:
        """Ask for a fresh snapshot soon (accounts; a market feed has none and ignores it)."""
        ...


class VenueModule(Protocol):
    """What the package of a venue provides."""

    @property
    def AccountConfig(self) -> type[BaseAccountConfig]:  # noqa: N802 - it is a class
        """The keys of an ``[[account]]`` table of this venue."""
        ...

    def build(
        self,
        accounts: Sequence[BaseAccountConfig],
        handle: Handle,
        clock: Clock,
        telemetry: Telemetry,
        settings: FeedSettings,
        recorder: "Recorder | None" = None,
    ) -> Sequence[Runner]:
        """Runners for these accounts of this venue; accounts with one `market_url` share one market feed."""
        ...

    async def check(self, account: BaseAccountConfig, clock: Clock) -> list[CheckLine]:
        """Look at the key's permissions, the clock, the brackets and one snapshot, once; raises nothing on purpose."""
        ...

    def revive(self, header: Mapping[str, object], telemetry: Telemetry) -> "Plan":
        """The sessions of a recording made earlier, from its header. Raises ValueError when that is not usable."""
        ...


def venues() -> Mapping[str, VenueModule]:
    """Every venue by the name it has in the configuration; imported only when they are asked for."""
    from connectors import binance, binance_coinm, bybit, ccxt, hyperliquid, okx

    return {
        "binance": binance,
        "binance-coinm": binance_coinm,
        "bybit": bybit,
        "ccxt": ccxt,
        "hyperliquid": hyperliquid,
        "okx": okx,
    }


def connector_of(account: BaseAccountConfig) -> VenueModule:
    """The package that reads an account. Accounts of one venue have one connector."""
    return venues()[account.connector]
