"""One round of REST questions about an account, and its answers put together."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from connectors.binance_common.answers import funding_intervals, taker_fee_rate
from connectors.binance_common.product import Listing, Product, fee_kind, fee_symbol
from connectors.binance_common.reports import pool_reports
from connectors.binance_common.state import AccountState, Answers
from monitor.model.events import AccountSnapshot, SnapshotReason
from monitor.model.instrument import Instrument


@dataclass(slots=True)
class Round:
    """Questions asked and answers so far. `link` is the private connection that was live when it began.

    `defining` when it asks for definitions, of which `listing` is what was told.
    """

    product: Product
    reason: SnapshotReason
    link: str | None
    missing: set[str]
    defining: bool = False
    listing: Listing = field(default_factory=Listing)
    bodies: dict[str, bytes] = field(default_factory=dict)
    sent_ms: list[int] = field(default_factory=list)
    fees_of: tuple[str, ...] = ()
    """Symbols whose taker fee rate is asked for, and what was told of them."""
    fees: dict[str, float] = field(default_factory=dict)
    _funding: dict[str, dict[str, float]] = field(default_factory=dict)
    _unlisted: set[str] = field(default_factory=set)
    """Kinds of definitions that were not told."""

    @staticmethod
    def begin(
        product: Product,
        reason: SnapshotReason,
        link: str | None,
        *,
        definitions: bool,
        multi_asset: bool,
        fees_of: Iterable[str] = (),
    ) -> "Round":
        """A round with the definitions and the indexes only when they are wanted."""
        symbols = tuple(fees_of)
        wanted = {*product.state, *map(fee_kind, symbols)}
        wanted.update((*product.definitions, *product.funding) if definitions else ())
        wanted.update(product.multi_asset if multi_asset else ())
        return Round(product, reason, link, wanted, definitions, fees_of=symbols)

    def take(self, kind: str, body: bytes, sent_ms: int) -> Collection[str]:
        """One answer; returns the kind of another question, if it raises one. Raises BadFrame."""
        self.missing.discard(kind)
        if (symbol := fee_symbol(kind)) is not None:
            self.fees[symbol] = taker_fee_rate(body)
            return ()
        if kind in self.product.funding:
            self._funding[kind] = funding_intervals(body)
            return ()
        if kind in self.product.definitions:
            self.listing = self.listing.and_also(self.product.listing(kind, body))
            return ()
        self.bodies[kind] = body
        if kind in self.product.state:
            self.sent_ms.append(sent_ms)
        another = self.product.another(kind, body)
        if another is None or another in self.missing or another in self.bodies:
            return ()
        self.missing.add(another)
        return (another,)

    def do_without(self, kind: str) -> Collection[str] | None:
        """Contracts, tiers, funding and fees: what was known of them stands."""
        if fee_symbol(kind) is None and kind not in {*self.product.definitions, *self.product.funding}:
            return None
        self.missing.discard(kind)
        self._unlisted.update({kind} & set(self.product.definitions))
        return ()

    @property
    def defined(self) -> bool:
        """Whether everything was told of the definitions, if they were asked for."""
        return self.defining and not self._unlisted and self.funding() is not None

    def funding(self) -> dict[str, float] | None:
        """Seconds between two payments where that is not the usual; None when it was not told."""
        if not all(kind in self._funding for kind in self.product.funding):
            return None
        return {symbol: s for table in self._funding.values() for symbol, s in table.items()}

    def answers(self, instruments: Mapping[str, Instrument]) -> Answers:
        """All answers together; `instruments` are those known by now. Raises BadFrame."""
        return self.product.answers(self.bodies, min(self.sent_ms), instruments)


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
        reports=pool_reports(state, taken, instruments),
    )
