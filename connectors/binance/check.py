"""One look at an account: its clock, its key, its brackets, one snapshot."""

from connectors import CheckLine, FeedSettings
from connectors.binance import answers, snapshot
from connectors.binance.config import AccountConfig
from connectors.binance.parse import BadFrame
from connectors.binance.permissions import HOW_TO, is_untold, untold
from connectors.binance.rest import WEIGHT_PER_MINUTE, BinanceDialect
from connectors.binance.snapshot import Round
from connectors.binance.state import AccountState
from connectors.config import BaseAccountConfig
from connectors.rest import Budget, Rest
from connectors.session import Request, Security
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.assessment import margin_ratio
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, SnapshotReason
from monitor.telemetry import Telemetry

VENUE = "binance"
CLOCK_TOLERANCE_MS = 1000.0


async def check(account: BaseAccountConfig, clock: Clock) -> list[CheckLine]:
    """See `connectors.VenueModule.check`."""
    if not isinstance(account, AccountConfig):
        return [CheckLine(False, "account", "not an account of Binance")]
    settings = FeedSettings()
    dialect = BinanceDialect(VENUE, account.rest_url, account.api_key, account.api_secret)
    rest = Rest(
        dialect,
        Budget(WEIGHT_PER_MINUTE),
        clock,
        Telemetry(),
        request_s=settings.request_s,
        connect_s=settings.connect_s,
    )
    async with rest:
        lines = [await _clock(rest)]
        if not lines[0].ok:
            return lines
        lines.append(await _permissions(rest, account))
        return lines + await _snapshot(rest, account)


async def _clock(rest: Rest) -> CheckLine:
    try:
        offset_ms = await rest.measure_clock()
    except VenueError as error:
        return CheckLine(False, "clock", str(error))
    side = "behind" if offset_ms > 0 else "ahead of"
    text = f"ours is {abs(offset_ms):.0f} ms {side} Binance's"
    if abs(offset_ms) > CLOCK_TOLERANCE_MS:
        return CheckLine(True, "clock", f"{text}; requests are corrected for it, but the machine's clock should be set")
    return CheckLine(True, "clock", text)


async def _permissions(rest: Rest, account: AccountConfig) -> CheckLine:
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
    if granted.dangerous:
        able = ", ".join(granted.dangerous)
        if account.allow_dangerous_key:
            return CheckLine(True, "permissions", f"the key can do more than read ({able}); allow_dangerous_key is set")
        return CheckLine(False, "permissions", f"the key can do more than read ({able}). {HOW_TO}")
    return CheckLine(True, "permissions", "the key can only read")


async def _snapshot(rest: Rest, account: AccountConfig) -> list[CheckLine]:
    """The snapshot that `run` takes at its start, with what the venue says of every pool."""
    asked = Round.begin(SnapshotReason.START, None, definitions=True, multi_asset=False)
    try:
        waiting = sorted(asked.missing)
        while waiting:
            kind = waiting.pop()
            response = await rest.perform(snapshot.request(account.rest_url, kind))
            another = asked.take(kind, response.body, response.sent_ms)
            waiting += [another] if another else []
        taken = asked.answers()
        definitions = asked.definitions()
    except VenueError as error:
        return [CheckLine(False, "snapshot", str(error))]
    except BadFrame as error:
        return [CheckLine(False, "snapshot", f"an answer cannot be used: {error}")]
    exchange, tables = definitions if definitions else (answers.Exchange({}, frozenset()), {})
    instruments = answers.instruments(exchange, tables)
    state = AccountState(margin_coins=exchange.margin_coins)
    state.absorb(taken)
    reports = state.reports(taken, instruments)
    events = (
        InstrumentsLoaded(VENUE, account.name, tuple(instruments.values()), taken.sent_ms),
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
        ),
    )
    held = sorted({position.instrument for position in state.positions.values()})
    bare = [symbol for symbol in held if symbol not in instruments or not instruments[symbol].tiers]
    found = f"{len(state.positions)} open positions, {state.position_mode.value}, {state.account_mode.value}"
    return [
        CheckLine(
            not bare,
            "brackets",
            f"no maintenance tiers for {', '.join(bare)}" if bare else f"maintenance tiers of {len(tables)} symbols",
        ),
        CheckLine(True, "snapshot", found, events),
        *(
            CheckLine(
                True,
                f"pool {report.scope}",
                f"margin balance {report.margin_balance:g}, maintenance margin {report.maintenance_margin:g}, "
                f"margin ratio {margin_ratio(report.margin_balance, report.maintenance_margin):.4f} as Binance reports",
            )
            for report in reports
        ),
    ]
