"""The terminal that a process belongs to: whether SIGHUP says that it was closed, or is somebody's order.

A terminal that is closed sends SIGHUP to what runs in it, and takes itself from all of them before it does; so do
shells, which pass it on to their jobs.
"""

import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress

LOOK_S = 1.0
"""How often to look whether the terminal is still there."""
HANGUP_S = 5.0
"""How soon after the terminal SIGHUP comes, if it comes of that."""
OWN = "/dev/tty"
"""The controlling terminal of whoever opens it."""
_GONE = (errno.ENXIO, errno.EIO, errno.ENODEV, errno.ENOENT)


def is_there() -> bool:
    """Whether this process has a controlling terminal that answers; also where that cannot be told."""
    try:
        os.close(os.open(OWN, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in _GONE
    return True


class Terminal:
    """The controlling terminal, as it was when this was made. Make it before SIGHUP has a handler.

    Whoever has none, or was started with SIGHUP ignored (``nohup``), outlives every terminal.
    """

    def __init__(self, there: Callable[[], bool] = is_there) -> None:
        self._there = there
        self.counts = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and there()
        """Whether this process ends with it."""
        self._gone_at: float | None = None
        self._ours = [number for number in range(3) if os.isatty(number)]

    def look(self, now: float) -> None:
        """Notice that it is gone. To be called every `LOOK_S` while it counts."""
        if self.counts and self._gone_at is None and not self._there():
            self._gone_at = now

    def hung_up(self, now: float) -> bool:
        """Whether a SIGHUP of this moment comes of the terminal's end; what comes long after it is an order."""
        self.look(now)
        return self._gone_at is not None and now < self._gone_at + HANGUP_S

    def let_go(self) -> None:
        """Write nowhere what would have gone to it: every attempt would fail."""
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for number in self._ours:
                os.dup2(nowhere, number)
            os.close(nowhere)
