"""What one kind of Binance's futures adds to the common machinery."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from connectors.binance_common.parse import AccountUpdate
from connectors.binance_common.settings import AccountSettings
from connectors.binance_common.state import Answers
from connectors.session import Request, Security
from monitor.model.instrument import Instrument, Tier


@dataclass(frozen=True, slots=True)
class Listing:
    """What answers tell of contracts, without their tiers, of the account's tiers, and of what counts as margin."""

    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    tiers: Mapping[str, tuple[Tier, ...]] = field(default_factory=dict)
    margin_coins: frozenset[str] = frozenset()

    def and_also(self, other: "Listing") -> "Listing":
        """What both tell."""
        return Listing(
            {**self.instruments, **other.instruments},
            {**self.tiers, **other.tiers},
            self.margin_coins | other.margin_coins,
        )

    def over(self, known: Mapping[str, Instrument]) -> dict[str, Instrument]:
        """Contracts as they are known by now. What an answer lacks, or all answers lack, is not unlearnt."""
        tables = {symbol: it.tiers for symbol, it in known.items() if it.tiers} | dict(self.tiers)
        return {
            symbol: replace(it, tiers=tables.get(symbol, ())) for symbol, it in {**known, **self.instruments}.items()
        }


_FEE = "fee/"


def fee_kind(symbol: str) -> str:
    """The kind of the question what the account pays for taking in a symbol."""
    return _FEE + symbol


def fee_symbol(kind: str) -> str | None:
    """The symbol that such a question is about, None for others."""
    return kind.removeprefix(_FEE) if kind.startswith(_FEE) else None


def fee_request(kind: str, base: str, path: str) -> Request:
    """Such a question."""
    return Request(kind, "GET", base, path, Security.SIGNED, (("symbol", kind.removeprefix(_FEE)),), weight=20)


class Product(Protocol):
    """Addresses, questions, and how their answers are read. Pure."""

    @property
    def venue(self) -> str:
        """The venue's name."""
        ...

    @property
    def feed(self) -> str:
        """The name of its marks in production: accounts of one feed read the same kinds of contracts."""
        ...

    @property
    def stream_url(self) -> str:
        """Where the market streams are in production."""
        ...

    @property
    def time_path(self) -> str:
        """Where the venue's clock is asked."""
        ...

    def public_url(self, rest_url: str) -> str:
        """The base of `time_path` for an account with this REST address."""
        ...

    @property
    def listen_path(self) -> str:
        """Where listen keys are asked for."""
        ...

    @property
    def private_paths(self) -> tuple[str, ...]:
        """What follows the private address, with ``{key}`` for the listen key; the next is tried when one is silent."""
        ...

    @property
    def market_paths(self) -> tuple[str, ...]:
        """What follows the market address; the next is tried when one is silent."""
        ...

    @property
    def single_streams_max(self) -> int:
        """Above this many instruments the stream of all marks is read instead of one for each."""
        ...

    @property
    def foreign(self) -> int:
        """``st`` of the other product's rows, which the same streams carry (USD-M is 1, COIN-M is 2)."""
        ...

    @property
    def definitions(self) -> Collection[str]:
        """Kinds of the questions about contracts and tiers, which go on from their last good answers."""
        ...

    @property
    def funding(self) -> Collection[str]:
        """Kinds of the questions about funding intervals; likewise."""
        ...

    @property
    def state(self) -> Collection[str]:
        """Kinds of the questions about the account that are always asked."""
        ...

    @property
    def multi_asset(self) -> Collection[str]:
        """Kinds of the questions that multi-assets mode adds."""
        ...

    def request(self, settings: AccountSettings, kind: str) -> Request:
        """The question of this kind; its id is the kind. Fees are asked for one by one: see `fee_kind`."""
        ...

    def another(self, kind: str, body: bytes) -> str | None:
        """The kind of another question that an answer raises. Raises BadFrame."""
        ...

    def answers(self, bodies: Mapping[str, bytes], sent_ms: int, instruments: Mapping[str, Instrument]) -> Answers:
        """All answers about the account together; `instruments` are those known by now. Raises BadFrame."""
        ...

    def listing(self, kind: str, body: bytes) -> Listing:
        """What one of the `definitions` tells. Raises BadFrame."""
        ...

    def priced(self, update: AccountUpdate, instruments: Mapping[str, Instrument]) -> AccountUpdate:
        """An event with the marks that its unrealized PnL implies."""
        ...
