"""One look at an account through ccxt: what ccxt can do there, the key, one snapshot."""

from collections.abc import Sequence
from math import isnan
from random import Random

from connectors import CheckLine, FeedSettings, checks
from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountConfig
from connectors.ccxt.gateway import Gateway
from connectors.ccxt.permissions import advice
from connectors.ccxt.session import AccountFeed
from connectors.ccxt.snapshot import Snapshots
from connectors.config import BaseAccountConfig
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.model.assessment import margin_ratio
from monitor.model.events import PoolReport, SnapshotReason
from monitor.telemetry import Telemetry

_STREAMS = (Ask.WATCH_POSITIONS, Ask.WATCH_BALANCE, Ask.WATCH_MARK_PRICES, Ask.WATCH_TICKERS)


async def check(account: BaseAccountConfig, clock: Clock) -> list[CheckLine]:
    """See `connectors.VenueModule.check`."""
    if not isinstance(account, AccountConfig):
        return [CheckLine(False, "account", "not an account that is read through ccxt")]
    gateway = Gateway(account, FeedSettings(), keys=True)
    try:
        return [_abilities(gateway), _permissions(account), *await _snapshot(gateway, account, clock)]
    finally:
        await gateway.close()


def _abilities(gateway: Gateway) -> CheckLine:
    streams = ", ".join(ask.capability for ask in _STREAMS if gateway.can(ask)) or "none"
    return CheckLine(True, "ccxt", f"streams that ccxt has at {gateway.exchange}: {streams}")


def _permissions(account: AccountConfig) -> CheckLine:
    if account.allow_dangerous_key:
        return CheckLine(None, "permissions", "ccxt does not tell what the key may do; allow_dangerous_key is set")
    return CheckLine(False, "permissions", advice(account.exchange))


async def _snapshot(gateway: Gateway, account: AccountConfig, clock: Clock) -> list[CheckLine]:
    feed = AccountFeed(account.settings(FeedSettings()), Telemetry())
    try:
        found = await Snapshots(account, clock, Random()).take(gateway, (), SnapshotReason.START)  # noqa: S311 - jitter
        loaded = feed.defined(found.contracts, found.sent_ms, clock.now())
        snapshot, _ = feed.read(found.answers, found.sent_ms)
    except VenueError as error:
        return [CheckLine(False, "snapshot", str(error))]
    text = f"{checks.counted(len(snapshot.positions), 'open position')}, {snapshot.position_mode.value}"
    remarks = [CheckLine(None, "coverage", remark) for remark in found.answers.remarks]
    return [CheckLine(True, "snapshot", text, (*loaded, snapshot)), *remarks, *_pools(snapshot.reports)]


def _pools(reports: Sequence[PoolReport]) -> list[CheckLine]:
    lines = []
    for report in reports:
        ratio = margin_ratio(report.margin_balance, report.maintenance_margin)
        text = (
            "ccxt does not tell enough of it: its margin ratio is unknown"
            if isnan(ratio)
            else f"margin balance {report.margin_balance:g}, maintenance margin {report.maintenance_margin:g}, "
            f"margin ratio {ratio:.4f} as reported"
        )
        lines.append(CheckLine(None if isnan(ratio) else True, f"pool {report.scope}", text))
    return lines
