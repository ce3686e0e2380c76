"""One look at an account: its clock, its key, its tiers, one snapshot."""

from connectors import CheckLine, FeedSettings, checks
from connectors.bybit import answers, snapshot
from connectors.bybit.account import APART
from connectors.bybit.config import AccountConfig
from connectors.bybit.permissions import HOW_TO, PATH
from connectors.bybit.rest import REQUESTS_PER_MINUTE, BybitDialect
from connectors.bybit.snapshot import Round
from connectors.bybit.state import AccountState
from connectors.config import BaseAccountConfig
from connectors.rest import Budget, Rest
from connectors.rounds import ask_in_turn
from connectors.session import Request, Security
from connectors.wire import BadFrame
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.assessment import margin_ratio
from monitor.model.events import InstrumentsLoaded, PoolReport, SnapshotReason
from monitor.telemetry import Telemetry

VENUE = "bybit"
NO_SUCH_ROUTE = (404, 10017)


async def check(account: BaseAccountConfig, clock: Clock) -> list[CheckLine]:
    """See `connectors.VenueModule.check`."""
    if not isinstance(account, AccountConfig):
        return [CheckLine(False, "account", "not an account of Bybit")]
    settings = FeedSettings()
    dialect = BybitDialect(VENUE, account.rest_url, account.api_key, account.api_secret)
    rest = Rest(
        dialect,
        Budget(REQUESTS_PER_MINUTE),
        clock,
        Telemetry(),
        request_s=settings.request_s,
        connect_s=settings.connect_s,
    )
    async with rest:
        lines = [await checks.clock(rest, "Bybit")]
        if not lines[0].ok:
            return lines
        lines.append(await _permissions(rest, account))
        return lines + await _snapshot(rest, account)


async def _permissions(rest: Rest, account: AccountConfig) -> CheckLine:
    try:
        response = await rest.perform(Request("check", "GET", account.rest_url, PATH, Security.SIGNED))
        granted = answers.permissions(response.body)
    except VenueError as error:
        if error.code in NO_SUCH_ROUTE:
            return CheckLine(
                True if account.allow_dangerous_key else None,
                "permissions",
                f"{account.rest_url} does not tell what the key may do; allow_dangerous_key is "
                f"{'set' if account.allow_dangerous_key else 'needed to run with it'}",
            )
        return CheckLine(False, "permissions", str(error))
    except BadFrame as error:
        return CheckLine(None, "permissions", f"the answer cannot be used: {error}")
    expires = "" if granted.days_left is None else f"; it expires in {granted.days_left} days"
    return checks.able(granted.dangerous, HOW_TO, allowed=account.allow_dangerous_key, more=expires)


async def _snapshot(rest: Rest, account: AccountConfig) -> list[CheckLine]:
    """The snapshot that `run` takes at its start, with what the venue says of every pool."""
    asked = Round(SnapshotReason.START, None, frozenset())
    try:
        without = await ask_in_turn(
            rest, asked, lambda kind: snapshot.request(account.rest_url, kind, asked.cursors.get(kind, ""))
        )
        taken, told = asked.answers(), asked.definitions()
    except VenueError as error:
        return [CheckLine(False, "snapshot", str(error))]
    except BadFrame as error:
        return [CheckLine(False, "snapshot", f"an answer cannot be used: {error}")]
    if not asked.unified():
        return [CheckLine(False, "snapshot", "a classic account; only the unified trading account can be watched")]
    held = {row.symbol for row in taken.positions}
    state = AccountState()
    if told is not None:
        state.load(told)
    state.absorb(taken)
    seen = state.snapshot(VENUE, account.name, VENUE, SnapshotReason.START, taken)
    events = (InstrumentsLoaded(VENUE, account.name, tuple(state.instruments.values()), taken.sent_ms), seen)
    contracts = checks.counted(len(held), "contract")
    found = f"{contracts} held, {state.position_mode.value}, {taken.mode.value.lower().replace('_', ' ')}"
    lines = [
        _definitions(state, held),
        CheckLine(True, "snapshot", found, events),
        *map(_report, seen.reports),
        *checks.unanswered(without),
    ]
    apart = ", ".join(sorted(state.apart()))
    return [*lines, CheckLine(None, "inverse", f"{apart}: {APART}")] if apart else lines


def _report(report: PoolReport) -> CheckLine:
    """What Bybit says of a pool."""
    ratio = margin_ratio(report.margin_balance, report.maintenance_margin)
    if ratio != ratio:
        return CheckLine(None, f"pool {report.scope}", "Bybit leaves its figures empty: it is unknown")
    return CheckLine(
        True,
        f"pool {report.scope}",
        f"margin balance {report.margin_balance:g}, maintenance margin {report.maintenance_margin:g}, "
        f"margin ratio {ratio:.4f} as Bybit reports",
    )


def _definitions(state: AccountState, held: set[str]) -> CheckLine:
    """Whether everything that is held has tiers and a fee rate."""
    known = state.instruments
    bare = sorted(symbol for symbol in held if symbol not in known or not known[symbol].tiers)
    if bare:
        return CheckLine(False, "tiers", f"no maintenance tiers for {', '.join(bare)}")
    free = sorted(symbol for symbol in held if known[symbol].taker_fee_rate is None)
    if free:
        return CheckLine(None, "tiers", f"no taker fee rate for {', '.join(free)}; Bybit's base rate is taken")
    return CheckLine(True, "tiers", f"maintenance tiers and taker fees of {checks.counted(len(held), 'contract')} held")
