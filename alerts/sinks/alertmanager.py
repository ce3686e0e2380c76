"""Alertmanager: what fires, posted to its v2 API and posted again while it fires, for teams that route there.

Alertmanager holds a state and no history: it is told the last word about each key, and told it again every `state_s`
with an end `state_ttl_s` ahead. So an Alertmanager that was restarted and forgot everything knows again soon, and the
alerts of a monitor that died end by themselves, some minutes later.

- Labels say what an alert is and never change while it lives. People route by `severity`, so it is one of them: a
  worsening is a new alert there, and the one of the old severity ends in the same post, with a summary that says why.
- `host` is a label only of what is about the monitor itself (a failing sink). Two monitors of one account say the same.
- An acknowledged alert goes on firing, with an annotation: how often it is repeated is Alertmanager's to decide.
- A silenced alert is kept from people, so it is not posted; one that stood there ends, and its summary says that it is
  silenced and not over.
- With `watchdog` one alert always stands while the monitor does its job, for a route to a dead-man's switch: when it is
  not posted any more, that switch calls somebody.
- Times are put on Alertmanager's clock, as its answers tell it: with a clock of ours that is minutes slow, everything
  that fires would be over when it arrives.
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import orjson
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from alerts.alert import Alert, State
from alerts.batches import batches
from alerts.message import rfc3339
from alerts.sink import (
    Envelope,
    PositiveSeconds,
    Surroundings,
    TlsConfig,
    Trouble,
    check_url,
    refuse_password_in_url,
)
from monitor.credential import Secret
from monitor.errors import SinkError, words_of
from monitor.model.assessment import PoolAssessment

if TYPE_CHECKING:
    import aiohttp

POST_MAX = 32
"""Alerts in one request: about half a millisecond of work."""
SAME_CLOCK_S = 2.0
"""Clocks that differ by no more count as equal: an answer tells its time in whole seconds, and took a while."""
EXCERPT_CHARACTERS = 200
EXCERPT_BYTES = 4 * EXCERPT_CHARACTERS
TRY_AGAIN = (408, 425, 429)
"""Refusals of a request at this moment; every other 4xx lasts until a person mends something."""

RUNBOOKS = {
    "margin_ratio": "margin-danger",
    "distance": "margin-danger",
    "venue_notice": "margin-danger",
    "unknown": "blindness",
    "stale_feed": "blindness",
    "model_error": "model-disagreement",
    "sink_failure": "delivery-failing",
    "rules_changed": "moved-by-the-venue",
}
"""Rule to the section of README that says what to do."""
ANY_RUNBOOK = "what-each-alert-means-and-what-to-do"

Entry = dict[str, Any]


class AlertmanagerConfig(TlsConfig):
    """``[sinks.alertmanager]``. `password` is that of the user in the URL (``https://user@host/prefix``).

    Without a user it is sent as a bearer token.
    `state_s` is the time between posts of what fires, `state_ttl_s` how long an alert lives there without another.
    `watchdog` keeps the alert ``MarginwatchWatchdog`` standing while everything that matters is seen.
    `board_url` is where a reader finds this monitor, `docs_url` the folder that README.md is in; both go into links.
    """

    url: str = "http://127.0.0.1:9093"
    password: Secret | None = None
    board_url: str = ""
    docs_url: str = ""
    watchdog: bool = False
    state_s: PositiveSeconds = 15.0
    state_ttl_s: Annotated[int, Field(ge=2)] = 240

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if not urlsplit(check_url(refuse_password_in_url(url, "password"), "http", "https")).hostname:
            raise ValueError("must name a host, for example http://127.0.0.1:9093")
        return url

    @field_validator("board_url", "docs_url")
    @classmethod
    def _check_link(cls, url: str) -> str:
        return check_url(url, "http", "https") if url else url

    @field_validator("state_ttl_s")
    @classmethod
    def _outlives_a_failed_post(cls, state_ttl_s: int, info: ValidationInfo) -> int:
        """One post that fails must not let an alert end."""
        if {"state_s", "timeout_s"} <= info.data.keys():
            least = 2 * (info.data["state_s"] + info.data["timeout_s"])
            if state_ttl_s < least:
                problem = (
                    "must be at least twice state_s and timeout_s together, here {least}: one lost post ends alerts"
                )
                raise PydanticCustomError("short_life", problem, {"least": f"{least:g}"})
        return state_ttl_s


@dataclass(frozen=True, slots=True)
class Post:
    """One alert as it is posted; `over` says that it does not fire."""

    entry: Entry
    over: bool

    @property
    def identity(self) -> tuple[str, ...]:
        """What Alertmanager knows it by."""
        return tuple(self.entry["labels"].values())


@dataclass(frozen=True, slots=True)
class Links:
    """Where an alert leads: `board` is the monitor's page, `docs` what stands before ``README.md#section``."""

    board: str = ""
    docs: str = ""


class AlertmanagerSink:
    """One HTTP session, one request at a time: a repetition that was overtaken must not bring an ended alert back."""

    name = "alertmanager"
    overtakes = False

    def __init__(self, config: AlertmanagerConfig, surroundings: Surroundings, tls: ssl.SSLContext | bool) -> None:
        self.config = config
        self._clock = surroundings.clock
        self._host = surroundings.host
        self._is_well = surroundings.is_well
        self._began_at = self._clock.now()
        self._tls = tls
        self._links = Links(config.board_url, config.docs_url and config.docs_url.rstrip("/") + "/")
        self._session: aiohttp.ClientSession | None = None
        self._posting = asyncio.Lock()
        self._last: dict[str, Alert] = {}
        """The last word posted about each key."""
        self._doubted: dict[str, Alert] = {}
        self._over: dict[tuple[str, ...], tuple[float, Post]] = {}
        """What ended lately, and until when that is worth saying again."""
        self._doubtful_until = 0.0
        """A request that was given up may still be carried out, after later ones: until then ends are said again."""
        self._ahead_s = 0.0
        """How far Alertmanager's clock is ahead of ours."""

    async def connect(self) -> None:
        """Open a session and post nothing, which proves that the address and the login are good."""
        self._session = self._open()
        self._doubtful_until = self._clock.now() + self.config.state_ttl_s
        await self._post([])

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Post the last word about each key."""
        async with self._posting:
            await self._tell([envelope.alert for envelope in batch])

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Do nothing: Alertmanager shows no pools, and `tend` makes the round trip."""

    async def tend(self, firing: Sequence[Envelope]) -> None:
        """Post again everything that fires, so that it does not end; a round trip also when nothing does."""
        async with self._posting:
            self._doubt({envelope.alert.key: envelope.alert for envelope in firing})
            await self._tell([envelope.alert for envelope in firing])
            await self._end_again()
            if self.config.watchdog and self._is_well():
                now = self._clock.now()
                ends_at = now + self.config.state_ttl_s
                await self._post([watchdog(self._host, self._began_at, ends_at, self._ahead_s, self._links)])

    def troubles(self) -> Sequence[Trouble]:
        """Say that there are none beyond those of the sink itself."""
        return ()

    async def close(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _doubt(self, firing: Mapping[str, Alert]) -> None:
        """Forget the words that what fires contradicts for the second time.

        Once it may just have been overtaken; twice, the alert is over, or another monitor has spoken in between.
        """
        doubted = {
            key: last for key, last in self._last.items() if key not in firing or _order(firing[key]) < _order(last)
        }
        for key, last in doubted.items():
            if self._doubted.get(key) is last:
                del self._last[key]
        self._doubted = doubted

    async def _tell(self, alerts: Sequence[Alert]) -> None:
        """Post these words, except those that a newer one has overtaken; one request at the least."""
        words: dict[str, Alert] = {}
        for alert in alerts:
            known = words.get(alert.key) or self._last.get(alert.key)
            if known is None or _order(known) <= _order(alert):
                words[alert.key] = alert
        lives_until = self._clock.now() + self.config.state_ttl_s
        # Made and sent by the handful: thousands in one go would keep a price from being decided.
        for some in batches(list(words.values()), POST_MAX) or [[]]:
            found = [
                post
                for alert in some
                for post in posts(self._last.get(alert.key), alert, lives_until, self._ahead_s, self._links)
            ]
            await self._post([post.entry for post in found])
            self._last |= {alert.key: alert for alert in some}
            self._over |= {post.identity: (lives_until, post) for post in found if post.over}
            for post in found:
                if not post.over:
                    self._over.pop(post.identity, None)

    async def _end_again(self) -> None:
        """Post what ended lately once more, for a while after every new connection."""
        now = self._clock.now()
        self._over = {identity: over for identity, over in self._over.items() if now < over[0]}
        if now < self._doubtful_until:
            for some in batches([post for _, post in self._over.values()], POST_MAX):
                await self._post([post.entry for post in some])

    async def _post(self, alerts: Sequence[Entry]) -> None:
        import aiohttp

        if self._session is None:
            raise SinkError("alertmanager is not connected")
        try:
            async with self._session.post("api/v2/alerts", data=orjson.dumps(alerts), allow_redirects=False) as answer:
                status, date = answer.status, answer.headers.get("Date", "")
                accepted = 200 <= status < 300
                excerpt = b"" if accepted else await answer.content.read(EXCERPT_BYTES)
        except aiohttp.ClientConnectorCertificateError as error:
            words = words_of(error.certificate_error) or "the certificate is not accepted"
            raise SinkError(f"alertmanager: {words}", retry=False) from error
        except TimeoutError as error:
            raise SinkError(f"alertmanager: no answer within {self.config.timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            why = words_of(error)
            said = f"{why} ({urlsplit(self.config.url).netloc.rpartition('@')[2]})" if why else str(error)
            raise SinkError(f"alertmanager: {said or type(error).__name__}") from error
        if not accepted:
            words = " ".join(excerpt.decode(errors="replace").split())[:EXCERPT_CHARACTERS]
            retry = status >= 500 or status in TRY_AGAIN
            raise SinkError(f"alertmanager answered {status}{words and ': '}{words}", retry=retry)
        self._ahead_s = ahead_s(date, self._clock.now())

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        config, url = self.config, urlsplit(self.config.url)
        headers = {"Content-Type": "application/json", "User-Agent": "marginwatch"}
        if config.password is not None:
            password = config.password.reveal()
            login = b64encode(f"{unquote(url.username or '')}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}" if url.username else f"Bearer {password}"
        bare = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], f"{url.path.rstrip('/')}/", "", ""))
        return aiohttp.ClientSession(
            bare,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=config.timeout_s),
            connector=aiohttp.TCPConnector(limit=1, ssl=self._tls),
        )


def build(config: AlertmanagerConfig, surroundings: Surroundings) -> AlertmanagerSink:
    """Make the sink; nothing is connected yet. Raises SinkError when its TLS files cannot be used."""
    secure = config.url.startswith("https:")
    tls = config.tls_context("alertmanager") if secure else True
    return AlertmanagerSink(config, surroundings, tls)


def posts(before: Alert | None, alert: Alert, lives_until: float, ahead_s: float, links: Links) -> list[Post]:
    """What to post so that `alert` stands where `before`, the last word posted about its key, stood.

    `lives_until` is when a firing one ends without another post. All times are seconds since the epoch on our clock,
    which Alertmanager's is `ahead_s` ahead of.
    """
    found: list[tuple[Alert, float | None, str]] = []
    stood = before is not None and before is not alert and _stands(before)
    if before is not None and stood and (alert.silenced is not None or labels(before) != labels(alert)):
        found.append((before, alert.at, _why_it_ends(alert)))
    if alert.silenced is None:
        found.append((alert, None if alert.state is State.FIRING else alert.at, alert.text))
    return [
        Post(_entry(each, lives_until if over_at is None else over_at, text, ahead_s, links), over_at is not None)
        for each, over_at, text in found
    ]


def watchdog(host: str, began_at: float, ends_at: float, ahead_s: float, links: Links) -> Entry:
    """The alert that stands while the monitor on `host` does its job; times as in `posts`."""
    entry: Entry = {
        "labels": {"alertname": "MarginwatchWatchdog", "severity": "none", "host": host},
        "annotations": {
            "summary": f"marginwatch on {host} sees everything; when this ends, it does not",
            "runbook_url": f"{links.docs}README.md#monitor-missing",
        },
        "startsAt": rfc3339(began_at + ahead_s),
        "endsAt": rfc3339(ends_at + ahead_s),
    }
    return entry | ({"generatorURL": links.board} if links.board else {})


def labels(alert: Alert) -> dict[str, str]:
    """What makes an alert itself, in Alertmanager's eyes."""
    name = "Marginwatch" + "".join(word.capitalize() for word in alert.rule.split("_"))
    about = {"venue": alert.venue, "account": alert.account, "pool": alert.pool}
    if alert.venue is None:
        about["host"] = alert.host
    return {
        "alertname": name,
        "severity": alert.severity.label,
        "rule": alert.rule,
        "key": alert.key,
        **{label: value for label, value in about.items() if value is not None},
    }


def ahead_s(date: str, now: float) -> float:
    """How far the clock behind an answer's ``Date`` is ahead of ours, in seconds; 0 when it does not tell."""
    try:
        difference = parsedate_to_datetime(date).timestamp() - now
    except ValueError:
        return 0.0
    return difference if abs(difference) > SAME_CLOCK_S else 0.0


def _entry(alert: Alert, ends_at: float, summary: str, ahead: float, links: Links) -> Entry:
    annotations = {
        "summary": summary,
        "advice": alert.advice,
        "runbook_url": f"{links.docs}README.md#{RUNBOOKS.get(alert.rule, ANY_RUNBOOK)}",
        "host": alert.host,
        "id": alert.id,
    }
    if alert.acknowledged is not None:
        annotations["acknowledged"] = f"by {alert.acknowledged.by} at {rfc3339(alert.acknowledged.at)}"
    entry: Entry = {
        "labels": labels(alert),
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": rfc3339(alert.raised_at + ahead),
        # Never before its start, which would be refused: between two runs a clock may be set back.
        "endsAt": rfc3339(max(ends_at, alert.raised_at) + ahead),
    }
    return entry | ({"generatorURL": links.board} if links.board else {})


def _stands(alert: Alert) -> bool:
    return alert.state is State.FIRING and alert.silenced is None


def _why_it_ends(alert: Alert) -> str:
    """The summary of an alert that ends because `alert` is what is true now."""
    if alert.state is State.RESOLVED:
        return alert.text
    if alert.silenced is not None:
        silence = alert.silenced
        return f"silenced until {rfc3339(silence.until)} by {silence.by} ({silence.reason}), not over: {alert.text}"
    return f"now {alert.severity.label}: {alert.text}"


def _order(alert: Alert) -> tuple[int, float]:
    """Of two words about one key the newer is greater; handling by people leaves the serial as it is."""
    return alert.serial, alert.at
