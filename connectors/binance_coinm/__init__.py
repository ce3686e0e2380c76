"""Binance COIN-M futures."""

from collections.abc import Mapping, Sequence

from connectors import CheckLine, FeedSettings, Handle
from connectors.binance_coinm.config import AccountConfig
from connectors.binance_coinm.product import COIN_M
from connectors.binance_common import assembly
from connectors.binance_common.check import check_account
from connectors.config import BaseAccountConfig
from connectors.plan import Plan
from connectors.recorder import Recorder
from connectors.runner import SessionRunner
from monitor.clock import Clock
from monitor.telemetry import Telemetry

__all__ = ["AccountConfig", "build", "check", "revive"]


def build(
    accounts: Sequence[BaseAccountConfig],
    handle: Handle,
    clock: Clock,
    telemetry: Telemetry,
    settings: FeedSettings,
    recorder: Recorder | None = None,
) -> Sequence[SessionRunner]:
    """See `connectors.VenueModule.build`."""
    mine = [account for account in accounts if isinstance(account, AccountConfig)]
    return assembly.build(lambda _: COIN_M, mine, handle, clock, telemetry, settings, recorder)


async def check(account: BaseAccountConfig, clock: Clock) -> list[CheckLine]:
    """See `connectors.VenueModule.check`."""
    if not isinstance(account, AccountConfig):
        return [CheckLine(False, "account", "not an account of Binance COIN-M")]
    return await check_account(COIN_M, account, clock)


def revive(header: Mapping[str, object], telemetry: Telemetry) -> Plan:
    """See `connectors.VenueModule.revive`."""
    return assembly.revive(lambda _: COIN_M, header, telemetry)
