"""The ``[[account]]`` keys of OKX."""

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import Field, model_validator

from connectors.config import BaseAccountConfig, HttpUrl, WebSocketUrl
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


class AccountConfig(BaseAccountConfig):
    """One OKX account. `region` is the site on which the key was made; it and `demo` choose the addresses."""

    venue: Literal["okx"] = "okx"
    api_key: Secret = Field(repr=False)
    api_secret: Secret = Field(repr=False)
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

    def settings(self, feed: str) -> "AccountSettings":
        """Everything but the credentials."""
        return AccountSettings(
            name=self.name,
            feed=feed,
            rest_url=self.rest_url,
            market_url=self.market_url,
            private_url=self.private_url,
            allow_dangerous_key=self.allow_dangerous_key,
            reconcile_s=self.reconcile_s,
        )


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What a session needs to know of an account: everything but its credentials."""

    name: str
    feed: str
    rest_url: str
    market_url: str
    private_url: str
    allow_dangerous_key: bool
    reconcile_s: float

    def header(self) -> dict[str, object]:
        """For a recording."""
        return asdict(self)
