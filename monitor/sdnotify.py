"""Telling the service manager how we are: systemd's readiness protocol, one datagram a message.

The protocol is `sd_notify(3)` of systemd: lines of ``NAME=value`` sent to the socket named in ``NOTIFY_SOCKET``, which
is a path or, with a leading ``@``, an abstract address. Without that variable nothing is sent.
"""

import os
import socket
import time
from collections.abc import Mapping

STATUS_CHARACTERS_MAX = 200


class Notifier:
    """Sends to the service manager, or does nothing when there is none. No call blocks or raises."""

    __slots__ = ("_address", "_socket", "watchdog_s")

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self.watchdog_s = watchdog_s
        """How long the service manager waits for `watchdog` before it restarts us; None when it does not watch."""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Notifier":
        """The notifier that the service manager asked for, if any; what it set that cannot be used is ignored."""
        return cls(_usable_address(environ.get("NOTIFY_SOCKET", "")), _watchdog_s(environ))

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self, status: str = "") -> bool:
        """We serve: `systemctl start` returns."""
        return self._send("READY=1", *_status(status))

    def reloading(self) -> bool:
        """We read our configuration again; say `ready` when done."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> bool:
        """We are on our way out."""
        return self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> bool:
        """We are alive; due at least every `watchdog_s`, better at half of it."""
        return self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(*_status(text))

    def close(self) -> None:
        """Give the socket back; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> bool:
        """Send the lines as one message; False when nobody listens or the listener does not keep up."""
        if self._socket is None or not lines:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            # A full or vanished socket is the service manager's trouble; watching goes on without it.
            return False
        return True


def _status(text: str) -> tuple[str, ...]:
    line = " ".join(text.split())[:STATUS_CHARACTERS_MAX]
    return (f"STATUS={line}",) if line else ()


def _usable_address(address: str) -> str:
    return address if address.startswith(("/", "@")) and len(address) > 1 else ""


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """``WATCHDOG_USEC`` in seconds, unless it is meant for another process (``WATCHDOG_PID``)."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) > 0 else None
