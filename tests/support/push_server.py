"""A server that plays ntfy and Telegram to whoever pushes, on loopback; it fails, hangs and refuses when told.

Telegram's address cannot be changed in apprise, so there is also a proxy for HTTPS that leads api.telegram.org here,
under a certificate of the test's own.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.support.certificates import Certificate, make_certificate

TELEGRAM = "api.telegram.org"
TOKEN = "123456789:abcdefghijklmnopqrstuvwxyz_ABCDEFGH"


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push that came in, whatever was answered. `to` is the topic of ntfy or the chat of Telegram."""

    to: str
    title: str
    body: str
    headers: Mapping[str, str]
    at: float
    answered: int


@dataclass(slots=True)
class Fault:
    """What is answered instead, so many times. `hang` waits until it is set, then answers with `status`."""

    status: int
    times: float = float("inf")
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    hang: asyncio.Event | None = None


class PushServer:
    """``async with`` runs it. `asked` is every push in order; `taken` those that were answered with 200."""

    def __init__(self) -> None:
        self.asked: list[Pushed] = []
        self.faults: dict[str, Fault] = {}
        self.url = ""
        self._runner: web.AppRunner | None = None

    @property
    def taken(self) -> list[Pushed]:
        """What the person has."""
        return [pushed for pushed in self.asked if pushed.answered == 200]

    def to(self, name: str) -> list[Pushed]:
        """What the person behind this topic or chat has."""
        return [pushed for pushed in self.taken if pushed.to == name]

    def tries(self, name: str) -> int:
        """How often this topic or chat was asked."""
        return sum(pushed.to == name for pushed in self.asked)

    def ntfy(self, topic: str, options: str = "") -> str:
        """The URL of apprise for a topic."""
        return f"ntfy://127.0.0.1:{self.port}/{topic}{options}"

    async def __aenter__(self) -> Self:
        """Listen."""
        application = web.Application()
        application.router.add_post("/", self._ntfy)
        application.router.add_post("/bot{token}/sendMessage", self._telegram)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        self.port = await self._listen(None)
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of whoever hangs, and stop."""
        for fault in self.faults.values():
            if fault.hang is not None:
                fault.hang.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def listen_tls(self, certificate: Certificate) -> int:
        """Listen under this certificate as well; the port."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        return await self._listen(context)

    async def _listen(self, context: ssl.SSLContext | None) -> int:
        assert self._runner is not None
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port: int = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return port

    async def _ntfy(self, request: web.Request) -> web.Response:
        document = await request.json()
        return await self._answer(request, document["topic"], document.get("title", ""), document["message"], {})

    async def _telegram(self, request: web.Request) -> web.Response:
        document = await request.json()
        if request.match_info["token"] != TOKEN:
            return web.json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)
        sent = {"ok": True, "result": {"message_id": len(self.asked)}}
        return await self._answer(request, str(document["chat_id"]), "", document["text"], sent)

    async def _answer(
        self, request: web.Request, to: str, title: str, body: str, good: Mapping[str, Any]
    ) -> web.Response:
        fault = self.faults.get(to)
        arrived = time.monotonic()
        if fault is None or fault.times < 1:
            self.asked.append(Pushed(to, title, body, dict(request.headers), arrived, 200))
            return web.json_response(dict(good))
        fault.times -= 1
        self.asked.append(Pushed(to, title, body, dict(request.headers), arrived, 0 if fault.hang else fault.status))
        if fault.hang is not None:
            await fault.hang.wait()
        return web.json_response(dict(fault.body), status=fault.status, headers=dict(fault.headers))


class TelegramProxy:
    """A proxy that leads every CONNECT to one port of this machine. ``async with`` runs it."""

    def __init__(self, server: PushServer, directory: Path) -> None:
        self._server = server
        self.certificate = make_certificate(directory, TELEGRAM)
        self.asked: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """What makes requests go this way."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.port}",
            "REQUESTS_CA_BUNDLE": str(self.certificate.certificate),
            "NO_PROXY": "127.0.0.1",
        }

    async def __aenter__(self) -> Self:
        """Listen."""
        self._target = await self._server.listen_tls(self.certificate)
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening; connections end with their clients."""
        self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    with suppress(OSError):
        target.close()
