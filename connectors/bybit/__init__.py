"""Bybit: linear and inverse contracts of the unified trading account, V5."""

from collections.abc import Mapping, Sequence
from random import SystemRandom

from connectors import FeedSettings, Handle, plan
from connectors.bybit.account import AccountFeed
from connectors.bybit.check import check
from connectors.bybit.config import MARKET_URL, AccountConfig
from connectors.bybit.market import MarketFeed
from connectors.bybit.rest import REQUESTS_PER_MINUTE, BybitDialect
from connectors.config import BaseAccountConfig, KeyedAccountSettings
from connectors.plan import Plan
from connectors.recorder import Recorder
from connectors.rest import ClockedSigner, Rest, shared_budget
from connectors.runner import SessionRunner, Signer, assemble
from monitor.clock import Clock
from monitor.telemetry import Telemetry

__all__ = ["AccountConfig", "build", "check", "revive"]

VENUE = "bybit"


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
    """See `connectors.VenueModule.build`."""
    mine = [account for account in accounts if isinstance(account, AccountConfig)]
    sessions = arrange(
        [account.settings(feed_name(account.market_url)) for account in mine],
        settings,
        telemetry,
        SystemRandom().getrandbits(48),
    )
    # The limit is the address's, so all accounts behind one share it.
    budgets = {account.rest_url: shared_budget(account.rest_url, REQUESTS_PER_MINUTE) for account in mine}
    rests: dict[str, Rest] = {}
    signers: dict[str, Signer] = {}
    for account in mine:
        name = f"{VENUE}/{account.name}"
        dialect = BybitDialect(VENUE, account.rest_url, account.api_key, account.api_secret)
        rests[name] = Rest(
            dialect,
            budgets[account.rest_url],
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
