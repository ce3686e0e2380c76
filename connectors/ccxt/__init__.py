"""Exchanges without a connector of their own, through ccxt (extra `ccxt`).

Everything here is held as the venue reports it. ccxt opens its own sockets, so a thin runner (`account`) asks ccxt, and
a session without I/O (`session`) turns what it answers into events.
"""

from collections.abc import Sequence
from random import Random, SystemRandom

from connectors import FeedSettings, Handle
from connectors.ccxt.account import AccountRunner
from connectors.ccxt.check import check
from connectors.ccxt.config import AccountConfig
from connectors.ccxt.recording import RecordedFeed, header, revive
from connectors.ccxt.session import AccountFeed
from connectors.config import BaseAccountConfig
from connectors.recorder import Recorder
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
) -> Sequence[AccountRunner]:
    """See `connectors.VenueModule.build`. Each account reads marks of its own, only of what it holds."""
    mine = [account for account in accounts if isinstance(account, AccountConfig)]
    wanted = [account.settings(settings) for account in mine]
    if recorder is None:
        feeds = [AccountFeed(each, telemetry) for each in wanted]
    else:
        # Not the passphrase: it is sent and never answered, and it may be a word that figures and names have in them.
        recorder.conceal([key.reveal() for each in mine for key in (each.api_key, each.api_secret) if key is not None])
        recorder.describe(header(wanted), clock.now())
        feeds = [RecordedFeed(each, telemetry, recorder) for each in wanted]
    return [
        AccountRunner(account, feed, handle, clock, telemetry, settings, Random(SystemRandom().getrandbits(48)))  # noqa: S311 - jitter
        for account, feed in zip(mine, feeds, strict=True)
    ]
