"""One look at an address: its role, its mode, its margin tables, one snapshot."""

from functools import partial

from connectors import CheckLine, FeedSettings, checks
from connectors.config import BaseAccountConfig
from connectors.hyperliquid import snapshot
from connectors.hyperliquid.config import AccountConfig
from connectors.hyperliquid.rest import WEIGHT_PER_MINUTE, HyperliquidDialect
from connectors.hyperliquid.snapshot import ROLE, Round
from connectors.hyperliquid.state import AccountState
from connectors.rest import Budget, Rest
from connectors.rounds import ask_in_turn
from connectors.wire import BadFrame
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.account import PositionMode
from monitor.model.assessment import margin_ratio
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, PoolReport, SnapshotReason
from monitor.telemetry import Telemetry

VENUE = "hyperliquid"


async def check(account: BaseAccountConfig, clock: Clock) -> list[CheckLine]:
    """See `connectors.VenueModule.check`. There is no key, and so neither permissions nor a clock to look at."""
    if not isinstance(account, AccountConfig):
        return [CheckLine(False, "account", "not an account of Hyperliquid")]
    settings = FeedSettings()
    rest = Rest(
        HyperliquidDialect(VENUE, account.rest_url),
        Budget(WEIGHT_PER_MINUTE),
        clock,
        Telemetry(),
        request_s=settings.request_s,
        connect_s=settings.connect_s,
    )
    async with rest:
        try:
            asked, without = await _ask(rest, account)
            return [_role(asked, account), *_state(asked, account), *checks.unanswered(without)]
        except VenueError as error:
            return [CheckLine(False, "snapshot", str(error))]
        except BadFrame as error:
            return [CheckLine(False, "snapshot", f"an answer cannot be used: {error}")]


async def _ask(rest: Rest, account: AccountConfig) -> tuple[Round, dict[str, str]]:
    """The snapshot that `run` takes at its start, with the role, and what it did without; raises what that raises."""
    asked = Round.begin(SnapshotReason.START, None, dexes=(), defining=True, others=("mode", ROLE))
    request = partial(snapshot.request, account.rest_url, account.address)
    return asked, await ask_in_turn(rest, asked, request)


def _role(asked: Round, account: AccountConfig) -> CheckLine:
    role = asked.role()
    name = role.name if role else "unknown"
    if name == "missing":
        return CheckLine(False, "address", f"Hyperliquid knows no account {account.address}; check every digit")
    if name == "agent":
        owner = f", {role.owner}" if role and role.owner else ""
        return CheckLine(False, "address", f"an API wallet, which holds nothing; give that of its account{owner}")
    return CheckLine(True, "address", f"{account.address} ({name}); everything is public, no key is needed")


def _state(asked: Round, account: AccountConfig) -> list[CheckLine]:
    """The snapshot, with what the venue says of every pool."""
    assets, abstraction = asked.assets or {}, asked.abstraction()
    state = AccountState()
    state.load(assets)
    state.read(asked.states, asked.unread)
    state.spot = asked.spot()
    if abstraction is not None:
        state.abstraction = abstraction
    state.decide_mode()
    state.refresh(whole=True)
    at_ms = max(each.at_ms for each in state.dexes.values())
    instruments, reports = state.instruments(), state.reports()
    events = (
        InstrumentsLoaded(VENUE, account.name, tuple(instruments.values()), at_ms),
        AccountSnapshot(
            venue=VENUE,
            account=account.name,
            feed=VENUE,
            at_ms=at_ms,
            reason=SnapshotReason.START,
            account_mode=state.mode,
            position_mode=PositionMode.ONE_WAY,
            wallets=tuple(state.wallets.values()),
            positions=tuple(state.positions.values()),
            reports=reports,
        ),
    )
    bare = sorted(coin for coin in state.needs() if coin not in instruments or not instruments[coin].tiers)
    mode = f"{state.stands_for} mode" + (f" (the venue says it is {state.abstraction})" if state.abstraction is not
                                         state.stands_for else "")  # fmt: skip
    odd = [
        CheckLine(None, coin, f"ruled by a maximum leverage of {own:g}, its table says {listed:g}")
        for coin, (own, listed) in state.deviations().items()
    ]
    return [
        CheckLine(
            not bare,
            "margin tables",
            f"none for {', '.join(bare)}" if bare else f"margin tables of {len(assets)} perpetuals",
        ),
        CheckLine(
            True,
            "snapshot",
            f"{checks.counted(len(state.positions), 'open position')} on "
            f"{checks.counted(len(state.dexes), 'dex', many='dexes')}, {mode}",
            events,
        ),
        *odd,
        *map(reported, reports),
    ]


def reported(report: PoolReport) -> CheckLine:
    """What the venue says of a pool."""
    ratio = margin_ratio(report.margin_balance, report.maintenance_margin)
    if ratio != ratio:
        return CheckLine(None, f"pool {report.scope}", "Hyperliquid does not tell what it requires; it is unknown")
    shown = f" (Hyperliquid's own {report.venue_margin_ratio:.4f})" if report.venue_margin_ratio is not None else ""
    return CheckLine(
        True,
        f"pool {report.scope}",
        f"margin balance {report.margin_balance:g}, maintenance margin {report.maintenance_margin:g}, "
        f"margin ratio {ratio:.4f}{shown} as Hyperliquid reports",
    )
