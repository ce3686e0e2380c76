"""The whole daemon beside a venue whose streams die without a word: that is said, and what was missed is corrected."""

import asyncio
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.venue_server import Venue

pytestmark = pytest.mark.integration

POOL = "binance/main/BTCUSDT:long"


def blindness(process: Daemon, what: str, state: str = "firing") -> list[dict[str, Any]]:
    """What was said about a stream."""
    said = (m for m in process.said() if m["rule"] == "stale_feed" and m["state"] == state)
    return [message for message in said if what in message["text"]]


async def size_of(process: Daemon, pool: str) -> float | None:
    """The size that the daemon shows."""
    found = (await process.pools()).get(pool)
    return found["legs"][0]["size"] if found and found.get("legs") else None


async def has_size(process: Daemon, size: float) -> bool:
    """Whether the daemon shows this size."""
    return await size_of(process, POOL) == size


async def test_a_listen_key_that_expires_without_a_word_is_found_out_and_said(venue: Venue, watching: Daemon) -> None:
    """Reconciliation corrects what no event told, the user stream is an alert, and its successor must prove itself."""
    (before,) = [connection["number"] for connection in await venue.connections("private")]
    assert await venue.expire_listen_key("main", silent=True)
    frames = await venue.act(
        "main", "set_position", symbol="BTCUSDT", size="2", entry_price="76888.1", isolated_wallet="16000"
    )
    assert frames > 0  # the venue told, but nobody hears it under a dead key
    assert await size_of(watching, POOL) == 1.0
    await watching.until(lambda: has_size(watching, 2.0), "what no event told", 15.0)
    await watching.until(lambda: blindness(watching, "user stream"), "the dead stream said", 20.0)
    (said,) = blindness(watching, "user stream")
    assert (said["account"], said["reason"]) == ("main", "user_stream_stale")
    assert "no event told of a change that a snapshot found: BTCUSDT" in said["text"]
    await watching.until(lambda: blindness(watching, "user stream", "resolved"), "the new stream proved", 30.0)
    assert before not in [connection["number"] for connection in await venue.connections("private")]
    await venue.act("main", "set_position", symbol="BTCUSDT", size="3", entry_price="76888.1", isolated_wallet="24000")
    await watching.until(lambda: has_size(watching, 3.0), "an event on the new stream", 3.0)


async def test_marks_that_come_ever_later_are_found_out(venue: Venue, watching: Daemon) -> None:
    """They come four times a second, each older than the one before: only their own time tells."""
    behind_ms = 0
    while "mark stream stale" not in watching.log():
        assert behind_ms < 10_000, watching.log()[-2000:]
        behind_ms += 100
        await venue.clock_offset(-behind_ms)
        await asyncio.sleep(0.25)
    assert "nothing newer comes" in watching.log()
