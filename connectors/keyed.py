"""What the sessions of accounts that need a key do beside what all do: look at the key first, and let events wait.

In order: what the key may do, the private stream, and when that is open a REST snapshot, which the events wait for.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Generic, Protocol, TypeVar

from connectors.account import JUDGE_S, ROUND_S, WITHOUT_STREAM_S, AccountBase, R, Settings
from connectors.session import Request
from monitor.errors import MarginwatchError, VenueError
from monitor.model.events import Event, SnapshotReason
from monitor.telemetry import Telemetry

EVENTS_WAITING_MAX = 10_000
"""Events kept while the first snapshot is on its way. When full they are forgotten together with that snapshot, and
another is taken, which knows them all: nothing is lost."""

PERMISSIONS = "permissions"

E = TypeVar("E")


class KeyedSettings(Settings, Protocol):
    """Of an account that needs a key."""

    @property
    def allow_dangerous_key(self) -> bool:
        """Whether a key that can do more than read is taken all the same."""
        ...


class KeyedAccount(AccountBase[R], Generic[R, E]):
    """An account that needs a key: in order what the key may do, the private stream, and when that is open a snapshot.

    Events that come before the first snapshot wait for it.
    """

    def __init__(
        self,
        venue: str,
        settings: KeyedSettings,
        life_s: float,
        telemetry: Telemetry,
        random: Random,
        *,
        backoff_cap_s: float = 15.0,
        round_s: float = ROUND_S,
    ) -> None:
        super().__init__(venue, settings, life_s, telemetry, random, backoff_cap_s=backoff_cap_s, round_s=round_s)
        self._allow_dangerous_key = settings.allow_dangerous_key
        self._waiting: list[E] = []
        """Events that wait for the first snapshot."""
        self._handlers["permissions"] = self._on_permissions

    # --- for the venue

    @abstractmethod
    def _permissions_request(self) -> Request:
        """The question what the key may do."""

    @abstractmethod
    def _judge_permissions(self, body: bytes, now: float) -> Sequence[Event]:
        """What the key may do: `_weigh` it. Raises BadFrame."""

    @abstractmethod
    def _refusal(self, dangerous: Sequence[str]) -> MarginwatchError:
        """Why a key that may do this, or of which nothing is known, is not taken."""

    def _is_untold(self, error: VenueError) -> bool:
        """Whether a failed question says that this address does not tell what a key may do."""
        return False

    # --- permissions

    def start(self, now: float) -> Sequence[Event]:
        """Ask what the key may do."""
        self._timers.set("judge", now + JUDGE_S)
        self._on_permissions(now)
        return self._health.start(now)

    def _on_permissions(self, now: float) -> Sequence[Event]:
        self._ask(replace(self._permissions_request(), id=PERMISSIONS))
        return ()

    def _answered(self, kind: str, body: bytes, now: float) -> Sequence[Event] | None:
        return self._judge_permissions(body, now) if kind == PERMISSIONS else None

    def _unanswered(self, kind: str, error: VenueError, now: float) -> Sequence[Event] | None:
        if kind != PERMISSIONS:
            return None
        if not error.retry:
            return self._halt(error, now)
        if self._is_untold(error):
            return self._weigh(None, now)
        self._health.failed(error)
        self._timers.set("permissions", now + self._backoff.next(error.retry_after_s))
        return self._judge(now)

    def _weigh(self, dangerous: Sequence[str] | None, now: float) -> Sequence[Event]:
        """Begin with a key that may do no more than read, or that is allowed to; None when nobody says what it may."""
        if dangerous or dangerous is None:
            if not self._allow_dangerous_key:
                return self._halt(self._refusal(dangerous or ()), now)
            able = f"the API key can do more than read ({', '.join(dangerous or ())}); it is allowed to"
            unknown = "it is not known what the API key may do; it is allowed to do anything"
            self._warn(unknown if dangerous is None else able)
        self._backoff.reset()
        self._private.begin(now)
        # Should the private stream not open, snapshots alone are better than nothing.
        self._timers.set("snapshot", now + WITHOUT_STREAM_S)
        return ()

    # --- events

    def _keep(self, event: E, now: float) -> Sequence[Event]:
        """Until the first snapshot is there."""
        if len(self._waiting) >= EVENTS_WAITING_MAX:
            self._waiting.clear()
            self._round = None
            self._next_reason = SnapshotReason.START
            self._want_snapshot(SnapshotReason.START, now)
        self._waiting.append(event)
        return ()

    def _kept(self) -> list[E]:
        """The events that have waited, which is over."""
        kept, self._waiting = self._waiting, []
        return kept
