"""What the board shows at one moment, as JSON, and what changed since the moment before. Pure: values in, bytes out.

Pools and alerts are the documents of ``/api/v1/pools`` and ``/api/v1/alerts``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from alerts.alert import Alert, Silence
from alerts.message import rfc3339, silence_fields
from monitor.model.assessment import FeedHealth, FeedState
from monitor.views import Json

POOLS_MAX, ALERTS_MAX = 1_000, 100
"""The riskiest pools and the worst alerts; the totals say how many there are."""

_WORST_FIRST = (FeedState.DOWN, FeedState.STALE, FeedState.LATE, FeedState.LIVE)


@dataclass(frozen=True, slots=True)
class Round:
    """One moment. `sections` and `pools` are JSON by name, `pools` by danger; the rest tells it from the round `since`.

    The first round has no other before it: its `since` is 0, which no reader holds.
    """

    number: int
    at: float
    total: int
    sections: Mapping[str, bytes]
    pools: Mapping[str, bytes]
    since: int = 0
    changed_sections: Sequence[str] = field(default=())
    changed_pools: Sequence[str] = field(default=())
    gone: Sequence[str] = field(default=())

    def full(self) -> Iterator[bytes]:
        """Everything, as one JSON object in small pieces. `since` is null."""
        yield from self._pieces(None, self.sections, self.pools.values())

    def change(self) -> Iterator[bytes]:
        """What is new for a reader who holds the round `since`: sections that are absent are as they were."""
        gone = {"gone": orjson.dumps(list(self.gone))} if self.gone else {}
        sections = {name: self.sections[name] for name in self.changed_sections} | gone
        yield from self._pieces(self.since, sections, (self.pools[pool] for pool in self.changed_pools))

    def _pieces(self, since: int | None, sections: Mapping[str, bytes], pools: Iterable[bytes]) -> Iterator[bytes]:
        head = {"round": self.number, "since": since, "at": rfc3339(self.at), "total": self.total}
        yield orjson.dumps(head)[:-1]
        for name, section in sections.items():
            yield b',"' + name.encode() + b'":' + section
        yield b',"pools":['
        separator = b""
        for pool in pools:
            yield separator + pool
            separator = b","
        yield b"]}"


def follow(
    before: Round | None, at: float, total: int, sections: Mapping[str, bytes], pools: Mapping[str, bytes]
) -> Round:
    """The round after `before`."""
    if before is None:
        return Round(1, at, total, sections, pools)
    return Round(
        before.number + 1,
        at,
        total,
        sections,
        pools,
        since=before.number,
        changed_sections=[name for name, section in sections.items() if before.sections.get(name) != section],
        changed_pools=[pool for pool, document in pools.items() if before.pools.get(pool) != document],
        gone=[pool for pool in before.pools if pool not in pools],
    )


def worst(firing: Sequence[Alert]) -> list[Alert]:
    """Those alerts that are shown, the worst and among equals the latest first."""
    return sorted(firing, key=lambda alert: (-alert.severity, -alert.raised_at, alert.key))[:ALERTS_MAX]


def sections(
    ready: tuple[bool, Sequence[str]],
    unread: Sequence[str],
    rungs: Mapping[tuple[str, str], float],
    feeds: Iterable[FeedHealth],
    firing: int,
    alerts: Iterable[bytes],
    silences: Iterable[Silence],
) -> dict[str, bytes]:
    """Everything but the pools, as JSON by name. `alerts` are those shown, as messages, of the many that fire.

    `unread` names the accounts that were never read: where no pool is shown, it may be because of them.
    """
    return {
        "ready": orjson.dumps({"ready": ready[0], "reasons": list(ready[1]), "unread": list(unread)}),
        "rungs": orjson.dumps(_ladders(rungs)),
        "feeds": orjson.dumps([_feed(feed) for feed in sorted(feeds, key=_feed_order)]),
        "alerts_total": orjson.dumps(firing),
        "alerts": b"[" + b",".join(alerts) + b"]",
        "silences": orjson.dumps([silence_fields(silence) for silence in silences]),
    }


def _ladders(rungs: Mapping[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    """Rule to severity to threshold."""
    ladders: dict[str, dict[str, float]] = {}
    for (rule, severity), threshold in rungs.items():
        ladders.setdefault(rule, {})[severity] = threshold
    return ladders


def _feed_order(feed: FeedHealth) -> tuple[int, str, str, str]:
    return _WORST_FIRST.index(feed.state), feed.venue, feed.account, feed.stream


def _feed(feed: FeedHealth) -> Json:
    return {
        "venue": feed.venue,
        "account": feed.account,
        "stream": feed.stream,
        "state": feed.state.value,
        "age_s": None if feed.age_s is None else round(feed.age_s, 1),
        "detail": feed.detail,
    }
