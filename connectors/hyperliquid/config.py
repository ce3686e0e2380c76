"""The ``[[account]]`` keys of Hyperliquid."""

import re
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import field_validator

from connectors.config import BaseAccountConfig, HttpUrl, WebSocketUrl
from connectors.hyperliquid.rest import WEIGHT_PER_MINUTE

REST_URL = "https://api.hyperliquid.xyz"
STREAM_URL = "wss://api.hyperliquid.xyz/ws"

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def checked_address(address: str) -> str:
    """An address in lower case, as the venue's events echo it. Raises ValueError with a sentence."""
    if not _ADDRESS.fullmatch(address):
        raise ValueError("an address is 0x and 40 hexadecimal digits, as it stands in the app beside the account")
    return address.lower()


class AccountConfig(BaseAccountConfig):
    """One address. Everything on Hyperliquid is public, so there is no key; `allow_dangerous_key` has no effect.

    The address is that of a master account, a sub-account or a vault. API wallets hold nothing.
    """

    venue: Literal["hyperliquid"] = "hyperliquid"
    address: str
    rest_url: HttpUrl = REST_URL
    market_url: WebSocketUrl = STREAM_URL
    private_url: WebSocketUrl = STREAM_URL

    @field_validator("address")
    @classmethod
    def _address(cls, address: str) -> str:
        return checked_address(address)

    def settings(
        self, feed: str, *, streamed: bool = True, weight_per_minute: float = WEIGHT_PER_MINUTE
    ) -> "AccountSettings":
        """What the session needs. `streamed` and `weight_per_minute`: as in `AccountSettings`."""
        return AccountSettings(
            name=self.name,
            address=self.address,
            feed=feed,
            rest_url=self.rest_url,
            market_url=self.market_url,
            private_url=self.private_url,
            reconcile_s=self.reconcile_s,
            streamed=streamed,
            weight_per_minute=weight_per_minute,
        )


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What a session needs to know of an account.

    `streamed` is whether it has a stream: the venue streams so many addresses to one machine and no more; the others
    are only read, more often. `weight_per_minute` is its share of the questions that the venue allows the machine.
    """

    name: str
    address: str
    feed: str
    rest_url: str
    market_url: str
    private_url: str
    reconcile_s: float
    streamed: bool
    weight_per_minute: float

    def header(self) -> dict[str, object]:
        """For a recording."""
        return asdict(self)
