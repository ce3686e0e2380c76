"""One round of REST questions about an account, page after page, and its answers put together.

First the state: margin mode, wallet, positions. What is held then decides what else must be known: tiers and fees of
its contracts, prices and ratios of its collateral.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from connectors.bybit import answers
from connectors.bybit.answers import Definitions, Incident, Mode
from connectors.bybit.parse import INVERSE, LINEAR, SPOT, PositionRow
from connectors.bybit.state import DOLLARS, Answers
from connectors.session import Request, Security
from connectors.wire import BadFrame, Defect
from monitor.model.events import SnapshotReason

POSITIONS = ("positions/linear/USDT", "positions/linear/USDC", "positions/inverse")
STATE = frozenset({"info", "wallet", *POSITIONS})

SINGLE_TABLES_MAX = 40
"""Above so many contracts the whole table of tiers, 15 contracts a page, costs fewer questions than one for each."""

PAGES_MAX = 200
"""More pages than any table of Bybit's has; a cursor that leads in a circle ends here."""

_PATHS = {
    "info": "/v5/account/info",
    "wallet": "/v5/account/wallet-balance",
    "positions": "/v5/position/list",
    "fees": "/v5/account/fee-rate",
    "contracts": "/v5/market/instruments-info",
    "risk": "/v5/market/risk-limit",
    "spot": "/v5/market/tickers",
    "collateral": "/v5/spot-margin-trade/collateral",
    "status": "/v5/system/status",
}
_SIGNED = frozenset({"info", "wallet", "positions", "fees"})
_PAGED = frozenset({"positions", "contracts", "risk"})
_LIMITS = {"positions": "200", "contracts": "1000"}
_OPTIONAL = frozenset({"fees", "contracts", "risk", "spot", "status"})


def request(rest_url: str, kind: str, cursor: str = "") -> Request:
    """The question of this kind; its id is the kind. Kinds are ``topic/category/what``."""
    topic, _, rest = kind.partition("/")
    category, _, what = rest.partition("/")
    params = {"wallet": {"accountType": "UNIFIED"}, "spot": {"category": SPOT}}.get(topic, {})
    if category:
        params = {"category": category}
    if what:
        params["settleCoin" if topic == "positions" else "symbol"] = what
    if topic in _LIMITS:
        params["limit"] = _LIMITS[topic]
    if cursor:
        params["cursor"] = cursor
    security = Security.SIGNED if topic in _SIGNED else Security.NONE
    return Request(kind, "GET", rest_url, _PATHS[topic], security, tuple(params.items()))


def is_known(kind: str) -> bool:
    """Whether this is a kind of question of a round."""
    return kind.partition("/")[0] in _PATHS


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far. `link` is the private connection that was live when it began.

    `known` are contracts whose definitions need not be asked for.
    """

    reason: SnapshotReason
    link: str | None
    known: frozenset[str]
    missing: set[str] = field(default_factory=lambda: {*STATE, "status"})
    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    sent_ms: list[int] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    cursors: dict[str, str] = field(default_factory=dict)
    """Where the next page of a question begins."""
    incidents: tuple[Incident, ...] = ()
    """What is going on at the platform."""
    _went_on: bool = False

    def take(self, kind: str, body: bytes, sent_ms: int) -> Collection[str]:
        """One answer; returns the questions that it raises. Raises BadFrame."""
        pages = self.bodies.setdefault(kind, [])
        further = answers.cursor(body) if kind.partition("/")[0] in _PAGED else ""
        if kind == "status":
            self.incidents = answers.incidents(body)
        pages.append(body)
        if kind in STATE:
            self.sent_ms.append(sent_ms)
        if further:
            if len(pages) >= PAGES_MAX:
                raise BadFrame(Defect.SHAPE, "pages without end")
            self.cursors[kind] = further
            return (kind,)
        self.missing.discard(kind)
        return self._go_on()

    def do_without(self, kind: str) -> Collection[str] | None:
        """What an optional answer would have told is unknown."""
        if kind.partition("/")[0] not in _OPTIONAL:
            return None
        self.missing.discard(kind)
        self.bodies.pop(kind, None)
        self.failed.add(kind)
        return self._go_on()

    def _go_on(self) -> Collection[str]:
        """Once the state is complete: what else is needed to understand it."""
        if self._went_on or self.missing & STATE:
            return ()
        self._went_on = True
        kinds = {*self._definition_kinds(), *self._collateral_kinds()}
        self.missing |= kinds
        return kinds

    def _definition_kinds(self) -> Iterable[str]:
        for category in (LINEAR, INVERSE):
            held = {row.symbol for kind in POSITIONS if category in kind for row in self._positions(kind)}
            unknown = held - self.known
            if unknown:
                yield from (f"contracts/{category}", f"fees/{category}")
                many = len(unknown) > SINGLE_TABLES_MAX
                yield from (f"risk/{category}" if many else f"risk/{category}/{symbol}" for symbol in unknown)

    def _collateral_kinds(self) -> Iterable[str]:
        coins = {row.coin for row in answers.wallet(self.bodies["wallet"][0]).coins if row.balance != 0.0}
        isolated = answers.info(self.bodies["info"][0]).mode is Mode.ISOLATED
        inverse = any(self._positions("positions/inverse"))
        return ("spot", "collateral") if (coins - DOLLARS or inverse) and not isolated else ()

    def _positions(self, kind: str) -> tuple[PositionRow, ...]:
        return tuple(row for body in self.bodies.get(kind, ()) for row in answers.positions(body))

    def answers(self) -> Answers:
        """All answers together. Raises BadFrame."""
        spot, steps = self.bodies.get("spot"), self.bodies.get("collateral")
        return Answers(
            sent_ms=min(self.sent_ms),
            mode=answers.info(self.bodies["info"][0]).mode,
            positions=tuple(row for kind in POSITIONS for row in self._positions(kind)),
            wallet=answers.wallet(self.bodies["wallet"][0]),
            indexes=answers.usd_indexes(spot[0]) if spot else {},
            steps=answers.collateral_steps(steps[0]) if steps else {},
        )

    def unified(self) -> bool:
        """Whether the account is a unified one. Raises BadFrame."""
        return answers.info(self.bodies["info"][0]).unified

    def definitions(self) -> Definitions | None:
        """Contracts that are held, tiers and fees, when they were asked for. Raises BadFrame."""
        told = {topic: self._all(topic) for topic in ("contracts", "risk", "fees")}
        asked = any(told.values()) or any(is_definition(kind) for kind in self.failed)
        if not asked:
            return None
        held = {row.symbol for kind in POSITIONS for row in self._positions(kind)}
        listed = (found for body in told["contracts"] for found in answers.contracts(body).items())
        contracts = {symbol: it for symbol, it in listed if symbol in held}
        fees = {symbol: rate for body in told["fees"] for symbol, rate in answers.fees(body).items()}
        complete = not any(is_definition(kind) for kind in self.failed)
        return Definitions(contracts, answers.tiers(told["risk"]), fees, complete)

    def _all(self, topic: str) -> list[bytes]:
        return [body for kind, pages in self.bodies.items() if kind.partition("/")[0] == topic for body in pages]


def is_definition(kind: str) -> bool:
    """Whether this asks for what does not change from minute to minute."""
    return kind.partition("/")[0] in ("contracts", "risk", "fees")
