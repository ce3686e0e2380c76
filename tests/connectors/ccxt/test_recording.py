"""Recordings of accounts through ccxt: against the loopback exchanges, replayed, and compared with what was live."""

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alerts.alert import Alert, Severity
from alerts.config import AlertsConfig
from alerts.engine import Engine
from connectors import FeedSettings
from connectors import recorder as recordings
from connectors.ccxt import build, library, revive
from connectors.ccxt.recording import text
from connectors.recorder import Recorder
from monitor.book import Book
from monitor.model.assessment import FeedState
from monitor.model.events import Event, FeedChanged
from monitor.pipeline import Pipeline
from monitor.replay import Moment
from monitor.replay import Replay as Run
from monitor.telemetry import Telemetry
from tests.connectors.ccxt.stage import account
from tests.connectors.compliance import QuickClock
from tests.support.ccxt_server import DIALECTS, CcxtServer, ccxt_server

SETTINGS = FeedSettings(connect_s=2.0, request_s=2.0, send_s=1.0, poll_s=0.01)

CRASHES = {"bitget": (76_700, 76_500, 76_400, 76_200), "gate": (76_700, 76_500, 76_400, 76_200),
           "krakenfutures": (76_500, 76_100, 75_900, 75_700)}  # fmt: skip
"""Marks that lead the long in BTC up the rungs, and past the last one."""


class Live:
    """An account under watch, as in the daemon: connector, pipeline, alerts."""

    def __init__(self, server: CcxtServer, recorder: Recorder) -> None:
        self.clock = QuickClock()
        self.telemetry = Telemetry()
        self.events: list[Event] = []
        self.alerts: list[Alert] = []
        self.pipeline = Pipeline(Book(), Engine(AlertsConfig(), "box"), self._deliver, self.clock, self.telemetry)
        venue = server.dialect.name
        self.pipeline.add_account(venue, "main")
        (self.runner,) = build([account(server)], self._handle, self.clock, self.telemetry, SETTINGS, recorder)

    def _deliver(self, alerts: Sequence[Alert]) -> None:
        self.alerts += alerts

    def _handle(self, event: Event, received: float) -> None:
        self.events.append(event)
        self.pipeline.handle(event, received)

    def state(self, stream: str) -> FeedState | None:
        """Where a stream is."""
        changes = [event for event in self.events if isinstance(event, FeedChanged) and event.stream == stream]
        return changes[-1].state if changes else None

    def worst(self) -> int:
        """The highest severity that was said of a margin ratio."""
        return max((alert.severity for alert in self.alerts if alert.rule == "margin_ratio"), default=0)

    async def until(self, condition: Any, what: str) -> None:
        """Marks keep coming and time is judged while this waits."""
        for _ in range(2000):
            if condition():
                return
            self.pipeline.warm(self.clock.now())
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited in vain for {what}: {[a.text for a in self.alerts]} {self.events[-5:]}")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against ccxt's pauses between requests: they are for the real exchanges."""
    make = library.make
    monkeypatch.setattr(library, "make", lambda exchange, config: make(exchange, config | {"rateLimit": 10}))


async def crash(server: CcxtServer, path: Path) -> Live:
    """Record an account while its prices fall, its position changes and its connections are cut."""
    recorder = Recorder(path)
    live = Live(server, recorder)
    task = asyncio.create_task(live.runner.run())

    async def tick() -> None:
        while True:
            await server.mark()
            await asyncio.sleep(0.05)

    ticker = asyncio.create_task(tick())
    try:
        synced = {"account": FeedState.LIVE, "user": FeedState.LIVE, "mark": FeedState.LIVE}
        await live.until(lambda: {name: live.state(name) for name in synced} == synced, "a live account")
        await server.carries("user")
        for price, severity in zip(CRASHES[server.dialect.name], list(Severity)[:3], strict=False):
            server.price = float(price)
            await live.until(lambda wanted=severity: live.worst() >= wanted, severity.label)
        await server.cut()
        await server.carries("user")
        server.faults.append(("osition", None))
        server.price = float(CRASHES[server.dialect.name][-1])
        await live.until(lambda: live.worst() == Severity.EMERGENCY, "an emergency")
        await server.trade(0)
        resolved = {"resolved"}
        await live.until(
            lambda: resolved <= {a.state.value for a in live.alerts if a.rule == "margin_ratio"}, "the end of it"
        )
    finally:
        for each in (ticker, task):
            each.cancel()
        await asyncio.gather(ticker, task, return_exceptions=True)
        recorder.close()
    assert recorder.failure is None
    return live


def said(alerts: Sequence[Alert], rule: str) -> list[tuple[Any, ...]]:
    """What a rule said, with every figure, in order."""
    return [
        (a.pool, a.severity, a.state, a.step, a.value, a.threshold, a.margin_balance, a.maintenance_margin)
        for a in alerts
        if a.rule == rule
    ]


def check_contents(recording: str, secrets: Sequence[str]) -> None:
    """Neither key nor signature; but positions, balances, contracts and marks with the exchange's own words in them."""
    assert len(secrets) > 4
    assert not [secret for secret in secrets if secret in recording]
    lines = [json.loads(line) for line in recording.splitlines()]
    assert lines[0]["venue"] == "ccxt"
    kinds = {(line["k"], line.get("r") or line.get("c")) for line in lines[1:]}
    assert kinds >= {
        ("start", None), ("tick", None), ("responded", "definitions"), ("responded", "snapshot"),
        ("received", "watch_positions"), ("closed", "watch_positions"),
    }  # fmt: skip
    snapshot = json.loads(next(line["d"] for line in lines if line.get("r") == "snapshot"))
    assert all(row["info"] for row in snapshot["positions"])
    assert any(row["info"] for row in snapshot["balances"])


@pytest.mark.parametrize("exchange", sorted(DIALECTS))
async def test_a_recording_gives_the_alerts_that_were_live(exchange: str, tmp_path: Path) -> None:
    """The same events, and from them the same warnings with the same figures, in the same order; and no secrets."""
    path = tmp_path / "crash.jsonl"
    async with ccxt_server(exchange) as server:
        live = await crash(server, path)
        secrets = [text for name, text in server.dialect.credentials.items() if name != "uid"] + server.signatures
    check_contents(path.read_text(), secrets)
    told: list[Event] = []
    run: Run | None = None
    with recordings.Replay(path) as recording:
        for at, events in recording:
            run = run or Run(AlertsConfig(), at, judge_marks=True)
            for each in recording.accounts:
                run.pipeline.add_account(each.venue, each.name.partition("/")[2])
            told += events
            run.feed(events, Moment.known(at))
    assert told == live.events
    assert run is not None
    alerts = [warned.alert for warned in run.outcome.warnings]
    assert {alert.severity.label for alert in alerts if alert.rule == "margin_ratio"} >= {"notice", "emergency"}
    assert said(alerts, "margin_ratio") == said(live.alerts, "margin_ratio")
    # What is judged about once a second may see, or just miss, what lasted less than that.
    assert {alert.rule for alert in alerts} - {"stale_feed"} == {alert.rule for alert in live.alerts} - {"stale_feed"}


def test_what_json_cannot_say_is_unknown() -> None:
    """A recording never fails for what ccxt puts into a structure."""
    odd = {"a": float("nan"), "b": Decimal(1), 3: object(), "big": 2**70, "list": [1.5, None, "x"]}
    assert json.loads(text({**odd, "big": 1})) == {"a": None, "b": None, "3": None, "big": 1, "list": [1.5, None, "x"]}
    assert json.loads(text({"big": 2**70})) == {"big": 2**70}


def test_a_key_that_an_exchange_repeats_is_concealed(tmp_path: Path) -> None:
    """Should one ever put it into an answer."""
    recorder = Recorder(tmp_path / "r.jsonl")
    settings = account(CcxtServer(DIALECTS["bitget"]()), rest_url=None, stream_url=None)
    build([settings], lambda event, received: None, QuickClock(), Telemetry(), SETTINGS, recorder)
    recorder.write({"t": 1.0, "s": "bitget/main", "k": "received", "d": '{"key":"bg_key_5a7d","s":"bg_secret_91c2"}'})
    recorder.close()
    assert "bg_" not in (tmp_path / "r.jsonl").read_text()


@pytest.mark.parametrize(
    "header",
    [{}, {"accounts": 5}, {"accounts": []}, {"accounts": [{"name": "main"}]}, {"accounts": ["main"]},
     {"accounts": [{"name": "main", "exchange": "gate", "reconcile_s": "x", "mark_s": 5, "late_s": 3}]}],
)  # fmt: skip
def test_a_header_that_describes_no_account_is_refused(header: dict[str, Any]) -> None:
    """As one kind of error."""
    with pytest.raises(ValueError, match=r"missing|convert"):
        revive(header, Telemetry())
