"""Sets of positions that come in pages."""

from dataclasses import replace

from connectors.okx.parse import Positions

PAGES_MAX = 200
"""Pages of one set. A set that is longer is forgotten: it cannot be one."""


class Pages:
    """Puts sets together, one at a time for each connection."""

    def __init__(self) -> None:
        self._open: dict[str, list[Positions]] = {}

    def forget(self, connection: str) -> None:
        """What the connection had begun will not go on."""
        self._open.pop(connection, None)

    def collect(self, connection: str, told: Positions) -> Positions | None:
        """An event as it is, a set when its last page is there, None before.

        A page out of turn spoils its set: its rows are good, but nothing follows from what they do not name.
        """
        if not told.whole or (told.page == 1 and told.last):
            return told
        pages = self._open.setdefault(connection, [])
        if told.page != len(pages) + 1 or len(pages) >= PAGES_MAX:
            pages.clear()
            if told.page != 1:
                return replace(told, whole=False)
        pages.append(told)
        if not told.last:
            return None
        self.forget(connection)
        rows = tuple(row for page in pages for row in page.rows)
        return Positions(rows, True, 1, True, frozenset[str]().union(*(page.others for page in pages)))
