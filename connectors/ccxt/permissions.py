"""What a key may do is what ccxt cannot tell, and the sentences for a person about that."""

from connectors.ccxt.config import AccountConfig
from monitor.errors import DangerousKeyError, Fault


def advice(exchange: str) -> str:
    """What to do about it."""
    return (
        f"ccxt has no question for what a key may do, so it may be able to trade or withdraw; make a key at {exchange} "
        "that can only read, and say that you did by allow_dangerous_key = true for this account"
    )


def unknown_permissions(account: AccountConfig) -> DangerousKeyError:
    """Refused, because unknown is not the same as harmless."""
    return DangerousKeyError(f"account {account.name}", [Fault("api_key", advice(account.exchange))])
