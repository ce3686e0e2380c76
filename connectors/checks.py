"""What `marginwatch check` says of every venue in the same words."""

from collections.abc import Mapping

from connectors import CheckLine
from connectors.rest import Rest
from monitor.errors import VenueError

CLOCK_TOLERANCE_MS = 1000.0
"""Requests are corrected for the difference; a machine that is so far off has other troubles to come."""


async def clock(rest: Rest, house: str) -> CheckLine:
    """How far our clock is off the venue's, which `house` names."""
    try:
        offset_ms = await rest.measure_clock()
    except VenueError as error:
        return CheckLine(False, "clock", str(error))
    side = "behind" if offset_ms > 0 else "ahead of"
    text = f"ours is {abs(offset_ms):.0f} ms {side} {house}'s"
    if abs(offset_ms) > CLOCK_TOLERANCE_MS:
        return CheckLine(True, "clock", f"{text}; requests are corrected for it, but the machine's clock should be set")
    return CheckLine(True, "clock", text)


def able(dangerous: tuple[str, ...], how_to: str, *, allowed: bool, more: str = "") -> CheckLine:
    """What a key may do beside reading; `how_to` says how to make one that may not."""
    if not dangerous:
        return CheckLine(True, "permissions", f"the key can only read{more}")
    text = f"the key can do more than read ({', '.join(dangerous)})"
    if allowed:
        return CheckLine(True, "permissions", f"{text}; allow_dangerous_key is set{more}")
    return CheckLine(False, "permissions", f"{text}. {how_to}")


def unanswered(kinds: Mapping[str, str]) -> list[CheckLine]:
    """What the snapshot did without, and why, by the kind of question."""
    return [CheckLine(None, kind, f"{why}; what it would have told is unknown") for kind, why in kinds.items()]


def counted(count: int, what: str, *, many: str = "") -> str:
    """``1 open position``, ``2 open positions``; `many` where the plural is another."""
    return f"1 {what}" if count == 1 else f"{count} {many or what + 's'}"
