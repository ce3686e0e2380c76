"""Keys, signatures and time stamps of signed requests, checked as the venue does."""

import hashlib
import hmac
from collections.abc import Mapping

from connectors.simulator.account import Account, Refusal

RECV_WINDOW_MS = 5_000
RECV_WINDOW_MAX_MS = 60_000
# How far a request may lie in the venue's future.
AHEAD_MS = 1_000


def signature(secret: str, text: str) -> str:
    """HMAC SHA-256 of `text` in lower-case hexadecimal."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def check_key(api_key: str | None, account: Account | None) -> Account:
    """The account behind a key, or -2014 without a key and -2015 with an unknown one."""
    if not api_key:
        raise Refusal(-2014, "API-key format invalid.", status=401)
    if account is None:
        raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", status=401)
    return account


def check_signed(account: Account, query: str, body: str, params: Mapping[str, str], server_ms: int) -> None:
    """Refuse a request whose time stamp or signature is wrong.

    `query` and `body` exactly as they came: what is signed is the one followed by the other, less the signature.
    """
    check_time(params, server_ms)
    given = params.get("signature")
    if given is None:
        raise Refusal(-1102, _missing("signature"))
    if not hmac.compare_digest(signature(account.api_secret, _signed_text(query, body)).encode(), given.encode()):
        raise Refusal(-1022, "Signature for this request is not valid.")


def check_time(params: Mapping[str, str], server_ms: int) -> None:
    """Refuse a request that is too old for its window (-1021), too far ahead (-1021), or without a proper time."""
    timestamp = _integer(params, "timestamp")
    if timestamp is None:
        raise Refusal(-1102, _missing("timestamp"))
    window = _integer(params, "recvWindow") or RECV_WINDOW_MS
    if window > RECV_WINDOW_MAX_MS:
        raise Refusal(-1131, f"recvWindow must be less than {RECV_WINDOW_MAX_MS}")
    if timestamp >= server_ms + AHEAD_MS:
        raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if server_ms - timestamp > window:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def _signed_text(query: str, body: str) -> str:
    """Query and body without the signature, wherever it stands."""
    parts = []
    for text in (query, body):
        pairs = [pair for pair in text.split("&") if pair and not pair.startswith("signature=")]
        parts.append("&".join(pairs))
    return "".join(parts)


def _integer(params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise Refusal(-1102, _missing(name)) from None


def _missing(name: str) -> str:
    return f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
