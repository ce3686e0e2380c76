"""Sessions, shells and recordings of one product's accounts: what a venue's package hands out."""

from collections.abc import Callable, Mapping, Sequence
from random import Random, SystemRandom

from connectors import FeedSettings, Handle, plan
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
    return plan.feed_name(product.feed, product.stream_url, market_url)


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
    sessions = arrange(
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
    return assemble(sessions, rests, handle, clock, telemetry, settings, recorder)


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
    """The sessions of these accounts."""

    def market(account: AccountSettings, random: Random) -> MarketFeed:
        product = choose(account.portfolio)
        return MarketFeed(account.feed, account.market_url, settings, telemetry, random, product)

    def own(account: AccountSettings, random: Random) -> AccountFeed:
        return AccountFeed(account, settings.life_s, telemetry, random, choose(account.portfolio))

    return plan.arrange(choose(False).venue, accounts, settings, seed, market, own)


def revive(choose: Choose, header: Mapping[str, object], telemetry: Telemetry) -> Plan:
    """See `connectors.VenueModule.revive`."""
    return plan.revive(
        header, AccountSettings, lambda accounts, settings, seed: arrange(choose, accounts, settings, telemetry, seed)
    )
