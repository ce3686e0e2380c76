"""A run in CI that skipped what needs more than the checkout has shown nothing of it, and says so by its exit code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
SERVER = "@pytest.mark.integration\ndef test_real(): assert True\n"
NO_SERVER = '@pytest.mark.integration\ndef test_unserved(): pytest.skip("no server here")\n'
DATA = "@pytest.mark.shared_data(absent=None)\ndef test_data(): assert True\n"
NO_DATA = '@pytest.mark.shared_data(absent="no data here")\ndef test_without_data(): raise AssertionError\n'
NO_CASES = DATA.replace("\ndef test_data()", '\n@pytest.mark.parametrize("case", [])\ndef test_cases(case)')
PLAIN = "def test_plain(): assert True\n"


def ran(folder: Path, tests: str, *arguments: str, ci: bool) -> subprocess.CompletedProcess[str]:
    """A run of these tests as the whole run of a project."""
    tree = folder / "tests"
    tree.mkdir()
    shutil.copy(CONFTEST, tree / "conftest.py")
    (tree / "test_some.py").write_text(f"import pytest\n\n{tests}")
    markers = "markers =\n  integration: talks to a server\n  shared_data: needs data\n"
    (folder / "pytest.ini").write_text(f"[pytest]\ntestpaths = tests\naddopts = --strict-markers\n{markers}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment | ({"CI": "true"} if ci else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize(
    ("tests", "ci", "code", "said"),
    [
        (SERVER + DATA + PLAIN, True, 0, ""),
        (SERVER + DATA + NO_SERVER, True, 1, "integration tests may not be skipped"),
        (SERVER + DATA + NO_DATA, True, 1, "tests on real venue data may not be skipped"),
        (SERVER + DATA + NO_CASES, True, 1, "tests on real venue data may not be skipped"),
        (DATA + PLAIN, True, 1, ""),
        (NO_SERVER + NO_DATA + PLAIN, False, 0, ""),
    ],
    ids=["all ran", "a server was absent", "data was absent", "data had no cases", "none was asked for", "not in CI"],
)
def test_what_was_skipped_for_want_of_a_server_or_data_fails_a_run_in_ci(
    tmp_path: Path, tests: str, ci: bool, code: int, said: str, workers: tuple[str, ...]
) -> None:
    """And is named; also when the tests ran in other processes, whose reports come over a wire."""
    done = ran(tmp_path, tests, *workers, ci=ci)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    assert ("may not be skipped" in done.stdout) == bool(said)
    assert ("test_some.py::" in done.stdout) == bool(said)


def test_the_mark_of_this_projects_tests_is_the_one_that_is_looked_for() -> None:
    """With the reason to skip them for, where there is one."""
    from tests.support.shared_data import ROOT, needs_shared_data

    assert needs_shared_data.mark.name == "shared_data"
    assert bool(needs_shared_data.mark.kwargs["absent"]) is not ROOT.is_dir()
