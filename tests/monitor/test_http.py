"""The HTTP server, asked over real sockets: what it says, whom it refuses, and that it never keeps the loop."""

import asyncio
import errno
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import perf_counter

import aiohttp
import pytest
import structlog
from aiohttp import web
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pydantic import ValidationError

from alerts.alert import Acknowledgement, Severity
from alerts.message import rfc3339, silence_fields
from alerts.sinks.prometheus import Build, Exposition, MetricsConfig
from monitor.clock import ManualClock
from monitor.credential import Secret
from monitor.errors import ConfigurationError
from monitor.http import CONNECTIONS_MAX, LAG_S_MAX, HttpConfig, HttpServer, LoopWatch
from monitor.model.assessment import FeedHealth
from monitor.views import PoolRow
from tests.support.desk import NOW, Desk, alert, bad_day, busy_telemetry, many_pools


@dataclass(frozen=True, slots=True)
class Client:
    """Asks one server."""

    server: HttpServer
    session: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
        """Status, text and the whole answer."""
        async with self.session.get(self.server.urls[0] + path, headers=headers) as response:
            return response.status, await response.text(), response

    async def json(self, path: str) -> tuple[int, dict[str, object]]:
        """Status and the JSON object."""
        status, text, response = await self.get(path)
        assert response.content_type == "application/json"
        return status, json.loads(text)


def make_server(desk: Desk, config: HttpConfig, max_pools: int = 500) -> HttpServer:
    """A server over a desk, as the daemon makes it."""
    build = Build("0.1.0", "3.11", "plain")
    metrics = Exposition(desk, busy_telemetry(), desk, build, MetricsConfig(max_pools=max_pools))
    return HttpServer(config, desk, desk, metrics, ManualClock(), desk, Secret("token"))


@asynccontextmanager
async def serving(desk: Desk, max_pools: int = 500, **settings: object) -> AsyncIterator[Client]:
    """A server over a desk, on a free loopback port."""
    config = HttpConfig.model_validate({"listen": "127.0.0.1:0"} | settings)
    server = make_server(desk, config, max_pools)
    await server.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            yield Client(server, session)
    finally:
        await server.stop()


async def test_metrics_in_the_format_that_was_asked_for() -> None:
    """Plain text for whoever says nothing, OpenMetrics for whoever accepts it."""
    async with serving(Desk()) as client:
        status, text, response = await client.get("/metrics")
        assert (status, response.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert 'marginwatch_margin_ratio{account="main",pool="binance/main/USDT",venue="binance"} 0.55\n' in text
        _, text, response = await client.get("/metrics", Accept="application/openmetrics-text;version=1.0.0")
        assert response.content_type == "application/openmetrics-text"
        assert "marginwatch_ticks" in {family.name for family in text_string_to_metric_families(text)}


async def test_healthz() -> None:
    """A process that answers is alive."""
    async with serving(Desk()) as client:
        status, body = await client.json("/healthz")
        assert (status, body["status"]) == (200, "ok")


async def test_a_loop_that_was_late_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that came late to a beat is reported as slow."""
    monkeypatch.setattr(LoopWatch, "worst_s", LAG_S_MAX + 0.5)
    async with serving(Desk()) as client:
        assert await client.json("/healthz") == (503, {"status": "slow", "loop_lag_seconds": LAG_S_MAX + 0.5})


def test_the_loop_watch_forgets() -> None:
    """A late beat counts for as long as it is remembered, and an early one never."""
    watch = LoopWatch()
    assert watch.worst_s == 0
    watch.beat(3.0)
    watch.beat(-0.1)
    assert watch.worst_s == 3
    for _ in range(30):
        watch.beat(0.001)
    assert watch.worst_s == 0.001


async def test_readyz() -> None:
    """Ready without a reason against it; otherwise 503 with every reason."""
    desk = Desk()
    async with serving(desk) as client:
        assert await client.json("/readyz") == (200, {"ready": True, "reasons": []})
        desk.reasons = ("binance/main: no snapshot yet",)
        assert await client.json("/readyz") == (503, {"ready": False, "reasons": ["binance/main: no snapshot yet"]})


async def test_pools() -> None:
    """Pools come by danger with every figure; no bound is "Infinity", unknown is null with its reason."""
    async with serving(Desk()) as client:
        status, body = await client.json("/api/v1/pools")
        assert (status, body["total"]) == (200, 5)
        pools = body["pools"]
        assert isinstance(pools, list)
        ranked = [(pool["scope"], pool["margin_ratio"], pool["unknown"]) for pool in pools]
        assert ranked == [
            ("DOGEUSDT:short", "Infinity", []),
            ("NEWUSDT:long", None, ["no tiers for NEWUSDT"]),
            ("BTCUSDT:long", 295 / 340, []),
            ("USDT", 0.55, []),
            ("SOLUSDT:long", 0.004, []),
        ]
        assert pools[2]["remedy"] == {"target_ratio": 0.5, "add_collateral": 123.45, "cut_fraction": 0.25}
        assert pools[4]["distance_remedy"] is None
        assert pools[4]["legs"][0]["liquidation_price"] is None
        assert pools[0]["mark_at"] == rfc3339(NOW - 0.4)


async def test_a_pool_not_assessed_in_full() -> None:
    """Its figures are there, its legs are null, and an unknown ratio has a reason in any case."""
    pools = bad_day()
    async with serving(Desk(pools[1:3], assessed={})) as client:
        _, body = await client.json("/api/v1/pools")
        listed = body["pools"]
        assert isinstance(listed, list)
        assert [pool["legs"] for pool in listed] == [None, None]
        assert listed[1]["unknown"] == ["not assessed in full at the moment"]


async def test_limit() -> None:
    """The caller chooses how many of the riskiest pools come, within bounds that a refusal names."""
    async with serving(Desk(many_pools(700))) as client:
        _, body = await client.json("/api/v1/pools")
        assert (body["total"], len(body["pools"])) == (700, 500)  # type: ignore[arg-type]
        _, body = await client.json("/api/v1/pools?limit=1")
        assert [pool["scope"] for pool in body["pools"]] == ["COIN699USDT:long"]  # type: ignore[attr-defined]
        for limit in ("0", "-1", "many", "1e3", "100001"):
            refusal = {"error": "limit: must be a whole number from 1 to 100000"}
            assert await client.json(f"/api/v1/pools?limit={limit}") == (400, refusal)


async def test_alerts() -> None:
    """What fires, as the messages that sinks get."""
    pools = bad_day()
    desk = Desk(pools, alerts=[alert(Severity.EMERGENCY, pools[1])])
    async with serving(desk) as client:
        status, body = await client.json("/api/v1/alerts")
        assert (status, body["total"]) == (200, 1)
        (message,) = body["alerts"]  # type: ignore[misc]
        assert (message["v"], message["severity"], message["margin_ratio"]) == (1, "emergency", "Infinity")
        desk.alerts = []
        _, body = await client.json("/api/v1/alerts")
        assert body["alerts"] == []


async def test_silences_and_acknowledgements_show() -> None:
    """A pool that is kept quiet says so in its document, as its state does, and on the page; so does an alert."""
    pools = bad_day()
    desk = Desk(pools)
    quiet = desk.silence("binance/main/BTCUSDT:long", 600, "bob", "adding <margin>")
    seen = replace(alert(Severity.CRITICAL, pools[0]), acknowledged=Acknowledgement("ann", NOW), silenced=quiet)
    desk.alerts = [seen]
    async with serving(desk) as client:
        _, body = await client.json("/api/v1/pools")
        silenced = {pool["scope"]: pool["silenced"] for pool in body["pools"]}  # type: ignore[attr-defined]
        assert silenced.pop("BTCUSDT:long") == silence_fields(quiet)
        assert set(silenced.values()) == {None}
        _, text, _ = await client.get("/plain")
        until = f"silent until {rfc3339(quiet.until)}, by bob: adding &lt;margin&gt;"
        assert f"binance/main/BTCUSDT:long · acknowledged by ann at {rfc3339(NOW)} · {until}</li>" in text
        assert f"binance/main/BTCUSDT:long<br><small>{until}</small>" in text
        assert f"<h2>Silences</h2><ul><li>binance/main/BTCUSDT:long: {until}</li>" in text


async def test_the_page_says_what_is_wrong() -> None:
    """Blindness, alerts and streams in trouble stand on the page, and unknown never looks like a number."""
    pools = bad_day()
    desk = Desk(pools, reasons=("binance/main: marks are 7 s old",), alerts=[alert(Severity.CRITICAL, pools[0])])
    async with serving(desk) as client:
        status, text, response = await client.get("/plain")
        assert (status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        for words in (
            "binance/main: marks are 7 s old",
            "critical, when raised: 87% binance/main/BTCUSDT:long",
            "binance/main/user: late, no data yet, no snapshot yet",
            "no margin left",
            "no tiers for NEWUSDT",
            '<td class="figure">unknown</td>',
        ):
            assert words in text
        status, text, response = await client.get("/page.css")
        assert (status, response.content_type) == (200, "text/css")


async def test_the_page_of_a_calm_day() -> None:
    """Without pools and trouble the page says so, and shows no banner."""
    live = [feed for feed in Desk().feeds if feed.age_s is not None]
    async with serving(Desk([], live)) as client:
        _, text, _ = await client.get("/plain")
        assert "No pool has risk open." in text
        assert 'class="bad"' not in text


async def test_the_page_before_an_account_was_read() -> None:
    """It does not say that no risk is open, which nobody knows."""
    reasons = ("binance/main: account down: no snapshot yet",)
    async with serving(Desk([], reasons=reasons, unread=(("binance", "main"),))) as client:
        _, text, _ = await client.get("/plain")
        assert "No pool has risk open." not in text
        assert "<p>Not read yet: binance/main. What risk is open there is not known.</p>" in text


async def test_the_page_cuts_and_escapes() -> None:
    """Only the riskiest pools are listed, the rest is counted, and a name cannot become markup."""
    pools = many_pools(250)
    pools[249] = replace(pools[249], pool="binance/desk0/<script>")
    async with serving(Desk(pools)) as client:
        _, text, _ = await client.get("/plain")
        assert "50 pools with less risk are not shown." in text
        assert "<script" not in text
        assert "binance/desk0/&lt;script&gt;" in text


@pytest.mark.parametrize(
    "path", ["/plain", "/page.css", "/metrics", "/healthz", "/readyz", "/api/v1/board", "/api/v1/history", "/nothing"]
)
async def test_strict_headers(path: str) -> None:
    """Every answer forbids scripts, foreign content, framing, sniffing and storing."""
    async with serving(Desk()) as client:
        _, text, response = await client.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "style=" not in text


HEADERS = (
    "Cache-Control",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
)


async def spoken(client: Client, request: bytes) -> bytes:
    """Whatever is answered to these bytes until the server closes the connection."""
    host, _, port = client.server.urls[0].removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


NAMED = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
ORDER = b"POST /api/v1/silences" + NAMED
BROKEN_GZIP = b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (ORDER + b"Authorization: Bearer \xff\r\nContent-Length: 2\r\n\r\n{}", 401),
        (ORDER + b"Authorization: Bearer token\r\n" + BROKEN_GZIP, 400),
        (ORDER + b"Authorization: Bearer token\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (b"GET /readyz" + NAMED + BROKEN_GZIP, 200),
        (b"DELETE /api/v1/silences/%ff?by=%ff" + NAMED + b"Authorization: Bearer token\r\n\r\n", 200),
        (b"DELETE /api/v1/silences/\xff" + NAMED + b"Authorization: Bearer token\r\n\r\n", 400),
        (b"GET /metrics" + NAMED + b"Accept: application/openmetrics-text;version=abc\r\n\r\n", 200),
        (b"GET /metrics" + NAMED + b"Accept: application/openmetrics-text;version=2.\xff\r\n\r\n", 200),
        (b"GET /metrics" + NAMED + b"Accept: text/plain;version=1.x\r\n\r\n", 200),
        (b"GET /api/v1/pools?limit=" + b"9" * 5000 + NAMED + b"\r\n", 400),
        (b"GET /board/%ff" + NAMED + b"\r\n", 404),
        (b"GET /" + NAMED + b"Expect: the unexpected\r\n\r\n", 417),
        (b"GET /" + b"a" * 9000 + NAMED + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n", 421),
        (b"garbage\r\n\r\n", 400),
    ],
)
async def test_whatever_is_asked_is_answered_with_the_headers(
    request_bytes: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """However little sense it makes: no fault of the server's, no traceback, and the headers of every answer."""
    async with serving(Desk()) as client:
        answer = await spoken(client, request_bytes)
    head = answer.partition(b"\r\n\r\n")[0].decode(errors="replace")
    assert re.match(rf"HTTP/1\.[01] {status} ", head)
    assert [name for name in HEADERS if f"\n{name}: ".lower() not in head.lower()] == []
    assert troubles(caplog) == []


class Faulty(Desk):
    """A desk whose health cannot be told."""

    def health(self) -> Sequence[FeedHealth]:
        """See `PoolSource`."""
        raise KeyError("a fault of ours")


async def test_a_fault_of_ours_is_answered_with_the_headers() -> None:
    """500 in JSON, without a word of what it was, which is in the log."""
    async with serving(Faulty()) as client:
        with structlog.testing.capture_logs() as logged:
            status, text, response = await client.get("/plain")
        assert (status, json.loads(text)) == (500, {"error": "the monitor is at fault; its log says more"})
        assert [name for name in HEADERS if name not in response.headers] == []
        assert [(entry["log_level"], entry["path"]) for entry in logged] == [("error", "/plain")]


async def test_an_answer_that_fails_on_its_way_does_not_pass_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is cut."""

    def failing(row: PoolRow) -> bytes:
        raise KeyError(row.pool)

    monkeypatch.setattr("monitor.http.pool_json", failing)
    async with serving(Desk()) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get("/api/v1/pools")
        assert (await client.get("/healthz"))[0] == 200


async def test_unknown_paths_and_methods() -> None:
    """They are refused in JSON."""
    async with serving(Desk()) as client:
        assert await client.json("/nothing") == (404, {"error": "Not Found"})
        async with client.session.post(client.server.urls[0] + "/api/v1/pools") as response:
            assert response.status == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("[::1]:9464", 200),
        ("margin.example.org", 200),
        ("Margin.Example.ORG:443", 200),
        ("rebound.example.com", 421),
        ("rebound.example.com:9464", 421),
        ("localhost.example.com", 421),
    ],
)
async def test_a_foreign_name_for_this_machine_is_refused(host: str, status: int) -> None:
    """A page whose name was made to point at the loopback address cannot read the account."""
    for allowed in ("margin.example.org", "Margin.Example.Org"):
        async with serving(Desk(), allowed_hosts=[allowed]) as client:
            assert (await client.get("/api/v1/pools", Host=host))[0] == status


async def test_on_other_interfaces_any_name_will_do() -> None:
    """Who listens beyond loopback chose to be reached by name."""
    async with serving(Desk(), listen="0.0.0.0:0") as client:
        url = client.server.urls[0].replace("0.0.0.0", "127.0.0.1")
        async with client.session.get(url + "/healthz", headers={"Host": "marginwatch:9464"}) as response:
            assert response.status == 200


async def test_a_port_in_use() -> None:
    """The error names file and key, says what is wrong and what to do."""
    async with serving(Desk()) as client:
        listen = client.server.urls[0].removeprefix("http://")
        second = make_server(Desk(), HttpConfig(listen=listen))
        with pytest.raises(ConfigurationError) as raised:
            await second.start("marginwatch.toml")
        assert str(raised.value) == (
            f"marginwatch.toml: http.listen: {listen} is in use by another program; "
            "is marginwatch running already? Choose another port"
        )
        assert raised.value.retry
        await second.stop()


@pytest.mark.parametrize("listen", ["192.0.2.1:9464", "no-such-host.invalid:9464"])
async def test_an_address_that_cannot_be_had(listen: str) -> None:
    """Somebody else's address, or a name that leads nowhere: both may come up later, as those of a VPN do."""
    server = make_server(Desk(), HttpConfig(listen=listen))
    with pytest.raises(ConfigurationError, match=f"http.listen: .*{listen}") as raised:
        await server.start()
    assert raised.value.retry


async def test_an_address_that_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time mends nothing there."""

    async def refuse(site: web.TCPSite) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(web.TCPSite, "start", refuse)
    with pytest.raises(ConfigurationError, match="choose a port from 1024") as raised:
        await make_server(Desk(), HttpConfig(listen="127.0.0.1:80")).start()
    assert not raised.value.retry


@pytest.mark.parametrize("token", ["two words", "two\nlines", "t\N{LATIN SMALL LETTER O WITH DIAERESIS}ken"])
def test_a_token_that_no_header_bears(token: str) -> None:
    """It is refused when the configuration is read, without being repeated."""
    with pytest.raises(ValidationError, match="one line of ASCII letters") as raised:
        HttpConfig(token=Secret(token, "env:TOKEN"))
    assert token not in str(raised.value)


@pytest.mark.parametrize("listen", ["9464", "127.0.0.1", "127.0.0.1:", ":9464", "::1:9464", "127.0.0.1:65536", "a:b"])
def test_a_listen_that_is_none(listen: str) -> None:
    """It is refused when the configuration is read, with an example of a good one."""
    with pytest.raises(ValidationError, match=r'must be "address:port", for example'):
        HttpConfig(listen=listen)


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False), ("[::]:1", False)],
)
def test_loopback(listen: str, loopback: bool) -> None:
    """Which addresses only this machine can reach."""
    assert HttpConfig(listen=listen).loopback is loopback


@asynccontextmanager
async def lazy_reader(client: Client) -> AsyncIterator[None]:
    """Somebody who asks for a big answer and does not read it; meanwhile it is under way."""
    host, _, port = client.server.urls[0].removeprefix("http://").rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        await loop.sock_connect(reader, (host, int(port)))
        await loop.sock_sendall(reader, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: client.server.under_way == 1)
        yield


async def test_a_reader_that_does_not_read_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """An answer that cannot be sent in time is let go, without a traceback."""
    async with serving(Desk(many_pools(3000)), 3000, answer_s=0.5) as client:
        async with lazy_reader(client):
            await until(lambda: client.server.under_way == 0)
        assert (await client.get("/healthz"))[0] == 200
    assert troubles(caplog) == []


async def test_too_many_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Requests beyond the bound are refused at once, not queued; a reader that leaves makes room."""
    async with serving(Desk(many_pools(3000)), 3000, requests_max=1, answer_s=30) as client:
        async with lazy_reader(client):
            assert await client.json("/healthz") == (503, {"error": "too many requests at once"})
        await until(lambda: client.server.under_way == 0)
        assert (await client.get("/healthz"))[0] == 200
    assert troubles(caplog) == []


@pytest.mark.parametrize(
    "sent", [b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"\x16\x03\x01\x02"]
)
async def test_garbage(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What is not HTTP gets no traceback, and the server goes on."""
    async with serving(Desk()) as client:
        host, _, port = client.server.urls[0].removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        writer.write_eof()
        await reader.read()
        writer.close()
        assert (await client.get("/healthz"))[0] == 200
    assert troubles(caplog) == []


async def test_connections_left_open_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """Strangers who connect and say nothing cannot use up the file descriptors; the newest stay and are answered."""
    async with serving(Desk()) as client:
        host, _, port = client.server.urls[0].removeprefix("http://").rpartition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS_MAX + 10)]
        async with asyncio.timeout(10):
            assert [await reader.read() for reader, _ in opened[:10]] == [b""] * 10
        assert (await client.get("/healthz"))[0] == 200
        newest_reader, newest_writer = opened[-1]
        newest_writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await newest_reader.readline()).endswith(b" 200 OK\r\n")
        for _, writer in opened:
            writer.close()
    assert troubles(caplog) == []


async def test_big_answers_leave_the_loop_its_turns() -> None:
    """While thousands of series are rendered, other work runs many times in between."""
    async with serving(Desk(many_pools(2000)), 2000) as client:
        for path in ("/metrics", "/api/v1/pools?limit=2000"):
            turns = 0
            answer = asyncio.create_task(client.get(path))
            started = perf_counter()
            while not answer.done():
                await asyncio.sleep(0)
                turns += 1
            # A turn is a quarter of a millisecond of rendering; ten times that leaves room for a busy machine.
            assert turns > (perf_counter() - started) / 0.0025


async def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens inside of aiohttp, which sets no event
            await asyncio.sleep(0.005)


def troubles(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning or worse."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
