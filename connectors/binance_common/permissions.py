"""What a key may do, and the sentences for a person whose key may do too much."""

from urllib.parse import urlsplit

from monitor.errors import DangerousKeyError, Fault, VenueError

HOW_TO = (
    'On binance.com, under API Management, make a key with only "Enable Reading" ticked and use that one, '
    "or set allow_dangerous_key = true for this account"
)

_TELLING = frozenset(f"{name}.binance.com" for name in ("api", "api1", "api2", "api3", "api4", "api-gcp"))
"""Binance's production hosts. They do tell: a 403 from one is its firewall, which lets the next request through."""


def is_untold(error: VenueError, url: str) -> bool:
    """Whether a failed question for permissions says that this address does not tell them, now or later."""
    return error.code == 404 or (error.code == 403 and urlsplit(url).hostname not in _TELLING)


def untold(url: str) -> str:
    """What to do about an address that does not tell."""
    return (
        f"{url} does not tell what the key may do (test networks do not), so the key may be able to trade; "
        "set permissions_url to an address that tells, or allow_dangerous_key = true for this account"
    )


def unknown_permissions(account: str, url: str) -> DangerousKeyError:
    """The venue at this address does not tell what a key may do, as test networks do not."""
    return DangerousKeyError(
        f"account {account}",
        [Fault("permissions_url", untold(url))],
    )
