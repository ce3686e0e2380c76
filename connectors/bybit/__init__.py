"""Bybit: linear and inverse contracts of the unified trading account, V5."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from random import Random, SystemRandom
from urllib.parse import urlsplit

from connectors import FeedSettings, Handle
from connectors.bybit.account import AccountFeed
from connectors.bybit.check import check
from connectors.bybit.config import MARKET_URL, AccountConfig, AccountSettings
from connectors.bybit.market import MarketFeed
from connectors.bybit.rest import REQUESTS_PER_MINUTE, BybitDialect, BybitSigner
from connectors.config import BaseAccountConfig
from connectors.plan import Plan
from connectors.recorder import Recorder
from connectors.rest import Budget, Rest
from connectors.runner import SessionRunner, Signer, assemble
from monitor.clock import Clock
from monitor.telemetry import Telemetry

__all__ = ["AccountConfig", "build", "check", "revive"]

VENUE = "bybit"


def feed_name(market_url: str) -> str:
    """``bybit`` for production, else with the address behind it."""
    if market_url == MARKET_URL:
        return VENUE
    parts = urlsplit(market_url)
    return f"{VENUE}@{parts.netloc}{parts.path}"


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
    plan = arrange(
        [account.settings(feed_name(account.market_url)) for account in mine],
        settings,
        telemetry,
        SystemRandom().getrandbits(48),
    )
    # The limit is the address's, so all accounts behind one share it.
    budgets = {account.rest_url: Budget(REQUESTS_PER_MINUTE) for account in mine}
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
        signers[name] = BybitSigner(dialect, rests[name])
    return assemble(plan, rests, handle, clock, telemetry, settings, recorder, signers)


def arrange(accounts: Sequence[AccountSettings], settings: FeedSettings, telemetry: Telemetry, seed: int) -> Plan:
    """The sessions of these accounts. With the same seed and the same inputs they take the same path."""
    feeds = {account.feed: account.market_url for account in accounts}
    return Plan(
        {
            feed: MarketFeed(feed, url, settings, telemetry, Random(f"{seed}/{feed}"), VENUE)  # noqa: S311 - jitter
            for feed, url in feeds.items()
        },
        [
            AccountFeed(account, settings.life_s, telemetry, Random(f"{seed}/{account.name}"), VENUE)  # noqa: S311 - jitter
            for account in accounts
        ],
        {
            "venue": VENUE,
            "seed": seed,
            "settings": asdict(settings),
            "accounts": [account.header() for account in accounts],
        },
    )


def revive(header: Mapping[str, object], telemetry: Telemetry) -> Plan:
    """See `connectors.VenueModule.revive`."""
    match header:
        case {"accounts": list(accounts), "settings": dict(settings), "seed": int(seed)}:
            try:
                known = [AccountSettings(**account) for account in accounts]
                return arrange(known, FeedSettings(**settings), telemetry, seed)
            except TypeError as error:
                raise ValueError(str(error)) from None
    raise ValueError("accounts, settings or seed are missing")
