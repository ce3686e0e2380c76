"""One round of questions about an address, and its answers put together."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from connectors.hyperliquid import answers
from connectors.hyperliquid.answers import Abstraction, Asset, Role
from connectors.hyperliquid.parse import MAIN_DEX, DexState, SpotState, dex_state, spot_state
from connectors.hyperliquid.rest import info, weight
from connectors.session import Request
from connectors.wire import document
from monitor.model.events import SnapshotReason

STATE = "state:"
"""Before the dex in the kind of question about its state."""

ROLE = "role"

LISTED_AGE_S = 600.0
"""What is listed is the same for all addresses, and is asked for once for all that read it in such a time."""

NEWLY_LISTED_AGE_S = 5.0
"""Likewise, where something is held that was not listed."""


def request(rest_url: str, address: str, kind: str, listed_age_s: float = LISTED_AGE_S) -> Request:
    """The question of this kind; its id is the kind. What is listed may be so old."""
    if kind.startswith(STATE):
        if dex := kind.removeprefix(STATE):
            return info(rest_url, kind, "clearinghouseState", user=address, dex=dex)
        return info(rest_url, kind, "clearinghouseState", user=address)
    match kind:
        case "dexes":
            return info(rest_url, kind, "perpDexs", age_s=listed_age_s)
        case "assets":
            return info(rest_url, kind, "allPerpMetas", age_s=listed_age_s)
        case "spot":
            return info(rest_url, kind, "spotClearinghouseState", user=address)
        case "fees":
            return info(rest_url, kind, "userFees", user=address)
        case "mode":
            return info(rest_url, kind, "userAbstraction", user=address)
    return info(rest_url, kind, "userRole", user=address)


LISTS = frozenset({"dexes", "assets"})
"""What is listed, and goes on from its last good answers."""


def builders_dex(kind: str) -> str | None:
    """The builder's dex whose state a question is about; None for other questions."""
    return kind.removeprefix(STATE) or None if kind.startswith(STATE) else None


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far. `link` is the connection that was live when it began.

    The states of the dexes and the spot balances are asked for at the same moment, because in unified mode neither
    says anything without the other: first comes what tells which dexes there are. `whole` when it is about all of them.
    `dexes` are those to read; where the list of them is asked for and not told, those known before and those whose
    perpetuals are listed.
    """

    reason: SnapshotReason
    link: str | None
    missing: set[str]
    dexes: tuple[str, ...]
    defining: bool = False
    """Whether what is listed is asked for."""
    whole: bool = True
    unanswered: set[str] = field(default_factory=set)
    """Kinds of questions that got no good answer."""
    assets: dict[str, Asset] | None = None
    """All perpetuals, where they were told."""
    states: dict[str, DexState] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    taker_fee_rate: float | None = None
    _reading: bool = False

    @staticmethod
    def begin(
        reason: SnapshotReason,
        link: str | None,
        *,
        dexes: Iterable[str],
        defining: bool,
        whole: bool = True,
        others: Collection[str] = (),
    ) -> "Round":
        """A round about these dexes, the main one among them; `others`: further kinds."""
        known = tuple(dict.fromkeys((MAIN_DEX, *dexes)))
        first = set(LISTS) if defining else _readings(known)
        return Round(reason, link, first | set(others), known, defining, whole, _reading=not defining)

    @property
    def weight(self) -> int:
        """What reading the account costs; all else has times of its own."""
        return reading_weight(self.dexes)

    @property
    def unread(self) -> frozenset[str]:
        """Dexes whose state was not told."""
        return frozenset(dex for kind in self.unanswered if (dex := builders_dex(kind)))

    def take(self, kind: str, body: bytes, sent_ms: int) -> Collection[str]:
        """One answer; returns the kinds of further questions. Raises BadFrame."""
        match kind:
            case "dexes":
                self.dexes = answers.dexes(body)
            case "assets":
                self.assets = answers.assets(body)
            case "fees":
                self.taker_fee_rate = answers.taker_fee_rate(body)
            case _ if kind.startswith(STATE):
                self.states[kind.removeprefix(STATE)] = dex_state(document(body))
            case _:
                self.bodies[kind] = body
        self.missing.discard(kind)
        return self._go_on()

    def do_without(self, kind: str) -> Collection[str] | None:
        """What is listed, fees (which enter no margin), and the state of a builder's dex: see `AccountState.read`."""
        if kind not in LISTS and kind != "fees" and builders_dex(kind) is None:
            return None
        self.unanswered.add(kind)
        self.missing.discard(kind)
        return self._go_on()

    def _go_on(self) -> Collection[str]:
        if self.missing or self._reading:
            return ()
        self._reading = True
        if "dexes" in self.unanswered:
            self.dexes = tuple(dict.fromkeys((*self.dexes, *(asset.dex for asset in (self.assets or {}).values()))))
        self.missing = _readings(self.dexes)
        return set(self.missing)

    def abstraction(self) -> Abstraction | None:
        """The mode, when it was asked for. Raises BadFrame."""
        body = self.bodies.get("mode")
        return None if body is None else answers.abstraction(body)

    def role(self) -> Role | None:
        """The role, when it was asked for. Raises BadFrame."""
        body = self.bodies.get(ROLE)
        return None if body is None else answers.role(body)

    def spot(self) -> SpotState:
        """The spot balances. Raises BadFrame."""
        return spot_state(document(self.bodies["spot"]))


def reading_weight(dexes: Collection[str]) -> int:
    """What it costs to read these dexes and the spot balances."""
    return len(dexes) * weight("clearinghouseState") + weight("spotClearinghouseState")


def _readings(dexes: Iterable[str]) -> set[str]:
    return {"spot", *(STATE + dex for dex in dexes)}
