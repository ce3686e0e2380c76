"""The console sink on real streams."""

import asyncio
import io
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from alerts.alert import Acknowledgement, Alert, Silence, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.message import encode
from alerts.sink import Envelope
from alerts.sinks.console import ConsoleConfig, ConsoleFormat, ConsoleSink, line
from monitor.errors import SinkError
from tests.support.pools import a_pool


def said(count: int) -> list[Alert]:
    """That many alerts, and the end of the first."""
    engine = Engine(AlertsConfig(), "box")
    pools = [a_pool(0.75, scope=f"P{n}") for n in range(count)]
    return [alert for pool in pools for alert in engine.on_pool(pool, 0.0)] + engine.on_pool_gone(pools[0].pool, 1.0)


def envelopes(alerts: Iterable[Alert]) -> list[Envelope]:
    """Numbered from 1."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(alerts, 1)]


async def test_one_line_an_alert() -> None:
    """Severity, text and advice, under the day; no colours where there is no terminal."""
    stream = io.StringIO()
    sink = ConsoleSink(ConsoleConfig(), stream)
    await sink.connect()
    await sink.deliver(envelopes(said(3)))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert "warning   0.750 margin ratio · binance/main/P0 · Add at least 123.456 USDT" in lines[1]
    assert "resolved  0 positions left · binance/main/P0" in lines[4]
    assert "\x1b" not in stream.getvalue()


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def test_times_are_local_and_say_so_once_a_day(in_new_york: None) -> None:
    """The zone and the date stand above the lines, and again when one of them changes; a line has the time alone."""
    stream = io.StringIO()
    sink = ConsoleSink(ConsoleConfig(), stream)
    await sink.connect()
    (alert,) = said(1)[:1]
    day = 1_798_948_800.0  # 2027-01-02 23:00 in New York
    for at in (day, day + 60.0, day + 7_200.0):
        await sink.deliver(envelopes([replace(alert, at=at)]))
    lines = [line.split(" warning")[0] for line in stream.getvalue().splitlines()]
    assert lines == [
        "# 2027-01-02, times in EST (UTC-05:00)",
        "23:00:00",
        "23:01:00",
        "# 2027-01-03, times in EST (UTC-05:00)",
        "01:00:00",
    ]


def test_the_end_of_a_silence_has_its_day(in_new_york: None) -> None:
    """Where that is not the day of the line."""
    alert = replace(said(1)[0], at=1_798_948_800.0)
    silence = Silence("s", "binance/main", alert.at + 60, "ann", "moving", emergency=False, at=alert.at)
    assert line(replace(alert, silenced=silence)).plain.split(" · ")[-2] == "silenced until 23:01"
    later = replace(silence, until=alert.at + 7_200)
    assert " · silenced until 2027-01-03 01:00" in line(replace(alert, silenced=later)).plain


def test_what_people_did_about_an_alert_is_said() -> None:
    """Else an acknowledgement looks like the alert once more."""
    alert = said(1)[0]
    seen = line(replace(alert, acknowledged=Acknowledgement("ann", alert.at))).plain
    assert " · acknowledged by ann" in seen
    silence = Silence("s", "binance/main", alert.at + 60, "ann", "moving", emergency=False, at=alert.at)
    assert " · silenced until " in line(replace(alert, silenced=silence)).plain
    assert "acknowledged" not in line(alert).plain


def test_what_is_only_said_again_is_marked() -> None:
    """It would look like a new alert."""
    alert = said(1)[0]
    assert "said again" not in line(alert).plain
    again = line(replace(alert, step=Step.REPEATED)).plain
    assert "0.750 margin ratio · binance/main/P0 · said again · Add at least" in again


async def test_json_is_the_message_itself() -> None:
    """For programs that read the monitor's output."""
    stream, alerts = io.StringIO(), said(2)
    sink = ConsoleSink(ConsoleConfig(format=ConsoleFormat.JSON), stream)
    await sink.connect()
    await sink.deliver(envelopes(alerts))
    assert stream.getvalue().encode().splitlines() == [encode(alert) for alert in alerts]


def test_control_characters_do_not_reach_the_terminal() -> None:
    """Names come from files and venues."""
    alert = replace(said(1)[0], text="0.9 \x1b[2J\nspoofed")
    assert "\x1b" not in line(alert).plain
    assert "\n" not in line(alert).plain


async def test_a_reader_that_does_not_read_blocks_only_the_console() -> None:
    """The loop goes on; the sink says so, until the stream moves again."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as out:
        sink = ConsoleSink(ConsoleConfig(), stream)
        await sink.connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await sink.deliver(envelopes(said(2000)))
        with pytest.raises(SinkError, match="not written"):
            await sink.connect()
        drained = asyncio.create_task(asyncio.to_thread(_drain, out))
        assert sink._writing is not None
        async with asyncio.timeout(5):
            await asyncio.wrap_future(sink._writing)
        await sink.connect()
        await sink.deliver(envelopes(said(1)))
        stream.close()
        await drained


async def test_a_stream_that_was_closed_is_a_failure_like_any_other() -> None:
    """No traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    sink = ConsoleSink(ConsoleConfig(), stream)
    await sink.connect()
    with pytest.raises(SinkError, match="console"):
        await sink.deliver(envelopes(said(1)))
    with suppress(BrokenPipeError):
        stream.close()


def _drain(stream: io.BufferedReader) -> None:
    while stream.read(65_536):
        pass
