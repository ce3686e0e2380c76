"""Text made fit to show: what others wrote and what an output cannot hold stands there as a question mark.

What others wrote may play with a terminal or a log. An output that cannot hold our own signs gets ones that look alike.
"""

import codecs
import io
from typing import Any

ALIKE = "marginwatch.alike"
"""The name under which Python finds `_alike`."""
_ALIKE = dict(zip("·•●…─━│┊█▇▆▅▄▃▂▁░≥≤", ".**~--|:#%*+=-._?><", strict=True))


def legible(text: str, keep: str = "") -> str:
    """`text` with a question mark for every character that cannot be printed, but for those in `keep`.

    Such are the controls (escape sequences begin with one), line ends, and what only changes how others are shown.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in keep else "?" for character in text)


def legible_all(value: Any) -> Any:
    """The same for every text, names of members too, in a value that was JSON."""
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, list):
        return [legible_all(each) for each in value]
    if isinstance(value, dict):
        return {legible(name): legible_all(each) for name, each in value.items()}
    return value


def never_fail(*streams: object) -> None:
    """Have output streams write whatever they are given, however little their encoding holds."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ALIKE)


def _alike(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be encoded: as many, so that columns stay columns."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_ALIKE.get(character, "?") for character in lost), error.end


codecs.register_error(ALIKE, _alike)
