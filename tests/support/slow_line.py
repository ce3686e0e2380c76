"""A line before a server that can hold back what the server says and let it go later, as a proxy that buffers does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class SlowLine:
    """Listens on `port` and passes on to `target`; while `holding`, what comes back waits in `held`, in order."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.holding = False
        self.held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self._passing: set[asyncio.Task[None]] = set()

    def let_go(self, count: int | None = None) -> None:
        """Pass on the oldest `count` pieces of what is held; without a number all, and from now on what comes."""
        going, self.held = self.held[:count], self.held[count:] if count is not None else []
        self.holding = count is not None
        for writer, data in going:
            if not writer.is_closing():
                writer.write(data)

    def cut(self) -> None:
        """End every connection."""
        for task in self._passing:
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            answers, back = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._ask(reader, back), self._answer(answers, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._passing.discard(task)
            for each in (writer, back):
                if each is not None:
                    each.close()

    async def _ask(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()

    async def _answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if self.holding:
                self.held.append((sink, data))
            else:
                sink.write(data)
                await sink.drain()
        if not self.holding:
            sink.close()


@asynccontextmanager
async def slow_line(target: int) -> AsyncIterator[SlowLine]:
    """Such a line before the server on port `target`."""
    line = SlowLine(target)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.cut()
