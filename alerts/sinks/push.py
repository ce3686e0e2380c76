"""Push: to phones and pagers through apprise, by the first route that fits, and by the next when that one fails.

What is pushed, grouped, held and capped is decided in `alerts.paging`; here it is only sent. A route whose pushes fail
is passed over for a while when there is another, and reported as a trouble until a push through it works again. When
no route takes a page, the dispatcher keeps its alerts and offers them again; what was taken is not pushed again. A
restart between taking and remembering repeats a page, as it does everywhere.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import orjson
import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from alerts.alert import Severity
from alerts.paging import Page, Pager, PagingPolicy, QuietHours, Route
from alerts.rules import ALL_RULES
from alerts.silences import fits
from alerts.sink import Envelope, Memory, PositiveSeconds, SinkConfig, Surroundings, Trouble
from alerts.sinks import _apprise
from alerts.sinks._apprise import Answer, Channel
from monitor.clock import Clock
from monitor.credential import Secret
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment

AT_ONCE = 2
"""Pages under way together, the worst first, so that one account does not wait for all others; fewer than what may hang
in one channel."""
TRIES = 3
PAUSE_S = 0.5
"""Between the first and the second try of a push; twice that before the third."""
PATIENCE_S = 2.0
"""A server that asks for a longer pause than this is left alone for so long, and the next route is tried."""
REST_FIRST_S = 2.0
REST_MAX_S = 60.0
"""How long a route that failed is passed over while there is another; doubles with every failure in a row."""
PAUSE_MAX_S = 900.0
"""No server is left alone for longer than this, whatever it asks."""
TEST_TITLE = "marginwatch · test"
TEST_BODY = "This is a test of marginwatch. Nothing is wrong, and there is nothing to do."

log = structlog.get_logger(__name__)

SeverityName = Literal["notice", "warning", "critical", "emergency"]
Pattern = Annotated[str, Field(min_length=1)]


def _check_rule(pattern: str) -> str:
    names = [rule.name for rule in ALL_RULES]
    if not any(fits(pattern, name) for name in names):
        near = get_close_matches(pattern.lower(), names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise PydanticCustomError(
            "rule", "must be, or fit with *, one of: {names}{hint}", {"names": ", ".join(names), "hint": hint}
        )
    return pattern


RulePattern = Annotated[Pattern, AfterValidator(_check_rule)]


def _check_url(url: Secret) -> Secret:
    try:
        usable = _apprise.is_usable(url)
    except ImportError:
        return url  # `build` says what is missing
    if not usable:
        # "secret": whatever was found is not repeated.
        reason = "is no URL that apprise can use; https://appriseit.com/services/ shows what each service's looks like"
        raise PydanticCustomError("secret", "{reason}", {"reason": reason})
    return url


class RouteConfig(BaseModel):
    """``[[sinks.push.route]]``: where to, and what. Every filter that is there narrows; without any it takes all.

    `url` and `urls` are URLs of apprise, as secrets; several all get it, and one that takes it is enough: they are one
    person's. Two people are two routes, the first with `also`. Patterns may hold ``*``; an account fits all
    of its pools as ``venue/account``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    url: Secret | None = None
    urls: tuple[Secret, ...] = ()
    severities: tuple[SeverityName, ...] = ("notice", "warning", "critical", "emergency")
    at_least: Annotated[SeverityName, Field(validate_default=True)] = "notice"
    accounts: tuple[Pattern, ...] = ()
    rules: tuple[RulePattern, ...] = ()
    pools: tuple[Pattern, ...] = ()
    also: bool = False

    @field_validator("url")
    @classmethod
    def _check_one(cls, url: Secret | None) -> Secret | None:
        return None if url is None else _check_url(url)

    @field_validator("urls")
    @classmethod
    def _check_all(cls, urls: tuple[Secret, ...]) -> tuple[Secret, ...]:
        return tuple(map(_check_url, urls))

    @field_validator("at_least")
    @classmethod
    def _check_severities(cls, least: SeverityName, found: ValidationInfo) -> SeverityName:
        listed = found.data.get("severities")
        if listed is not None and not any(Severity[name.upper()] >= Severity[least.upper()] for name in listed):
            problem = "the route takes nothing: no severity is both listed and at_least that high"
            raise PydanticCustomError("no_severity", problem)
        return least

    @model_validator(mode="after")
    def _check_url(self) -> "RouteConfig":
        if not self.all_urls:
            raise PydanticCustomError("no_url", 'needs a url; write url = "env:NAME" or url = "file:PATH"')
        return self

    @property
    def all_urls(self) -> tuple[Secret, ...]:
        """Everything a push through this route goes to."""
        return (*(() if self.url is None else (self.url,)), *self.urls)

    @property
    def route(self) -> Route:
        """The part that decides what goes this way."""
        least = Severity[self.at_least.upper()]
        severities = frozenset(Severity[name.upper()] for name in self.severities)
        taken = frozenset(severity for severity in severities if severity >= least)
        return Route(self.name, taken, self.accounts, self.rules, self.pools, self.also)


class PushConfig(SinkConfig):
    """``[sinks.push]``. `push_s` bounds one push, `timeout_s` all that one delivery may take.

    `per_hour` caps the pushes of an hour; worsening and emergencies go past it. `quiet_hours` ("22:00-07:00" on the
    clock of `timezone`, this machine's without one) hold back notices and warnings. `resolved` says whether the end of
    an alert is pushed. That no two routes have one name, and that a route asks for accounts that there are, is checked
    with the whole file (`monitor.config`).
    """

    timeout_s: PositiveSeconds = 30.0
    gather_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1.0
    push_s: Annotated[PositiveSeconds, Field(validate_default=True)] = 8.0
    per_hour: Annotated[int, Field(ge=1)] = 20
    quiet_hours: str | None = None
    timezone: str | None = None
    resolved: bool = True
    route: Annotated[tuple[RouteConfig, ...], Field(min_length=1)]

    @field_validator("quiet_hours")
    @classmethod
    def _check_quiet_hours(cls, hours: str | None) -> str | None:
        if hours is not None:
            _minutes(hours)
        return hours

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (OSError, ValueError, LookupError):
                raise PydanticCustomError("timezone", 'must be a time zone such as "Europe/Berlin"') from None
        return name

    @field_validator("push_s")
    @classmethod
    def _check_push_s(cls, push_s: float, found: ValidationInfo) -> float:
        if push_s > (longest := found.data.get("timeout_s", push_s)):
            raise PydanticCustomError(
                "push_s", "must not be longer than timeout_s = {longest}", {"longest": f"{longest:g}"}
            )
        return push_s

    @property
    def policy(self) -> PagingPolicy:
        """The part that decides how much people are disturbed."""
        quiet = None
        if self.quiet_hours is not None:
            zone = None if self.timezone is None else ZoneInfo(self.timezone)
            quiet = QuietHours(*_minutes(self.quiet_hours), zone)
        return PagingPolicy(self.per_hour, quiet, self.resolved)


def _minutes(hours: str) -> tuple[int, int]:
    """``22:00-07:00`` as minutes since midnight."""
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", hours)
    begin, end = (0, 0) if match is None else (
        int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    )  # fmt: skip
    if begin == end:
        raise PydanticCustomError("quiet_hours", 'must be a time of day such as "22:00-07:00"')
    return begin, end


@dataclass(slots=True)
class _Line:
    """One URL of a route and how it does. `detail`: what went wrong last, empty while it works."""

    channel: Channel
    failures: int = 0
    detail: str = ""
    rests_until: float = 0.0
    paused_until: float = 0.0

    def is_paused(self, now: float) -> bool:
        """Whether it is not to be asked at all."""
        return now < self.paused_until

    def answered(self, answer: Answer, now: float) -> None:
        """Take note of what became of a push."""
        if answer.ok:
            self.failures, self.detail, self.rests_until, self.paused_until = 0, "", 0.0, 0.0
            return
        self.detail = answer.detail
        self.rests_until = now + min(REST_MAX_S, REST_FIRST_S * 2.0 ** min(self.failures, 16))
        self.failures += 1
        # Where only a person can mend it, nobody is asked the same again and again.
        wish_s = min(PAUSE_MAX_S, answer.retry_after_s or 0.0)
        self.paused_until = now + wish_s if answer.retry else self.rests_until


@dataclass(slots=True)
class _Way:
    """One route and how it does."""

    lines: tuple[_Line, ...]
    is_tried: bool = False
    since: float | None = None

    @property
    def detail(self) -> str:
        """What is wrong with it."""
        return "; ".join(dict.fromkeys(line.detail for line in self.lines if line.detail))

    @property
    def rests_until(self) -> float:
        """Until when another route is better asked first: the first of its URLs that is worth trying again decides."""
        return min(max(line.rests_until, line.paused_until) for line in self.lines)


class PushSink:
    """Sends pages by their routes."""

    name = "push"
    overtakes = True  # what was pushed is not pushed again

    def __init__(self, config: PushConfig, clock: Clock, memory: Memory | None = None) -> None:
        self.config = config
        self._clock = clock
        self._memory = memory
        self._pager = Pager([route.route for route in config.route], config.policy)
        self._remembered = ""
        self._recall()
        self._ways = {route.name: _Way(tuple(_Line(Channel(url)) for url in route.all_urls)) for route in config.route}

    async def connect(self) -> None:
        """Do nothing: there is no way to try a route that would not disturb whoever is at its end."""

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Push what people are to hear of these alerts. Raises SinkError when a page was taken by no route."""
        end = self._end()
        pages = self._pager.plan([envelope.alert for envelope in batch], self._clock.now())
        open_pages = list(pages)
        turns = asyncio.Semaphore(AT_ONCE)

        async def send(page: Page) -> None:
            async with turns:
                if _time() <= end and await self._send(page, end):
                    open_pages.remove(page)

        try:
            await asyncio.gather(*map(send, pages))
        finally:
            refused = list(open_pages)
            for page in refused:
                self._pager.failed(page)
            self._remember()
        if refused:
            names = list(dict.fromkeys(name for page in refused for name in (*page.to, *page.instead)))
            details = "; ".join(f"{name}: {self._ways[name].detail or 'not tried yet'}" for name in names)
            raise SinkError(f"push: no route has taken it ({details})")

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Nobody wants the state of pools pushed."""

    async def tend(self, firing: Sequence[Envelope]) -> None:
        """Push what was held back and may leave now. A page that fails stays held, and is tried again later."""
        end = self._end()
        for page in self._pager.due([envelope.alert for envelope in firing], self._clock.now()):
            taken = False
            try:
                if not all(self._is_resting(self._ways[name]) for name in (*page.to, *page.instead)):
                    taken = await self._send(page, end)
            finally:
                if not taken:
                    self._pager.failed(page)
        self._remember()

    def troubles(self) -> Sequence[Trouble]:
        """How each route does: its last push decides. One that was not tried yet is not spoken of."""
        return [Trouble(name, way.since, way.detail) for name, way in self._ways.items() if way.is_tried]

    async def close(self) -> None:
        """Nothing is open between pushes."""

    async def test(self) -> Mapping[str, Sequence[Answer]]:
        """Send one test message to everything that there is; the answers by route, in the order of the URLs."""

        async def ask(way: _Way) -> Sequence[Answer]:
            return await asyncio.gather(
                *(
                    line.channel.push(TEST_TITLE, TEST_BODY, Severity.WARNING, self.config.push_s, lambda: None)
                    for line in way.lines
                )
            )

        answers = await asyncio.gather(*map(ask, self._ways.values()))
        return dict(zip(self._ways, answers, strict=True))

    # Inside

    def _recall(self) -> None:
        text = None if self._memory is None else self._memory.note(self.name)
        if text is None:
            return
        try:
            self._pager.recall(orjson.loads(text), self._clock.now())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # Without it somebody hears something twice, or later; the other way round nobody would be warned.
            log.warning("what was held back and heard before cannot be read and is left out", error=repr(error))

    def _remember(self) -> None:
        text = orjson.dumps(self._pager.remember()).decode()
        if self._memory is not None and text != self._remembered:
            self._memory.keep(self.name, text)
            self._remembered = text

    def _end(self) -> float:
        """Until when pushes may begin, so that the last ends within `timeout_s`."""
        return _time() + self.config.timeout_s - self.config.push_s

    async def _send(self, page: Page, end: float) -> bool:
        """Whether any route has taken the page. New pushes begin until `end`."""
        if len(page.to) == 1:
            return await self._try_in_turn((*page.to, *page.instead), page, end)
        taken = await asyncio.gather(*(self._push(name, page, end) for name in page.to))
        if all(taken):
            return True
        return await self._try_in_turn(page.instead, page, end) or any(taken)

    async def _try_in_turn(self, names: Sequence[str], page: Page, end: float) -> bool:
        """The first that takes it; those that failed a moment ago come last, the one that rests longest first."""
        for name in sorted(names, key=lambda name: self._rest_of(self._ways[name])):
            if await self._push(name, page, end):
                return True
        return False

    def _rest_of(self, way: _Way) -> float:
        return way.rests_until if self._is_resting(way) else 0.0

    def _is_resting(self, way: _Way) -> bool:
        return self._clock.now() < way.rests_until

    async def _push(self, name: str, page: Page, end: float) -> bool:
        """Push through everything of one route. It has taken the page when one of its URLs has."""
        way, now = self._ways[name], self._clock.now()
        lines = [line for line in way.lines if not line.is_paused(now)]
        if not lines or _time() > end:
            return False
        answers = await asyncio.gather(*(self._push_to(line.channel, name, page, end) for line in lines))
        way.is_tried = True
        for line, answer in zip(lines, answers, strict=True):
            line.answered(answer, self._clock.now())
        self._judge(name, way)
        return any(answer.ok for answer in answers)

    async def _push_to(self, channel: Channel, name: str, page: Page, end: float) -> Answer:
        """A few tries; what hangs or will not change its mind is not tried again."""
        pause_s, tried = PAUSE_S, 0
        while True:
            answer = await channel.push(
                page.title, page.body, page.severity, self.config.push_s, lambda: self._pager.took(page, name)
            )
            tried += 1
            if answer.ok or answer.hung or not answer.retry or tried == TRIES:
                return answer
            wish_s = max(pause_s, answer.retry_after_s or 0.0)
            if wish_s > PATIENCE_S or _time() + wish_s > end:
                return answer
            await asyncio.sleep(wish_s)
            pause_s *= 2

    def _judge(self, name: str, way: _Way) -> None:
        """A route works while all of its URLs do."""
        if way.detail and way.since is None:
            way.since = self._clock.now()
            log.warning("push route lost", route=name, error=way.detail)
        elif not way.detail and way.since is not None:
            way.since = None
            log.info("push route works again", route=name)


def _time() -> float:
    """For deadlines of our own; what is compared with alerts comes from the clock."""
    return asyncio.get_running_loop().time()


def build(config: PushConfig, surroundings: Surroundings) -> PushSink:
    """Make the sink. Raises SinkError when apprise is not installed."""
    try:
        _apprise.require()
    except ImportError as error:
        raise SinkError(_apprise.INSTALL) from error
    return PushSink(config, surroundings.clock, surroundings.memory)
