"""The ``[[account]]`` keys of Binance USD-M futures."""

from typing import Literal

from connectors.binance_common.settings import FuturesAccountConfig
from connectors.config import HttpUrl, WebSocketUrl

REST_URL = "https://fapi.binance.com"
STREAM_URL = "wss://fstream.binance.com"


class AccountConfig(FuturesAccountConfig):
    """One Binance USD-M account."""

    venue: Literal["binance"] = "binance"
    rest_url: HttpUrl = REST_URL
    market_url: WebSocketUrl = STREAM_URL
    private_url: WebSocketUrl = STREAM_URL
