"""What a key may do, and the sentences for a person whose key may do too much."""

from collections.abc import Sequence

from monitor.errors import DangerousKeyError, Fault

HOW_TO = (
    'On bybit.com, under API, make a key with "Read-Only" chosen and use that one, '
    "or set allow_dangerous_key = true for this account"
)
PATH = "/v5/user/query-api"


def refusal(account: str, dangerous: Sequence[str]) -> DangerousKeyError:
    """The key can do more than read."""
    return DangerousKeyError(
        f"account {account}",
        [Fault("api_key", f"the key can do more than read ({', '.join(dangerous)}). {HOW_TO}")],
    )


def unknown_permissions(account: str, url: str) -> DangerousKeyError:
    """The venue at this address does not tell what a key may do."""
    return DangerousKeyError(
        f"account {account}",
        [
            Fault(
                "rest_url",
                f"{url} does not tell what the key may do, so the key may be able to trade; "
                "set allow_dangerous_key = true for this account to use it all the same",
            )
        ],
    )
