"""What a check says of every venue in the same words."""

from typing import Any

import pytest

from connectors import checks
from monitor.errors import VenueError


class Clock:
    """What `connectors.rest.Rest` measures."""

    def __init__(self, told: float | VenueError) -> None:
        self._told = told

    async def measure_clock(self) -> float:
        """As told."""
        if isinstance(self._told, VenueError):
            raise self._told
        return self._told


@pytest.mark.parametrize(
    ("told", "ok", "words"),
    [
        (12.0, True, "ours is 12 ms behind Somewhere's"),
        (-40.0, True, "ours is 40 ms ahead of Somewhere's"),
        (5000.0, True, "the machine's clock should be set"),
        (VenueError("no answer", retry=True), False, "no answer"),
    ],
    ids=["behind", "ahead", "far off", "not told"],
)
async def test_the_clock(told: float | VenueError, ok: bool, words: str) -> None:
    """A difference is corrected for; a large one is worth a word."""
    clock: Any = Clock(told)
    line = await checks.clock(clock, "Somewhere")
    assert (line.ok, words in line.text) == (ok, True)


@pytest.mark.parametrize(
    ("dangerous", "allowed", "ok", "text"),
    [
        ((), False, True, "the key can only read; for ever"),
        (("trade",), True, True, "the key can do more than read (trade); allow_dangerous_key is set; for ever"),
        (("move", "trade"), False, False, "the key can do more than read (move, trade). Make another."),
    ],
    ids=["reads", "may more and is allowed to", "may more"],
)
def test_what_a_key_may_do(dangerous: tuple[str, ...], allowed: bool, ok: bool, text: str) -> None:
    """And what to do about one that may do too much."""
    line = checks.able(dangerous, "Make another.", allowed=allowed, more="; for ever")
    assert (line.ok, line.text) == (ok, text)
