"""A real Redis on loopback, from the system's packages."""

from pathlib import Path

from redis.asyncio import Redis

from tests.support.certificates import Certificate
from tests.support.server_process import ServerProcess, free_port, require


class RedisServer(ServerProcess):
    """redis-server in `directory`; `durable` makes it write every command to the disk before it answers."""

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = False,
        password: str | None = None,
        users: str | None = None,
        tls: Certificate | None = None,
    ) -> None:
        self.password = password
        self.tls = tls
        port = free_port()
        plain, secure = (0, port) if tls else (port, 0)
        command = [
            require("redis-server", "redis-server"),
            "--bind", "127.0.0.1", "--port", str(plain), "--dir", str(directory), "--save", "", "--daemonize", "no",
            "--appendonly", "yes" if durable else "no", "--appendfsync", "always", "--loglevel", "warning",
        ]  # fmt: skip
        if password is not None:
            command += ["--requirepass", password]
        if users is not None:
            (directory / "users.acl").write_text(users)
            command += ["--aclfile", str(directory / "users.acl")]
        if tls is not None:
            files = ("--tls-cert-file", str(tls.certificate), "--tls-key-file", str(tls.key))
            command += ["--tls-port", str(secure), "--tls-auth-clients", "no", *files]
        super().__init__(command, port, directory)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """A client to look at what it holds; close it with ``async with``."""
        options = {"ssl_ca_certs": str(self.tls.certificate)} if self.tls else {}
        return Redis.from_url(self.url, password=self.password, decode_responses=True, socket_timeout=5, **options)
