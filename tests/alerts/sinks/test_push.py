"""The push sink against a server that plays ntfy and Telegram."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from alerts.alert import Alert, Severity
from alerts.config import AlertsConfig
from alerts.delivery import BATCH_MAX
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.message import encode
from alerts.outbox import Outbox
from alerts.sink import Envelope, Sink, Surroundings
from alerts.sinks import _apprise
from alerts.sinks import push as module
from alerts.sinks.push import PushConfig, PushSink, build
from monitor.clock import Clock, ManualClock, SystemClock
from monitor.config import parse
from monitor.errors import ConfigurationError, SinkError
from monitor.telemetry import Telemetry
from tests.alerts.stage import hurry
from tests.support.pools import a_pool
from tests.support.push_process import ACCOUNTS
from tests.support.push_server import TELEGRAM, TOKEN, Fault, PushServer, TelegramProxy
from tests.support.recording_sink import RecordingSink
from tests.support.server_process import until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
AT = 1_790_000_000.0
RATIOS = {Severity.NOTICE: 0.55, Severity.WARNING: 0.75, Severity.CRITICAL: 0.9, Severity.EMERGENCY: 0.97}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second tries come in hundredths of a second."""
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    monkeypatch.setattr(module, "REST_FIRST_S", 0.05)
    hurry(monkeypatch, 0.05)


@pytest.fixture
async def server() -> AsyncIterator[PushServer]:
    """A server that takes everything."""
    async with PushServer() as running:
        yield running


def push_config(*routes: dict[str, Any], **more: Any) -> PushConfig:
    """A configuration as it is after reading the file: secrets in the environment are read."""
    defaults = {"gather_s": 0.0, "timeout_s": 20.0, "push_s": 5.0, "state_s": 0.05, **more}
    with pytest.MonkeyPatch.context() as patch:
        written = []
        for number, route in enumerate(routes):
            urls = [route.pop("url")] if "url" in route else route.pop("urls")
            for index, url in enumerate(urls):
                patch.setenv(f"PUSH_URL_{number}_{index}", url)
            references = [f"env:PUSH_URL_{number}_{index}" for index in range(len(urls))]
            written.append({"name": f"r{number}", "urls": references, **route})
        return PushConfig.model_validate({**defaults, "route": written})


def a_sink(server: PushServer, *topics: str, clock: Clock | None = None, **more: Any) -> PushSink:
    """A sink with a route for each topic, of its name."""
    routes = [{"name": topic, "url": server.ntfy(topic)} for topic in topics or ("phone",)]
    return build(push_config(*routes, **more), Surroundings(clock or SystemClock(), "box"))


def said(*severities: Severity, engine: Engine | None = None, account: str = "main") -> list[Envelope]:
    """An alert for each severity, about a pool of its own."""
    engine = engine or Engine(AlertsConfig(), "box", salt="salt")
    alerts: list[Alert] = []
    for severity in severities or (Severity.WARNING,):
        alerts += engine.on_pool(a_pool(RATIOS[severity], scope=f"P{severity}", account=account), SystemClock().now())
    return envelopes(alerts)


def failing(sink: PushSink) -> list[tuple[str, str]]:
    """The routes in trouble, and why."""
    return [(each.destination, each.detail) for each in sink.troubles() if each.since is not None]


def envelopes(alerts: Sequence[Alert]) -> list[Envelope]:
    """Numbered from 1."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(alerts, 1)]


# -- what arrives ---------------------------------------------------------------------------------


async def test_ntfy_gets_title_text_and_advice(server: PushServer) -> None:
    """As a person reads it on the phone."""
    sink = a_sink(server)
    await sink.connect()
    await sink.deliver(said(Severity.CRITICAL))
    (pushed,) = server.taken
    assert pushed.to == "phone"
    assert pushed.title == "Critical · main"
    assert "githubusercontent" not in str(pushed.headers)  # where apprise would have its picture fetched from
    assert pushed.body.startswith("0.900 margin ratio · binance/main/P3\nAdd at least ")
    assert failing(sink) == []
    await sink.close()


@pytest.mark.parametrize(
    ("severity", "priority"),
    [
        pytest.param(Severity.NOTICE, "low", id="a notice is low"),
        pytest.param(Severity.WARNING, None, id="a warning is ntfy's default"),
        pytest.param(Severity.CRITICAL, "high", id="critical is high"),
        pytest.param(Severity.EMERGENCY, "max", id="an emergency is the highest"),
    ],
)
async def test_severity_is_the_channel_s_own_priority(
    server: PushServer, severity: Severity, priority: str | None
) -> None:
    """In ntfy's words."""
    await a_sink(server).deliver(said(severity))
    (pushed,) = server.taken
    assert pushed.headers.get("X-Priority") == priority


async def test_a_priority_in_the_url_is_kept(server: PushServer) -> None:
    """A person who writes it there means it."""
    config = push_config({"url": server.ntfy("phone", "?priority=min")})
    await build(config, Surroundings(SystemClock(), "box")).deliver(said(Severity.EMERGENCY))
    assert server.taken[0].headers["X-Priority"] == "min"


async def test_a_batch_of_one_account_is_one_push(server: PushServer) -> None:
    """Of another account another."""
    await a_sink(server).deliver([*said(Severity.WARNING, Severity.EMERGENCY), *said(account="desk")])
    assert sorted(pushed.title for pushed in server.taken) == ["Emergency · main · 2 alerts", "Warning · desk"]


async def test_two_pushes_in_a_row_do_not_wait_for_each_other(server: PushServer) -> None:
    """Apprise would wait 5.5 s between two pushes through one URL; the deadline of a push here is 5 s."""
    sink = a_sink(server)
    for account in "abc":
        await sink.deliver(said(account=account))
    assert len(server.taken) == 3
    assert server.taken[-1].at - server.taken[0].at < 5.0


async def test_every_url_of_a_route_gets_it(server: PushServer) -> None:
    """Two phones; when one of them cannot be reached the other is enough, and the route is in trouble."""
    config = push_config({"name": "both", "urls": [server.ntfy("one"), server.ntfy("two")]})
    sink = build(config, Surroundings(SystemClock(), "box"))
    await sink.deliver(said(account="a"))
    server.faults["two"] = Fault(403)
    await sink.deliver(said(account="b"))
    assert (len(server.to("one")), len(server.to("two"))) == (2, 1)
    assert failing(sink) == [("both", "HTTP 403 Forbidden")]


async def test_telegram_gets_it_through_its_own_address(
    server: PushServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes to api.telegram.org over TLS; a rate limit in Telegram's own words is heeded."""
    async with TelegramProxy(server, tmp_path) as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        server.faults["42"] = Fault(429, times=1, body={"ok": False, "parameters": {"retry_after": 1}})
        sink = build(push_config({"url": f"tgram://{TOKEN}/42"}), Surroundings(SystemClock(), "box"))
        await sink.deliver(said(Severity.CRITICAL))
        assert set(proxy.asked) == {f"{TELEGRAM}:443"}
    (pushed,) = server.to("42")
    assert "Critical · main" in pushed.body
    assert "0.900 margin ratio · binance/main/P3" in pushed.body
    first, second = server.asked
    assert second.at - first.at >= 1.0


# -- what goes wrong ------------------------------------------------------------------------------


async def test_a_failed_push_is_tried_again(server: PushServer) -> None:
    """Two errors, then it works: nothing to report."""
    server.faults["phone"] = Fault(500, times=2)
    sink = a_sink(server, "phone", "desk")
    await sink.deliver(said())
    assert [pushed.answered for pushed in server.asked] == [500, 500, 200]
    assert failing(sink) == []
    assert server.tries("desk") == 0


async def test_a_route_that_fails_falls_through_until_it_works_again(server: PushServer) -> None:
    """The next one gets it; the first is in trouble until a push through it works."""
    server.faults["phone"] = Fault(500)
    sink = a_sink(server, "phone", "desk")
    await sink.deliver(said(account="a"))
    assert [pushed.to for pushed in server.taken] == ["desk"]
    assert failing(sink) == [("phone", "HTTP 500 Internal Server Error")]
    del server.faults["phone"]
    await asyncio.sleep(module.REST_FIRST_S)
    await sink.deliver(said(account="b"))
    assert [pushed.to for pushed in server.taken] == ["desk", "phone"]
    assert failing(sink) == []


async def test_a_refusal_is_not_tried_again(server: PushServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token stays wrong for a while, also when there is nobody else; nothing of the URL is said."""
    monkeypatch.setattr(module, "REST_FIRST_S", 60.0)
    server.faults["secret-topic"] = Fault(401, body={"error": "no secret-topic"})
    config = push_config({"name": "phone", "url": server.ntfy("secret-topic")}, {"url": server.ntfy("desk")})
    sink = build(config, Surroundings(SystemClock(), "box"))
    await sink.deliver(said())
    assert server.tries("secret-topic") == 1
    server.faults["desk"] = Fault(401)
    for _ in range(3):
        with pytest.raises(SinkError, match="HTTP 401"):
            await sink.deliver(said(account="other"))
    assert (server.tries("secret-topic"), server.tries("desk")) == (1, 2)
    assert failing(sink) == [("phone", "HTTP 401 Unauthorized"), ("r1", "HTTP 401 Unauthorized")]
    assert [pushed.to for pushed in server.taken] == ["desk"]


async def test_a_route_that_hangs_holds_nobody_for_long(server: PushServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its deadline the next one gets it, and the one after goes there at once."""
    server.faults["phone"] = Fault(200, hang=asyncio.Event())
    sink = a_sink(server, "phone", "desk", push_s=1.5)
    monkeypatch.setattr(module, "REST_FIRST_S", 60.0)
    await sink.deliver(said(account="a"))
    await sink.deliver(said(account="b"))
    assert len(server.to("desk")) == 2
    assert server.tries("phone") == 1
    assert failing(sink) == [("phone", "no answer within 1.5 s")]


async def test_a_push_that_arrives_late_is_not_sent_again(server: PushServer) -> None:
    """The deadline was over, then the server took it after all: the batch comes again and is already said."""
    late = asyncio.Event()
    server.faults["phone"] = Fault(200, times=1, hang=late)
    sink = a_sink(server, push_s=0.5)
    batch = said()
    with pytest.raises(SinkError, match=r"phone: no answer within 0\.5 s"):
        await sink.deliver(batch)
    late.set()

    def is_said() -> bool:
        pages = sink._pager.plan([batch[0].alert], SystemClock().now())
        for page in pages:
            sink._pager.failed(page)
        return not pages

    await until(is_said, "the late answer is noticed")
    await sink.deliver(batch)
    assert server.tries("phone") == 1


async def test_threads_that_hang_are_bounded(server: PushServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that has hung too often is not asked until one of its pushes ends."""
    monkeypatch.setattr(_apprise, "PATIENCE", 100.0)
    server.faults["phone"] = Fault(500, hang=asyncio.Event())
    sink = a_sink(server, push_s=0.3)
    batch = said()
    for _ in range(_apprise.STUCK_MAX + 2):
        with pytest.raises(SinkError):
            await sink.deliver(batch)
    assert server.tries("phone") == _apprise.STUCK_MAX
    assert failing(sink) == [("phone", "earlier pushes still hang")]


async def test_nobody_there_is_said_in_words(server: PushServer) -> None:
    """No server at all."""
    sink = a_sink(server)
    await server._runner.cleanup()  # type: ignore[union-attr]
    with pytest.raises(SinkError, match="phone: cannot be reached: connection refused"):
        await sink.deliver(said())


@pytest.mark.parametrize("wish", ["60", "Thu, 01 Jan 2099 00:00:00 GMT"])
async def test_a_server_that_wants_to_be_left_alone_is(server: PushServer, wish: str) -> None:
    """Retry-After, in seconds or as a date: the next route gets it meanwhile; without one the message waits."""
    server.faults["phone"] = Fault(429, headers={"Retry-After": wish})
    sink = a_sink(server, "phone", "desk")
    await sink.deliver(said(account="a"))
    await sink.deliver(said(account="b"))
    assert server.tries("phone") == 1
    assert len(server.to("desk")) == 2
    server.faults["desk"] = Fault(500)
    for _ in range(2):
        with pytest.raises(SinkError, match="phone: HTTP 429 Too Many Requests"):
            await sink.deliver(said(account="c"))
    assert server.tries("phone") == 1


async def test_one_of_two_that_wants_to_be_left_alone_is_while_the_other_takes_everything(server: PushServer) -> None:
    """Two addresses of one person; that one of them is not reached stays a trouble until it takes something again."""
    clock = ManualClock(AT)
    server.faults["one"] = Fault(429, headers={"Retry-After": "600"})
    config = push_config({"name": "both", "urls": [server.ntfy("one"), server.ntfy("two")]})
    sink = build(config, Surroundings(clock, "box"))
    for account in "abc":
        await sink.deliver(said(account=account))
    assert (server.tries("one"), len(server.to("two"))) == (1, 3)
    (trouble,) = sink.troubles()
    assert trouble.since == AT
    server.faults["two"] = Fault(500)
    with pytest.raises(SinkError, match="both: HTTP 429 Too Many Requests; HTTP 500"):
        await sink.deliver(said(account="d"))
    assert server.tries("one") == 1
    del server.faults["one"], server.faults["two"]
    clock.advance(601.0)
    await sink.deliver(said(account="d"))
    assert (len(server.to("one")), sink.troubles()[0].since) == (1, None)


async def test_a_short_wish_is_waited_for(server: PushServer) -> None:
    """One second later the same route is asked again."""
    server.faults["phone"] = Fault(429, times=1, headers={"Retry-After": "1"})
    await a_sink(server, "phone", "desk").deliver(said())
    first, second = server.asked
    assert (first.to, second.to, second.answered) == ("phone", "phone", 200)
    assert second.at - first.at >= 1.0


async def test_what_was_taken_is_not_repeated_when_another_page_failed(server: PushServer) -> None:
    """Two accounts, two routes: only the page that nobody took comes again."""
    config = push_config({"url": server.ntfy("ana"), "accounts": ["a"]}, {"url": server.ntfy("ben"), "accounts": ["b"]})
    sink = build(config, Surroundings(SystemClock(), "box"))
    server.faults["ana"] = Fault(503)
    batch = [*said(account="a"), *said(account="b")]
    with pytest.raises(SinkError, match="r0: HTTP 503 Service Unavailable"):
        await sink.deliver(batch)
    del server.faults["ana"]
    await sink.deliver(batch)
    assert (len(server.to("ana")), len(server.to("ben"))) == (1, 1)


async def test_what_was_held_back_is_pushed_in_time(server: PushServer) -> None:
    """The cap is one; an hour later, what still fires is said. While nobody takes it, it stays held."""
    clock = ManualClock(AT)
    sink = a_sink(server, clock=clock, per_hour=1)
    engine = Engine(AlertsConfig(), "box", salt="salt")
    await sink.tend([])
    await sink.deliver(said(engine=engine))
    await sink.deliver(envelopes(engine.on_pool(a_pool(0.75, scope="second"), AT)))
    firing = envelopes(engine.firing())
    await sink.tend(firing)
    assert len(server.taken) == 1
    clock.advance(3600)
    server.faults["phone"] = Fault(500)
    await sink.tend(firing)
    assert len(server.taken) == 1
    del server.faults["phone"]
    clock.advance(60)
    await sink.tend(firing)
    await sink.tend(firing)
    assert len(server.taken) == 2
    assert "binance/main/second" in server.taken[1].body


async def test_what_the_cap_held_survives_a_restart(server: PushServer, tmp_path: Path) -> None:
    """The next run pushes it when there is room; a note that cannot be read keeps nobody from being warned."""
    clock, engine = ManualClock(AT), Engine(AlertsConfig(), "box", salt="salt")

    def run(note: str | None = None) -> tuple[Outbox, PushSink]:
        outbox = Outbox.open(tmp_path / "state", ["push"], clock, Telemetry())
        if note is not None:
            outbox.keep("push", note)
        routes = {"name": "phone", "url": server.ntfy("phone")}
        return outbox, build(push_config(routes, per_hour=1), Surroundings(clock, "box", memory=outbox))

    outbox, sink = run()
    with outbox:
        await sink.deliver(said(engine=engine))
        await sink.deliver(envelopes(engine.on_pool(a_pool(0.75, scope="second"), AT)))
    assert len(server.taken) == 1
    clock.advance(600)
    outbox, sink = run()
    with outbox:
        await sink.tend(envelopes(engine.firing()))
        assert len(server.taken) == 1
        clock.advance(3000)
        await sink.tend(envelopes(engine.firing()))
        assert len(server.taken) == 2
    assert "binance/main/second" in server.taken[1].body
    outbox, sink = run(note="nonsense")
    with outbox:
        await sink.deliver(said(Severity.CRITICAL))
    assert len(server.taken) == 3


# -- with the dispatcher --------------------------------------------------------------------------


@asynccontextmanager
async def monitor(path: Path, clock: Clock, *sinks: Sink, further: int = 0) -> AsyncIterator[tuple[Engine, Dispatcher]]:
    """Engine, outbox and dispatcher; how the sinks do is fed back, as the daemon does it."""
    config = AlertsConfig.model_validate(
        {
            "sink_failure": {"after_s": 0.1, "calm_s": 0},
            "escalation": {"critical_s": 60},
            "repeat": {"critical_s": 9000, "notice_s": 90000},
        }
    )
    telemetry = Telemetry()
    with Outbox.open(path, [sink.name for sink in sinks], clock, telemetry) as outbox:
        engine = Engine(config, "box", escalations=lambda alert: further)
        engine.restore(outbox.restored, clock.now())
        dispatcher = Dispatcher(outbox, sinks, clock, telemetry)

        async def feed() -> None:
            while True:
                for each in dispatcher.health():
                    now = clock.now()
                    dispatcher.submit(
                        engine.on_sink(each.sink, each.failing_since, each.pending, each.detail, now, each.refused)
                    )
                dispatcher.submit(engine.due(clock.now()))
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(dispatcher.run()), asyncio.create_task(feed())]
        try:
            yield engine, dispatcher
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def test_a_route_that_fails_is_an_alert_on_the_other_sinks(server: PushServer, tmp_path: Path) -> None:
    """And through the next route, until a push through it works again."""
    server.faults["phone"] = Fault(403)
    recording = RecordingSink()
    async with monitor(tmp_path / "state", SystemClock(), a_sink(server, "phone", "desk"), recording) as (engine, out):
        out.submit(engine.on_pool(a_pool(0.9), SystemClock().now()))
        await until(lambda: any(each.alert.rule == "sink_failure" for each in recording.got), "the failure is an alert")
        alert = next(each.alert for each in recording.got if each.alert.rule == "sink_failure")
        assert alert.key == "sink_failure:push.phone"
        assert "HTTP 403 Forbidden" in alert.text
        await until(lambda: any("sink push.phone" in each.body for each in server.to("desk")), "desk hears of it")
        del server.faults["phone"]
        for number in range(1000):
            out.submit(engine.on_pool(a_pool(0.75, scope=f"again{number}"), SystemClock().now()))
            await asyncio.sleep(0.05)
            if server.to("phone"):
                break
        await until(
            lambda: not any(each.alert.rule == "sink_failure" for each in out.spoken.speakable()), "it works again"
        )


async def test_pools_that_fire_one_after_the_other_within_a_second_are_one_push(
    server: PushServer, tmp_path: Path
) -> None:
    """Each tick brings another pool of the account, and other sinks have each at once; the phone rings once."""
    recording = RecordingSink()
    sink = a_sink(server, gather_s=PushConfig.model_fields["gather_s"].default)
    async with monitor(tmp_path / "state", SystemClock(), sink, recording) as (engine, out):
        await until(lambda: recording.connections == 1, "connected")
        for count, scope in enumerate(("first", "second", "third"), 1):
            out.submit(engine.on_pool(a_pool(0.75, scope=scope), SystemClock().now()))
            await until(lambda count=count: len(recording.got) == count, "others have it")  # type: ignore[misc]
        await until(lambda: out.pending()["push"] == 0, "pushed")
    (pushed,) = server.taken
    assert pushed.title == "Warning · main · 3 alerts"
    assert all(f"binance/main/{scope}" in pushed.body for scope in ("first", "second", "third"))


async def test_an_emergency_does_not_wait_for_what_is_under_way(server: PushServer, tmp_path: Path) -> None:
    """Pushes of other accounts hang; the emergency arrives while they do, and once."""
    clock = SystemClock()
    server.faults["slow"] = Fault(200, hang=asyncio.Event())
    routes = [
        {"name": "slow", "url": server.ntfy("slow"), "severities": ["notice"]},
        {"name": "phone", "url": server.ntfy("phone")},
    ]
    sink = build(push_config(*routes, gather_s=0.01), Surroundings(clock, "box"))
    async with monitor(tmp_path / "state", clock, sink) as (engine, out):
        for account in "abcdef":
            out.submit(engine.on_pool(a_pool(0.55, account=account), clock.now()))
        await until(lambda: server.tries("slow") > 0, "under way")
        out.submit(engine.on_pool(a_pool(0.97, account="danger"), clock.now()))
        await until(lambda: bool(server.to("phone")), "the emergency is there")
        server.faults["slow"].hang.set()
        await until(lambda: out.pending()["push"] == 0, "delivered")
    assert [pushed.title for pushed in server.to("phone")] == ["Emergency · danger"]
    slow = sorted(pushed.title for pushed in server.asked if pushed.to == "slow")
    assert slow == [f"Notice · {account}" for account in "abcdef"]


async def test_while_nobody_takes_it_the_alert_waits(server: PushServer, tmp_path: Path) -> None:
    """The sink itself fails; when a route is back the alert arrives, once."""
    server.faults["phone"] = Fault(502)
    recording = RecordingSink()
    async with monitor(tmp_path / "state", SystemClock(), a_sink(server), recording) as (engine, out):
        out.submit(engine.on_pool(a_pool(0.97), SystemClock().now()))
        await until(lambda: any(each.alert.key == "sink_failure:push" for each in recording.got), "the sink fails")
        assert out.pending()["push"] > 0
        del server.faults["phone"]
        await until(lambda: out.pending()["push"] == 0, "delivered")
    assert sum("binance/main/USDT" in pushed.body for pushed in server.taken) == 1


async def test_what_nobody_acknowledges_goes_one_further(server: PushServer, tmp_path: Path) -> None:
    """Phone, then desk, then boss, then nobody any more; an acknowledgement ends it."""
    clock = ManualClock(AT)
    # The clock jumps while the state file is being written, which looks like a failure of that.
    routes = [{"name": name, "url": server.ntfy(name), "rules": ["margin_ratio"]} for name in ("phone", "desk", "boss")]
    sink = build(push_config(*routes), Surroundings(clock, "box"))
    async with monitor(tmp_path / "state", clock, sink, further=2) as (engine, out):
        out.submit(engine.on_pool(a_pool(0.9), AT))
        for topic in ("phone", "desk", "boss"):
            await until(lambda topic=topic: len(server.to(topic)) == 1, f"{topic} hears it")  # type: ignore[misc]
            clock.advance(60)
        clock.advance(300)
        out.submit(engine.on_pool(a_pool(0.9, scope="other"), clock.now()))
        await until(lambda: len(server.to("phone")) == 2, "the other alert begins with the phone")
        out.submit(engine.acknowledge("margin_ratio:binance/main/other", "ana", clock.now()))
        clock.advance(600)
        await until(lambda: out.pending()["push"] == 0, "delivered")
    assert [pushed.to for pushed in server.taken] == ["phone", "desk", "boss", "phone"]
    assert "nobody has acknowledged it" in server.to("desk")[0].title


async def test_a_night_survives_a_restart(server: PushServer, tmp_path: Path) -> None:
    """Held at night by one run, said in the morning by the next."""
    night = datetime(2026, 3, 10, 23, 0, tzinfo=UTC).timestamp()
    quiet = {"quiet_hours": "22:00-07:00", "timezone": "UTC"}
    clock = ManualClock(night)
    async with monitor(tmp_path / "state", clock, a_sink(server, clock=clock, **quiet)) as (engine, out):
        out.submit(engine.on_pool(a_pool(0.55), night))
        await until(lambda: out.pending()["push"] == 0, "delivered, that is held")
    assert server.asked == []
    clock.advance(600)
    async with monitor(tmp_path / "state", clock, a_sink(server, clock=clock, **quiet)) as (_, out):
        await asyncio.sleep(0.3)
        assert server.asked == []
        clock.advance(8 * 3600)
        await until(lambda: len(server.taken) == 1, "said in the morning")
    assert server.taken[0].title == "Notice · main · held back until now"


@contextmanager
def push_process(state: Path, url: str, rounds: int) -> Iterator[None]:
    """The process that is to be killed; the end of the block kills it."""
    process = subprocess.Popen([sys.executable, "-m", "tests.support.push_process", state, url, str(rounds)], cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def test_a_kill_loses_nothing(server: PushServer, tmp_path: Path) -> None:
    """kill -9 in the middle of each burst of pushes: in the end every account's warning has arrived."""
    rng, rounds = random.Random(0), 5
    wanted = {f"Warning · A{number}-{n}" for number in range(rounds) for n in range(ACCOUNTS)}

    def titles() -> set[str]:
        return {pushed.title for pushed in server.taken}

    for number in range(1, rounds + 1):
        enough = (number - 1) * ACCOUNTS + rng.randrange(1, ACCOUNTS)
        with push_process(tmp_path / "state", server.ntfy("phone"), number):
            await until(lambda enough=enough: len(titles()) >= enough, "some have arrived")  # type: ignore[misc]
    with push_process(tmp_path / "state", server.ntfy("phone"), rounds):
        await until(lambda: titles() >= wanted, "all have arrived")
    # What was under way when the kill came is repeated, at most one batch each time.
    assert len(server.taken) <= len(wanted) + rounds * BATCH_MAX


# -- configuration --------------------------------------------------------------------------------

ACCOUNT = '[[account]]\nname = "main"\nvenue = "hyperliquid"\naddress = "0x' + "0" * 40 + '"\n'


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        pytest.param("", "sinks.push.route: missing; it has no default", id="no route"),
        pytest.param('[[sinks.push.route]]\nname = "a"\n', 'sinks.push.route "a": needs a url', id="no url"),
        pytest.param(
            '[[sinks.push.route]]\nname = "a"\nurl = "env:BAD"\n',
            'sinks.push.route "a".url: is no URL that apprise can use',
            id="a url that apprise does not know",
        ),
        pytest.param(
            '[[sinks.push.route]]\nname = "a"\nurls = ["env:GOOD", "env:BAD"]\n',
            'sinks.push.route "a".urls: is no URL that apprise can use',
            id="one of several that apprise does not know",
        ),
        pytest.param(
            '[[sinks.push.route]]\nname = "a"\nurl = "nonsense://hush-hush"\n',
            'sinks.push.route "a".url: a secret is not written into this file',
            id="a url in the file",
        ),
        pytest.param(
            '[[sinks.push.route]]\nname = "a"\nurl = "env:GOOD"\n[[sinks.push.route]]\nname = "a"\nurl = "env:GOOD"\n',
            "sinks.push: must have routes of different names",
            id="one name twice",
        ),
        pytest.param(
            '[[sinks.push.route]]\nname = "a.b"\nurl = "env:GOOD"\n',
            'sinks.push.route "a.b".name: found "a.b"; must be letters, digits',
            id="a dot in a name",
        ),
        pytest.param(
            '[[sinks.push.route]]\nname = "a"\nurl = "env:GOOD"\nseverities = ["bad"]\n',
            'sinks.push.route "a".severities #1: found "bad"; must be "notice"',
            id="no such severity",
        ),
        pytest.param(
            '[[sinks.push.route]]\nname = "a"\nurl = "env:GOOD"\nseverities = ["notice"]\nat_least = "warning"\n',
            'sinks.push.route "a": takes nothing',
            id="a route that takes nothing",
        ),
        pytest.param(
            'quiet_hours = "22-7"\n[[sinks.push.route]]\nname = "a"\nurl = "env:GOOD"\n',
            'sinks.push.quiet_hours: found "22-7"; must be a time of day such as "22:00-07:00"',
            id="no time of day",
        ),
        pytest.param(
            'timezone = "Europe/Atlantis"\n[[sinks.push.route]]\nname = "a"\nurl = "env:GOOD"\n',
            'sinks.push.timezone: found "Europe/Atlantis"; must be a time zone such as "Europe/Berlin"',
            id="no such time zone",
        ),
        pytest.param(
            'push_s = 60\n[[sinks.push.route]]\nname = "a"\nurl = "env:GOOD"\n',
            "sinks.push: must have a push_s that is not longer than timeout_s",
            id="a push longer than the delivery",
        ),
    ],
)
def test_what_cannot_be_used_is_said(lines: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key; a URL is a secret and never repeated."""
    monkeypatch.setenv("GOOD", "ntfys://ntfy.sh/hush-hush")
    monkeypatch.setenv("BAD", "nonsense://hush-hush")
    with pytest.raises(ConfigurationError) as caught:
        parse(f"{ACCOUNT}[sinks.push]\n{lines}", "f")
    assert f"f: {fault}" in str(caught.value)
    assert "hush-hush" not in str(caught.value)


def test_an_unusable_url_is_in_no_log(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Apprise would log it."""
    with pytest.raises(ValidationError):
        push_config({"url": "nonsense://hush-hush"})
    captured = capfd.readouterr()
    assert "hush" not in caplog.text + captured.out + captured.err


def test_without_apprise_the_sink_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration is still read; the sink cannot be made."""
    config = push_config({"url": "ntfys://ntfy.sh/topic"})
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert push_config({"url": "whatever"}).route
    with pytest.raises(SinkError, match=r"pip install -c constraints.txt '\.\[push\]'"):
        build(config, Surroundings(SystemClock(), "box"))
