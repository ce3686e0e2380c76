"""One round of REST questions about an account, and its answers put together."""

from dataclasses import dataclass, field

from connectors.binance import answers
from connectors.binance.answers import Exchange
from connectors.binance.state import Answers
from connectors.session import Request, Security
from monitor.model.account import AccountMode
from monitor.model.events import SnapshotReason
from monitor.model.instrument import Tier

_STATE = {
    "modes": ("/fapi/v1/accountConfig", 5),
    "configs": ("/fapi/v1/symbolConfig", 5),
    "account": ("/fapi/v3/account", 5),
    "risk": ("/fapi/v3/positionRisk", 5),
}
_DEFINITIONS = {
    "exchange": ("/fapi/v1/exchangeInfo", 1),
    "brackets": ("/fapi/v1/leverageBracket", 1),
}
_INDEXES = {
    "indexes": ("/fapi/v1/assetIndex", 10),
}
_PUBLIC = frozenset({"exchange", "indexes"})

KINDS = frozenset({*_STATE, *_DEFINITIONS, *_INDEXES})


def request(rest_url: str, kind: str) -> Request:
    """The question of this kind; its id is the kind."""
    path, weight = (_STATE | _DEFINITIONS | _INDEXES)[kind]
    security = Security.NONE if kind in _PUBLIC else Security.SIGNED
    return Request(kind, "GET", rest_url, path, security, weight=weight)


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far. `link` is the private connection that was live when it began."""

    reason: SnapshotReason
    link: str | None
    missing: set[str]
    bodies: dict[str, bytes] = field(default_factory=dict)
    sent_ms: list[int] = field(default_factory=list)

    @staticmethod
    def begin(reason: SnapshotReason, link: str | None, *, definitions: bool, multi_asset: bool) -> "Round":
        """A round with the definitions and the indexes only when they are wanted."""
        kinds = {*_STATE, *(_DEFINITIONS if definitions else ()), *(_INDEXES if multi_asset else ())}
        return Round(reason, link, kinds)

    def take(self, kind: str, body: bytes, sent_ms: int) -> str | None:
        """One answer; returns the kind of another question that it raises. Raises BadFrame."""
        self.missing.discard(kind)
        self.bodies[kind] = body
        if kind in _STATE:
            self.sent_ms.append(sent_ms)
        if kind == "modes" and answers.modes(body).account_mode is AccountMode.MULTI_ASSET:
            asked = "indexes" in self.missing or "indexes" in self.bodies
            self.missing.update(() if asked else ("indexes",))
            return None if asked else "indexes"
        return None

    def answers(self) -> Answers:
        """All answers together. Raises BadFrame."""
        indexes = self.bodies.get("indexes")
        return Answers(
            sent_ms=min(self.sent_ms),
            modes=answers.modes(self.bodies["modes"]),
            configs=answers.symbol_configs(self.bodies["configs"]),
            account=answers.account(self.bodies["account"]),
            risk=answers.position_risk(self.bodies["risk"]),
            indexes=answers.asset_indexes(indexes) if indexes is not None else {},
        )

    def definitions(self) -> tuple[Exchange, dict[str, tuple[Tier, ...]]] | None:
        """Symbols and tiers, when they were asked for. Raises BadFrame."""
        if "exchange" not in self.bodies:
            return None
        return answers.exchange(self.bodies["exchange"]), answers.brackets(self.bodies["brackets"])
