"""One round of questions about an address, and its answers put together."""

from collections.abc import Collection
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


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far. `link` is the connection that was live when it began.

    The states of the dexes and the spot balances are asked for at the same moment, because in unified mode neither
    says anything without the other: first comes what tells which dexes there are. `whole` when it is about all of them.
    """

    reason: SnapshotReason
    link: str | None
    missing: set[str]
    dexes: tuple[str, ...] | None
    whole: bool = True
    bodies: dict[str, bytes] = field(default_factory=dict)
    taker_fee_rate: float | None = None

    @staticmethod
    def begin(
        reason: SnapshotReason,
        link: str | None,
        *,
        dexes: tuple[str, ...] | None,
        whole: bool = True,
        others: Collection[str] = (),
    ) -> "Round":
        """A round about these dexes; None asks for the definitions as well. `others`: further kinds."""
        first = {"dexes", "assets"} if dexes is None else _readings(dexes)
        return Round(reason, link, first | set(others), dexes, whole)

    @property
    def weight(self) -> int:
        """What reading the account costs, as far as it is known what is to be read; all else has times of its own."""
        return reading_weight(self.dexes) if self.dexes is not None else 0

    def take(self, kind: str, body: bytes, sent_ms: int) -> Collection[str]:
        """One answer; returns the kinds of further questions. Raises BadFrame."""
        self.missing.discard(kind)
        self.bodies[kind] = body
        if kind == "dexes":
            self.dexes = answers.dexes(body)
        if kind == "fees":
            self.taker_fee_rate = answers.taker_fee_rate(body)
        return self._go_on()

    def do_without(self, kind: str) -> Collection[str] | None:
        """Fees enter no margin: where they are not told they are unknown. All else is needed."""
        if kind != "fees":
            return None
        self.missing.discard(kind)
        return self._go_on()

    def _go_on(self) -> Collection[str]:
        if self.missing or self.dexes is None or "spot" in self.bodies:
            return ()
        self.missing = _readings(self.dexes)
        return set(self.missing)

    def definitions(self) -> dict[str, Asset] | None:
        """All perpetuals, when they were asked for. Raises BadFrame."""
        body = self.bodies.get("assets")
        return None if body is None else answers.assets(body)

    def abstraction(self) -> Abstraction | None:
        """The mode, when it was asked for. Raises BadFrame."""
        body = self.bodies.get("mode")
        return None if body is None else answers.abstraction(body)

    def role(self) -> Role | None:
        """The role, when it was asked for. Raises BadFrame."""
        body = self.bodies.get(ROLE)
        return None if body is None else answers.role(body)

    def states(self) -> dict[str, DexState]:
        """The state of every dex. Raises BadFrame."""
        return {dex: dex_state(document(self.bodies[STATE + dex])) for dex in self.dexes or (MAIN_DEX,)}

    def spot(self) -> SpotState:
        """The spot balances. Raises BadFrame."""
        return spot_state(document(self.bodies["spot"]))


def reading_weight(dexes: Collection[str]) -> int:
    """What it costs to read these dexes and the spot balances."""
    return len(dexes) * weight("clearinghouseState") + weight("spotClearinghouseState")


def _readings(dexes: tuple[str, ...]) -> set[str]:
    return {"spot", *(STATE + dex for dex in dexes)}
