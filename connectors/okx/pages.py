"""Sets of positions and of currencies that come in pages."""

from collections.abc import Sequence
from dataclasses import replace

from connectors.okx.parse import AccountRow, Other, Positions

PAGES_MAX = 200
"""Pages of one set. A set that is longer is forgotten: it cannot be one."""

Page = Positions | AccountRow


class Pages:
    """Puts sets together, one of each kind at a time for each connection."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, type[Page]], list[Page]] = {}

    def forget(self, connection: str) -> None:
        """What the connection had begun will not go on."""
        self._open = {key: pages for key, pages in self._open.items() if key[0] != connection}

    def collect(self, connection: str, told: Page) -> Page | None:
        """An event as it is, a set when its last page is there, None before.

        A page out of turn spoils its set: its rows are good, but nothing follows from what they do not name.
        """
        if not told.whole or (told.page == 1 and told.last):
            return told
        key = (connection, type(told))
        pages = self._open.setdefault(key, [])
        if told.page != len(pages) + 1 or len(pages) >= PAGES_MAX:
            pages.clear()
            if told.page != 1:
                return replace(told, whole=False)
        pages.append(told)
        if not told.last:
            return None
        del self._open[key]
        return _together(pages)


def _together(pages: Sequence[Page]) -> Page:
    """The set that these pages are; figures over all currencies are those of the last."""
    last = pages[-1]
    if isinstance(last, AccountRow):
        coins = tuple(coin for page in pages if isinstance(page, AccountRow) for coin in page.coins)
        return replace(last, coins=coins, page=1)
    sets = [page for page in pages if isinstance(page, Positions)]
    rows = tuple(row for page in sets for row in page.rows)
    return Positions(rows, True, 1, True, frozenset[Other]().union(*(page.others for page in sets)))
