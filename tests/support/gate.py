"""A gate before a server: lets bytes through, or holds every connection as a cut cable does, without a word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Gate:
    """Listens on `port` and passes on to `target` while `open`; closed, it holds what comes and accepts no one."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._passing: set[asyncio.Task[None]] = set()

    def shut(self) -> None:
        """Cut: nothing passes any more, nobody is told."""
        self._is_open.clear()

    def open(self) -> None:
        """Let connections pass again; what was held is lost with its connection, as after a long cut."""
        for task in self._passing:
            task.cancel()
        self._is_open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._is_open.wait()
            back, upstream = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._pass(reader, upstream), self._pass(back, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._passing.discard(task)
            for each in (writer, upstream):
                if each is not None:
                    each.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            await self._is_open.wait()
            sink.write(data)
            await sink.drain()
        sink.close()


@asynccontextmanager
async def gate(target: int) -> AsyncIterator[Gate]:
    """A gate before the server on port `target`."""
    subject = Gate(target)
    server = await asyncio.start_server(subject.serve, "127.0.0.1", 0)
    subject.port = server.sockets[0].getsockname()[1]
    try:
        yield subject
    finally:
        server.close()
        subject.open()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await server.wait_closed()
