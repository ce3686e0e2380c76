"""Big answers in small pieces, with turns for the event loop in between."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter

TURN_S = 0.000_25
"""How long an answer may keep the event loop before it gives way."""

PIECE_BYTES = 65_536
"""Answers are sent in pieces of about this size."""


async def in_turns(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The pieces joined to `PIECE_BYTES`, made for at most about `TURN_S` at a time."""
    waiting: list[bytes] = []
    size = 0
    await asyncio.sleep(0)  # Reading the request was work already.
    turn_ends = perf_counter() + TURN_S
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
        if perf_counter() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = perf_counter() + TURN_S
    yield b"".join(waiting)
