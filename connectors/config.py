"""What the ``[[account]]`` tables of all venues have in common."""

from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from monitor.credential import Secret


class BaseAccountConfig(BaseModel):
    """Keys that every venue's account has; each venue adds its credentials and addresses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Unique; part of pool ids, topics and labels, hence the small alphabet."""
    venue: str
    allow_dangerous_key: StrictBool = False
    reconcile_s: float = Field(default=60.0, ge=5.0, le=3600.0, allow_inf_nan=False)
    """REST snapshot against the book."""

    @property
    def connector(self) -> str:
        """The name in the registry of what reads this account: the venue's own, unless another reads it instead."""
        return self.venue


def _checked(url: str, schemes: tuple[str, str]) -> str:
    plain, secure = schemes
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not an address: {error}") from None
    if parts.scheme not in schemes or not host:
        raise ValueError(f"write it as {secure}://host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("a user name, a query or a fragment has no place in it")
    if parts.scheme == plain and not _is_loopback(host):
        raise ValueError(f"{plain}:// sends keys and balances in the clear; only {secure}:// is accepted here")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _http(url: str) -> str:
    return _checked(url, ("http", "https"))


def _websocket(url: str) -> str:
    return _checked(url, ("ws", "wss"))


HttpUrl = Annotated[str, AfterValidator(_http)]
"""``https://host[:port][/path]`` without a trailing slash; ``http`` only to this machine."""

WebSocketUrl = Annotated[str, AfterValidator(_websocket)]
"""``wss://host[:port][/path]`` without a trailing slash; ``ws`` only to this machine."""


@dataclass(frozen=True, slots=True)
class KeyedAccountSettings:
    """What a session needs to know of an account with a key: everything but its credentials."""

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


class KeyedAccountConfig(BaseAccountConfig):
    """An account with a key; each venue adds its name and the defaults of its addresses."""

    api_key: Secret = Field(repr=False)
    api_secret: Secret = Field(repr=False)
    rest_url: HttpUrl
    market_url: WebSocketUrl
    private_url: WebSocketUrl

    def settings(self, feed: str) -> KeyedAccountSettings:
        """Everything but the credentials."""
        return KeyedAccountSettings(
            name=self.name,
            feed=feed,
            rest_url=self.rest_url,
            market_url=self.market_url,
            private_url=self.private_url,
            allow_dangerous_key=self.allow_dangerous_key,
            reconcile_s=self.reconcile_s,
        )
