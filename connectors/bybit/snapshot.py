"""One round of REST questions about an account, page after page, and its answers put together.

First the state: margin mode, wallet, positions. What is held then decides what else must be known: tiers and fees of
its contracts, prices and ratios of its collateral.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from connectors.bybit import answers
from connectors.bybit.answers import Definitions, Incident, Info, Mode
from connectors.bybit.parse import INVERSE, LINEAR, SPOT, PositionRow, category_of
from connectors.bybit.state import DOLLARS, Answers
from connectors.session import Request, Security
from connectors.wire import BadFrame, Defect
from monitor.model.events import SnapshotReason

POSITIONS = ("positions/linear/USDT", "positions/linear/USDC", "positions/inverse")
STATE = frozenset({"info", "wallet", *POSITIONS})
COLLATERAL = "collateral"
"""The collateral ratios of all coins."""

SINGLE_TABLES_MAX = 40
"""Above so many contracts the whole table of tiers, 15 contracts a page, costs fewer questions than one for each."""

UNLISTED = ("", "PreLaunch", "Delivering")
"""How a held contract is asked for by name that the list lacks, which has only those that trade. Whether asking for a
name alone finds the others is not documented; asking for their state does."""

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
    COLLATERAL: "/v5/spot-margin-trade/collateral",
    "status": "/v5/system/status",
}
_SIGNED = frozenset({"info", "wallet", "positions", "fees"})
_LISTS = {category: f"contracts/{category}" for category in (LINEAR, INVERSE)}
_PAGED = frozenset({"positions", "risk"})
_LIMITS = {"positions": "200", "contracts": "1000"}
_READ: Mapping[str, Callable[[bytes], object]] = {
    "fees": answers.fees,
    "contracts": answers.contracts,
    "risk": lambda body: answers.tiers([body]),
    "spot": answers.usd_indexes,
    COLLATERAL: answers.collateral_steps,
    "status": answers.incidents,
}
"""What a snapshot can do without, and how it is read."""


def request(rest_url: str, kind: str, cursor: str = "") -> Request:
    """The question of this kind; its id is the kind. Kinds are ``topic/category/what/state``."""
    topic, category, what, state, *_ = [*kind.split("/"), "", "", ""]
    params = {"wallet": {"accountType": "UNIFIED"}, "spot": {"category": SPOT}}.get(topic, {})
    if category:
        params = {"category": category}
    if what:
        params["settleCoin" if topic == "positions" else "symbol"] = what
    if state:
        params["status"] = state
    if topic in _LIMITS:
        params["limit"] = _LIMITS[topic]
    if cursor:
        params["cursor"] = cursor
    security = Security.SIGNED if topic in _SIGNED else Security.NONE
    return Request(kind, "GET", rest_url, _PATHS[topic], security, tuple(params.items()))


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far. `link` is the private connection that was live when it began.

    `known` are contracts whose definitions need not be asked for, and `COLLATERAL` when its ratios need not be.
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
        further = answers.cursor(body) if _is_paged(kind) else ""
        if read := _READ.get(kind.partition("/")[0]):
            read(body)  # one that cannot be used is done without
        if kind == "status":
            self.incidents = answers.incidents(body)
        pages = self.bodies.setdefault(kind, [])
        pages.append(body)
        if kind in STATE:
            self.sent_ms.append(sent_ms)
        if further:
            if len(pages) >= PAGES_MAX:
                raise BadFrame(Defect.SHAPE, "pages without end")
            self.cursors[kind] = further
            return (kind,)
        self.missing.discard(kind)
        return self._and(self._unlisted(kind)) if kind in _LISTS.values() else self._go_on()

    def do_without(self, kind: str) -> Collection[str] | None:
        """What was known of definitions and collateral ratios stands; what else would have been told is unknown."""
        if kind.partition("/")[0] not in _READ:
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
        return self._and({*self._definition_kinds(), *self._collateral_kinds()})

    def _and(self, kinds: set[str]) -> Collection[str]:
        self.missing |= kinds
        return kinds

    def _definition_kinds(self) -> Iterable[str]:
        for category, listing in _LISTS.items():
            unknown = self._unknown(category)
            if unknown:
                yield from (listing, f"fees/{category}")
                many = len(unknown) > SINGLE_TABLES_MAX
                yield from (f"risk/{category}" if many else f"risk/{category}/{symbol}" for symbol in unknown)

    def _unknown(self, category: str) -> frozenset[str]:
        """Contracts that are held and have to be asked for."""
        kinds = (kind for kind in POSITIONS if category in kind)
        return frozenset(row.symbol for kind in kinds for row in self._positions(kind)) - self.known

    def _unlisted(self, listing: str) -> set[str]:
        """Questions for the contracts that a list lacks."""
        listed = {symbol for body in self.bodies[listing] for symbol in answers.contracts(body)}
        unlisted = self._unknown(listing.partition("/")[2]) - listed
        return {f"{listing}/{symbol}/{state}".rstrip("/") for symbol in unlisted for state in UNLISTED}

    def _collateral_kinds(self) -> Iterable[str]:
        coins = {row.coin for row in answers.wallet(self.bodies["wallet"][0]).coins if row.balance != 0.0}
        isolated = self._info().mode is Mode.ISOLATED
        inverse = any(self._positions("positions/inverse"))
        if isolated or not (coins - DOLLARS or inverse):
            return ()
        return ("spot",) if COLLATERAL in self.known else ("spot", COLLATERAL)

    def _positions(self, kind: str) -> tuple[PositionRow, ...]:
        return tuple(row for body in self.bodies.get(kind, ()) for row in answers.positions(body))

    def answers(self) -> Answers:
        """All answers together. Raises BadFrame."""
        spot, steps, info = self.bodies.get("spot"), self.bodies.get(COLLATERAL), self._info()
        return Answers(
            sent_ms=min(self.sent_ms),
            mode=info.mode,
            positions=tuple(row for kind in POSITIONS for row in self._positions(kind)),
            wallet=answers.wallet(self.bodies["wallet"][0]),
            indexes=answers.usd_indexes(spot[0]) if spot else {},
            steps=answers.collateral_steps(steps[0]) if steps else None,
            inverse_apart=info.inverse_apart,
        )

    @property
    def asked_collateral(self) -> bool:
        """Whether the collateral ratios were asked for."""
        return COLLATERAL in self.bodies or COLLATERAL in self.failed

    def unified(self) -> bool:
        """Whether the account is a unified one. Raises BadFrame."""
        return self._info().unified

    def _info(self) -> Info:
        return answers.info(self.bodies["info"][0])

    def definitions(self) -> Definitions | None:
        """Contracts that are held, tiers and fees, when they were asked for. Raises BadFrame."""
        asked = self._unknown(LINEAR) | self._unknown(INVERSE)
        if not asked:
            return None
        listed = (found for body in self._all("contracts") for found in answers.contracts(body).items())
        contracts = {symbol: it for symbol, it in listed if symbol in asked}
        tiers = answers.tiers(self._all("risk"))
        fees = {symbol: rate for body in self._all("fees") for symbol, rate in answers.fees(body).items()}
        told = {symbol for symbol in contracts.keys() & tiers if f"fees/{category_of(symbol)}" not in self.failed}
        return Definitions(contracts, tiers, fees, asked, asked - told)

    def _all(self, topic: str) -> list[bytes]:
        return [body for kind, pages in self.bodies.items() if kind.partition("/")[0] == topic for body in pages]


def _is_paged(kind: str) -> bool:
    """A question for one contract by name is answered with one, whatever its answer says of a next page."""
    return kind in _LISTS.values() or kind.partition("/")[0] in _PAGED
