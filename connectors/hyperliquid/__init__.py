"""Hyperliquid: perpetuals of all dexes of an address."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import SystemRandom

from connectors import FeedSettings, Handle, plan
from connectors.config import BaseAccountConfig
from connectors.hyperliquid.account import AccountFeed
from connectors.hyperliquid.check import check
from connectors.hyperliquid.config import STREAM_URL, AccountConfig, AccountSettings
from connectors.hyperliquid.market import MarketFeed
from connectors.hyperliquid.rest import WEIGHT_PER_MINUTE, HyperliquidDialect
from connectors.plan import Plan
from connectors.recorder import Recorder
from connectors.rest import BUDGET_SHARE, Rest, SharedAnswers, shared_budget
from connectors.runner import SessionRunner, assemble
from monitor.clock import Clock
from monitor.telemetry import Telemetry

__all__ = ["AccountConfig", "build", "check", "revive"]

VENUE = "hyperliquid"

STREAMED_MAX = 8
"""Addresses with a stream. The venue allows a machine ten connections and ten addresses; one connection is the market's
and one is kept for replacing another."""


def feed_name(market_url: str) -> str:
    """See `connectors.plan.feed_name`."""
    return plan.feed_name(VENUE, STREAM_URL, market_url)


def settings_of(accounts: Sequence[AccountConfig]) -> list[AccountSettings]:
    """What each session needs. Addresses beyond `STREAMED_MAX` have no stream; all share the questions alike.

    What a machine may ask is counted for each address that it asks.
    """
    asking = Counter(account.rest_url for account in accounts)
    return [
        account.settings(
            feed_name(account.market_url),
            streamed=i < STREAMED_MAX,
            weight_per_minute=WEIGHT_PER_MINUTE * BUDGET_SHARE / asking[account.rest_url],
        )
        for i, account in enumerate(accounts)
    ]


def build(
    accounts: Sequence[BaseAccountConfig],
    handle: Handle,
    clock: Clock,
    telemetry: Telemetry,
    settings: FeedSettings,
    recorder: Recorder | None = None,
) -> Sequence[SessionRunner]:
    """See `connectors.VenueModule.build`. Addresses beyond `STREAMED_MAX` are read by requests alone."""
    mine = [account for account in accounts if isinstance(account, AccountConfig)]
    sessions = arrange(settings_of(mine), settings, telemetry, SystemRandom().getrandbits(48))
    answers = SharedAnswers()
    budgets = {account.rest_url: shared_budget(account.rest_url, WEIGHT_PER_MINUTE) for account in mine}
    rests = {
        f"{VENUE}/{account.name}": Rest(
            HyperliquidDialect(VENUE, account.rest_url),
            budgets[account.rest_url],
            clock,
            telemetry,
            request_s=settings.request_s,
            connect_s=settings.connect_s,
            answers=answers,
        )
        for account in mine
    }
    return assemble(sessions, rests, handle, clock, telemetry, settings, recorder)


def arrange(accounts: Sequence[AccountSettings], settings: FeedSettings, telemetry: Telemetry, seed: int) -> Plan:
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
        header, AccountSettings, lambda accounts, settings, seed: arrange(accounts, settings, telemetry, seed)
    )
