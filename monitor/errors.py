"""The errors of the project, one tree.

::

    MarginwatchError
     +-- UserError                what a person gave us cannot be used (exit code 2, or 1 where `retry`)
     |    +-- ConfigurationError  the configuration file
     |    +-- DocumentError       a document for `assess` or `replay`
     |    +-- DangerousKeyError   the key can do more than read
     |    +-- RefusedError        an order to a running monitor, such as an acknowledgement of nothing
     +-- VenueError               what a venue answered, or did not answer; `retry` says whether again may help
     +-- SinkError                what a sink answered, or did not answer; `retry` likewise

An error knows whether trying again helps by its `retry` field, never by its text.
"""

import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class MarginwatchError(Exception):
    """Root of all errors raised on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where (a dotted key), what was found, what is allowed."""

    key: str
    problem: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}" if self.key else self.problem


class UserError(MarginwatchError):
    """An input that cannot be used; carries every fault found, not only the first.

    `source` is the file's name as the user gave it (or ``-`` for standard input). `retry` says whether the same input
    may be usable later without anybody's doing, as an address is once whoever has it lets it go.
    """

    def __init__(self, source: str, faults: Sequence[Fault], *, retry: bool = False) -> None:
        self.source = source
        self.faults = tuple(faults)
        self.retry = retry
        super().__init__("\n".join(f"{source}: {fault}" for fault in self.faults))


class ConfigurationError(UserError):
    """The configuration file is wrong."""


class DocumentError(UserError):
    """An assess or replay document is wrong."""


class DangerousKeyError(UserError):
    """An API key may trade, transfer or withdraw, and the configuration does not allow that."""


class RefusedError(UserError):
    """An order to a running monitor that it cannot carry out."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__("", [Fault(key, problem)])

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))


class VenueError(MarginwatchError):
    """A venue refused, failed or stayed silent.

    `retry` says whether the same request may succeed later; `retry_after_s` is the venue's own wish, when it gave one.
    """

    def __init__(
        self, message: str, *, retry: bool, retry_after_s: float | None = None, code: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.code = code


class SinkError(MarginwatchError):
    """A sink refused, failed or stayed silent; `retry` says whether the same delivery may succeed later."""

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


def words_of(error: BaseException) -> str | None:
    """Why a connection came to nothing, as people say it, without address or secret; None where nothing tells.

    The clients' own texts are class names and numbers (`[Errno 111]`, ``ssl:default``), and some repeat addresses that
    are secrets. What they were raised from says it by type.
    """
    causes = list(_causes(error))
    for cause in causes:
        match cause:
            case ssl.SSLCertVerificationError():
                why = getattr(cause, "verify_message", "") or "it cannot be verified"
                return f"the certificate is not accepted: {why}"
            case ssl.SSLError():
                return "no TLS connection came about; is it a TLS port?"
            case socket.gaierror() if cause.errno == socket.EAI_AGAIN:
                return "the host's name cannot be looked up at the moment"
            case socket.gaierror():
                return "the host's name is not known"
            case ConnectionRefusedError():
                return "connection refused"
            case ConnectionResetError() | BrokenPipeError():
                return "the other side ended the connection"
    for cause in causes:
        if isinstance(cause, TimeoutError):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            text = os.strerror(cause.errno)
            return f"{text[0].lower()}{text[1:]}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from or while handling: clients wrap the error that says why."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
