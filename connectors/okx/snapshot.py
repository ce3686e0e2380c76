"""One round of REST questions about an account, and its answers put together.

First the state: configuration, balance, positions. What is held then decides which definitions are read.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from connectors.okx import answers
from connectors.okx.answers import Config, Contract, Fees, family
from connectors.okx.parse import FUTURES, OPTION, SWAP, AccountRow, Other, PositionRow, is_swap
from connectors.okx.state import Answers
from connectors.session import Request, Security
from monitor.model.account import AccountMode, MarginMode
from monitor.model.events import SnapshotReason
from monitor.model.instrument import Instrument, Tier

STATE = frozenset({"config", "balance", "positions"})

FAMILIES_PER_QUESTION = 5

PACE_S = 0.25
"""Between two questions for tiers, of which OKX answers ten in two seconds to everybody behind an address."""

_PATHS = {
    "config": "/api/v5/account/config",
    "balance": "/api/v5/account/balance",
    "positions": "/api/v5/account/positions",
    "contracts": "/api/v5/account/instruments",
    "fees": "/api/v5/account/trade-fee",
    "tiers": "/api/v5/public/position-tiers",
    "funding": "/api/v5/public/funding-rate",
    "indexes": "/api/v5/market/index-tickers",
}
_PUBLIC = frozenset({"tiers", "funding", "indexes"})
_SWAPS = (("instType", SWAP),)
_FIXED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "fees": _SWAPS,
    "funding": (("instId", "ANY"),),
    "indexes": (("quoteCcy", "USD"),),
}


def request(rest_url: str, kind: str) -> Request:
    """The question of this kind; its id is the kind.

    Contracts are asked for by ``contracts/<type>``, options by ``contracts/OPTION/<family>``, and tiers by
    ``tiers/<margin mode>/<families>``.
    """
    topic, _, rest = kind.partition("/")
    first, _, families = rest.partition("/")
    params = _FIXED.get(topic, ())
    if topic == "tiers":
        params = (*_SWAPS, ("tdMode", first), ("instFamily", families))
    if topic == "contracts":
        params = (("instType", first), *((("instFamily", families),) if families else ()))
    security = Security.NONE if topic in _PUBLIC else Security.SIGNED
    return Request(kind, "GET", rest_url, _PATHS[topic], security, params)


def is_paced(kind: str) -> bool:
    """Whether so many of these questions may be due at once that OKX would refuse some: they take turns."""
    return kind.startswith("tiers/")


def _contracts_topic(symbol: str) -> str:
    """The question that tells of a contract."""
    if is_swap(symbol):
        return f"contracts/{SWAP}"
    expires_only = symbol.count("-") == 2
    return f"contracts/{FUTURES}" if expires_only else f"contracts/{OPTION}/{family(symbol)}"


@dataclass(slots=True)
class Catalogue:
    """What was told of contracts. What could not be read again stays as it is known.

    Every definition has a topic, which is the question that tells it (for tiers, the question for one family).
    """

    contracts: dict[str, Contract] = field(default_factory=dict)
    fees: Fees | None = None
    tiers: dict[tuple[str, MarginMode], tuple[Tier, ...]] = field(default_factory=dict)
    funding: dict[str, float] = field(default_factory=dict)
    indexes: frozenset[str] = frozenset()
    """Coins that have an index in USD."""
    _fresh: set[str] = field(default_factory=set)
    """Topics that were told since they were last due."""
    _resting: set[str] = field(default_factory=set)
    """Topics that were asked for in vain: they wait."""
    _sought: set[str] = field(default_factory=set)
    """Contracts that were asked for because they had not been described."""

    def questions(self, held: Iterable[PositionRow], mode: AccountMode) -> Iterator[str]:
        """What is to be asked now."""
        rows = list(held)
        strangers = {row.instrument for row in rows} - self.contracts.keys() - self._sought
        self._sought |= strangers
        due = ((_topics(rows, mode) - self._fresh) | set(map(_contracts_topic, strangers))) - self._resting
        yield from sorted(topic for topic in due if not is_paced(topic))
        for margin_mode in MarginMode:
            prefix = f"tiers/{margin_mode.value}/"
            families = sorted(topic.removeprefix(prefix) for topic in due if topic.startswith(prefix))
            for i in range(0, len(families), FAMILIES_PER_QUESTION):
                yield prefix + ",".join(families[i : i + FAMILIES_PER_QUESTION])

    def take(self, kind: str, body: bytes) -> None:
        """An answer. Raises BadFrame."""
        asked = _asked(kind)
        match kind.partition("/")[0]:
            case "contracts":
                self.contracts |= answers.contracts(body)
            case "fees":
                self.fees = answers.fees(body)
            case "funding":
                self.funding |= answers.funding_intervals(body)
            case "indexes":
                self.indexes = answers.indexes(body)
            case "tiers":
                tables, mode = answers.tiers(body), MarginMode(kind.split("/")[1])
                self.tiers |= {(name, mode): table for name, table in tables.items()}
                asked &= {f"tiers/{mode.value}/{name}" for name in tables}
        self._fresh |= asked
        self._resting |= _asked(kind) - asked

    def do_without(self, kind: str) -> None:
        """No good answer."""
        self._resting |= _asked(kind)

    def lacks(self, held: Iterable[PositionRow], mode: AccountMode) -> set[str]:
        """Topics that are wanted and were not told."""
        rows = list(held)
        undescribed = {_contracts_topic(row.instrument) for row in rows if row.instrument not in self.contracts}
        return (_topics(rows, mode) - self._fresh) | undescribed

    def ask_again(self, topics: Collection[str]) -> None:
        """These may be asked for again."""
        again = set(topics)
        self._resting -= again
        self._fresh -= again
        self._sought = {symbol for symbol in self._sought if _contracts_topic(symbol) not in again}

    def expire(self) -> None:
        """Everything is due."""
        for each in (self._resting, self._fresh, self._sought):
            each.clear()

    def instrument(self, symbol: str) -> Instrument | None:
        """A contract as far as it is known, None where it was not described."""
        contract = self.contracts.get(symbol)
        if contract is None or not is_swap(symbol):
            return None if contract is None else contract.instrument
        name = family(symbol)
        return replace(
            contract.instrument,
            tiers=self.tiers.get((name, MarginMode.CROSS), ()),
            isolated_tiers=self.tiers.get((name, MarginMode.ISOLATED), ()),
            taker_fee_rate=None if self.fees is None else self.fees.rate(contract),
            funding_interval_s=self.funding.get(symbol),
        )


def _topics(held: Iterable[PositionRow], mode: AccountMode) -> set[str]:
    """The definitions that such an account needs."""
    topics = set()
    for row in held:
        topics.add(_contracts_topic(row.instrument))
        if mode is not AccountMode.SINGLE_ASSET:
            topics.add("indexes")
        if is_swap(row.instrument):
            topics |= {"fees", "funding", f"tiers/{row.margin_mode.value}/{family(row.instrument)}"}
    return topics


def _asked(kind: str) -> set[str]:
    """The topics of a question."""
    if not is_paced(kind):
        return {kind}
    prefix, _, families = kind.rpartition("/")
    return {f"{prefix}/{name}" for name in families.split(",")}


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far; definitions go into the `catalogue`, whatever becomes of the round.

    `link` is the private connection that was live when it began.
    """

    reason: SnapshotReason
    link: str | None
    catalogue: Catalogue
    missing: set[str] = field(default_factory=lambda: set(STATE))
    sent_ms: list[int] = field(default_factory=list)
    defined: bool = False
    """Whether definitions were asked for."""
    _config: Config | None = None
    _balance: AccountRow | None = None
    _positions: tuple[PositionRow, ...] | None = None
    _others: frozenset[Other] = frozenset()

    def take(self, kind: str, body: bytes, sent_ms: int) -> list[str]:
        """One answer; returns further questions that it raises. Raises BadFrame."""
        match kind:
            case "config":
                self._config = answers.config(body)
            case "balance":
                self._balance = answers.balance(body)
            case "positions":
                self._positions, self._others = answers.positions(body)
            case _:
                self.catalogue.take(kind, body)
        self.missing.discard(kind)
        if kind not in STATE:
            return []
        self.sent_ms.append(sent_ms)
        further = self._questions() if not self.missing else []
        self.missing.update(further)
        return further

    def do_without(self, kind: str) -> Collection[str] | None:
        """A question about definitions got no good answer: what it would have told is then unknown."""
        if kind in STATE:
            return None
        self.missing.discard(kind)
        self.catalogue.do_without(kind)
        return ()

    def _questions(self) -> list[str]:
        taken = self.answers()
        further = list(self.catalogue.questions(taken.positions, taken.config.account_mode))
        self.defined = bool(further)
        return further

    def answers(self) -> Answers:
        """All answers about the account's state, once none is missing."""
        assert self._config is not None  # noqa: S101 - nothing is missing
        assert self._balance is not None  # noqa: S101
        assert self._positions is not None  # noqa: S101
        return Answers(min(self.sent_ms), self._config, self._balance, self._positions, self._others)
