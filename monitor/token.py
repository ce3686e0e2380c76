"""The token that orders over HTTP must bear: the configured one, or one made beside the state file."""

import os
import re
import secrets
from pathlib import Path

import structlog

from monitor.credential import Secret
from monitor.errors import Fault, UserError

BYTES = 24
_BEARABLE = re.compile(r"[\x21-\x7e]+")

log = structlog.get_logger(__name__)


def token_path(state: Path) -> Path:
    """Where the token that belongs to a state file is."""
    return state.with_name(f"{state.name}.token")


def own_token(state: Path) -> Secret:
    """The token beside the state file, made when there is none; only this user can read it.

    A disk without room must not keep the monitor from watching: the token is then one that nobody knows.
    """
    path = token_path(state)
    try:
        return read_token(path)
    except UserError as error:
        if os.access(path, os.F_OK):
            log.warning("the token cannot be used and is made anew", path=str(path), error=error.faults[0].problem)
    fresh = Secret(secrets.token_urlsafe(BYTES), str(path))
    try:
        _write(path, fresh)
    except OSError as error:
        log.warning("no token could be written; orders over HTTP are refused", path=str(path), error=str(error))
    return fresh


def read_token(path: Path) -> Secret:
    """The token in a file. Raises UserError with a sentence."""
    try:
        return bearable(Secret.read(f"file:{path}"))
    except ValueError as error:
        how = "run this where the daemon runs and as its user, or name it with --url and set MARGINWATCH_TOKEN"
        raise UserError(str(path.absolute()), [Fault("", f"{error}; {how}")]) from None


def given_token(name: str) -> Secret:
    """The token in an environment variable, an empty one where there is none. Raises UserError with a sentence."""
    token = Secret(os.environ.get(name, "").strip(), f"env:{name}")
    try:
        return bearable(token) if token.reveal() else token
    except ValueError as error:
        raise UserError(name, [Fault("", str(error))]) from None


def bearable(token: Secret) -> Secret:
    """The token itself. Raises ValueError with a sentence for one that no header can bear."""
    if not _BEARABLE.fullmatch(token.reveal()):
        raise ValueError("a token is one line of ASCII letters, digits and signs without spaces; this one is not")
    return token


def _write(path: Path, token: Secret) -> None:
    """Whole or not at all."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(f"{token.reveal()}\n")
    beside.replace(path)
