"""One look at an account: its clock, its key, its contracts, one snapshot."""

from connectors import CheckLine, FeedSettings, checks
from connectors.config import BaseAccountConfig
from connectors.okx import answers, snapshot
from connectors.okx.answers import Config
from connectors.okx.config import AccountConfig
from connectors.okx.parse import is_swap
from connectors.okx.permissions import HOW_TO
from connectors.okx.rest import REQUESTS_PER_MINUTE, OkxDialect
from connectors.okx.snapshot import PACE_S, Catalogue, Round, is_paced
from connectors.okx.state import AccountState, held_tables
from connectors.rest import Budget, Rest
from connectors.rounds import ask_in_turn
from connectors.wire import BadFrame
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.assessment import margin_ratio
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, PoolReport, SnapshotReason
from monitor.telemetry import Telemetry

VENUE = "okx"


async def check(account: BaseAccountConfig, clock: Clock) -> list[CheckLine]:
    """See `connectors.VenueModule.check`."""
    if not isinstance(account, AccountConfig):
        return [CheckLine(False, "account", "not an account of OKX")]
    settings = FeedSettings()
    dialect = OkxDialect(
        VENUE, account.rest_url, account.api_key, account.api_secret, account.passphrase, demo=account.demo
    )
    budget = Budget(REQUESTS_PER_MINUTE)
    rest = Rest(dialect, budget, clock, Telemetry(), request_s=settings.request_s, connect_s=settings.connect_s)
    async with rest:
        lines = [await checks.clock(rest, "OKX")]
        if not lines[0].ok:
            return lines
        return lines + await _permissions(rest, account) + await _snapshot(rest, account)


async def _permissions(rest: Rest, account: AccountConfig) -> list[CheckLine]:
    try:
        response = await rest.perform(snapshot.request(account.rest_url, "config"))
        found = answers.config(response.body)
    except VenueError as error:
        return [CheckLine(False, "permissions", str(error))]
    except BadFrame as error:
        return [CheckLine(None, "permissions", f"the answer cannot be used: {error}")]
    lines = [_granted(found, account.allow_dangerous_key)]
    if not found.warns:
        lines.append(CheckLine(None, "warnings", "OKX's own warnings are switched off (liquidationGear is 0)"))
    return lines


def _granted(found: Config, allowed: bool) -> CheckLine:
    if not found.permissions:
        how = "allow_dangerous_key is set" if allowed else "allow_dangerous_key is needed to run with it"
        return CheckLine(True if allowed else None, "permissions", f"OKX does not tell what the key may do; {how}")
    return checks.able(found.dangerous, HOW_TO, allowed=allowed)


async def _snapshot(rest: Rest, account: AccountConfig) -> list[CheckLine]:
    """The snapshot that `run` takes at its start, with what the venue says of every pool."""
    asked = Round(SnapshotReason.START, None, Catalogue())
    try:
        await ask_in_turn(
            rest,
            asked,
            lambda kind: snapshot.request(account.rest_url, kind),
            lambda kind: PACE_S if is_paced(kind) else 0.0,
        )
        taken = asked.answers()
    except VenueError as error:
        return [CheckLine(False, "snapshot", str(error))]
    except BadFrame as error:
        return [CheckLine(False, "snapshot", f"an answer cannot be used: {error}")]
    state = AccountState()
    state.absorb(taken)
    state.follow_indexes(asked.catalogue.indexes)
    for symbol in sorted(state.held()):
        found = asked.catalogue.instrument(symbol)
        if found is not None:
            state.instruments[symbol] = found
    reports = state.reports(taken)
    events = (
        InstrumentsLoaded(VENUE, account.name, tuple(state.instruments.values()), taken.sent_ms),
        AccountSnapshot(
            venue=VENUE,
            account=account.name,
            feed=VENUE,
            at_ms=taken.sent_ms,
            reason=SnapshotReason.START,
            account_mode=state.account_mode,
            position_mode=state.position_mode,
            wallets=tuple(state.wallets.values()),
            positions=tuple(state.positions.values()),
            reports=reports,
            reported=state.reported,
        ),
    )
    contracts = checks.counted(len(state.positions), "open contract")
    words = f"{contracts}, {state.position_mode.value}, {state.account_mode.value}"
    kinds = sorted({other.kind for other in taken.others})
    others = f"; {', '.join(kinds)} positions beside them are not watched" if kinds else ""
    return [
        _tiers(state),
        CheckLine(True, "snapshot", words + others, events),
        *map(_pool, reports),
    ]


def _tiers(state: AccountState) -> CheckLine:
    swaps = frozenset(filter(is_swap, state.held()))
    bare = sorted({symbol for symbol, mode in held_tables(state.positions.values()) if not state.table(symbol, mode)})
    unpaid = sorted(symbol for symbol in swaps - set(bare) if state.instruments[symbol].taker_fee_rate is None)
    if bare:
        return CheckLine(False, "tiers", f"no maintenance tiers for {', '.join(bare)}")
    if unpaid:
        return CheckLine(None, "tiers", f"no fee told for {', '.join(unpaid)}; the regular user's 0.05 % is counted")
    return CheckLine(True, "tiers", f"maintenance tiers and fees of {checks.counted(len(swaps), 'swap')}")


def _pool(report: PoolReport) -> CheckLine:
    if report.margin_balance != report.margin_balance:
        return CheckLine(None, f"pool {report.scope}", "OKX does not tell what it requires")
    ratio = margin_ratio(report.margin_balance, report.maintenance_margin)
    shown = "" if report.venue_margin_ratio is None else f" (OKX shows {report.venue_margin_ratio:.2%})"
    return CheckLine(
        True,
        f"pool {report.scope}",
        f"margin balance {report.margin_balance:g}, maintenance margin with fees {report.maintenance_margin:g}, "
        f"margin ratio {ratio:.4f}{shown} as OKX reports",
    )
