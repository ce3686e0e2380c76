"""Reading a TOML file that a person wrote: whatever is wrong with it is a sentence that begins with the place."""

import re
import tomllib
from pathlib import Path
from typing import Any

from monitor.errors import Fault, UserError

FILE_BYTES_MAX = 1_000_000


def read(path: Path | str, error: type[UserError]) -> dict[str, Any]:
    """The document in the file at `path`. Raises `error` for a file that cannot be read or is not TOML."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as cause:
        raise error(str(path), [Fault("", f"cannot be read: {cause.strerror or cause}")]) from None
    if len(content) > FILE_BYTES_MAX:
        raise error(str(path), [Fault("", f"larger than {FILE_BYTES_MAX:,} bytes; is it the right file?")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = content[: cause.start].count(b"\n") + 1
        raise error(str(path), [Fault("", f"line {line}: not UTF-8 text")]) from None
    return parse(text, str(path), error)


def parse(text: str, source: str, error: type[UserError]) -> dict[str, Any]:
    """The TOML document `text`; `source` is what errors call it. Raises `error`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise error(source, [Fault("", _sentence(str(cause), text))]) from None


def _sentence(said: str, text: str) -> str:
    """The parser ends its sentence with the place; a person reads the place first."""
    place = re.fullmatch(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", said)
    if place is None:
        return f"not TOML: {said}"
    what, line, column = place.groups()
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    return f"line {line}, column {column}: not TOML: {what}"
