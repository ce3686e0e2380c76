"""Sessions, shells and recordings of one product's accounts: what a venue's package hands out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from random import Random, SystemRandom
from urllib.parse import urlsplit

from connectors import FeedSettings, Handle
from connectors.binance_common.account import AccountFeed
from connectors.binance_common.market import MarketFeed
from connectors.binance_common.product import Product
from connectors.binance_common.rest import WEIGHT_PER_MINUTE, BinanceDialect
from connectors.binance_common.settings import AccountSettings, FuturesAccountConfig
from connectors.plan import Plan
from connectors.recorder import Recorder
from connectors.rest import Rest, shared_budget
from connectors.runner import SessionRunner, assemble
from monitor.clock import Clock
from monitor.telemetry import Telemetry

Choose = Callable[[bool], Product]
"""The product of an account, by whether it is under portfolio margin."""


def feed_name(product: Product, market_url: str) -> str:
    """The venue's name for production, else with the address behind it."""
    if market_url == product.stream_url:
        return product.feed
    parts = urlsplit(market_url)
    return f"{product.feed}@{parts.netloc}{parts.path}"


def build(
    choose: Choose,
    accounts: Sequence[FuturesAccountConfig],
    handle: Handle,
    clock: Clock,
    telemetry: Telemetry,
    settings: FeedSettings,
    recorder: Recorder | None,
) -> Sequence[SessionRunner]:
    """See `connectors.VenueModule.build`."""
    plan = arrange(
        choose,
        [account.settings(feed_name(choose(account.is_portfolio()), account.market_url)) for account in accounts],
        settings,
        telemetry,
        SystemRandom().getrandbits(48),
    )
    rests = {
        f"{choose(account.is_portfolio()).venue}/{account.name}": Rest(
            dialect(choose(account.is_portfolio()), account),
            shared_budget(account.rest_url, WEIGHT_PER_MINUTE),
            clock,
            telemetry,
            request_s=settings.request_s,
            connect_s=settings.connect_s,
        )
        for account in accounts
    }
    return assemble(plan, rests, handle, clock, telemetry, settings, recorder)


def dialect(product: Product, account: FuturesAccountConfig) -> BinanceDialect:
    """An account's HTTP."""
    clock_url = product.public_url(account.rest_url)
    return BinanceDialect(product.venue, clock_url, account.api_key, account.api_secret, product.time_path)


def arrange(
    choose: Choose,
    accounts: Sequence[AccountSettings],
    settings: FeedSettings,
    telemetry: Telemetry,
    seed: int,
) -> Plan:
    """The sessions of these accounts. With the same seed and the same inputs they take the same path."""
    feeds = {account.feed: (account.market_url, choose(account.portfolio)) for account in accounts}
    return Plan(
        {
            feed: MarketFeed(feed, url, settings, telemetry, Random(f"{seed}/{feed}"), product)  # noqa: S311 - jitter
            for feed, (url, product) in feeds.items()
        },
        [
            AccountFeed(
                account,
                settings.life_s,
                telemetry,
                Random(f"{seed}/{account.name}"),  # noqa: S311 - jitter
                choose(account.portfolio),
            )
            for account in accounts
        ],
        {
            "venue": choose(False).venue,
            "seed": seed,
            "settings": asdict(settings),
            "accounts": [account.header() for account in accounts],
        },
    )


def revive(choose: Choose, header: Mapping[str, object], telemetry: Telemetry) -> Plan:
    """See `connectors.VenueModule.revive`."""
    match header:
        case {"accounts": list(accounts), "settings": dict(settings), "seed": int(seed)}:
            try:
                known = [AccountSettings(**account) for account in accounts]
                return arrange(choose, known, FeedSettings(**settings), telemetry, seed)
            except TypeError as error:
                raise ValueError(str(error)) from None
    raise ValueError("accounts, settings or seed are missing")
