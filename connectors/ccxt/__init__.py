"""Exchanges without a connector of their own, through ccxt (extra `ccxt`).

Everything here is held as the venue reports it. ccxt opens its own sockets, so there is no session to record and replay
(`connectors.session`): a thin runner asks ccxt, and a pure translator turns what it answers into events.
"""

from collections.abc import Mapping, Sequence
from random import Random, SystemRandom

import structlog

from connectors import FeedSettings, Handle
from connectors.ccxt.account import AccountRunner
from connectors.ccxt.check import check
from connectors.ccxt.config import AccountConfig
from connectors.config import BaseAccountConfig
from connectors.plan import Plan
from connectors.recorder import Recorder
from monitor.clock import Clock
from monitor.telemetry import Telemetry

__all__ = ["AccountConfig", "build", "check", "revive"]

log = structlog.get_logger()


def build(
    accounts: Sequence[BaseAccountConfig],
    handle: Handle,
    clock: Clock,
    telemetry: Telemetry,
    settings: FeedSettings,
    recorder: Recorder | None = None,
) -> Sequence[AccountRunner]:
    """See `connectors.VenueModule.build`. Each account reads marks of its own, only of what it holds."""
    mine = [account for account in accounts if isinstance(account, AccountConfig)]
    if recorder is not None and mine:
        log.warning("accounts read through ccxt are not recorded", accounts=[account.name for account in mine])
    return [
        AccountRunner(account, handle, clock, telemetry, settings, Random(SystemRandom().getrandbits(48)))  # noqa: S311 - jitter
        for account in mine
    ]


def revive(header: Mapping[str, object], telemetry: Telemetry) -> Plan:
    """There are no recordings of these accounts. Raises ValueError."""
    raise ValueError("accounts read through ccxt are not recorded")
