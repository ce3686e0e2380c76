"""A real mosquitto on loopback, from the system's packages, and a listener that outlives its restarts."""

import asyncio
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Self
from uuid import uuid4

import aiomqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.certificates import Certificate
from tests.support.server_process import DEADLINE_S, ServerProcess, free_port, require


class Mosquitto(ServerProcess):
    """mosquitto in `directory`; `durable` makes it keep sessions and retained messages over a stop."""

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = False,
        users: dict[str, str] | None = None,
        rights: str | None = None,
        tls: Certificate | None = None,
        more: Sequence[str] = (),
    ) -> None:
        port = free_port()
        lines = [
            f"listener {port} 127.0.0.1",
            f"allow_anonymous {'false' if users else 'true'}",
            f"persistence {'true' if durable else 'false'}",
            f"persistence_location {directory}/",
            f"user {getuser()}",
            "max_queued_messages 100000",
        ]
        if users:
            lines.append(f"password_file {_write_passwords(directory, users)}")
        if rights is not None:
            (directory / "rights").write_text(rights)
            lines.append(f"acl_file {directory / 'rights'}")
        if tls is not None:
            lines += [f"certfile {tls.certificate}", f"keyfile {tls.key}"]
        (directory / "mosquitto.conf").write_text("\n".join([*lines, *more]) + "\n")
        self.tls = tls
        program = require("mosquitto", "mosquitto")
        super().__init__([program, "-c", str(directory / "mosquitto.conf")], port, directory)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'mqtts' if self.tls else 'mqtt'}://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as it was heard."""

    topic: str
    payload: bytes
    retain: bool


class Listener:
    """Hears everything below a topic, in a session that the broker keeps while the connection is away.

    Use it with ``async with``; it connects again by itself. `as_published` shows whether a message was published to be
    retained, rather than whether it is older than the listener.
    """

    def __init__(
        self,
        server: Mosquitto,
        topic: str = "#",
        username: str | None = None,
        password: str | None = None,
        *,
        as_published: bool = False,
    ):
        self.heard: list[Heard] = []
        self._options = SubscribeOptions(qos=1, retainAsPublished=as_published)
        self._server = server
        self._topic = topic
        self._login = (username, password)
        self._identifier = f"listener-{uuid4().hex}"
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        async with asyncio.timeout(DEADLINE_S):
            await self._listening.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def last(self, topic: str) -> bytes | None:
        """The newest payload on a topic, None before any."""
        return next((heard.payload for heard in reversed(self.heard) if heard.topic == topic), None)

    async def _listen(self) -> None:
        properties = aiomqtt.client.Properties(1)
        properties.SessionExpiryInterval = 3600
        while True:
            with suppress(aiomqtt.MqttError):
                async with self._client(properties) as client:
                    await client.subscribe(self._topic, options=self._options)
                    self._listening.set()
                    async for message in client.messages:
                        self.heard.append(Heard(str(message.topic), bytes(message.payload), message.retain))
            await asyncio.sleep(0.02)

    def _client(self, properties: object) -> aiomqtt.Client:
        tls = self._server.tls
        return aiomqtt.Client(
            "127.0.0.1",
            self._server.port,
            identifier=self._identifier,
            username=self._login[0],
            password=self._login[1],
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=properties,
            timeout=2,
            tls_params=aiomqtt.TLSParameters(ca_certs=str(tls.certificate)) if tls else None,
        )


def _write_passwords(directory: Path, users: dict[str, str]) -> Path:
    path = directory / "passwords"
    path.touch(mode=0o600)
    for name, password in users.items():
        command = [require("mosquitto_passwd", "mosquitto"), "-b", str(path), name, password]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    return path
