"""A real Alertmanager on loopback, from the system's packages, and a receiver that keeps what it sends to people."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import yaml
from aiohttp import web

from tests.support.certificates import Certificate
from tests.support.server_process import ServerProcess, free_port, require

USER, PASSWORD = "desk", "open sesame"
PASSWORD_HASH = "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"
"""The password as bcrypt writes it, at the lowest cost."""


class Alertmanager(ServerProcess):
    """prometheus-alertmanager in `directory`; it forgets every alert when it is stopped, as it does anywhere.

    Unless `config` says otherwise each alert is a group of its own and is sent at once to `webhook`, when one is given.
    `login` demands `USER` and `PASSWORD`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        webhook: str | None = None,
        login: bool = False,
        tls: Certificate | None = None,
        prefix: str = "",
        config: Path | None = None,
    ) -> None:
        port = free_port()
        receiver: dict[str, Any] = {"name": "people"}
        if webhook is not None:
            receiver["webhook_configs"] = [{"url": webhook, "send_resolved": True}]
        route = {
            "receiver": "people",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        }
        (directory / "alertmanager.yml").write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))
        self.tls = tls
        self.prefix = prefix
        web_config: dict[str, Any] = {}
        if tls is not None:
            web_config["tls_server_config"] = {"cert_file": str(tls.certificate), "key_file": str(tls.key)}
        if login:
            web_config["basic_auth_users"] = {USER: PASSWORD_HASH}
        (directory / "web.yml").write_text(yaml.safe_dump(web_config) if web_config else "")
        command = [
            require("prometheus-alertmanager", "prometheus-alertmanager"),
            f"--config.file={config or directory / 'alertmanager.yml'}",
            f"--web.config.file={directory / 'web.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.route-prefix={prefix or '/'}",
            f"--storage.path={directory / 'data'}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        super().__init__(command, port, directory)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{self.prefix}"

    async def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are active there now, as its API shows them."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v2/alerts", ssl=False) as answer:
            assert answer.status == 200, await answer.text()
            found: list[dict[str, Any]] = orjson.loads(await answer.read())
        return found

    async def standing(self) -> set[tuple[str, str]]:
        """Key and severity of each alert that is active there."""
        return {(alert["labels"]["key"], alert["labels"]["severity"]) for alert in await self.alerts()}


@dataclass(slots=True)
class Receiver:
    """What people were sent: (status, key, severity, summary) of each alert of each notification, in order."""

    url: str
    heard: list[tuple[str, str, str, str]] = field(default_factory=list)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A webhook such as Alertmanager tells people through."""
    people = Receiver(f"http://127.0.0.1:{free_port()}/")

    async def hear(request: web.BaseRequest) -> web.Response:
        for alert in orjson.loads(await request.read())["alerts"]:
            about = alert["labels"]
            people.heard.append((alert["status"], about["key"], about["severity"], alert["annotations"]["summary"]))
        return web.Response()

    async with serving(hear, people.url):
        yield people


@asynccontextmanager
async def serving(handler: Callable[[web.BaseRequest], Awaitable[web.Response]], url: str) -> AsyncIterator[None]:
    """An HTTP server at `url` that answers everything by `handler`."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=1)
    await runner.setup()
    address = urlsplit(url)
    try:
        await web.TCPSite(runner, address.hostname, address.port).start()
        yield
    finally:
        await runner.cleanup()


def seconds(time: str) -> float:
    """A time of its API in seconds since the epoch."""
    return datetime.fromisoformat(time).timestamp()
