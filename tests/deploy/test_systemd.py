"""The unit file: systemd understands it, finds it well locked in, and it says what the daemon relies on."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "marginwatch.service"
EXPOSURE_MAX = "20"
"""In tenths, as systemd-analyze counts; 2.0 of 10 is well inside of what it calls OK."""


def directives() -> dict[str, list[str]]:
    """Every directive with its values, in order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def runnable(tmp_path: Path) -> Path:
    """The unit with a program that exists here, since systemd-analyze looks for it."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub("^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    return copy


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze; skip, saying so, where there is none."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.integration
def test_systemd_understands_it(runnable: Path) -> None:
    """Not one unknown directive or value."""
    verified = analyze("verify", "--man=no", runnable)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.integration
def test_systemd_finds_it_locked_in(runnable: Path) -> None:
    """The exposure that systemd-analyze counts stays low."""
    rated = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", runnable)
    assert rated.returncode == 0, rated.stdout[-2000:]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("Restart", "always"),
        ("RestartPreventExitStatus", "2"),
        ("StartLimitIntervalSec", "0"),
        ("Wants", "network-online.target"),
        ("After", "network-online.target time-sync.target"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("DynamicUser", "yes"),
        ("StateDirectory", "marginwatch"),
        ("WorkingDirectory", "%S/marginwatch"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
    ],
)
def test_what_the_daemon_relies_on(name: str, value: str) -> None:
    """Readiness, endless restarts but for a bad configuration, network and time, reload, a directory, the sandbox."""
    assert directives()[name] == [value]


def test_the_watchdog_outlasts_a_busy_moment() -> None:
    """The watchdog is on and leaves time; stopping takes at most as long as stop is bounded to, and is then forced."""
    assert int(directives()["WatchdogSec"][0]) >= 10
    assert int(directives()["TimeoutStopSec"][0]) >= 10


def test_secrets_come_as_credentials() -> None:
    """Key and secret are loaded from files of root's, and stand in no environment or argument."""
    loaded = dict(value.split(":") for value in directives()["LoadCredential"])
    assert set(loaded) == {"binance_key", "binance_secret"}
    assert not any(re.search("key|secret|password", value, re.IGNORECASE) for value in directives()["Environment"])
