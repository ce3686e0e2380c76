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
    product = "usd-m"                   # or "coin-m", with wallets in coins and sizes in contracts
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
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
    """An account at the start. Key and secret come from the name and the seed when they are not given."""

    name: str = Field(min_length=1)
    product: Literal["usd-m", "coin-m"] = "usd-m"
    hedge: bool = False
    multi_assets: bool = False
    wallets: dict[str, Decimal] = Field(default_factory=dict)
    positions: tuple[PositionSpec, ...] = ()
    permissions: dict[str, bool] = Field(default_factory=dict)
    api_key: str = ""
    api_secret: str = ""

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
    `start`: ``now``; ``subscribed`` = with the first connection that carries marks beside one that carries the user
    stream of an account, at the latest after `start_wait_s`; ``manual`` = by the control interface.
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


def _demo() -> Scenario:
    """One account in hedge mode through a crash of about 50 s.

    SOLUSDT long, isolated at ten times: liquidated on the way down. ETHUSDT long and a smaller short in the cross USDT
    pool: worrying at the bottom, but alive. BTCUSDC long with plenty of USDC: never in danger.
    The crash is steep at first and slow where the isolated long passes its rungs, so that each gets ticks of its own.
    """
    return Scenario(
        name="demo",
        tick_s=0.1,
        start="subscribed",
        linger_s=3.0,
        marks={
            "BTCUSDT": Decimal("76888.1"),
            "BTCUSDC": Decimal("76880.3"),
            "ETHUSDT": Decimal("3215.4"),
            "SOLUSDT": Decimal("208.5"),
        },
        path=PathSpec(
            segments=(
                SegmentSpec(duration_s=9, move=0.004, noise=0.0002),
                SegmentSpec(duration_s=9, move=-0.058, noise=0.0002),
                SegmentSpec(duration_s=18, move=-0.034, noise=0.00003),
                SegmentSpec(duration_s=4, move=-0.010, noise=0.0001),
                SegmentSpec(duration_s=8, move=0.035, noise=0.0002),
            ),
            weights={"BTCUSDT": 0.7, "BTCUSDC": 0.7, "ETHUSDT": 0.9, "SOLUSDT": 1.0, "TSLAUSDT": 0.1},
        ),
        accounts=(
            AccountSpec(
                name="demo",
                hedge=True,
                wallets={"USDT": Decimal(195500), "USDC": Decimal(60000)},
                positions=(
                    PositionSpec(
                        symbol="SOLUSDT",
                        size=Decimal(12000),
                        entry_price=Decimal("208.5"),
                        position_side="LONG",
                        isolated_wallet=Decimal(250200),
                        leverage=10,
                    ),
                    PositionSpec(
                        symbol="ETHUSDT",
                        size=Decimal(2000),
                        entry_price=Decimal("3208.7"),
                        position_side="LONG",
                        leverage=50,
                    ),
                    PositionSpec(
                        symbol="ETHUSDT",
                        size=Decimal(-1500),
                        entry_price=Decimal("3231.1"),
                        position_side="SHORT",
                        leverage=50,
                    ),
                    PositionSpec(
                        symbol="BTCUSDC",
                        size=Decimal("1.5"),
                        entry_price=Decimal("75120.4"),
                        position_side="LONG",
                        leverage=5,
                    ),
                ),
            ),
        ),
    )


def _idle() -> Scenario:
    """One empty one-way account and prices that move only when told; for tests."""
    return Scenario(
        name="idle",
        start="manual",
        accounts=(AccountSpec(name="main", wallets={"USDT": Decimal(10000)}),),
        venue=VenueSpec(republish_s=0.0),
    )


BUILT_IN = {"demo": _demo(), "idle": _idle()}
