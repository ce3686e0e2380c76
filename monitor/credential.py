"""Secrets that cannot be printed by accident: neither by us, nor by what others write of them (`conceal`)."""

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

BLANK = "***"
WORD_CHARACTERS = 4
"""A secret that is shorter is not looked for: whoever guesses needs no log."""
ANYWHERE_CHARACTERS = 8
"""From here on a secret is blanked also inside a word."""
PART_CHARACTERS = 8
"""A shorter part of an address is no secret by itself."""
PART_ANYWHERE_CHARACTERS = 16
_HOST = re.compile(r"(localhost|\[[0-9A-Fa-f:.]+\]|[\w-]+(\.[\w-]+)+)(:\d+)?")


class Secret:
    """A secret named in the configuration as ``env:NAME`` or ``file:PATH``; read when the configuration is loaded.

    Its text form is always ``***``; only `reveal` gives the value, and only a shell that is
    about to send it calls that.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "") -> None:
        self._value = value
        self.source = source
        _known.add(value)

    def reveal(self) -> str:
        """The secret itself. Never log it, never put it into an error."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self.source))

    @classmethod
    def read(cls, reference: str) -> "Secret":
        """Read ``env:NAME`` or ``file:PATH`` (surrounding white space is dropped). Raises ValueError with a sentence.

        The sentence never contains the reference's value when it does not look like a reference: it may be the secret
        itself, pasted by mistake.
        """
        kind, _, rest = reference.partition(":")
        if kind == "env" and rest:
            value = os.environ.get(rest)
            if value is None:
                raise ValueError(f"environment variable {rest} is not set")
            source = reference
        elif kind == "file" and rest:
            try:
                value = Path(rest).read_text(encoding="utf-8")
            except OSError as error:
                raise ValueError(f"cannot read {rest}: {error.strerror}") from error
            except UnicodeDecodeError as error:
                raise ValueError(f"{rest} is not a text file") from error
            source = reference
        else:
            raise ValueError(
                "a secret is not written into this file; write env:NAME to take it from the environment "
                "or file:PATH to read it from a file"
            )
        value = value.strip()
        if not value:
            raise ValueError(f"the secret from {source} is empty")
        return cls(value, source)

    @classmethod
    def __get_pydantic_core_schema__(cls, source_type: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def parse(value: object) -> "Secret":
            if isinstance(value, Secret):
                return value
            if not isinstance(value, str):
                raise PydanticCustomError("secret", "write env:NAME or file:PATH")
            try:
                return cls.read(value)
            except ValueError as error:
                raise PydanticCustomError("secret", "{reason}", {"reason": str(error)}) from None

        return core_schema.no_info_plain_validator_function(parse)


class Known:
    """Every secret that this process has held: a person writes a few dozen, and they are not forgotten."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        """Look for this one from now on."""
        if value not in self._values:
            self._values.add(value)
            self._forms.update(_forms_of(value))
            self._pattern = None

    def blank(self, text: str) -> str:
        """`text` without them."""
        if self._pattern is None:
            # The longest first: a whole address before its parts. Without any, what cannot match.
            self._pattern = re.compile("|".join(sorted(self._forms, key=len, reverse=True)) or r"(?!)")
        return self._pattern.sub(BLANK, text)


_known = Known()


def conceal(text: str) -> str:
    """`text` with every known secret blanked, in each form that a client may have written it in.

    For words that others chose, such as a library's error. It is the last resort: a secret that was cut, hashed or
    made part of a signature is not recognised.
    """
    return _known.blank(text)


def _forms_of(value: str) -> Iterator[str]:
    """Patterns of what may be written of a secret."""
    for line in (value, *value.splitlines()):
        yield from _patterns(line, WORD_CHARACTERS, ANYWHERE_CHARACTERS)
    for part in _parts(value):
        yield from _patterns(part, PART_CHARACTERS, PART_ANYWHERE_CHARACTERS)


def _patterns(value: str, least: int, anywhere: int) -> Iterator[str]:
    if len(value) < least:
        return
    written = {
        value, unquote(value), quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1],
        repr(value.encode())[2:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1],
    }  # fmt: skip
    for form in written:
        yield re.escape(form) if len(value) >= anywhere else rf"(?<!\w){re.escape(form)}(?!\w)"
    for form in _inside_base64(value):
        if len(form) >= ANYWHERE_CHARACTERS:
            yield re.escape(form)


def _inside_base64(value: str) -> Iterator[str]:
    """What base64 makes of it behind a text of any length (``user:``) and before any other.

    Three bytes are four characters, so there are three ways; those at the ends share bits with what stands there.
    """
    raw = value.encode()
    for before in range(3):
        encoded = b64encode(bytes(before) + raw).decode().rstrip("=")
        ends = (before + len(raw)) % 3 == 0
        inner = encoded[(8 * before + 5) // 6 : None if ends else -1]
        yield from {inner, inner.replace("+", "-").replace("/", "_")}


def _parts(value: str) -> Iterator[str]:
    """The parts of an address that give access by themselves; whoever is asked gets them in other places.

    A machine's name is none, nor is an option that is a word.
    """
    _, separator, rest = value.partition("://")
    if not separator:
        return
    rest, _, options = rest.partition("?")
    authority, _, path = rest.partition("/")
    login, _, host = authority.rpartition("@")
    named = () if _HOST.fullmatch(host) else (host, *host.split(":"))
    yield from (*named, login, *login.split(":"), *re.split("[/#]", path))
    for _, option in parse_qsl(options):
        if len(option) >= PART_ANYWHERE_CHARACTERS or any(character.isdigit() for character in option):
            yield option
