"""Rules for the whole run: where CI is set, a test that did not run for want of what it needs is a failure."""

import os
from collections.abc import Iterable

import pytest
from hypothesis import settings

from monitor import credential

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
"""How long an example takes is the machine's affair; `make bench` measures."""

KINDS = {"integration": "integration tests", "shared_data": "tests on real venue data"}
"""Markers of the tests that need something beside the checkout, and what such tests are called."""


@pytest.fixture(autouse=True)
def _no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process forgets no secret, and the next test may mean the word."""
    monkeypatch.setattr(credential, "_known", credential.Known())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remember on each test what it needs, and skip those whose data is absent."""
    for item in items:
        item.user_properties += [(kind, True) for kind in KINDS if item.get_closest_marker(kind) is not None]
        data = item.get_closest_marker("shared_data")
        if data is not None and data.kwargs["absent"]:
            item.add_marker(pytest.mark.skip(reason=data.kwargs["absent"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that were skipped for want of what they need, and count those that ran."""
    for kind, name in KINDS.items():
        ran = _of(kind, terminalreporter.stats.get("passed", []))
        skipped = _of(kind, terminalreporter.stats.get("skipped", []))
        terminalreporter.write_line(f"{name} that ran: {len(ran)}; skipped: {len(skipped)}")
        if "CI" in os.environ and skipped:
            terminalreporter.write_line(f"where CI is set, {name} may not be skipped:", red=True)
            for report in skipped:
                terminalreporter.write_line(f"  {report.nodeid}: {report.longrepr}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped such a test, or a whole run that asked no server."""
    if "CI" not in os.environ or session.exitstatus != pytest.ExitCode.OK:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    unserved = whole and not _of("integration", reporter.stats.get("passed", []))
    if unserved or any(_of(kind, reporter.stats.get("skipped", [])) for kind in KINDS):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _of(kind: str, reports: Iterable[pytest.TestReport]) -> list[pytest.TestReport]:
    """The reports of tests of a kind. One that came from another process has lists for pairs."""
    return [
        report
        for report in reports
        if any(tuple(pair) == (kind, True) for pair in getattr(report, "user_properties", ()))
    ]
