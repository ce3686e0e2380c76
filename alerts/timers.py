"""When each of very many keys is due next. Pure; time is given."""

from heapq import heapify, heappop, heappush

SLACK = 64


class Timers:
    """One moment a key at most."""

    __slots__ = ("_at", "_queue")

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        """All of `_at`, and entries that hold no more, because their key was moved or cleared."""

    def __len__(self) -> int:
        return len(self._queue)

    def set(self, key: str, at: float | None) -> None:
        """Set or move; None for never."""
        if at is None:
            self._at.pop(key, None)
        elif at != self._at.get(key):
            self._at[key] = at
            heappush(self._queue, (at, key))
        if len(self._queue) > SLACK + 2 * len(self._at):
            # A value that trembles moves its moment at every look, and would pile up what it leaves behind.
            self._queue = [(at, key) for key, at in self._at.items()]
            heapify(self._queue)

    def next(self) -> float | None:
        """The earliest moment; None without any."""
        while self._queue:
            at, key = self._queue[0]
            if self._at.get(key) == at:
                return at
            heappop(self._queue)
        return None

    def take(self, now: float) -> str | None:
        """The key that is due first, which is then cleared; None while none is."""
        at = self.next()
        if at is None or at > now:
            return None
        key = heappop(self._queue)[1]
        del self._at[key]
        return key
