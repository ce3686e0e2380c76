"""One round of REST questions about an account, and its answers put together.

First the state: configuration, balance, positions. What is held then decides which contracts' definitions are read.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from connectors.okx import answers
from connectors.okx.answers import Config, Contract, Fees, family
from connectors.okx.parse import AccountRow, PositionRow
from connectors.okx.state import Answers
from connectors.session import Request, Security
from monitor.model.account import MarginMode
from monitor.model.events import SnapshotReason
from monitor.model.instrument import Instrument, Tier

STATE = frozenset({"config", "balance", "positions"})

FAMILIES_PER_QUESTION = 5

_PATHS = {
    "config": "/api/v5/account/config",
    "balance": "/api/v5/account/balance",
    "positions": "/api/v5/account/positions",
    "contracts": "/api/v5/account/instruments",
    "fees": "/api/v5/account/trade-fee",
    "tiers": "/api/v5/public/position-tiers",
    "funding": "/api/v5/public/funding-rate",
}
_PUBLIC = frozenset({"tiers", "funding"})
_SWAPS = (("instType", "SWAP"),)


def request(rest_url: str, kind: str) -> Request:
    """The question of this kind; its id is the kind. Tiers are asked by ``tiers/<margin mode>/<families>``."""
    topic, _, rest = kind.partition("/")
    mode, _, families = rest.partition("/")
    params = _SWAPS if topic in ("contracts", "fees", "tiers") else ()
    if topic == "tiers":
        params = (*params, ("tdMode", mode), ("instFamily", families))
    if topic == "funding":
        params = (("instId", "ANY"),)
    security = Security.NONE if topic in _PUBLIC else Security.SIGNED
    return Request(kind, "GET", rest_url, _PATHS[topic], security, params)


@dataclass(frozen=True, slots=True)
class Definitions:
    """What was told of contracts; `complete` when nothing that was asked for is missing."""

    contracts: Mapping[str, Contract]
    fees: Fees | None
    tiers: Mapping[tuple[str, MarginMode], tuple[Tier, ...]]
    funding: Mapping[str, float]
    complete: bool

    def instrument(self, symbol: str, mode: MarginMode, known: Instrument | None) -> Instrument | None:
        """A contract with its tiers, fee and funding interval; what was not told this time stays as it is known."""
        contract = self.contracts.get(symbol)
        if contract is None:
            return known
        tiers = self.tiers.get((family(symbol), mode)) or (known.tiers if known else ())
        fee = None if self.fees is None else self.fees.rate(contract)
        interval_s = self.funding.get(symbol)
        if known is not None:
            fee = known.taker_fee_rate if fee is None else fee
            interval_s = interval_s or known.funding_interval_s
        return replace(contract.instrument, tiers=tiers, taker_fee_rate=fee, funding_interval_s=interval_s)


def table_modes(held: Iterable[PositionRow]) -> dict[str, MarginMode]:
    """Which of its two tables of tiers each contract goes by; one that is held in both modes goes by cross."""
    modes: dict[str, MarginMode] = {}
    for row in held:
        if row.margin_mode is MarginMode.CROSS or row.instrument not in modes:
            modes[row.instrument] = row.margin_mode
    return modes


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far.

    `link` is the private connection that was live when it began; `loaded` the contracts whose definitions are known,
    by the table they were read from.
    """

    reason: SnapshotReason
    link: str | None
    loaded: Mapping[str, MarginMode]
    missing: set[str] = field(default_factory=lambda: set(STATE))
    sent_ms: list[int] = field(default_factory=list)
    _config: Config | None = None
    _balance: AccountRow | None = None
    _positions: tuple[PositionRow, ...] | None = None
    _others: frozenset[str] = frozenset()
    _contracts: dict[str, Contract] = field(default_factory=dict)
    _fees: Fees | None = None
    _tiers: dict[tuple[str, MarginMode], tuple[Tier, ...]] = field(default_factory=dict)
    _funding: dict[str, float] = field(default_factory=dict)
    _defining: bool = False
    _failed: bool = False

    def take(self, kind: str, body: bytes, sent_ms: int) -> list[str]:
        """One answer; returns further questions that it raises. Raises BadFrame."""
        further: list[str] = []
        match kind.partition("/")[0]:
            case "config":
                self._config = answers.config(body)
            case "balance":
                self._balance = answers.balance(body)
            case "positions":
                self._positions, self._others = answers.positions(body)
                further = list(self._questions(self._positions))
            case "contracts":
                self._contracts = answers.contracts(body)
            case "fees":
                self._fees = answers.fees(body)
            case "funding":
                self._funding = answers.funding_intervals(body)
            case "tiers":
                mode = MarginMode(kind.split("/")[1])
                self._tiers |= {(name, mode): table for name, table in answers.tiers(body).items()}
        if kind in STATE:
            self.sent_ms.append(sent_ms)
        self.missing.discard(kind)
        self.missing.update(further)
        return further

    def do_without(self, kind: str) -> Collection[str] | None:
        """A question about definitions got no good answer: what it would have told is then unknown."""
        if kind in STATE:
            return None
        self.missing.discard(kind)
        self._failed = True
        return ()

    def _questions(self, held: tuple[PositionRow, ...]) -> Iterator[str]:
        wanted = {symbol: mode for symbol, mode in table_modes(held).items() if self.loaded.get(symbol) is not mode}
        if not wanted:
            return
        self._defining = True
        yield from ("contracts", "fees", "funding")
        for mode in MarginMode:
            families = sorted({family(symbol) for symbol, each in wanted.items() if each is mode})
            for i in range(0, len(families), FAMILIES_PER_QUESTION):
                yield f"tiers/{mode.value}/{','.join(families[i : i + FAMILIES_PER_QUESTION])}"

    def answers(self) -> Answers:
        """All answers about the account's state, once none is missing."""
        assert self._config is not None  # noqa: S101 - nothing is missing
        assert self._balance is not None  # noqa: S101
        assert self._positions is not None  # noqa: S101
        return Answers(min(self.sent_ms), self._config, self._balance, self._positions, self._others)

    def definitions(self) -> Definitions | None:
        """What was told of contracts, when any of it was asked for."""
        if not self._defining:
            return None
        return Definitions(self._contracts, self._fees, self._tiers, self._funding, not self._failed)
