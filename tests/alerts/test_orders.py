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


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"[]", "body: must be a JSON object with subject, for_s, reason, by, emergency"),
        (b"7", "body: must be a JSON object with subject, for_s, reason, by, emergency"),
        (
            b'{"subject": "a/b", "for_s": 60, "reason": "x", "byy": "ann"}',
            "byy: unknown key; did you mean by?",
        ),
        (
            b'{"subject": "a/b", "for_s": "long", "reson": "x", "by": "\\u001b[2J", "at": 1}',
            "reson: unknown key; did you mean reason?; "
            "at: unknown key; allowed here: by, emergency, for_s, reason, subject; "
            'for_s: found "long"; must be a number',
        ),
        (
            b'{"subject": "\\u001b[2J", "for_s": 60}',
            "reason: missing; it has no default; by: missing; it has no default",
        ),
        (b'{"subject": "a", "for_s": "\\u001b[2J", "reason": "x", "by": "y"}', 'for_s: found "?[2J"; must be a number'),
    ],
)
def test_everything_wrong_is_said_at_once(body: bytes, sentence: str) -> None:
    """An unknown key by its own name, with the one that was meant; and nothing that plays with a terminal."""
    with pytest.raises(RefusedError) as refused:
        carry_out(Desk(), "silence", body)
    assert str(refused.value) == sentence
