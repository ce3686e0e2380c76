"""What reaches a person's phone, when and by which route. Pure; time is given.

Everything here takes something away from the stream of alerts, so it is written to err towards saying too much:

- What one batch brings for one account leaves as one page. Of several words about one alert only the last leaves, and
  the worst beside it when that was critical.
- A page takes one of the `per_hour` places of a sliding hour; without one it is held. An emergency and an escalation go
  past the cap, as do a worsening and a new critical alert, these once an hour for each alert and severity.
- In quiet hours a page is held unless it has something critical.
- Margin ratio and distance of one pool tell of one danger, and so does all that cannot be seen of one account. Of each,
  what is no worse than what those who were to hear it know already, and still fires, is held as long as that fires and
  is not silenced. To acknowledge what is known is to know of what was there at that time, and of nothing later.
- What is held is said in one page when it may leave, if it still fires; what ended meanwhile is said to be over only to
  those who had heard of it. An acknowledgement or a silence takes it out.

`remember` has all of it for the next run. Another monitor, which takes over, does not know it: a notice or warning that
fires, whose last word fell into quiet hours and was not said here, is held, so that what the first one held at night is
said in the morning. What only the first one's cap held back is said at its next repeat: late, not lost.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from alerts.alert import Alert, Severity, State, Step
from alerts.message import pack, unpack
from alerts.rules import DISTANCE, MARGIN_RATIO, STALE_FEED
from alerts.silences import fits

HOUR_S = 3600.0
REMEMBERED_MAX = 1_000
"""So many alerts, the latest, are remembered over a restart; of others the last word may be said twice."""
SAID_MAX = 20_000
"""Alerts by key whose last word that left is remembered; past it the oldest are forgotten and may be said twice."""
OLD_S = 120.0
"""A page says of an alert how long ago it was when that is more than this."""
BODY_CHARACTERS_MAX = 1_000
"""What the channels that take least (Pushover) still show; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Route:
    """One destination and what it wants to hear. Empty patterns fit everything; ``*`` in one stands for anything.

    `also`: what it takes is given to the next route that fits as well.
    """

    name: str
    severities: frozenset[Severity] = frozenset(Severity)
    accounts: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    also: bool = False

    def fits(self, alert: Alert) -> bool:
        """Whether this route wants this alert. One that belongs to no account or pool has none that could fit."""
        wanted = ((self.accounts, alert.account), (self.rules, alert.rule), (self.pools, alert.pool))
        return alert.severity in self.severities and all(
            not patterns or (name is not None and any(fits(pattern, name) for pattern in patterns))
            for patterns, name in wanted
        )


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A time of day, in minutes since midnight on the clock of `zone` (None: this machine's), that may cross midnight.

    Where the clock is put forward or back it is what the clock shows that counts.
    """

    begin: int
    end: int
    zone: tzinfo | None = None

    def covers(self, at: float) -> bool:
        """Whether the clock shows a quiet time."""
        local = datetime.fromtimestamp(at, self.zone)  # naive, and on this machine's clock, without a zone
        minute = local.hour * 60 + local.minute
        if self.begin <= self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@dataclass(frozen=True, slots=True)
class PagingPolicy:
    """How much a person is to be disturbed."""

    per_hour: int
    quiet: QuietHours | None = None
    resolved: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """One push: `to` are all to hear it, `instead` are tried in this order when one of them cannot be reached.

    `severity` is the highest that fires, None when all of it is over. `place` is what it takes of the hour.
    """

    alerts: tuple[Alert, ...]
    to: tuple[str, ...]
    instead: tuple[str, ...]
    severity: Severity | None
    title: str
    body: str
    place: float


@dataclass(frozen=True, slots=True)
class _Held:
    """What waits: a word that fires, which is found among what fires when its time has come, or that it is `over`.

    `unheard`: nobody knows of the alert, so nobody needs to know when it is over. `covered`: only because something as
    bad is known of its danger, so that this holds for a critical one as well.
    """

    word: tuple[int, float]
    unheard: bool
    covered: bool = False
    over: Alert | None = None


class Pager:
    """Decides what is pushed. Tell it the fate of every page: `took` for each route that took it, else `failed`."""

    def __init__(self, routes: Sequence[Route], policy: PagingPolicy) -> None:
        self._routes = tuple(routes)
        self._policy = policy
        self._said: OrderedDict[str, tuple[int, float]] = OrderedDict()
        # Which routes know that it fires.
        self._heard: dict[str, set[str]] = {}
        # What fires as far as we know, by what it tells of: from `due`, and from what came since.
        self._firing: dict[str, dict[str, Alert]] = {}
        # At most one for each key that fires or has just ended.
        self._held: dict[str, _Held] = {}
        self._places: deque[float] = deque()
        # When an alert last went past the cap, by key and severity; within the hour only.
        self._passed: dict[tuple[str, Severity], float] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """The keys of what waits: for the end of quiet hours, for a place in the hour, or for what covers it."""
        return tuple(self._held)

    # What is decided

    def plan(self, alerts: Sequence[Alert], now: float) -> list[Page]:
        """The pages that leave now for these alerts, in order. The same alerts may come again when a page failed."""
        groups: dict[tuple[str | None, tuple[str, ...], tuple[str, ...]], list[Alert]] = {}
        for words in _by_key(alert for alert in alerts if not self._is_said(alert)):
            last = words[-1]
            self._know(last)
            if not self._is_for_people(words):
                self._held.pop(last.key, None)
                continue
            if self._is_covered(last):
                self._hold([last], covered=True)
                continue
            to, instead = self._destination(last)
            if to:
                groups.setdefault((last.account, to, instead), []).extend(_telling(words))
        pages = []
        # The worst first: whoever sends them may take a while for each.
        for (_, to, instead), group in sorted(groups.items(), key=lambda item: -_worst(item[1])):
            if self._may_leave(group, now):
                pages.append(self._page(group, to, instead, now))
            else:
                self._hold(group)
        return pages

    def due(self, firing: Sequence[Alert], now: float) -> list[Page]:
        """The pages that time brings: what was held and may leave. `firing` is the last word about all that fires."""
        present = {alert.key: alert for alert in firing}
        self._firing = {}
        for each in firing:
            self._know(each)
        # Only held for now: if it is on its way to `plan`, it is said or held there before this is called again.
        found = {alert.key: alert for alert in firing if alert.key not in self._held and self._was_quiet(alert)}
        self._hold(found.values())
        groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Alert]] = {}
        for key, held in self._held.items():
            alert = present.get(key) if held.over is None else held.over
            if alert is None or _word(alert) != held.word or key in found:
                continue  # a later word, or the last one, is on its way to `plan`
            if _is_handled(alert) or self._is_quiet(alert.severity, now) or self._is_covered(alert):
                continue
            to, instead = self._destination(alert)
            if to:
                groups.setdefault((to, instead), []).append(alert)
        pages = []
        for (to, instead), group in groups.items():
            if self._has_room(now):
                pages.append(self._page(group, to, instead, now, held=True))
        return pages

    # What became of it

    def took(self, page: Page, route: str) -> None:
        """A route has taken the page; it is not said again."""
        for alert in page.alerts:
            word = _word(alert)
            latest = max(word, self._said.get(alert.key, word))
            self._said[alert.key] = latest
            self._said.move_to_end(alert.key)
            if alert.state is State.RESOLVED:
                self._heard.pop(alert.key, None)
            elif word == latest or alert.key in self._heard:  # else it was late, and is known to be over
                self._heard.setdefault(alert.key, set()).add(route)
            held = self._held.get(alert.key)
            if held is not None and held.word <= word:
                del self._held[alert.key]
        while len(self._said) > SAID_MAX:
            self._said.popitem(last=False)

    def failed(self, page: Page) -> None:
        """No route has taken the page: its place is free again, and its alerts may pass the cap again."""
        if page.place in self._places:
            self._places.remove(page.place)
        for alert in page.alerts:
            if self._passed.get((alert.key, alert.severity)) == page.place:
                del self._passed[alert.key, alert.severity]

    # What outlives a restart

    def remember(self) -> dict[str, Any]:
        """All that was decided and is still of use, ready for JSON."""
        said = dict(list(self._said.items())[-REMEMBERED_MAX:])
        return {
            "said": said,
            "heard": {key: sorted(routes) for key, routes in self._heard.items() if key in said},
            "held": {
                key: (held.word, held.unheard, held.covered, None if held.over is None else pack(held.over).decode())
                for key, held in self._held.items()
            },
            "places": list(self._places),
            "passed": [(key, int(severity), at) for (key, severity), at in self._passed.items()],
        }

    def recall(self, memory: Mapping[str, Any], now: float) -> None:
        """Go on from what another run remembered. Raises ValueError, KeyError or TypeError for anything else.

        A clock that was set back since must not keep places taken: what lies in the future is left out. So is who has
        heard what by a route that is no more.
        """
        said = [(key, (int(serial), float(at))) for key, (serial, at) in memory["said"].items()]
        held = {
            key: _Held((int(serial), float(at)), bool(unheard), bool(covered), None if over is None else unpack(over))
            for key, ((serial, at), unheard, covered, over) in memory["held"].items()
        }
        passed = {(key, Severity(severity)): float(at) for key, severity, at in memory["passed"]}
        names = {route.name for route in self._routes}
        heard = {key: names.intersection(routes) for key, routes in memory["heard"].items()}
        places = [float(place) for place in memory["places"]]
        self._said = OrderedDict(said)
        self._heard = heard
        self._held = held
        self._places = deque(place for place in places if place <= now)
        self._passed = {which: at for which, at in passed.items() if at <= now}

    # Inside

    def _is_said(self, alert: Alert) -> bool:
        return _word(alert) <= self._said.get(alert.key, (0, 0.0))

    def _is_for_people(self, words: Sequence[Alert]) -> bool:
        last = words[-1]
        if last.state is State.FIRING:
            return not _is_handled(last)
        held = self._held.get(last.key)
        begins = words[0].step in (Step.RAISED, Step.HEARD_AGAIN) and last.key not in self._heard
        unheard = begins if held is None else held.unheard
        covered = held is not None and held.covered
        tells = not unheard or (max(alert.severity for alert in words) >= Severity.CRITICAL and not covered)
        if not self._policy.resolved or last.silenced is not None or not tells:
            self._heard.pop(last.key, None)  # what comes later under this key is another matter
            return False
        return True

    def _destination(self, alert: Alert) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who is to hear it, and who instead. Whoever has heard of an alert hears that it worsened, eases or ends."""
        groups = _groups(self._routes, alert)
        names = [name for group in groups for name in group]
        reached = min(alert.escalation, len(groups) - 1)
        heard: Set[str] = self._heard.get(alert.key, frozenset())
        if heard and alert.step in (Step.EASED, Step.RESOLVED):
            to = [route.name for route in self._routes if route.name in heard]
        elif not groups:
            return (), ()
        elif alert.step is Step.ESCALATED and (heard or alert.key not in self._held):
            to = groups[reached]  # those before have heard of it, if not from here; of what was held they have not
        else:
            first = {name for group in groups[: reached + 1] for name in group}
            too = heard if alert.step is Step.WORSENED else frozenset()
            to = [name for name in names if name in first or name in too]
        after = names.index(to[-1]) + 1 if to[-1] in names else 0
        return tuple(to), tuple(name for name in (*names[after:], *names[:after]) if name not in to)

    def _may_leave(self, group: Sequence[Alert], now: float) -> bool:
        if all(self._is_quiet(alert.severity, now) for alert in group):
            return False
        if self._has_room(now):
            return True
        passing = [alert for alert in group if self._passes_cap(alert, now)]
        for alert in passing:
            self._passed[alert.key, alert.severity] = now
        return bool(passing)

    def _passes_cap(self, alert: Alert, now: float) -> bool:
        if alert.state is State.RESOLVED:
            return False
        if alert.severity is Severity.EMERGENCY or alert.step is Step.ESCALATED:
            return True
        is_new = alert.step in (Step.RAISED, Step.HEARD_AGAIN) and alert.severity is Severity.CRITICAL
        return (is_new or alert.step is Step.WORSENED) and (alert.key, alert.severity) not in self._passed

    def _has_room(self, now: float) -> bool:
        while self._places and self._places[0] <= now - HOUR_S:
            self._places.popleft()
        self._passed = {which: at for which, at in self._passed.items() if at > now - HOUR_S}
        return len(self._places) < self._policy.per_hour

    def _is_quiet(self, severity: Severity, at: float) -> bool:
        quiet = self._policy.quiet
        return quiet is not None and severity <= Severity.WARNING and quiet.covers(at)

    def _was_quiet(self, alert: Alert) -> bool:
        return self._is_quiet(alert.severity, alert.at) and not self._is_said(alert) and not _is_handled(alert)

    def _hold(self, group: Iterable[Alert], *, covered: bool = False) -> None:
        for alert in group:
            before = self._held.get(alert.key)
            begins = alert.step in (Step.RAISED, Step.HEARD_AGAIN) and alert.key not in self._heard
            unheard = begins if before is None else before.unheard
            over = alert if alert.state is State.RESOLVED else None
            self._held[alert.key] = _Held(_word(alert), unheard, covered, over)

    def _know(self, alert: Alert) -> None:
        """Note that an alert fires, or that it is over."""
        danger = _danger(alert)
        if danger is None:
            return
        if alert.state is State.FIRING:
            self._firing.setdefault(danger, {})[alert.key] = alert
        else:
            self._firing.get(danger, {}).pop(alert.key, None)

    def _is_covered(self, alert: Alert) -> bool:
        """Whether all who are to hear it first know of something as bad about the same danger."""
        danger = _danger(alert)
        if danger is None or alert.state is State.RESOLVED:
            return False
        others = [other for other in self._firing.get(danger, {}).values() if self._covers(other, alert)]
        if not others:
            return False
        groups = _groups(self._routes, alert)
        to = self._destination(alert)[0] if alert.key in self._heard else groups[0] if groups else ()
        return any(self._heard[other.key].issuperset(to) for other in others)

    def _covers(self, other: Alert, alert: Alert) -> bool:
        """Whether people know of the other one as it is now, and by that of this one. Of two as bad that they know of,
        the first covers the second."""
        if other.key == alert.key or other.severity < alert.severity or not self._is_known(other):
            return False
        if other.severity == alert.severity and self._is_known(alert) and _order(other) > _order(alert):
            return False
        return other.acknowledged is None or alert.raised_at <= other.acknowledged.at

    def _is_known(self, alert: Alert) -> bool:
        """Whether somebody has heard of an alert as it is now, but for repeats, and may hear of it again."""
        serial, _ = self._said.get(alert.key, (None, 0.0))
        return serial == alert.serial and alert.key in self._heard and alert.silenced is None

    def _page(
        self, group: Sequence[Alert], to: tuple[str, ...], instead: tuple[str, ...], now: float, *, held: bool = False
    ) -> Page:
        self._places.append(now)
        ranked = sorted(group, key=lambda alert: (alert.state is State.FIRING, alert.severity), reverse=True)
        last = {alert.key: alert for alert in group}.values()
        severity = max((alert.severity for alert in last if alert.state is State.FIRING), default=None)
        return Page(tuple(group), to, instead, severity, _title(ranked, severity, held), _body(ranked, now), now)


def escalations(routes: Sequence[Route], alert: Alert) -> int:
    """How often an alert can be passed on: to how many there is to turn to after the first."""
    return max(0, len(_groups(routes, alert)) - 1)


def _groups(routes: Sequence[Route], alert: Alert) -> list[list[str]]:
    """The names of the routes that want an alert: of one group all hear it, the next one when nobody acknowledges."""
    groups: list[list[str]] = []
    joins = False
    for route in routes:
        if route.fits(alert):
            if joins:
                groups[-1].append(route.name)
            else:
                groups.append([route.name])
            joins = route.also
    return groups


# What people read


def _title(ranked: Sequence[Alert], severity: Severity | None, held: bool) -> str:
    """Severity, account and count: ``Critical · main · 3 alerts``."""
    accounts = list(dict.fromkeys(alert.account or "marginwatch" for alert in ranked))
    parts = ["Resolved" if severity is None else severity.label.capitalize(), ", ".join(accounts[:3])]
    count = len({alert.key for alert in ranked})
    if count > 1:
        parts.append(f"{count} alerts")
    if any(alert.step is Step.ESCALATED for alert in ranked):
        parts.append("nobody has acknowledged it")
    if held:
        parts.append("held back until now")
    return " · ".join(parts)


def _body(ranked: Sequence[Alert], now: float) -> str:
    """The texts, the worst first, and below each what to do about it."""
    entries = [_entry(alert, now, named=len(ranked) > 1) for alert in ranked]
    room = BODY_CHARACTERS_MAX
    shown: list[str] = []
    for entry in entries:
        room -= len(entry) + 1
        if shown and room < 0:
            break
        shown.append(entry)
    if len(shown) < len(entries):
        shown.append(f"and {len(entries) - len(shown)} more")
    return "\n".join(shown)


def _entry(alert: Alert, now: float, *, named: bool) -> str:
    label = f"{alert.severity.label}: " if named and alert.state is State.FIRING else ""
    age = now - alert.at
    ago = f" ({age / 60:.0f} min ago)" if age >= OLD_S else ""
    return f"{label}{alert.text}{ago}" + (f"\n{alert.advice}" if alert.advice else "")


# Words about one alert


def _word(alert: Alert) -> tuple[int, float]:
    """What orders the words about one alert: a repeat has the number of what it repeats, and a later time."""
    return alert.serial, alert.at


def _worst(group: Sequence[Alert]) -> int:
    """How bad the worst of it that fires is, 0 for nothing."""
    return max((int(alert.severity) for alert in group if alert.state is State.FIRING), default=0)


def _danger(alert: Alert) -> str | None:
    """What several alerts may tell of: the danger to a pool, or that an account cannot be seen; else None."""
    if alert.rule in (MARGIN_RATIO.name, DISTANCE.name):
        return alert.pool
    if alert.rule == STALE_FEED.name:
        return f"{alert.venue}/{alert.account}"
    return None


def _order(alert: Alert) -> tuple[float, str]:
    return alert.raised_at, alert.key


def _is_handled(alert: Alert) -> bool:
    return alert.silenced is not None or alert.acknowledged is not None


def _by_key(alerts: Iterable[Alert]) -> Iterator[list[Alert]]:
    """All words about each alert, in the order of the last ones."""
    words: dict[str, list[Alert]] = {}
    for alert in alerts:
        words[alert.key] = [*words.pop(alert.key, ()), alert]
    yield from words.values()


def _telling(words: Sequence[Alert]) -> list[Alert]:
    """The last word, and before it the worst when that was critical and the last does not show it."""
    last, worst = words[-1], max(words, key=lambda alert: alert.severity)
    if worst.severity >= Severity.CRITICAL and worst.severity > last.severity and worst.silenced is None:
        return [worst, last]
    return [last]
