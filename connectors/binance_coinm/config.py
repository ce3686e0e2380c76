"""The ``[[account]]`` keys of Binance COIN-M futures."""

from typing import Literal

from connectors.binance_common.settings import FuturesAccountConfig
from connectors.config import HttpUrl, WebSocketUrl

REST_URL = "https://dapi.binance.com"
STREAM_URL = "wss://dstream.binance.com"


class AccountConfig(FuturesAccountConfig):
    """One Binance COIN-M account.

    ``wss://fstream.binance.com/market`` also carries the marks of COIN-M and can be the `market_url`.
    """

    venue: Literal["binance-coinm"] = "binance-coinm"
    rest_url: HttpUrl = REST_URL
    market_url: WebSocketUrl = STREAM_URL
    private_url: WebSocketUrl = STREAM_URL
