"""A whole stage: who holds what, how prices move, how strict the venue is. From TOML, or built in code.

::

    tick_s = 0.1
    start = "subscribed"

    [marks]
    BTCUSDT = "60000"

    [path]                              # or: file = "prices.csv.gz", points = "ohlc", symbols = ["BTCUSDT"]
    weights = { ETHUSDT = 1.5 }
    segments = [{ duration_s = 10, move = -0.08, noise = 0.0002 }]

    [venue]
    listen_key_life_s = 3600

    [[accounts]]
    name = "main"
    venue = "binance"                   # or "binance-coinm", "okx", "bybit", "hyperliquid"; sizes as each counts them
    hedge = true
    wallets = { USDT = "10000" }

    [[accounts.positions]]              # without isolated_wallet it is a cross position
    symbol = "BTCUSDT"
    position_side = "LONG"
    size = "0.5"
    entry_price = "60000"
    isolated_wallet = "3000"
    leverage = 10
"""

import hashlib
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectors.simulator.prices import FilePath, MadePath, Segment


class ScenarioFault(ValueError):  # noqa: N818 - says what is wrong with an input
    """A scenario that cannot be used; one line for each fault."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PositionSpec(_Model):
    """A position at the start: `size` is signed; with an `isolated_wallet` it is isolated, without it cross."""

    symbol: str
    size: Decimal
    entry_price: Decimal | None = None
    position_side: Literal["BOTH", "LONG", "SHORT"] | None = None
    isolated_wallet: Decimal | None = None
    leverage: int | None = Field(default=None, ge=1)


class AccountSpec(_Model):
    """An account at the start. Key and secret come from the name and the seed when they are not given.

    Accounts at other venues than Binance are one-way, and the prices there follow the path too.
    """

    name: str = Field(min_length=1)
    venue: Literal["binance", "binance-coinm", "okx", "bybit", "hyperliquid"] = "binance"
    hedge: bool = False
    multi_assets: bool = False
    wallets: dict[str, Decimal] = Field(default_factory=dict)
    positions: tuple[PositionSpec, ...] = ()
    permissions: dict[str, bool] = Field(default_factory=dict)
    api_key: str = ""
    api_secret: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it is an account of the exchange itself, and not of a venue that follows it."""
        return self.venue in ("binance", "binance-coinm")

    @model_validator(mode="after")
    def _only_here(self) -> Self:
        hedged = self.hedge or any(position.position_side for position in self.positions)
        if not self.is_here and (hedged or self.permissions):
            raise ValueError(f"hedge mode and permissions cannot be set at {self.venue}")
        return self

    def keys(self, seed: int) -> tuple[str, str]:
        """Key and secret, 64 letters and digits each as the venue makes them."""
        made = [hashlib.sha256(f"{seed}/{self.name}/{part}".encode()).hexdigest() for part in ("key", "secret")]
        return self.api_key or made[0], self.api_secret or made[1]


class SegmentSpec(_Model):
    """A stretch of a made price path; see `prices.Segment`."""

    duration_s: float = Field(gt=0)
    move: float = Field(gt=-1)
    noise: float = Field(default=0.0, ge=0)


class PathSpec(_Model):
    """A price path: either `segments` or a `file`."""

    segments: tuple[SegmentSpec, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)
    file: Path | None = None
    points: Literal["close", "ohlc"] = "ohlc"
    symbols: tuple[str, ...] = ()

    def build(self) -> MadePath | FilePath:
        """The path itself."""
        if self.file is not None:
            return FilePath(self.file, self.points, self.symbols)
        return MadePath(tuple(Segment(s.duration_s, s.move, s.noise) for s in self.segments), self.weights)


class VenueSpec(_Model):
    """How strict and how lively the venue is. The defaults are the venue's own.

    `republish_s`: while the path stands still, the last marks are sent again that often (0: never).
    """

    listen_key_life_s: float = Field(default=3600, gt=0)
    connection_life_s: float = Field(default=86_400, gt=0)
    ping_s: float = Field(default=180, gt=0)
    pong_timeout_s: float = Field(default=600, gt=0)
    weight_limit: int = Field(default=2400, gt=0)
    republish_s: float = Field(default=1.0, ge=0)


class Scenario(_Model):
    """Everything the simulator needs. One step of the path is one `tick_s` and one ``@1s`` update.

    `speed` plays the same steps in less real time.
    `start`: ``now``; ``subscribed`` = as soon as marks and the user stream of every account are listened to, at the
    latest after `start_wait_s`; ``manual`` = by the control interface.
    """

    name: str = "custom"
    tick_s: float = Field(default=1.0, gt=0)
    speed: float = Field(default=1.0, gt=0)
    start: Literal["now", "subscribed", "manual"] = "now"
    start_wait_s: float = Field(default=60.0, ge=0)
    linger_s: float = Field(default=2.0, ge=0)
    marks: dict[str, Decimal] = Field(default_factory=dict)
    path: PathSpec | None = None
    accounts: tuple[AccountSpec, ...] = ()
    venue: VenueSpec = VenueSpec()

    def duration_s(self) -> float | None:
        """Length of a made path in real seconds, None where it is not known."""
        if self.path is None or self.path.file is not None:
            return None
        return (
            sum(max(1, round(segment.duration_s / self.tick_s)) for segment in self.path.segments)
            * self.tick_s
            / self.speed
        )


def load(text: str, source: str) -> Scenario:
    """A scenario from TOML; raises ScenarioFault with every fault, each with `source` and the key."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioFault(f"{source}: {error}") from None
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        raise ScenarioFault(_faults(source, error)) from None


def _faults(source: str, error: ValidationError) -> str:
    lines = (f"{source}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return "\n".join(lines)


def load_json(text: str, source: str) -> Scenario:
    """A scenario from JSON of the same shape, as `Scenario.model_dump_json` writes it."""
    try:
        return Scenario.model_validate_json(text)
    except ValidationError as error:
        raise ScenarioFault(_faults(source, error)) from None


def by_name(name: str) -> Scenario:
    """A built-in scenario, or one from a TOML or ``.json`` file."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(BUILT_IN))
        raise ScenarioFault(f"{name}: neither a built-in scenario ({known}) nor a readable file: {error}") from None
    return load_json(text, name) if path.suffix == ".json" else load(text, name)


SCENARIOS = Path(__file__).parent / "scenarios"

BUILT_IN = {path.stem: load(path.read_text(encoding="utf-8"), path.name) for path in sorted(SCENARIOS.glob("*.toml"))}
