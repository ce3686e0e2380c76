"""The command as a whole: help, version, exit codes, and what is said when something is wrong."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.__main__ import main
from monitor.credential import Secret
from monitor.errors import ConfigurationError, Fault, VenueError
from tests.support.cli import COMMAND, marginwatch
from tests.support.venue_server import ROOT

COMMANDS = ("run", "check", "demo", "assess", "replay", "record")
DOCUMENT = b"""{"venue": "binance", "collateral": [], "positions": [], "marks": {}, "instruments": {}}"""


async def test_version_is_the_distribution_s() -> None:
    """`--version` prints name and number and succeeds."""
    finished = await marginwatch("--version")
    assert finished.code == 0
    assert finished.out.startswith("marginwatch 0.")


async def test_help_lists_every_command() -> None:
    """Help is on standard output; without arguments it is shown too."""
    finished = await marginwatch("--help")
    assert finished.code == 0
    for command in COMMANDS:
        assert f" {command} " in finished.out


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_shows_an_example(command: str) -> None:
    """Help of a command explains it by example."""
    finished = await marginwatch(command, "--help")
    assert finished.code == 0
    assert "Examples:" in finished.out
    assert f"marginwatch {command}" in finished.out


async def test_a_wrong_option_is_unusable_input() -> None:
    """A usage error exits 2 and says what there is no such thing as."""
    finished = await marginwatch("run", "--confg", "x")
    assert finished.code == 2
    assert "--confg" in finished.err
    assert finished.out == ""


async def test_a_missing_configuration_is_a_sentence() -> None:
    """A file that is not there exits 2 with one line."""
    finished = await marginwatch("run", "--config", "nowhere.toml")
    assert (finished.code, finished.out) == (2, "")
    assert finished.err == (
        "nowhere.toml: there is no such file; write one (README.md, Configure; deploy/marginwatch.example.toml has "
        "every key), or name another: --config FILE\n"
    )


async def test_whoever_orders_without_a_configuration_may_name_the_daemon() -> None:
    """It is the daemon's file that is missing: not one to be written."""
    finished = await marginwatch("silences", "--config", "nowhere.toml")
    assert finished.code == 2
    assert "name the daemon's with --config FILE, or the daemon itself with --url URL" in finished.err


async def test_every_fault_of_a_configuration_is_printed(tmp_path: Path) -> None:
    """All faults are on standard error, one a line."""
    path = tmp_path / "marginwatch.toml"
    path.write_text("[[account]]\nname = 'main'\nvenue = 'binance'\n[htp]\n")
    finished = await marginwatch("check", "--config", path)
    assert finished.code == 2
    assert finished.err.splitlines() == [
        f'{path}: account "main".api_key: missing; it has no default',
        f'{path}: account "main".api_secret: missing; it has no default',
        f"{path}: htp: unknown key; did you mean http?",
    ]


async def test_the_configuration_may_be_named_by_the_environment() -> None:
    """MARGINWATCH_CONFIG stands for --config."""
    finished = await marginwatch("check", env={"MARGINWATCH_CONFIG": "elsewhere.toml"})
    assert finished.err.startswith("elsewhere.toml: ")


async def test_assess_reads_standard_input() -> None:
    """`assess -` prints JSON on standard output and nothing else."""
    finished = await marginwatch("assess", "-", stdin=DOCUMENT)
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.split() == ["{", '"pools":', "[]", "}"]


async def test_a_closed_pipe_is_quiet() -> None:
    """Whoever reads may stop reading: no complaint, no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "assess", "-", cwd=ROOT, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    _, err = await process.communicate(DOCUMENT)
    assert err == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigurationError("file", [Fault("key", "is wrong")]), 2, "file: key: is wrong\n"),
        (VenueError("the venue is closed", retry=True), 1, "marginwatch: the venue is closed\n"),
        (PermissionError(13, "Permission denied", "state"), 1, "marginwatch: state: Permission denied\n"),
        (ExceptionGroup("", [VenueError("closed", retry=False)]), 1, "marginwatch: closed\n"),
        (ExceptionGroup("", [ConfigurationError("file", [Fault("", "is wrong")])]), 2, "file: is wrong\n"),
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), 130, ""),
    ],
)
def test_an_error_becomes_a_sentence_and_a_code(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever a command raises on purpose, the user sees a line and a code."""

    def command(prog_name: str) -> None:
        raise error

    monkeypatch.setattr("monitor.__main__.app", command)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("is_grouped", [True, False])
def test_a_fault_of_ours_is_not_hidden(
    is_grouped: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody could have caused keeps its traceback, also inside a group; a secret in its words is blanked."""
    token = Secret("hunter2-of-main")

    def command(prog_name: str) -> None:
        fault = ZeroDivisionError(f"by {token.reveal()}")
        raise ExceptionGroup("", [fault]) if is_grouped else fault

    monkeypatch.setattr("monitor.__main__.app", command)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert "in command" in said
    assert "ZeroDivisionError: by ***" in said
    assert "hunter2" not in said


def test_help_loads_nothing_heavy() -> None:
    """The command line itself imports neither NumPy nor the network libraries."""
    heavy = ("numpy", "aiohttp", "websockets", "redis", "aiomqtt", "numba")
    script = f"import sys, monitor.__main__; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
