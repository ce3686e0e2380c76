"""The keys of a COIN-M account."""

import pytest
from pydantic import ValidationError

from connectors import binance_coinm
from connectors.binance_coinm.config import AccountConfig
from connectors.binance_coinm.product import COIN_M
from connectors.binance_common.assembly import feed_name
from connectors.binance_common.settings import PERMISSIONS_URL
from connectors.config import BaseAccountConfig
from monitor.clock import SystemClock
from monitor.credential import Secret

KEYS = {"name": "main", "api_key": Secret("k"), "api_secret": Secret("s")}


def test_production_is_the_default() -> None:
    """Its own hosts; permissions are asked at Binance's main host."""
    made = AccountConfig.model_validate(KEYS)
    assert made.rest_url == "https://dapi.binance.com"
    assert made.market_url == made.private_url == "wss://dstream.binance.com"
    assert made.permissions_url == PERMISSIONS_URL
    assert feed_name(COIN_M, made.market_url) == "binance-coinm"


def test_every_address_can_be_another() -> None:
    """Also a path on USD-M's host, which carries the marks of both."""
    made = AccountConfig.model_validate(
        KEYS | {"rest_url": "https://demo-dapi.binance.com", "market_url": "wss://fstream.binance.com/market"}
    )
    assert made.permissions_url == made.rest_url
    assert feed_name(COIN_M, made.market_url) == "binance-coinm@fstream.binance.com/market"


def test_an_account_of_usd_m_is_not_one() -> None:
    """The venue says which."""
    with pytest.raises(ValidationError):
        AccountConfig.model_validate(KEYS | {"venue": "binance"})


async def test_an_account_of_another_venue_is_not_checked() -> None:
    """Not a traceback."""
    (line,) = await binance_coinm.check(BaseAccountConfig(name="x", venue="elsewhere"), SystemClock())
    assert not line.ok
