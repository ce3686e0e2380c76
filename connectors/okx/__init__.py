"""OKX (V5): linear and inverse perpetual swaps, computed; expiry futures and options, as reported."""

from collections.abc import Mapping, Sequence
from random import SystemRandom

from connectors import FeedSettings, Handle, plan
from connectors.config import BaseAccountConfig, KeyedAccountSettings
from connectors.okx.account import AccountFeed
from connectors.okx.check import check
from connectors.okx.config import MARKET_URL, AccountConfig
from connectors.okx.market import MarketFeed
from connectors.okx.rest import REQUESTS_PER_MINUTE, OkxDialect
from connectors.plan import Plan
from connectors.recorder import Recorder
from connectors.rest import ClockedSigner, Rest, shared_budget
from connectors.runner import SessionRunner, assemble
from monitor.clock import Clock
from monitor.telemetry import Telemetry

__all__ = ["AccountConfig", "build", "check", "revive"]

VENUE = "okx"


def feed_name(market_url: str) -> str:
    """See `connectors.plan.feed_name`."""
    return plan.feed_name(VENUE, MARKET_URL, market_url)


def build(
    accounts: Sequence[BaseAccountConfig],
    handle: Handle,
    clock: Clock,
    telemetry: Telemetry,
    settings: FeedSettings,
    recorder: Recorder | None = None,
) -> Sequence[SessionRunner]:
    """See `connectors.VenueModule.build`. OKX's limits are by user, so every account has a budget of its own."""
    mine = [account for account in accounts if isinstance(account, AccountConfig)]
    sessions = arrange(
        [account.settings(feed_name(account.market_url)) for account in mine],
        settings,
        telemetry,
        SystemRandom().getrandbits(48),
    )
    rests, signers = {}, {}
    for account in mine:
        name = f"{VENUE}/{account.name}"
        dialect = OkxDialect(
            VENUE, account.rest_url, account.api_key, account.api_secret, account.passphrase, demo=account.demo
        )
        rests[name] = Rest(
            dialect,
            shared_budget(f"{account.rest_url} {account.name}", REQUESTS_PER_MINUTE),  # OKX counts by user
            clock,
            telemetry,
            request_s=settings.request_s,
            connect_s=settings.connect_s,
        )
        signers[name] = ClockedSigner(dialect, rests[name])
    return assemble(sessions, rests, handle, clock, telemetry, settings, recorder, signers)


def arrange(accounts: Sequence[KeyedAccountSettings], settings: FeedSettings, telemetry: Telemetry, seed: int) -> Plan:
    """The sessions of these accounts."""
    return plan.arrange(
        VENUE,
        accounts,
        settings,
        seed,
        lambda account, random: MarketFeed(account.feed, account.market_url, settings, telemetry, random, VENUE),
        lambda account, random: AccountFeed(account, settings.life_s, telemetry, random, VENUE),
    )


def revive(header: Mapping[str, object], telemetry: Telemetry) -> Plan:
    """See `connectors.VenueModule.revive`."""
    return plan.revive(
        header, KeyedAccountSettings, lambda accounts, settings, seed: arrange(accounts, settings, telemetry, seed)
    )
