"""Signatures and time stamps, against the venue's published samples."""

import pytest

from connectors.simulator import signing
from connectors.simulator.account import Account, Refusal

SAMPLES = [
    pytest.param(
        "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
        "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        id="spot sample",
    ),
    pytest.param(
        "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9",
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943",
        "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9",
        id="futures sample",
    ),
]


def params_of(query: str) -> dict[str, str]:
    """The parameters of a query."""
    return dict(pair.split("=") for pair in query.split("&"))


@pytest.mark.parametrize(("secret", "text", "expected"), SAMPLES)
def test_published_signatures(secret: str, text: str, expected: str) -> None:
    """Sample keys and strings give the sample signatures."""
    assert signing.signature(secret, text) == expected


@pytest.mark.parametrize(("secret", "text", "expected"), SAMPLES)
def test_query_and_body_are_signed_together(secret: str, text: str, expected: str) -> None:
    """The body follows the query without a separator; whoever splits differently must sign differently."""
    owner = Account("a", "key", secret)
    now = int(params_of(text)["timestamp"])
    whole = f"{text}&signature={expected}"
    signing.check_signed(owner, whole, "", params_of(whole), now)
    signing.check_signed(owner, "", whole, params_of(whole), now)
    head, tail = text.split("&quantity", 1)
    with pytest.raises(Refusal, match="-1022"):
        signing.check_signed(owner, head, f"quantity{tail}&signature={expected}", params_of(whole), now)


def test_a_wrong_signature_is_refused() -> None:
    """-1022, also for one that is not even ASCII."""
    owner = Account("a", "key", "secret")
    for wrong in ("00", "é"):
        query = f"timestamp=1000&signature={wrong}"
        with pytest.raises(Refusal, match="-1022"):
            signing.check_signed(owner, query, "", params_of(query), 1000)


@pytest.mark.parametrize(
    ("query", "server_ms", "code"),
    [
        ("timestamp=100000", 105_001, -1021),
        ("timestamp=100000&recvWindow=10000", 110_001, -1021),
        ("timestamp=101000", 100_000, -1021),
        ("timestamp=100000&recvWindow=60001", 100_000, -1131),
        ("recvWindow=5000", 100_000, -1102),
        ("timestamp=now", 100_000, -1102),
    ],
)
def test_times_that_are_refused(query: str, server_ms: int, code: int) -> None:
    """Too old, too far ahead, too wide a window, no time."""
    with pytest.raises(Refusal) as refused:
        signing.check_time(params_of(query), server_ms)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("query", "server_ms"),
    [("timestamp=100000", 105_000), ("timestamp=100999", 100_000), ("timestamp=100000&recvWindow=60000", 160_000)],
)
def test_times_at_the_edge_pass(query: str, server_ms: int) -> None:
    """Just inside the window, just under a second ahead."""
    signing.check_time(params_of(query), server_ms)


def test_keys_are_told_apart() -> None:
    """No key is -2014, an unknown one -2015, both with status 401."""
    for key, code in (("", -2014), (None, -2014), ("unknown", -2015)):
        with pytest.raises(Refusal) as refused:
            signing.check_key(key, None)
        assert (refused.value.code, refused.value.status) == (code, 401)
