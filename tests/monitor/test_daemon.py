"""The daemon's wiring, as far as it needs no venue; the rest is in tests/integration."""

import time

import pytest
from structlog.testing import capture_logs

from monitor.config import parse
from monitor.daemon import Daemon

ACCOUNT = f'[[account]]\nname = "main"\nvenue = "hyperliquid"\naddress = "0x{"0" * 40}"\n'


def test_a_machine_whose_clock_was_set_is_told_of_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, because what it shows and does by the time of day then differs from the clock on the wall."""
    daemon = Daemon(parse(ACCOUNT, "file"))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 7_200.0)
    with capture_logs() as logs:
        daemon._look_at_the_wall_clock()
        daemon._look_at_the_wall_clock()
    (line,) = logs
    assert line["log_level"] == "warning"
    assert line["event"].startswith("this machine's clock was set; until the next start")
    assert line["set_by_s"] == 7_200
