"""One round of REST questions about an account, and its answers put together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from connectors.binance_common.product import Listing, Product
from connectors.binance_common.state import AccountState, Answers
from monitor.model.events import AccountSnapshot, SnapshotReason
from monitor.model.instrument import Instrument, Tier


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far. `link` is the private connection that was live when it began."""

    product: Product
    reason: SnapshotReason
    link: str | None
    missing: set[str]
    bodies: dict[str, bytes] = field(default_factory=dict)
    sent_ms: list[int] = field(default_factory=list)

    @staticmethod
    def begin(
        product: Product, reason: SnapshotReason, link: str | None, *, definitions: bool, multi_asset: bool
    ) -> "Round":
        """A round with the definitions and the indexes only when they are wanted."""
        wanted = {*product.state}
        wanted.update(product.definitions if definitions else ())
        wanted.update(product.multi_asset if multi_asset else ())
        return Round(product, reason, link, wanted)

    def take(self, kind: str, body: bytes, sent_ms: int) -> Collection[str]:
        """One answer; returns the kind of another question, if it raises one. Raises BadFrame."""
        self.missing.discard(kind)
        self.bodies[kind] = body
        if kind in self.product.state:
            self.sent_ms.append(sent_ms)
        another = self.product.another(kind, body)
        if another is None or another in self.missing or another in self.bodies:
            return ()
        self.missing.add(another)
        return (another,)

    def do_without(self, kind: str) -> Collection[str] | None:
        """Every answer is needed."""
        return None

    def answers(self, instruments: Mapping[str, Instrument]) -> Answers:
        """All answers together; `instruments` are those known by now. Raises BadFrame."""
        return self.product.answers(self.bodies, min(self.sent_ms), instruments)

    def listing(self, known: Mapping[str, tuple[Tier, ...]]) -> Listing | None:
        """Contracts and tiers, when they were asked for. Raises BadFrame."""
        asked = any(kind in self.bodies for kind in self.product.definitions)
        return self.product.listing(self.bodies, known) if asked else None


def account_snapshot(
    venue: str,
    account: str,
    feed: str,
    reason: SnapshotReason,
    state: AccountState,
    taken: Answers,
    instruments: Mapping[str, Instrument],
) -> AccountSnapshot:
    """The account as it is known once `taken` has been laid over it."""
    return AccountSnapshot(
        venue=venue,
        account=account,
        feed=feed,
        at_ms=taken.sent_ms,
        reason=reason,
        account_mode=state.account_mode,
        position_mode=state.position_mode,
        wallets=tuple(state.wallets.values()),
        positions=tuple(state.positions.values()),
        reports=state.reports(taken, instruments),
    )
