"""Secrets that cannot be printed by accident."""

import os
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Secret:
    """A secret named in the configuration as ``env:NAME`` or ``file:PATH``; read when the configuration is loaded.

    Its text form is always ``***``; only `reveal` gives the value, and only a shell that is
    about to send it calls that.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "") -> None:
        self._value = value
        self.source = source

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
