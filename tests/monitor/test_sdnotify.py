"""The service manager hears what systemd's protocol asks for, over a real datagram socket."""

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.sdnotify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address of a listening service manager, as it stands in NOTIFY_SOCKET, and its socket."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@marginwatch-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        listener.settimeout(5)
        yield address, listener


def test_life_of_a_service(manager: tuple[str, socket.socket]) -> None:
    """Readiness, status, watchdog, reload and stop arrive as one datagram each, in order."""
    address, listener = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    assert notifier.active
    assert notifier.ready("watching 3 pools")
    assert listener.recv(4096) == b"READY=1\nSTATUS=watching 3 pools"
    assert notifier.status("worst 0.71\nbinance/main/USDT")
    assert listener.recv(4096) == b"STATUS=worst 0.71 binance/main/USDT"
    assert notifier.watchdog()
    assert listener.recv(4096) == b"WATCHDOG=1"
    assert notifier.reloading()
    assert listener.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert notifier.stopping()
    assert listener.recv(4096) == b"STOPPING=1"
    notifier.close()
    assert not notifier.watchdog()


def test_without_a_service_manager() -> None:
    """Outside of systemd every call is a no-op."""
    notifier = Notifier.from_environment({})
    assert not notifier.active
    assert notifier.watchdog_s is None
    assert not notifier.ready()


def test_a_listener_that_is_gone(tmp_path: Path) -> None:
    """A socket that nobody reads any more is not an error."""
    assert not Notifier(str(tmp_path / "gone")).watchdog()


def test_a_listener_that_does_not_keep_up(manager: tuple[str, socket.socket]) -> None:
    """A full socket refuses at once and never blocks the loop."""
    address, _ = manager
    notifier = Notifier(address)
    assert not all(notifier.watchdog() for _ in range(10_000))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], expected: float | None) -> None:
    """The interval counts only when it is one, and meant for this process."""
    assert Notifier.from_environment(environ).watchdog_s == expected


@pytest.mark.parametrize("address", ["relative/path", "@", "/", "vsock:2:1234"])
def test_an_address_that_cannot_be_used(address: str) -> None:
    """An address of a kind we do not speak is ignored."""
    assert not Notifier.from_environment({"NOTIFY_SOCKET": address}).active
