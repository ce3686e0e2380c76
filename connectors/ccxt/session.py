"""One account through ccxt as a plain object without I/O: what ccxt told goes in, events come out.

The runner (`account`) asks ccxt and decides when; what its answers mean is decided here, so that a recording of them
can be replayed. The inputs are typed, because ccxt gives dictionaries and not bytes; `recording` writes them down as
the inputs that every session has (`connectors.session`), and those are read here as well.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.ccxt import translate
from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountSettings
from connectors.ccxt.facts import facts, figure
from connectors.ccxt.health import Health
from connectors.ccxt.translate import Catalogue, Holding, Mark, Market
from connectors.session import Action, Disconnect
from monitor.errors import VenueError
from monitor.model.account import AccountMode
from monitor.model.assessment import FeedHealth
from monitor.model.events import AccountSnapshot, Event, InstrumentsLoaded, Marks, SnapshotReason
from monitor.model.instrument import Instrument
from monitor.telemetry import Telemetry

SNAPSHOT, DEFINITIONS = "snapshot", "definitions"
"""The answers that tell of the account, and of the contracts that it holds."""

EVENT_GRACE_S = 5.0
"""How long the news of a change that a snapshot found may be on its way."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that is held: our name of it, ccxt's market and ccxt's tiers."""

    name: str
    market: Market
    tiers: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Answers:
    """All that was asked for one snapshot. `tickers` are of positions without a mark; `remarks` are for people."""

    reason: SnapshotReason
    positions: Sequence[Row]
    balances: Sequence[Row]
    tickers: Sequence[Row]
    remarks: Sequence[str] = ()


class AccountFeed:
    """See `connectors.session.AccountSession`."""

    stream = "user"

    def __init__(self, settings: AccountSettings, telemetry: Telemetry) -> None:
        self.venue = settings.exchange
        self.account = settings.name
        self.name = self.feed = f"{settings.exchange}/{settings.name}"
        self.actions: list[Action] = []
        self._telemetry = telemetry
        self._facts = facts(settings.exchange)
        limits = FeedSettings(mark_s=settings.mark_s, late_s=settings.late_s)
        self._health = Health(self.venue, self.account, self.feed, limits, settings.reconcile_s)
        self._catalogue = Catalogue({}, {})
        self._instruments: dict[str, Instrument] = {}
        self.marks: dict[str, float] = {}
        """The last mark of each instrument."""
        self._mark_ms: dict[str, tuple[int, int]] = {}
        """Of each instrument the time that we gave the last mark, and the last time that the venue told."""
        self.held: tuple[Holding, ...] = ()
        self.sizes: dict[tuple[str, str], float] | None = None
        """Size of what is held by ccxt's symbol and side; None before the first snapshot."""
        self.doubted = False
        """Whether the last answers were not believed: the same question is to be asked again."""
        self.streaming = False
        self._told = 0
        """How often the stream of positions has spoken."""
        self._told_before = 0
        self._suspect: tuple[float, int] | None = None

    # -- what ccxt tells

    def start(self, now: float) -> Sequence[Event]:
        """Nothing is known yet."""
        return self._health.start(now)

    def defined(self, contracts: Mapping[str, Contract], sent_ms: int, now: float) -> Sequence[Event]:
        """Contracts by ccxt's symbol that are held and new, or have changed; comes before the answers about them.

        They are told at once, and not with a snapshot that may be doubted and thrown away.
        """
        markets = {symbol: contract.market for symbol, contract in contracts.items()}
        names = {symbol: contract.name for symbol, contract in contracts.items()}
        self._catalogue = Catalogue({**self._catalogue.markets, **markets}, {**self._catalogue.names, **names})
        fresh = []
        for contract in contracts.values():
            instrument = translate.instrument(contract.market, contract.name, contract.tiers)
            if instrument is not None and self._instruments.get(contract.name) != instrument:
                self._instruments[contract.name] = instrument
                fresh.append(instrument)
        return [InstrumentsLoaded(self.venue, self.account, tuple(fresh), sent_ms)] if fresh else []

    def read(self, answers: Answers, sent_ms: int) -> tuple[AccountSnapshot, tuple[Holding, ...]]:
        """What the answers say, believed or not. Raises VenueError where they cannot be read."""
        try:
            held = translate.holdings(answers.positions, self._catalogue)
            told = (translate.mark(ticker, self._catalogue) for ticker in answers.tickers)
            marks = {**self.marks, **{mark.instrument: mark.price for mark in told if mark is not None}}
            found = translate.pools(held, answers.balances, self._instruments, marks, self._facts, sent_ms)
        except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise VenueError(f"{self.venue}: {type(error).__name__} while reading a snapshot", retry=True) from None
        snapshot = AccountSnapshot(
            venue=self.venue,
            account=self.account,
            feed=self.feed,
            at_ms=sent_ms,
            reason=answers.reason,
            account_mode=AccountMode.SINGLE_ASSET,
            position_mode=found.position_mode,
            wallets=found.wallets,
            positions=found.positions,
            reports=found.reports,
        )
        return snapshot, tuple(held)

    def answered(self, answers: Answers, sent_ms: int, now: float) -> Sequence[Event]:
        """A whole snapshot. Raises VenueError as `read`; look at `doubted` afterwards."""
        snapshot, held = self.read(answers, sent_ms)
        sizes = {(each.symbol, "long" if each.size > 0 else "short"): abs(each.size) for each in held}
        if self._is_doubtful(sizes):
            return []
        corrected = self.sizes is not None and sizes != self.sizes and self.streaming
        if corrected and self._told == self._told_before and self._suspect is None:
            self._suspect = (now + EVENT_GRACE_S, self._told)
        self._told_before = self._told
        self.held, self.sizes = held, sizes
        self._telemetry.reconciliations.add(self.venue, self.account, "corrected" if corrected else "clean")
        self._health.synced(now, "; ".join(answers.remarks))
        self._health.wants({each.instrument for each in held}, now)
        return [snapshot, *self._health.judge(now)]

    def _is_doubtful(self, sizes: Mapping[tuple[str, str], float]) -> bool:
        """Whether something is gone, or nothing is there, for the first time.

        ccxt makes an empty list of many an answer that it does not understand, and an empty list would be shown as an
        account without risk: it is believed when the next snapshot says the same.
        """
        less = not sizes if self.sizes is None else bool(self.sizes.keys() - sizes.keys())
        self.doubted = less and not self.doubted
        return self.doubted

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """A snapshot could not be taken, or the stream of positions cannot be had: then snapshots alone tell."""
        if request == Ask.WATCH_POSITIONS:
            self.streaming = False
            self._health.without_stream(str(error))
        else:
            self._telemetry.reconciliations.add(self.venue, self.account, "failed")
            self._health.failed(str(error))
        return self._health.judge(now)

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """The stream of positions was asked for and not refused: it must be open, until a snapshot proves otherwise."""
        return self._open(now)

    def _open(self, now: float) -> Sequence[Event]:
        self.streaming = True
        self._health.stream_heard(now)
        return self._health.judge(now)

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """The stream of positions has ended."""
        self.streaming = False
        self._health.stream_lost(reason, now)
        return self._health.judge(now)

    def told(self, news: object, now: float) -> Sequence[Event]:
        """The stream of positions says something. Only a snapshot tells what it means; see `account`."""
        self._told += 1
        self._telemetry.frames.add(self.venue, "user")
        for row in news if isinstance(news, list) else [None]:
            if not isinstance(row, dict) or figure(row.get("contracts")) is None:
                self._telemetry.bad_frames.add(self.venue, "user", "unreadable")
        self._health.stream_heard(now)
        return () if self.streaming else self._open(now)

    def marked(self, tickers: Sequence[Row], source: Ask, now: float) -> Sequence[Marks]:
        """Tickers of what is held, and how ccxt was asked for them."""
        self._telemetry.frames.add(self.venue, "mark")
        names, prices, times = [], [], []
        for ticker in tickers:
            # The time in an answer is that of the last trade, or of a position's opening: not that of the mark.
            mark = translate.mark(ticker, self._catalogue, timed=source.is_stream)
            at_ms = None if mark is None else self._order(mark, int(now * 1000.0))
            if mark is None or at_ms is None:
                self._telemetry.bad_frames.add(self.venue, "mark", "no_mark" if mark is None else "out_of_order")
                continue
            self.marks[mark.instrument] = mark.price
            self._health.marked(mark.instrument, source.value, now)
            names.append(mark.instrument)
            prices.append(mark.price)
            times.append(at_ms)
        return [Marks(self.feed, names, prices, times)] if names else []

    def _order(self, mark: Mark, now_ms: int) -> int | None:
        """The time of a mark, later than the last one's; None for one that is overtaken.

        The venue's own time where it tells one. It may stand still, because some exchanges give a ticker the time of
        the last trade; and where one source tells no time, the next one's may lie before ours.
        """
        last_ms, told_ms = self._mark_ms.get(mark.instrument, (0, 0))
        if mark.at_ms is not None and mark.at_ms < told_ms:
            return None
        at_ms = max(mark.at_ms or now_ms, last_ms + 1)
        self._mark_ms[mark.instrument] = (at_ms, mark.at_ms or told_ms)
        return at_ms

    def tick(self, now: float) -> Sequence[Event]:
        """Judge what has grown old. A stream that missed a change is given up, by an action."""
        if self._suspect is not None and now > self._suspect[0]:
            told, self._suspect = self._suspect[1], None
            if told == self._told:
                self.streaming = False
                self._health.stream_lost("no event told of a change that a snapshot found", now)
                self.actions.append(Disconnect(Ask.WATCH_POSITIONS))
        return self._health.judge(now)

    def health(self, now: float) -> list[FeedHealth]:
        """Marks, stream of positions, snapshots."""
        return self._health.report(now)

    # -- the same as bytes, from a recording

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """Definitions or a snapshot; what could not be read then is followed by the failure that it was."""
        said = orjson.loads(body)
        if request == DEFINITIONS:
            contracts = {s: Contract(c["name"], c["market"], c["tiers"]) for s, c in said.items()}
            return self.defined(contracts, sent_ms, now)
        positions, balances, tickers = (said[key] for key in ("positions", "balances", "tickers"))
        answers = Answers(SnapshotReason(said["reason"]), positions, balances, tickers, said.get("remarks", ()))
        try:
            return self.answered(answers, sent_ms, now)
        except VenueError:
            return ()

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """What a stream, or a question for marks, told; `connection` says which."""
        said = orjson.loads(frame)
        source = Ask(connection)
        return self.told(said, now) if source is Ask.WATCH_POSITIONS else self.marked(said, source, now)

    # -- the rest of a session: others do it here

    def deadline(self) -> float | None:
        """The runner ticks at its own pace."""
        return None

    def reconcile(self, now: float) -> Sequence[Event]:
        """The runner asks."""
        return ()

    def needs(self) -> frozenset[str]:
        """None: the account reads its marks itself."""
        return frozenset()

    def secrets(self) -> Collection[str]:
        """None come here."""
        return ()
