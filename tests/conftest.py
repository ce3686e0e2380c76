"""Rules for the whole run: where CI is set, a test against a real server that did not run is a failure."""

import os

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
"""How long an example takes is the machine's affair; `make bench` measures."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remember on each test whether it needs a real server."""
    for item in items:
        if item.get_closest_marker("integration") is not None:
            item.user_properties.append(("integration", True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the integration tests that were skipped, and count those that ran."""
    ran = sum(map(_is_integration, terminalreporter.stats.get("passed", [])))
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if _is_integration(report)]
    terminalreporter.write_line(f"integration tests that ran: {ran}; skipped: {len(skipped)}")
    if "CI" in os.environ and skipped:
        terminalreporter.write_line("where CI is set, an integration test may not be skipped:", red=True)
        for report in skipped:
            terminalreporter.write_line(f"  {report.nodeid}: {report.longrepr}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped an integration test, or a whole run that had none."""
    if "CI" not in os.environ or session.exitstatus != pytest.ExitCode.OK:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    ran = any(map(_is_integration, reporter.stats.get("passed", [])))
    skipped = any(map(_is_integration, reporter.stats.get("skipped", [])))
    if skipped or (whole and not ran):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_integration(report: object) -> bool:
    # A report that came from another process has lists for pairs.
    return any(tuple(pair) == ("integration", True) for pair in getattr(report, "user_properties", ()))
