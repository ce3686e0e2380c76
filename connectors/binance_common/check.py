"""One look at an account: its clock, its key, its brackets, one snapshot."""

from math import isnan

from connectors import CheckLine, FeedSettings, checks
from connectors.binance_common import answers
from connectors.binance_common.permissions import HOW_TO, is_untold, untold
from connectors.binance_common.product import Product
from connectors.binance_common.rest import WEIGHT_PER_MINUTE, BinanceDialect
from connectors.binance_common.settings import FuturesAccountConfig
from connectors.binance_common.snapshot import Round, account_snapshot
from connectors.binance_common.state import AccountState
from connectors.rest import Budget, Rest
from connectors.rounds import ask_in_turn
from connectors.session import Request, Security
from connectors.wire import BadFrame
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.account import AccountMode
from monitor.model.assessment import margin_ratio
from monitor.model.events import InstrumentsLoaded, PoolReport, SnapshotReason
from monitor.telemetry import Telemetry


async def check_account(product: Product, account: FuturesAccountConfig, clock: Clock) -> list[CheckLine]:
    """See `connectors.VenueModule.check`."""
    settings = FeedSettings()
    dialect = BinanceDialect(
        product.venue,
        product.public_url(account.rest_url),
        account.api_key,
        account.api_secret,
        product.time_path,
    )
    rest = Rest(
        dialect,
        Budget(WEIGHT_PER_MINUTE),
        clock,
        Telemetry(),
        request_s=settings.request_s,
        connect_s=settings.connect_s,
    )
    async with rest:
        lines = [await checks.clock(rest, "Binance")]
        if not lines[0].ok:
            return lines
        lines.append(await _permissions(rest, account))
        return lines + await _snapshot(rest, product, account)


async def _permissions(rest: Rest, account: FuturesAccountConfig) -> CheckLine:
    path = "/sapi/v1/account/apiRestrictions"
    try:
        response = await rest.perform(Request("check", "GET", account.permissions_url, path, Security.SIGNED))
        granted = answers.permissions(response.body)
    except VenueError as error:
        if is_untold(error, account.permissions_url):
            if account.allow_dangerous_key:
                text = f"{account.permissions_url} does not tell what the key may do; allow_dangerous_key is set"
                return CheckLine(True, "permissions", text)
            return CheckLine(False, "permissions", untold(account.permissions_url))
        return CheckLine(False, "permissions", str(error))
    except BadFrame as error:
        return CheckLine(False, "permissions", f"the answer cannot be used: {error}")
    if not granted.reads:
        return CheckLine(False, "permissions", 'the key may not read; tick "Enable Reading" for it on binance.com')
    return checks.able(granted.dangerous, HOW_TO, allowed=account.allow_dangerous_key)


async def _snapshot(rest: Rest, product: Product, account: FuturesAccountConfig) -> list[CheckLine]:
    """The snapshot that `run` takes at its start, with what the venue says of every pool."""
    asked = Round.begin(product, SnapshotReason.START, None, definitions=True, multi_asset=False)
    settings = account.settings(product.venue)
    try:
        without = await ask_in_turn(rest, asked, lambda kind: product.request(settings, kind))
        instruments = asked.listing.over({})
        taken = asked.answers(instruments)
    except VenueError as error:
        return [CheckLine(False, "snapshot", str(error))]
    except BadFrame as error:
        return [CheckLine(False, "snapshot", f"an answer cannot be used: {error}")]
    state = AccountState(margin_coins=asked.listing.margin_coins)
    state.absorb(taken)
    names = product.venue, account.name, product.feed
    snapshot = account_snapshot(*names, SnapshotReason.START, state, taken, instruments)
    events = (
        InstrumentsLoaded(product.venue, account.name, tuple(instruments.values()), taken.sent_ms),
        snapshot,
    )
    held = sorted({position.instrument for position in state.positions.values()})
    reported = state.account_mode is AccountMode.PORTFOLIO
    bare = [it for it in held if it not in instruments or not (reported or instruments[it].tiers)]
    tiers = "what is required is reported" if reported else f"maintenance tiers of {len(asked.listing.tiers)} symbols"
    positions = checks.counted(len(state.positions), "open position")
    found = f"{positions}, {state.position_mode.value}, {state.account_mode.value}"
    return [
        CheckLine(
            not bare,
            "brackets",
            f"no maintenance tiers for {', '.join(bare)}" if bare else tiers,
        ),
        CheckLine(True, "snapshot", found, events),
        *map(pool_line, snapshot.reports),
        *checks.unanswered(without),
    ]


def pool_line(report: PoolReport) -> CheckLine:
    """What the venue says of a pool."""
    ratio = margin_ratio(report.margin_balance, report.maintenance_margin)
    if isnan(ratio):
        return CheckLine(False, f"pool {report.scope}", "Binance does not tell its margin balance or requirement")
    return CheckLine(
        True,
        f"pool {report.scope}",
        f"margin balance {report.margin_balance:g}, maintenance margin {report.maintenance_margin:g}, "
        f"margin ratio {ratio:.4f} as Binance reports",
    )
