"""Orders as JSON: what is done and what is refused."""

import pytest

from alerts.orders import BODY_BYTES_MAX, carry_out
from monitor.errors import RefusedError
from tests.support.desk import Desk


def test_orders_are_carried_out() -> None:
    """Each by its name; the answer says what was done."""
    desk = Desk()
    assert carry_out(desk, "acknowledge", b'{"key": "k", "by": "ann"}') == "acknowledged k"
    silence = b'{"subject": "binance/main", "for_s": 60, "reason": "moving", "by": "ann"}'
    assert carry_out(desk, "silence", silence) == "silenced binance/main (id s0)"
    assert carry_out(desk, "unsilence", b'{"id": "s0", "by": "bob"}') == "ended s0"


@pytest.mark.parametrize(
    ("action", "body", "key"),
    [
        ("dance", b"{}", "action"),
        ("acknowledge", b"", "body"),
        ("acknowledge", b"[]", "body"),
        ("acknowledge", b'{"key": "k"}', "by"),
        ("acknowledge", b'{"key": "k", "by": "ann", "loud": 1}', "loud"),
        ("silence", b'{"subject": "a", "for_s": "long", "reason": "x", "by": "y"}', "for_s"),
        ("silence", b" " * (BODY_BYTES_MAX + 1), "body"),
    ],
)
def test_what_makes_no_sense_is_refused(action: str, body: bytes, key: str) -> None:
    """The sentence names the key, and nothing is done."""
    desk = Desk()
    with pytest.raises(RefusedError, match=f"^{key}: "):
        carry_out(desk, action, body)
    assert desk.orders == []
