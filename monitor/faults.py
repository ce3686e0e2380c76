"""What pydantic found wrong, in the words of the person who wrote the input.

A fault names the key, what was found there and what is allowed. The value of a secret is never repeated, nor anything
that might be one: a value under a key that is unknown, or whose name sounds like a secret's.
"""

import re
import types
from collections.abc import Container, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from monitor.errors import Fault

SHOWN_CHARACTERS_MAX = 60
_SECRET_NAME = re.compile(r"secret|passw|passphrase|token|credential|(^|_)key$", re.IGNORECASE)
_KIND_WORDS = {
    "bool": "true or false",
    "dict": "a table",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "a table",
    "path": "a path",
    "string": "text",
    "tuple": "a list",
    "url": "a URL",
}
_BOUNDS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}

_PATTERN_WORDS = {
    r"^[A-Za-z0-9_.-]{1,64}$": 'must be 1 to 64 letters, digits, "_", "." or "-"',
    r"^[A-Za-z0-9_-]+$": 'must be letters, digits, "_" or "-"',
    r"^[a-z0-9]{2,40}$": "must be 2 to 40 small letters and digits",
}

Loc = Sequence[int | str]
"""Where in the input: keys and list indices."""


def faults_of(
    error: ValidationError, model: type[BaseModel], prefix: str = "", given: Container[object] | None = None
) -> list[Fault]:
    """Every fault in `error`, with keys dotted below `prefix`; an unknown key suggests the nearest one of `model`.

    `given`: the keys that the input itself had; a model that derives one key from another must not have a person
    look for a key they never wrote.
    """
    faults: list[Fault] = []
    meant: set[str] = set()
    details = error.errors(include_url=False)
    for detail in (d for d in details if d["type"] == "extra_forbidden"):
        *table, key = detail["loc"]
        allowed = known_keys(model_at(model, table))
        faults.append(Fault(dotted(detail["loc"], prefix), unknown_key(str(key), allowed)))
        meant.update(dotted([*table, name], prefix) for name in nearest(str(key), allowed))
    for detail in (d for d in details if d["type"] != "extra_forbidden"):
        where = dotted(detail["loc"], prefix)
        if detail["type"] == "missing" and where in meant:
            continue  # the unknown key's own fault already says what was meant
        if given is not None and detail["type"] != "missing" and detail["loc"] and detail["loc"][0] not in given:
            continue
        if detail["type"] == "too_short" and any(_is_inside(other["loc"], detail["loc"]) for other in details):
            continue  # entries that cannot be used are not counted: the list only looks empty
        faults.append(Fault(where, describe(detail)))
    return faults


def _is_inside(loc: Loc, outer: Loc) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """The sentence for a key that nobody knows; the value beside it is not repeated."""
    near = nearest(key, allowed)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return (
        f"unknown key; allowed here: {', '.join(sorted(allowed))}" if allowed else "unknown key; none is allowed here"
    )


def nearest(key: str, allowed: Sequence[str]) -> list[str]:
    """The allowed key that `key` most resembles, if any does."""
    return get_close_matches(key.lower().replace("-", "_"), allowed, n=1, cutoff=0.6)


def describe(detail: ErrorDetails) -> str:
    """What was found and what is allowed, for one of pydantic's error details."""
    kind = detail["type"]
    if kind == "missing":
        return "missing; it has no default"
    found = "" if kind == "secret" else shown(detail["loc"], detail["input"])
    allowed = _allowed(detail)
    return f"{found}{allowed}"


def shown(loc: Loc, value: object) -> str:
    """``found ...; `` for a value that may be repeated, otherwise an empty text."""
    if value is None or isinstance(value, dict | BaseModel):
        return ""
    if any(isinstance(part, str) and _SECRET_NAME.search(part) for part in loc):
        return ""
    text = f'"{_without_password(value)}"' if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    if isinstance(value, list | tuple):
        text = "a list"
    return f"found {text[:SHOWN_CHARACTERS_MAX]}; "


def dotted(loc: Loc, prefix: str = "") -> str:
    """``sinks.redis.url``, ``account[0].name``: the place as it is written in documents."""
    text = prefix
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def known_keys(model: type[BaseModel] | None) -> list[str]:
    """The keys that `model` accepts, as they are written in a file."""
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def model_at(model: type[BaseModel] | None, loc: Loc) -> type[BaseModel] | None:
    """The model that reads the table at `loc` below `model`, None where there is no single one."""
    for part in loc:
        if model is None:
            return None
        if isinstance(part, int):
            continue  # a list's own field was already unwrapped to its element
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        model = None if field is None else _model_in(field.annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The one model inside an annotation such as ``Redis | None`` or ``tuple[Route, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, types.UnionType, list, tuple, dict):
        found = [m for m in map(_model_in, get_args(annotation)) if m is not None]
        return found[0] if len(found) == 1 else None
    return None


def _allowed(detail: ErrorDetails) -> str:
    """What would have been right."""
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = context[name]
        return f"{words} {bound:g}" if isinstance(bound, int | float) else f"{words} {bound}"
    if kind in ("literal_error", "enum"):
        return f"must be {str(context['expected']).replace(chr(39), chr(34))}"
    if kind == "finite_number":
        return "must be a finite number"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", detail["msg"]))
    if kind in ("too_short", "string_too_short"):
        return "must not be empty" if context.get("min_length") == 1 else detail["msg"]
    if kind == "string_pattern_mismatch":
        return _PATTERN_WORDS.get(str(context["pattern"]), f"must match {context['pattern']}")
    if kind == "int_from_float":
        return "must be a whole number"
    word = _KIND_WORDS.get(kind.split("_")[0])
    if word is not None and kind.endswith(("_type", "_parsing", "_parsing_size")):
        return f"must be {word}"
    return detail["msg"]


def _without_password(text: str) -> str:
    """`text`, with the user part of a URL hidden: it may hold a password."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text if "@" not in text else "***"
    if "@" not in parts.netloc:
        return text
    return text.replace(parts.netloc.rpartition("@")[0], "***")
