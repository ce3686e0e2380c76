"""The sentences for a person whose key may do too much."""

from collections.abc import Sequence

from monitor.errors import DangerousKeyError, Fault


def refusal(account: str, dangerous: Sequence[str], how_to: str) -> DangerousKeyError:
    """The key can do more than read; `how_to` says how to make one that cannot."""
    problem = f"the key can do more than read ({', '.join(dangerous)}). {how_to}"
    return DangerousKeyError(f"account {account}", [Fault("api_key", problem)])


def unknown(account: str, key: str, url: str) -> DangerousKeyError:
    """What is at this address, which stands under this key of the configuration, does not tell what a key may do."""
    problem = (
        f"{url} does not tell what the key may do, so the key may be able to trade; "
        "set allow_dangerous_key = true for this account to use it all the same"
    )
    return DangerousKeyError(f"account {account}", [Fault(key, problem)])
