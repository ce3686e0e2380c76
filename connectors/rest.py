"""Signed REST calls with deadlines, the venue's budget and its clock.

Nothing here retries on a schedule: a call that failed is a `VenueError` that says whether, and when, trying again may
help, and the session decides. The one exception is a clock that is off, which is measured anew and tried once more.

No address, header or body of a request ever reaches an error or a log: they hold keys and signatures.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from connectors.session import Request, Security
from monitor.clock import Clock
from monitor.errors import VenueError
from monitor.telemetry import Telemetry

BODY_BYTES_MAX = 64 * 2**20
CLOCK_AGE_S = 3600.0
HOLD_S = 60.0
"""How long to stay silent after a 429 or 418 that does not say."""

BUDGET_SHARE = 0.9
"""Share of the venue's budget that is used; the rest belongs to the owner's other programs on the same address."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as it goes over the wire. Never printed."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """A good answer, and the venue's time at which its request left, in milliseconds."""

    body: bytes
    sent_ms: int


def told(body: bytes, code: str, words: str) -> tuple[object, str]:
    """What a body says under the venue's names for its code and its words, as far as it says anything.

    The words are cut: a body may be a whole page.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, ""
    if not isinstance(answer, Mapping):
        return None, ""
    text = answer.get(words)
    return answer.get(code), (text[:200] if isinstance(text, str) else "")


def whole(value: object) -> int | None:
    """A whole number, None for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def why_refused(venue: str, request: Request, reply: Reply, code: int | None, words: str) -> str:
    """The sentence about a question that was refused: which, why, and by which code of the venue's, if any."""
    said = f"HTTP {reply.status}" if code is None else f"HTTP {reply.status}, code {code}"
    return f"{venue} {request.method} {request.path}: {words or 'no reason given'} ({said})"


def clock_in(venue: str, body: bytes, name: str) -> int:
    """The venue's time in milliseconds, which stands under this name. Raises VenueError."""
    value = whole(told(body, name, "")[0])
    if value is None:
        raise VenueError(f"{venue}: the answer to the question for the time cannot be used", retry=True)
    return value


class Dialect(Protocol):
    """A venue's way of speaking HTTP; it holds the credentials."""

    venue: str

    def prepare(self, request: Request, at_ms: int) -> Prepared:
        """Address, headers and signature for a request that leaves at this time of the venue's clock."""
        ...

    def fault(self, request: Request, reply: Reply) -> VenueError | None:
        """What is wrong with a reply; None for a good one. The text must not repeat the request.

        With a `retry_after_s` nothing at all is sent to the venue for so long, by no account behind the address.
        """
        ...

    def is_clock_fault(self, error: VenueError) -> bool:
        """Whether the venue refused because of the time in the request."""
        ...

    def clock_request(self) -> Request:
        """The question for the venue's time."""
        ...

    def clock_ms(self, body: bytes) -> int:
        """Its answer. Raises VenueError."""
        ...

    def used_weight(self, reply: Reply) -> int | None:
        """What of the minute's budget is used up, when the reply says."""
        ...


class Budget:
    """The venue's request budget of one address, shared by all accounts behind it. Pure; time is passed in."""

    def __init__(self, limit_per_minute: int) -> None:
        self._limit = limit_per_minute * BUDGET_SHARE
        self._minute = -1
        self._used = 0
        self._held_until = 0.0

    def wait(self, weight: int, now: float) -> float:
        """Seconds to wait before a request of this weight; 0.0 means go, and the weight is taken."""
        if now < self._held_until:
            return self._held_until - now
        self._turn(now)
        if self._used + weight > self._limit and self._used > 0:
            return (self._minute + 1) * 60.0 - now
        self._used += weight
        return 0.0

    def reported(self, used: int, now: float) -> None:
        """The venue's own count for the present minute, which knows the owner's other programs as well."""
        self._turn(now)
        self._used = max(self._used, used)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so long: the venue said so."""
        self._held_until = max(self._held_until, now + seconds)

    def _turn(self, now: float) -> None:
        minute = int(now // 60.0)
        if minute != self._minute:
            self._minute, self._used = minute, 0


BUDGETS_MAX = 64
"""Addresses whose budget is remembered, far more than anybody configures; then the one asked for longest ago goes."""

_budgets: dict[tuple[str, int], Budget] = {}


def shared_budget(base: str, limit_per_minute: int) -> Budget:
    """The budget of an address, one for the whole process.

    The venue counts by address, whoever asks: a hold that it asked for outlives the runners that a reload replaces.
    """
    budget = _budgets.pop((base, limit_per_minute), None) or Budget(limit_per_minute)
    _budgets[base, limit_per_minute] = budget
    if len(_budgets) > BUDGETS_MAX:
        del _budgets[next(iter(_budgets))]
    return budget


ANSWERS_MAX = 16
"""Questions whose answers are kept for others; then the one that was asked longest ago goes."""


@dataclass(slots=True)
class _Known:
    """The last outcome of a question, and when it was there."""

    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    outcome: Response | VenueError | None = None
    at: float = 0.0


class SharedAnswers:
    """Answers about what is the same for all accounts of a venue, so that each is asked for once and not by each."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], _Known] = {}

    async def take(self, request: Request, ask: Callable[[Request], Awaitable[Response]], clock: Clock) -> Response:
        """An answer no older than the request allows; one that others are waiting for now is waited for too.

        Raises VenueError, that of the others as well.
        """
        wanted_at = clock.now()
        known = self._of(request)
        async with known.asking:
            fresh = isinstance(known.outcome, Response) and clock.now() - known.at <= request.age_s
            if not fresh and (known.outcome is None or known.at < wanted_at):
                known.outcome = await _outcome(ask, request)
                known.at = clock.now()
        if isinstance(known.outcome, Response):
            return known.outcome
        raise known.outcome or VenueError(f"{request.path}: no answer", retry=True)

    def _of(self, request: Request) -> _Known:
        key = (request.method, request.base, request.path, request.params)
        known = self._known.pop(key, None) or _Known()
        self._known[key] = known
        if len(self._known) > ANSWERS_MAX:
            del self._known[next(iter(self._known))]
        return known


async def _outcome(ask: Callable[[Request], Awaitable[Response]], request: Request) -> Response | VenueError:
    try:
        return await ask(request)
    except VenueError as error:
        return error


class Rest:
    """Carries out requests for one account. Use as an asynchronous context manager.

    `answers` are those that it shares with other accounts.
    """

    def __init__(
        self,
        dialect: Dialect,
        budget: Budget,
        clock: Clock,
        telemetry: Telemetry,
        *,
        request_s: float,
        connect_s: float,
        answers: SharedAnswers | None = None,
    ) -> None:
        self._answers = answers
        self._dialect = dialect
        self._budget = budget
        self._clock = clock
        self._telemetry = telemetry
        self._request_s = request_s
        self._connect_s = connect_s
        self._http: aiohttp.ClientSession | None = None
        self._measuring = asyncio.Lock()
        self._offset_ms: float | None = None
        self._measured_at = 0.0

    async def __aenter__(self) -> Self:
        # Proxies and ~/.netrc are not looked at: a monitor talks to the addresses in its configuration and no others.
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._request_s, connect=self._connect_s),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._http is not None:
            await self._http.close()

    @property
    def clock_offset_ms(self) -> float | None:
        """The venue's clock minus ours; None before it was measured."""
        return self._offset_ms

    async def perform(self, request: Request) -> Response:
        """Carry out a request. Raises VenueError and nothing else."""
        if request.age_s > 0.0 and self._answers is not None:
            return await self._answers.take(request, self._once, self._clock)
        if request.security is not Security.SIGNED:
            return await self._once(request)
        if self._offset_ms is None or self._clock.now() - self._measured_at > CLOCK_AGE_S:
            await self.measure_clock(unless_after=self._measured_at)
        measured_at = self._measured_at
        try:
            return await self._once(request)
        except VenueError as error:
            if not self._dialect.is_clock_fault(error):
                raise
        await self.measure_clock(unless_after=measured_at)
        return await self._once(request)

    async def measure_clock(self, unless_after: float | None = None) -> float:
        """Ask for the venue's time: its clock minus ours in milliseconds, half the round trip taken off.

        With `unless_after` a measurement that another request made since then is good enough. Raises VenueError.
        """
        async with self._measuring:
            if unless_after is not None and self._measured_at > unless_after and self._offset_ms is not None:
                return self._offset_ms
            sent = self._clock.now()
            response = await self._once(self._dialect.clock_request())
            received = self._clock.now()
            self._offset_ms = self._dialect.clock_ms(response.body) - (sent + received) / 2.0 * 1000.0
            self._measured_at = received
            return self._offset_ms

    def _venue_ms(self) -> int:
        return int(self._clock.now() * 1000.0 + (self._offset_ms or 0.0))

    async def _once(self, request: Request) -> Response:
        now = self._clock.now()
        wait_s = self._budget.wait(request.weight, now)
        if wait_s > 0.0:
            raise self._error(request, f"not sent, the request budget allows it in {wait_s:.0f} s", wait_s)
        sent_ms = self._venue_ms()
        reply = await self._exchange(request, self._dialect.prepare(request, sent_ms))
        now = self._clock.now()
        used = self._dialect.used_weight(reply)
        if used is not None:
            self._budget.reported(used, now)
        error = self._dialect.fault(request, reply)
        if error is None:
            return Response(reply.body, sent_ms)
        self._telemetry.venue_errors.add(self._dialect.venue, str(error.code or reply.status))
        # Whatever status it comes with, the venue's wish for silence concerns everybody behind the address.
        self._budget.hold(error.retry_after_s or (HOLD_S if reply.status in (418, 429) else 0.0), now)
        raise error

    async def _exchange(self, request: Request, prepared: Prepared) -> Reply:
        if self._http is None:
            raise self._error(request, "not started")
        try:
            # A deadline of our own beside aiohttp's: whatever its parts do, the call ends.
            async with (
                asyncio.timeout(self._request_s + 1.0),
                self._http.request(
                    request.method,
                    prepared.url,
                    headers=prepared.headers,
                    data=prepared.body,
                    allow_redirects=False,
                ) as response,
            ):
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        raise self._failure(request, "the answer is too long", "too_long")
                return Reply(response.status, response.headers, bytes(body))
        except TimeoutError:
            raise self._failure(request, "no answer in time", "timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Never the error's own text: it may hold the address, and the address holds the signature.
            raise self._failure(request, _why(prepared.url, error), "network") from None

    def _failure(self, request: Request, text: str, code: str) -> VenueError:
        self._telemetry.venue_errors.add(self._dialect.venue, code)
        return self._error(request, text)

    def _error(self, request: Request, text: str, retry_after_s: float | None = None) -> VenueError:
        return VenueError(
            f"{self._dialect.venue} {request.method} {request.path}: {text}", retry=True, retry_after_s=retry_after_s
        )


def _why(url: str, error: Exception) -> str:
    """Why a request did not get through, in words; of the address only the host."""
    host = urlsplit(url).hostname or "the venue"
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"the name {host} cannot be resolved; is this machine online, and its DNS right?"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"{host} does not prove who it is (TLS); is a proxy in between, or this machine's time wrong?"
        case aiohttp.ClientConnectorError():
            return f"{host} cannot be reached: {os.strerror(error.errno) if error.errno else 'no connection'}"
        case aiohttp.ServerDisconnectedError():
            return f"{host} closed the connection without an answer"
    return f"no exchange with {host} ({type(error).__name__})"


class LogsIn(Protocol):
    """A dialect whose private stream wants a log-in frame."""

    def login(self, now_ms: int) -> str:
        """By the venue's clock."""
        ...


class ClockedSigner:
    """Makes log-in frames by the venue's clock, as the account's REST calls have measured it."""

    def __init__(self, dialect: LogsIn, rest: Rest) -> None:
        self._dialect = dialect
        self._rest = rest

    def login(self, now_ms: int) -> str:
        """See `connectors.runner.Signer`."""
        return self._dialect.login(now_ms + int(self._rest.clock_offset_ms or 0.0))
