"""A run in CI that skipped what talks to real servers has shown nothing, and says so by its exit code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
RAN = "@pytest.mark.integration\ndef test_real(): assert True\n"
SKIPPED = '@pytest.mark.integration\ndef test_real(): pytest.skip("no server here")\n'
PLAIN = "def test_plain(): assert True\n"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize(
    ("tests", "ci", "code"),
    [
        (RAN + PLAIN, True, 0),
        (SKIPPED + RAN.replace("test_real", "test_other"), True, 1),
        (PLAIN, True, 1),
        (SKIPPED + PLAIN, False, 0),
    ],
    ids=["all ran", "one was skipped", "there was none", "not in CI"],
)
def test_a_skipped_server_fails_a_run_in_ci(
    tmp_path: Path, tests: str, ci: bool, code: int, workers: tuple[str, ...]
) -> None:
    """Also when the tests ran in other processes, whose reports come over a wire."""
    folder = tmp_path / "tests"
    folder.mkdir()
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_some.py").write_text(f"import pytest\n\n{tests}")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\nmarkers = integration: talks to a server\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers],
        cwd=tmp_path,
        env=environment | ({"CI": "true"} if ci else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("an integration test may not be skipped" in done.stdout) == (ci and "skip" in tests)
