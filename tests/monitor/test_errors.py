"""Why a connection came to nothing, in words."""

import errno
import socket
import ssl

import pytest

from monitor.errors import words_of


def raised(error: Exception, *wrappers: type[Exception]) -> Exception:
    """The error as a client hands it on: each wrapper says it in its own way."""
    for wrapper in wrappers:
        wrapped = wrapper(f"wrapped: {error}")
        wrapped.__cause__ = error
        error = wrapped
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (ConnectionResetError(), "the other side ended the connection"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the host's name is not known"),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "the host's name cannot be looked up at the moment"),
        (TimeoutError(), "no answer in time"),
        (OSError(errno.ENETUNREACH, "whatever"), "network is unreachable"),
        (FileNotFoundError(errno.ENOENT, "x"), "no such file or directory"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "no TLS connection came about; is it a TLS port?"),
        (ssl.SSLCertVerificationError(), "the certificate is not accepted: it cannot be verified"),
        (ValueError("https://example/secret"), None),
    ],
)
def test_the_cause_is_said_however_deep_it_lies(error: Exception, words: str | None) -> None:
    """By type, never by text: neither numbers nor class names nor what a client wrote reach a person."""
    assert words_of(error) == words
    assert words_of(raised(error, RuntimeError, KeyError)) == words
