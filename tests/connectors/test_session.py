"""What all sessions share."""

from connectors.session import Connect, Request, Send, Timers


def test_timers_run_in_the_order_of_their_moments_and_once() -> None:
    """Whatever order they were set in."""
    timers = Timers()
    timers.set("late", 5.0)
    timers.set("early", 1.0)
    timers.set("later", 9.0)
    assert timers.next() == 1.0
    assert timers.take(6.0) == ["early", "late"]
    assert timers.take(6.0) == []
    assert timers.next() == 9.0


def test_a_timer_can_be_pulled_closer_but_not_pushed_away() -> None:
    """`set` moves either way."""
    timers = Timers()
    timers.pull("x", 5.0)
    timers.pull("x", 9.0)
    assert timers.next() == 5.0
    timers.pull("x", 3.0)
    assert timers.next() == 3.0
    timers.set("x", 9.0)
    assert timers.next() == 9.0
    timers.clear("x")
    timers.clear("x")
    assert timers.next() is None
    assert not timers.is_set("x")


def test_actions_do_not_print_what_may_be_secret() -> None:
    """Addresses, frames and parameters."""
    printed = repr(
        [
            Connect("a", "wss://host/?listenKey=hidden"),
            Send("a", "hidden"),
            Request("r", "GET", "https://host", "/path", params=(("token", "hidden"),)),
        ]
    )
    assert "hidden" not in printed
