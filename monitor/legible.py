"""Text that others wrote, made safe to show: what plays with a terminal or a log stands there as a question mark."""

from typing import Any


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
