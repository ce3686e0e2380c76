"""The ``[[account]]`` keys of OKX."""

from typing import Literal

from pydantic import Field, model_validator

from connectors.config import HttpUrl, KeyedAccountConfig, WebSocketUrl
from monitor.credential import Secret

HOSTS = {
    ("global", False): ("https://www.okx.com", "wss://ws.okx.com:8443"),
    ("global", True): ("https://www.okx.com", "wss://wspap.okx.com:8443"),
    ("eea", False): ("https://eea.okx.com", "wss://wseea.okx.com:8443"),
    ("eea", True): ("https://eea.okx.com", "wss://wseeapap.okx.com:8443"),
    ("us", False): ("https://us.okx.com", "wss://wsus.okx.com:8443"),
    ("us", True): ("https://us.okx.com", "wss://wsuspap.okx.com:8443"),
}
"""REST and WebSocket host by region, and whether it is demo trading; a key works only where it was made."""

MARKET_URL = f"{HOSTS['global', False][1]}/ws/v5/public"


class AccountConfig(KeyedAccountConfig):
    """One OKX account. `region` is the site on which the key was made; it and `demo` choose the addresses."""

    venue: Literal["okx"] = "okx"
    passphrase: Secret = Field(repr=False)
    region: Literal["global", "eea", "us"] = "global"
    demo: bool = False
    rest_url: HttpUrl = ""
    market_url: WebSocketUrl = ""
    private_url: WebSocketUrl = ""

    @model_validator(mode="before")
    @classmethod
    def _default_addresses(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        region = values.get("region", "global")
        rest, stream = HOSTS.get((region if isinstance(region, str) else "", values.get("demo") is True), ("", ""))
        defaults = {"rest_url": rest, "market_url": f"{stream}/ws/v5/public", "private_url": f"{stream}/ws/v5/private"}
        missing = {key: url for key, url in defaults.items() if stream and not values.get(key)}
        return {**values, **missing}
