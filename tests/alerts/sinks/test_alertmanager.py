"""The Alertmanager sink: what it posts, and what a real Alertmanager makes of it and tells people."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from pydantic import ValidationError

from alerts import condition
from alerts.alert import Acknowledgement, Alert, Severity, Silence, State
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.message import encode, rfc3339
from alerts.outbox import Outbox
from alerts.sink import Envelope, Surroundings
from alerts.sinks.alertmanager import (
    RUNBOOKS,
    AlertmanagerConfig,
    AlertmanagerSink,
    Links,
    ahead_s,
    build,
    labels,
    posts,
)
from monitor.clock import Clock, ManualClock, SystemClock
from monitor.credential import Secret
from monitor.errors import SinkError
from monitor.telemetry import Telemetry
from tests.support.alertmanager import PASSWORD, USER, Alertmanager, receiver, seconds, serving
from tests.support.certificates import make_certificate
from tests.support.pools import a_pool
from tests.support.server_process import free_port, until, until_answer

NOW = 1_790_000_000.0
POOL = "binance/main/USDT"
KEY = f"margin_ratio:{POOL}"
QUICK = {"state_s": 0.1, "state_ttl_s": 2, "timeout_s": 0.8}


class Story:
    """What happens to one pool, and what the engine says of it."""

    def __init__(self, clock: Clock | None = None, scope: str = "USDT") -> None:
        self.clock = clock or SystemClock()
        self.scope = scope
        self.engine = Engine(AlertsConfig(), "box")

    def ratio(self, ratio: float) -> list[Alert]:
        """The pool comes to this margin ratio."""
        return self.engine.on_pool(a_pool(ratio, scope=self.scope), self.clock.now())

    def closed(self) -> list[Alert]:
        """Its positions are closed."""
        return self.engine.on_pool_gone(f"binance/main/{self.scope}", self.clock.now())

    def silenced(self) -> list[Alert]:
        """Somebody silences the pool for an hour."""
        now = self.clock.now()
        return self.engine.silence(Silence("s1", POOL, now + 3600, "anna", "known", emergency=False, at=now), now)

    def heard_again(self) -> list[Alert]:
        """Somebody ends the silence."""
        return self.engine.end_silence("s1", self.clock.now())


def envelopes(said: Iterable[Alert]) -> list[Envelope]:
    """Numbered from 1."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(said, 1)]


def make(
    url: str, clock: Clock | None = None, is_well: Callable[[], bool] = lambda: True, **config: Any
) -> AlertmanagerSink:
    """A sink that is not connected."""
    section = AlertmanagerConfig.model_validate({"url": url, **config})
    return build(section, Surroundings(clock or SystemClock(), "box", is_well=is_well))


@asynccontextmanager
async def connected(server: Alertmanager, clock: Clock | None = None, **config: Any) -> AsyncIterator[AlertmanagerSink]:
    """A sink that is connected to `server`."""
    sink = make(server.url, clock, **config)
    try:
        await sink.connect()
        yield sink
    finally:
        await sink.close()


async def fault(sink: AlertmanagerSink) -> SinkError:
    """The error with which connecting fails."""
    with pytest.raises(SinkError) as caught:
        await sink.connect()
    await sink.close()
    return caught.value


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Alertmanager]:
    """A fresh Alertmanager that tells nobody."""
    with Alertmanager(tmp_path) as alertmanager:
        yield alertmanager


# What is posted, without any server


def an_alert(**changes: Any) -> Alert:
    """A warning about a pool."""
    (alert,) = Story(ManualClock(NOW)).ratio(0.75)
    return replace(alert, **changes)


SILENCE = Silence("s1", POOL, NOW + 3600, "anna", "known", emergency=False, at=NOW)


def test_an_alert_as_alertmanager_takes_it() -> None:
    """Labels are what routes match, annotations what people read, times RFC 3339."""
    alert = an_alert()
    (posted,) = posts(None, alert, NOW + 240, 0.0, Links("http://desk:9464", "https://git.example/marginwatch/"))
    assert posted.entry == {
        "labels": {
            "alertname": "MarginwatchMarginRatio",
            "severity": "warning",
            "rule": "margin_ratio",
            "key": KEY,
            "venue": "binance",
            "account": "main",
            "pool": POOL,
        },
        "annotations": {
            "summary": alert.text,
            "advice": alert.advice,
            "runbook_url": "https://git.example/marginwatch/README.md#margin-danger",
            "host": "box",
            "id": alert.id,
        },
        "startsAt": rfc3339(NOW),
        "endsAt": rfc3339(NOW + 240),
        "generatorURL": "http://desk:9464",
    }


def test_labels_last_as_long_as_the_alert() -> None:
    """Nothing that changes while an alert of one severity fires is a label."""
    changed = an_alert(
        id="other",
        value=0.8,
        text="other",
        raised_at=NOW + 1,
        host="other",
        escalation=1,
        acknowledged=Acknowledgement("anna", NOW),
    )
    assert labels(changed) == labels(an_alert())


def test_what_is_about_a_monitor_names_the_monitor() -> None:
    """Two monitors' failing sinks are two alerts; what both say of one account is one."""
    failing = Engine(AlertsConfig(), "box").on_sink("redis", NOW - 60, 1, "refused", NOW)
    (alert,) = failing
    assert labels(alert) == {
        "alertname": "MarginwatchSinkFailure",
        "severity": alert.severity.label,
        "rule": "sink_failure",
        "key": "sink_failure:redis",
        "host": "box",
    }


def test_every_rule_has_a_runbook() -> None:
    """The one that README's table of rules names; a rule that is not in it yet has at least the table."""
    root = Path(__file__).parents[3]
    readme = (root / "README.md").read_text()
    rules = {path.stem for path in (root / "alerts" / "rules").glob("[a-z]*.py")}
    assert {rule: RUNBOOKS[rule] for rule in rules} == dict(
        re.findall(r"(?m)^\| `(\w+)` \|.+\(#([\w-]+)\) \|$", readme)
    )
    (post,) = posts(None, an_alert(rule="other"), NOW + 240, 0.0, Links())
    assert post.entry["annotations"]["runbook_url"] == "README.md#what-each-alert-means-and-what-to-do"
    assert "## What each alert means, and what to do" in readme


CHANGES: dict[str, tuple[Alert | None, Alert, list[tuple[str, bool, str]]]] = {
    "the first word": (None, an_alert(), [("warning", True, "")]),
    "said again": (an_alert(), an_alert(at=NOW + 60), [("warning", True, "")]),
    "acknowledged": (an_alert(), an_alert(acknowledged=Acknowledgement("anna", NOW)), [("warning", True, "")]),
    "worse": (
        an_alert(),
        an_alert(severity=Severity.CRITICAL),
        [("warning", False, "now critical: "), ("critical", True, "")],
    ),
    "over": (an_alert(), an_alert(state=State.RESOLVED), [("warning", False, "")]),
    "over, after a restart of ours": (None, an_alert(state=State.RESOLVED), [("warning", False, "")]),
    "silenced from the start": (None, an_alert(silenced=SILENCE), []),
    "silenced while it stands": (
        an_alert(),
        an_alert(silenced=SILENCE),
        [("warning", False, f"silenced until {rfc3339(NOW + 3600)} by anna (known), not over: ")],
    ),
    "still silenced": (an_alert(silenced=SILENCE), an_alert(silenced=SILENCE), []),
    "over in silence": (an_alert(silenced=SILENCE), an_alert(silenced=SILENCE, state=State.RESOLVED), []),
    "heard again": (an_alert(silenced=SILENCE), an_alert(), [("warning", True, "")]),
    "worse than a silence covers": (
        an_alert(silenced=SILENCE),
        an_alert(severity=Severity.EMERGENCY),
        [("emergency", True, "")],
    ),
}


@pytest.mark.parametrize(("before", "alert", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_and_what_is_posted(before: Alert | None, alert: Alert, expected: list[tuple[str, bool, str]]) -> None:
    """Severity, whether it is to stand, and what its summary says before the alert's own text."""
    posted = posts(before, alert, NOW + 240, 0.0, Links())
    assert [
        (
            each.entry["labels"]["severity"],
            not each.over,
            each.entry["annotations"]["summary"].removesuffix(alert.text),
        )
        for each in posted
    ] == expected
    assert all(seconds(each.entry["endsAt"]) <= NOW if each.over else not each.over for each in posted)


def test_an_end_is_never_before_its_start() -> None:
    """Which Alertmanager would refuse: the wall clock may have been set back since the alert was raised."""
    (posted,) = posts(None, an_alert(state=State.RESOLVED, at=NOW - 600), NOW + 240, 0.0, Links())
    assert posted.entry["endsAt"] == posted.entry["startsAt"] == rfc3339(NOW)


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Mon, 21 Sep 2026 14:13:20 GMT", 0.0),
        ("Mon, 21 Sep 2026 14:13:22 GMT", 0.0),
        ("Mon, 21 Sep 2026 15:13:20 GMT", 3600.0),
        ("Mon, 21 Sep 2026 14:03:20 GMT", -600.0),
        ("", 0.0),
        ("yesterday", 0.0),
    ],
)
def test_how_far_the_clocks_are_apart(date: str, ahead: float) -> None:
    """By the answer's date; seconds are not told apart, and no date is no difference."""
    assert ahead_s(date, NOW) == ahead


FAULTS = {
    "a password in the url": {"url": "http://desk:secret@host:9093"},
    "another scheme": {"url": "ftp://host"},
    "no host": {"url": "http://:9093"},
    "ends before the next post": {"state_s": 60, "state_ttl_s": 100},
    "a link that is none": {"board_url": "desk:9464"},
}


@pytest.mark.parametrize("section", FAULTS.values(), ids=FAULTS)
def test_a_section_that_cannot_be_meant(section: dict[str, Any]) -> None:
    """It is refused, and the secret is not repeated."""
    with pytest.raises(ValidationError) as caught:
        AlertmanagerConfig.model_validate(section)
    assert "secret" not in str(caught.value.errors(include_input=False))


# What a server's answers mean


ANSWERS = {
    "a bad request": (400, False),
    "no login": (401, False),
    "not allowed": (403, False),
    "no such path": (404, False),
    "moved": (302, False),
    "too many requests": (429, True),
    "took too long": (408, True),
    "a fault inside": (500, True),
    "a proxy with nothing behind it": (502, True),
    "not now": (503, True),
}


@pytest.mark.parametrize(("status", "retry"), ANSWERS.values(), ids=ANSWERS)
async def test_whether_trying_again_helps(status: int, retry: bool) -> None:
    """A refusal lasts until somebody mends it; what is only so at this moment does not. The words are passed on."""
    url = f"http://127.0.0.1:{free_port()}"

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text="because\nof this " + 10_000 * "x", headers={"Location": "/"})

    async with serving(answer, url):
        error = await fault(make(url))
    assert error.retry is retry
    assert f"{status}: because of this" in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"password": Secret("let me in")}, "Bearer let me in"),
        ({"url": "http://anna%40desk@", "password": Secret("pä:ss")}, "Basic YW5uYUBkZXNrOnDDpDpzcw=="),
        ({}, None),
    ],
    ids=["token", "password", "neither"],
)
async def test_who_it_says_it_is(section: dict[str, Any], expected: str | None) -> None:
    """The header of every request; the path before ``/api`` is kept."""
    address, asked = f"127.0.0.1:{free_port()}", []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append((request.method, request.path, request.headers.get("Authorization"), await request.json()))
        return web.Response()

    async with serving(answer, f"http://{address}"):
        sink = make(**{**section, "url": f"{section.get('url', 'http://')}{address}/teams/a/"})
        await sink.connect()
        await sink.close()
    assert asked == [("POST", "/teams/a/api/v2/alerts", expected, [])]


async def test_a_server_that_never_answers_is_left() -> None:
    """Within the sink's own deadline, whoever calls it."""
    url = f"http://127.0.0.1:{free_port()}"

    async def answer(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with serving(answer, url):
        error = await fault(make(url, timeout_s=0.1))
    assert error.retry
    assert str(error) == "alertmanager: no answer within 0.1 s"


@asynccontextmanager
async def posting() -> AsyncIterator[tuple[AlertmanagerSink, list[Any]]]:
    """A sink that is connected to a server that takes everything, and what it took."""
    url, posted = f"http://127.0.0.1:{free_port()}", list[Any]()

    async def answer(request: web.BaseRequest) -> web.Response:
        posted.extend(await request.json())
        return web.Response()

    async with serving(answer, url):
        sink = make(url)
        await sink.connect()
        yield sink, posted
        await sink.close()


async def test_a_repetition_that_was_overtaken_brings_nothing_back() -> None:
    """A list of what fires that was made before an alert ended is not posted after its end."""
    story = Story()
    raised, over = story.ratio(0.75), story.closed()
    async with posting() as (sink, posted):
        await sink.deliver(envelopes(raised))
        await sink.deliver(envelopes(over))
        del posted[:]
        await sink.tend(envelopes(raised))
        await sink.deliver(envelopes(raised))
        assert all(seconds(each["endsAt"]) <= story.clock.now() for each in posted)


async def test_what_contradicts_twice_is_true() -> None:
    """Another monitor has spoken in between, and counts from fewer words than this one knew: what fires is posted."""
    story = Story()
    raised, over = story.ratio(0.75), story.closed()
    async with posting() as (sink, posted):
        await sink.deliver(envelopes(over))
        for _ in range(2):
            del posted[:]
            await sink.tend(envelopes(raised))
        assert [seconds(each["endsAt"]) > story.clock.now() for each in posted] == [True]


# Against the real one

integration = pytest.mark.integration


@integration
async def test_an_alert_s_life(server: Alertmanager) -> None:
    """It appears with its times and links, is there once when it has worsened, and is gone when it is over."""
    story = Story()
    async with connected(server, board_url="http://desk:9464/") as sink:
        (raised,) = story.ratio(0.75)
        await sink.deliver(envelopes([raised]))
        (found,) = await server.alerts()
        assert found["labels"] == labels(raised)
        assert found["annotations"]["summary"] == raised.text
        assert found["generatorURL"] == "http://desk:9464/"
        assert seconds(found["startsAt"]) == pytest.approx(raised.raised_at, abs=0.01)
        assert seconds(found["endsAt"]) == pytest.approx(raised.at + 240, abs=5)
        await sink.deliver(envelopes(story.ratio(0.97)))
        assert await server.standing() == {(KEY, "emergency")}
        await sink.deliver(envelopes(story.closed()))
        assert await server.standing() == set()


@integration
async def test_what_people_hear(tmp_path: Path) -> None:
    """Each change once, an end with its reason; nothing of what is silenced, until the silence is over."""
    story = Story()
    async with receiver() as people:
        with Alertmanager(tmp_path, webhook=people.url) as server:
            async with connected(server) as sink:

                async def then(said: Sequence[Alert], *expected: tuple[str, str, str]) -> None:
                    await sink.deliver(envelopes(said))
                    await until(lambda: len(people.heard) == len(expected), f"{expected}, heard {people.heard}")
                    found = {(status, severity) for status, _, severity, _ in people.heard}
                    assert found == {(status, severity) for status, severity, _ in expected}
                    for status, severity, begins in expected:
                        (summary,) = [s for st, _, se, s in people.heard if (st, se) == (status, severity)]
                        assert summary.startswith(begins)
                    people.heard.clear()

                await then(story.ratio(0.75), ("firing", "warning", "0.75"))
                await then(story.ratio(0.90), ("resolved", "warning", "now critical: "), ("firing", "critical", "0.9"))
                await then(story.silenced(), ("resolved", "critical", "silenced until "))
                await then(story.ratio(0.75))
                await then(story.ratio(0.97), ("firing", "emergency", "0.97"))
                await then(story.closed(), ("resolved", "emergency", "0 positions left"))


@integration
async def test_an_alertmanager_that_was_restarted_is_told_again(server: Alertmanager) -> None:
    """It forgets everything; the next time round what fires is there again."""
    story = Story()
    async with connected(server) as sink:
        said = envelopes(story.ratio(0.75))
        await sink.deliver(said)
        server.stop()
        server.start()
        assert await server.standing() == set()
        await sink.close()
        await sink.connect()
        await sink.tend(said)
        assert await server.standing() == {(KEY, "warning")}


@integration
async def test_a_request_that_is_carried_out_late(server: Alertmanager) -> None:
    """One that was given up, and brings back what has ended since: it ends again the next time round."""
    story = Story()
    raised, over = story.ratio(0.75), story.closed()
    async with connected(server) as sink, connected(server) as late:
        await sink.deliver(envelopes(raised))
        await sink.deliver(envelopes(over))
        await late.deliver(envelopes(raised))
        assert await server.standing() == {(KEY, "warning")}
        await sink.tend([])
        assert await server.standing() == set()


@pytest.mark.integration
async def test_the_watchdog_stands_while_the_monitor_does_its_job(server: Alertmanager) -> None:
    """It ends when the monitor sees nothing, or is gone: whoever waits for it is told by its absence."""
    well = [True]
    sink = make(server.url, is_well=lambda: well[0], watchdog=True, **QUICK)
    await sink.connect()

    async def names() -> list[str]:
        return [alert["labels"]["alertname"] for alert in await server.alerts()]

    try:
        await sink.tend([])
        assert await names() == ["MarginwatchWatchdog"]
        well[0] = False
        await sink.tend([])

        async def ended() -> bool:
            return await names() == []

        await until_answer(ended, "it ends")
    finally:
        await sink.close()


@integration
async def test_without_another_post_an_alert_ends(server: Alertmanager) -> None:
    """As it must when the monitor dies; with posts it lives on."""
    story = Story()
    async with connected(server, **QUICK) as sink:
        said = envelopes(story.ratio(0.75))
        await sink.deliver(said)
        ends = seconds((await server.alerts())[0]["endsAt"])

        async def later() -> bool:
            await sink.tend(said)
            return seconds((await server.alerts())[0]["endsAt"]) > ends + 2

        await until_answer(later, "the end moves on with every post")
    await until_answer(lambda: _is_empty(server), "the alert ends by itself")


@integration
@pytest.mark.parametrize("off_s", [-3600.0, 3600.0], ids=["an hour slow", "an hour fast"])
async def test_a_clock_of_ours_that_is_wrong(server: Alertmanager, off_s: float) -> None:
    """The alert stands now and is over now, by Alertmanager's clock."""
    now = SystemClock().now()
    clock = ManualClock(now + off_s)
    story = Story(clock)
    async with connected(server, clock) as sink:
        await sink.deliver(envelopes(story.ratio(0.75)))
        (found,) = await server.alerts()
        assert seconds(found["startsAt"]) == pytest.approx(now, abs=30)
        assert seconds(found["endsAt"]) == pytest.approx(now + 240, abs=30)
        await sink.deliver(envelopes(story.closed()))
        await until_answer(lambda: _is_empty(server), "over")


@integration
async def test_many_at_once(server: Alertmanager) -> None:
    """More than fit one request, each with its own key."""
    engine = Engine(AlertsConfig(), "box")
    now = SystemClock().now()
    said = [alert for n in range(200) for alert in engine.on_pool(a_pool(0.75, scope=f"P{n}"), now)]
    async with connected(server) as sink:
        await sink.tend(envelopes(said))
        assert await server.standing() == {(alert.key, "warning") for alert in said}


@integration
async def test_login(tmp_path: Path) -> None:
    """Right, wrong and missing; the error does not say the password and is not worth another try soon."""
    with Alertmanager(tmp_path, login=True) as server:
        url = server.url.replace("//", f"//{USER}@")
        sink = make(url, password=Secret(PASSWORD))
        await sink.connect()
        await sink.close()
        for section in ({"url": url, "password": Secret("guessed")}, {"url": server.url}):
            error = await fault(make(**section))
            assert not error.retry
            assert "guessed" not in str(error)


@integration
async def test_tls_below_a_path(tmp_path: Path) -> None:
    """With a certificate of our own: trusted when it is named, refused when it is not; a path is kept."""
    certificate = make_certificate(tmp_path)
    with Alertmanager(tmp_path, tls=certificate, prefix="/alerts") as server:
        async with connected(server, ca_file=certificate.certificate) as sink:
            await sink.deliver(envelopes(Story().ratio(0.75)))
            assert await server.standing() == {(KEY, "warning")}
        assert not (await fault(make(server.url))).retry
        with pytest.raises(SinkError, match="TLS files") as caught:
            make(server.url, ca_file=tmp_path / "absent.pem")
        assert not caught.value.retry


@integration
async def test_outages_are_worth_another_try(server: Alertmanager) -> None:
    """A server that is gone in the middle, one that is not there, and one that hangs."""
    async with connected(server, timeout_s=0.3) as sink:
        server.kill()
        with pytest.raises(SinkError) as caught:
            await sink.tend([])
        assert caught.value.retry
    refused = await fault(make(server.url))
    assert refused.retry
    assert str(refused) == f"alertmanager: connection refused ({urlsplit(server.url).netloc})"
    server.start()
    async with connected(server, timeout_s=0.3) as sink:
        server.suspend()
        with pytest.raises(SinkError, match="no answer within") as caught:
            await sink.tend([])
        assert caught.value.retry
        server.resume()


# With the dispatcher


@asynccontextmanager
async def dispatching(path: Path, server: Alertmanager) -> AsyncIterator[tuple[Dispatcher, Outbox]]:
    """A dispatcher that runs over a state file with this sink."""
    clock, telemetry = SystemClock(), Telemetry()
    sink = make(server.url, clock, **QUICK)
    with Outbox.open(path, [sink.name], clock, telemetry) as outbox:
        dispatcher = Dispatcher(outbox, [sink], clock, telemetry)
        task = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher, outbox
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _stands(server: Alertmanager, **expected: str) -> Callable[[], Any]:
    async def ask() -> bool:
        return await server.standing() == {(f"margin_ratio:binance/main/{k}", v) for k, v in expected.items()}

    return ask


async def _is_empty(server: Alertmanager) -> bool:
    return await server.standing() == set()


@integration
async def test_dispatched_through_outages(
    server: Alertmanager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes while Alertmanager is away stands right when it is back, however it went away."""
    monkeypatch.setattr(condition, "BACKOFF_FIRST_S", 0.05)
    monkeypatch.setattr(condition, "BACKOFF_MAX_S", 0.1)
    first, second, third = Story(scope="A"), Story(scope="B"), Story(scope="C")
    async with dispatching(tmp_path / "state.sqlite", server) as (dispatcher, _):
        dispatcher.submit([*first.ratio(0.75), *second.ratio(0.75)])
        await until_answer(_stands(server, A="warning", B="warning"), "both stand")
        for leave, come_back in ((server.kill, server.start), (server.suspend, server.resume)):
            leave()
            dispatcher.submit([*first.ratio(0.90), *second.closed(), *third.ratio(0.97)])
            await until(lambda: dispatcher.health()[0].failing_since is not None, "the outage is noticed")
            come_back()
            await until_answer(_stands(server, A="critical", C="emergency"), "as things are now")
            dispatcher.submit([*first.closed(), *third.closed(), *first.ratio(0.75), *second.ratio(0.75)])
            await until_answer(_stands(server, A="warning", B="warning"), "both stand")
        await until(lambda: dispatcher.health()[0].failing_since is None, "it works again")
        assert dispatcher.pending() == {"alertmanager": 0}


@integration
async def test_a_restarted_monitor_goes_on(server: Alertmanager, tmp_path: Path) -> None:
    """What fired before stands all the time: the new run posts it before it ends by itself."""
    story = Story(scope="A")
    async with dispatching(tmp_path / "state.sqlite", server) as (dispatcher, _):
        dispatcher.submit(story.ratio(0.75))
        await until_answer(_stands(server, A="warning"), "it stands")
    ends = seconds((await server.alerts())[0]["endsAt"])
    async with dispatching(tmp_path / "state.sqlite", server) as (dispatcher, _):

        async def lives_on() -> bool:
            (alert,) = await server.alerts()
            return seconds(alert["endsAt"]) > ends + 1

        await until_answer(lives_on, "it is posted again")
        dispatcher.submit(story.closed())
        await until_answer(lambda: _is_empty(server), "it is over")
