"""What a sink is: something that takes alerts in order, and the present state of the pools."""

import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from alerts.alert import Alert, Silence
from monitor.clock import Clock
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment

PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SinkConfig(BaseModel):
    """What every sink has.

    `timeout_s` bounds connecting, each delivery and each publication of state, so a hung server is noticed within it.
    `state_s` is the time between publications of the pools' state, `state_ttl_s` how long it lives without a new one.
    `gather_s` is how long an alert may wait for others to leave with it; an emergency only right after another one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: PositiveSeconds = 3.0
    state_s: PositiveSeconds = 2.0
    state_ttl_s: Annotated[int, Field(ge=2)] = 30
    gather_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.0


class TlsConfig(SinkConfig):
    """What a sink has that may be reached by TLS: its own authority, the system's without one, and its own identity."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def tls_context(self, name: str) -> ssl.SSLContext:
        """A client's TLS with these files. Raises SinkError in the sink's `name` when they cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            raise SinkError(f"{name}: TLS files cannot be used: {error}", retry=False) from error
        return context


@dataclass(frozen=True, slots=True)
class Envelope:
    """An alert on its way: `sequence` orders all alerts of one state file, `payload` is Message v1."""

    sequence: int
    alert: Alert
    payload: bytes


@dataclass(frozen=True, slots=True)
class Trouble:
    """How one of the destinations behind a sink does: since when it takes nothing, None while it does."""

    destination: str
    since: float | None
    detail: str


class Handling(Protocol):
    """The orders of people. Every call is quick, comes from the event loop, and raises RefusedError with a sentence."""

    def acknowledge(self, key: str, by: str) -> None:
        """`by` has seen the alert `key`, which is not said again until it worsens."""
        ...

    def silence(self, subject: str, seconds: float, by: str, reason: str, *, emergency: bool = False) -> Silence:
        """Do not disturb people about `subject` (pool, ``venue/account``, key, or a pattern with ``*``) for a time."""
        ...

    def end_silence(self, identifier: str, by: str) -> None:
        """End a silence before its time."""
        ...

    def silences(self) -> Sequence[Silence]:
        """The silences in force, the one that ends first first."""
        ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """What shows that an alert comes from the monitor that speaks: the lease's key, its holder and its token."""

    key: str
    holder: str
    token: int


class Memory(Protocol):
    """Where a sink keeps a note for its next run, under its name. Quick, and from the event loop only."""

    def keep(self, name: str, text: str) -> None:
        """Keep this instead of what was kept; on the disk not later than that what comes now was delivered."""
        ...

    def note(self, name: str) -> str | None:
        """What was kept last, None for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sink is made with beside its section: the clock, this machine's name, and who takes people's orders.

    `fence`, where two monitors share accounts, gives the stamp without which Redis must not take an alert.
    `accounts` are the configured ones (venue, name); a later reload of the configuration may change them. `speaks` says
    whether this monitor speaks for such an account at the moment, where two monitors share accounts. `is_well` says
    whether everything that matters has been seen lately. `memory` outlives this run.
    """

    clock: Clock
    host: str
    handling: Handling | None = None
    fence: "Callable[[Alert], Stamp | None] | None" = None
    accounts: Collection[tuple[str, str]] = ()
    speaks: "Callable[[tuple[str, str]], bool] | None" = None
    is_well: "Callable[[], bool]" = lambda: True
    memory: Memory | None = None

    def leads(self) -> bool:
        """Whether this monitor, of two that share accounts, takes the orders that both of them hear."""
        return self.speaks is None or not self.accounts or self.speaks(min(self.accounts))


class Sink(Protocol):
    """One way to the outside.

    The dispatcher calls `connect`, then `deliver` and, after one another, `publish_state` and `tend` (these may run
    while it delivers), and after any failure, timeout or cancellation `close`, then `connect` again. Every method
    raises `SinkError`, nothing else.
    """

    @property
    def name(self) -> str:
        """The name of its section in the configuration."""
        ...

    @property
    def config(self) -> SinkConfig:
        """Its section."""
        ...

    @property
    def overtakes(self) -> bool:
        """Whether an emergency may be handed over while `deliver` still has others, and again after them."""
        ...

    async def connect(self) -> None:
        """Open the connection and prove that the other side answers."""
        ...

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Hand over alerts in this order; returns when the other side has acknowledged every one."""
        ...

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Show what pools are like and forget those that are gone.

        Makes a round trip even when both are empty: this is how a dead connection is noticed while nothing fires.
        """
        ...

    async def tend(self, firing: Sequence[Envelope]) -> None:
        """Do what time brings: `firing` is the last word about everything that fires. Called every `state_s`."""
        ...

    def troubles(self) -> Sequence[Trouble]:
        """How each destination does that was tried in this run, for a sink that has several."""
        ...

    async def close(self) -> None:
        """Say goodbye where the protocol has one, and free everything; also after a failed `connect`."""
        ...


class Untended:
    """For a sink with one destination and nothing that time brings."""

    overtakes = False

    async def tend(self, firing: Sequence[Envelope]) -> None:
        """Do nothing."""

    def troubles(self) -> Sequence[Trouble]:
        """Say nothing beyond what is known of the sink itself."""
        return ()


def refuse_password_in_url(url: str, option: str) -> str:
    """Check that `url` carries no password; the sentence of the fault names the `option` to use, never the URL."""
    authority = url.partition("://")[2].partition("/")[0]
    user, at, _ = authority.rpartition("@")
    if at and ":" in user:
        raise PydanticCustomError(
            "password_in_url",
            'a password does not belong into the url; write {option} = "env:NAME" or {option} = "file:PATH"',
            {"option": option},
        )
    return url


def check_url(url: str, *schemes: str) -> str:
    """Check that `url` begins with one of `schemes`, names something behind it, and has a port that can be one."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes or not rest:
        allowed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise PydanticCustomError("url_scheme", "must be a URL that begins with {allowed}", {"allowed": allowed})
    if not _has_usable_port(url):
        raise PydanticCustomError("url_port", "must have a port between 1 and 65535, or none")
    if "?" in rest or "#" in rest:
        raise PydanticCustomError("url_options", "must have no options behind ? or #; the other keys are the options")
    return url


def _has_usable_port(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port is None or port > 0
