"""What connectors tell the pipeline, already normalised: no venue's words past this point.

`at_ms` is always the venue's own time, in milliseconds since the epoch. A *feed* names one source of marks: accounts
that read the same market stream share its name, and an instrument's mark belongs to the feed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitor.model.account import AccountMode, Position, PositionMode, Wallet
from monitor.model.assessment import FeedState
from monitor.model.instrument import Funding, Instrument


@dataclass(slots=True)
class Marks:
    """One frame of mark prices: three sequences of equal length. Not frozen, because it is made at every tick.

    Prices are finite and positive. Order is not promised: the book drops what is older than what it has.
    """

    feed: str
    instruments: Sequence[str]
    prices: Sequence[float]
    times_ms: Sequence[int]


@dataclass(frozen=True, slots=True)
class InstrumentsLoaded:
    """Contract definitions with the account's own tiers; comes before the first snapshot and again when they change."""

    venue: str
    account: str
    instruments: tuple[Instrument, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What the venue itself says about a pool, with the marks it used, to hold the model against.

    `scope` as in pool ids. `marks` maps instrument to the mark behind the report. A figure of nan says that the venue
    does not tell: a pool that is held as reported is then unknown.
    """

    scope: str
    margin_balance: float
    maintenance_margin: float
    venue_margin_ratio: float | None
    marks: tuple[tuple[str, float], ...]


class SnapshotReason(StrEnum):
    """Why a snapshot was taken."""

    START = "start"
    RECONNECT = "reconnect"
    TIMER = "timer"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The whole account, with newer buffered events already applied: what is absent is closed.

    `at_ms` is the venue's time at which the request was sent: a slot that an event touched later than that is kept.
    `mark_pause_s` is how long the venue may say nothing of a mark that does not change; younger marks are not stale.
    `index_pause_s` is the same of prices of collateral. `reported` are scopes of pools that hold what the venue's rules
    here cannot compute: what those pools require is held as reported, whatever the account's mode.
    """

    venue: str
    account: str
    feed: str
    at_ms: int
    reason: SnapshotReason
    account_mode: AccountMode
    position_mode: PositionMode
    wallets: tuple[Wallet, ...]
    positions: tuple[Position, ...]
    reports: tuple[PoolReport, ...]
    mark_pause_s: float = 0.0
    index_pause_s: float = 0.0
    reported: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AccountDelta:
    """Wallets and positions that changed; what is absent is unchanged. Zero size closes a slot."""

    venue: str
    account: str
    at_ms: int
    reason: str
    wallets: tuple[Wallet, ...]
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class VenueNotice:
    """Something the venue said that a person should hear: a margin call, a liquidation or ADL order.

    `kind` is ``margin_call``, ``liquidation`` or ``adl``; `instrument` is empty where it concerns the whole account.
    """

    venue: str
    account: str
    at_ms: int
    kind: str
    instrument: str
    detail: str


@dataclass(frozen=True, slots=True)
class FeedChanged:
    """A stream's health changed. `account` is empty for market streams; `detail` says why, for people.

    `data_at` is when its newest data was had, None where that is not known or there never was any.
    """

    venue: str
    account: str
    feed: str
    stream: str
    state: FeedState
    at: float
    detail: str
    data_at: float | None = None


@dataclass(frozen=True, slots=True)
class FundingTold:
    """Funding of instruments of a feed that is another than before; None where it is not told any more."""

    feed: str
    rates: tuple[tuple[str, Funding | None], ...]


Event = Marks | InstrumentsLoaded | AccountSnapshot | AccountDelta | VenueNotice | FeedChanged | FundingTold
