"""One URL of apprise as something to push through: in a thread of its own, with a deadline, and with a reason.

Apprise is synchronous and says yes or no. Why it was no, and how long a server wants to be left alone, stands in the
HTTP answers that it drops; they are overheard here. No URL is ever part of what is said: it is the secret.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from threading import Thread
from typing import TYPE_CHECKING, Any

from alerts.alert import Severity
from monitor.credential import Secret
from monitor.errors import words_of

if TYPE_CHECKING:
    from apprise import Apprise

INSTALL = "the sink push needs the package apprise; install it with: .venv/bin/pip install -c constraints.txt '.[push]'"
STUCK_MAX = 6
"""Pushes through one URL that hang beyond their deadline at once; while there are so many no other is begun."""
PATIENCE = 3.0
"""A thread waits for an answer so many times as long as whoever asked."""
_LASTING = frozenset({400, 401, 402, 403, 404, 405, 410, 413})
"""HTTP answers that the same push gets again."""

# What to look for, in this order, among the priorities that a service knows. Only words that mean the same everywhere:
# services that number theirs do not agree which end is up, so they keep what the URL says.
_WORDS: Mapping[Severity | None, tuple[str, ...]] = {
    None: ("normal", "default", "medium", "active"),
    Severity.NOTICE: ("low", "passive", "info", "normal"),
    Severity.WARNING: ("normal", "default", "medium", "active", "warning"),
    Severity.CRITICAL: ("high", "time-sensitive", "timeSensitive", "urgent", "critical"),
    Severity.EMERGENCY: ("emergency", "max", "urgent", "critical", "high"),
}
_PRIORITY_OPTIONS = ("priority", "urgency", "level")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one push. `retry` says whether the same may succeed later, `retry_after_s` from when on."""

    ok: bool
    detail: str = ""
    retry: bool = True
    retry_after_s: float | None = None
    hung: bool = False


class Channel:
    """What one URL leads to. Nothing is kept between pushes: apprise would wait 5.5 s before the next."""

    def __init__(self, url: Secret) -> None:
        self._url = url.reveal()
        self._stuck = 0

    async def push(
        self, title: str, body: str, severity: Severity | None, deadline_s: float, landed: Callable[[], None]
    ) -> Answer:
        """Push, and wait for the answer until the deadline. `severity` None: all is well again.

        `landed` is called when the push was taken, also when that turns out after the deadline: a thread cannot be
        stopped, so a push that hangs may still arrive.
        """
        if self._stuck >= STUCK_MAX:
            return Answer(ok=False, detail="earlier pushes still hang", hung=True)
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Answer] = loop.create_future()

        def finish(answer: Answer) -> None:
            self._stuck -= 1
            if answer.ok:
                landed()
            if not found.done():
                found.set_result(answer)

        def work() -> None:
            answer = _send(self._url, title, body, severity, deadline_s)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, answer)

        self._stuck += 1
        # Not one of the loop's own threads: those are waited for at the end of the process.
        Thread(target=work, name="push", daemon=True).start()
        try:
            async with asyncio.timeout(deadline_s):
                return await found
        except TimeoutError:
            return Answer(ok=False, detail=f"no answer within {deadline_s:g} s", hung=True)


def is_usable(url: Secret) -> bool:
    """Whether apprise knows what to do with this URL. Raises ImportError when there is no apprise."""
    return len(_service(url.reveal(), None, 1.0)) == 1


def require() -> None:
    """Raise ImportError when there is no apprise."""
    import apprise  # noqa: F401


def _send(url: str, title: str, body: str, severity: Severity | None, deadline_s: float) -> Answer:
    from apprise import NotifyFormat, NotifyType

    kinds = {
        None: NotifyType.SUCCESS,
        Severity.NOTICE: NotifyType.INFO,
        Severity.WARNING: NotifyType.WARNING,
        Severity.CRITICAL: NotifyType.FAILURE,
        Severity.EMERGENCY: NotifyType.FAILURE,
    }
    heard: list[_Overheard] = []
    token = _ear.set(heard)
    try:
        service = _service(url, severity, deadline_s)
        took = service.notify(title=title, body=body, notify_type=kinds[severity], body_format=NotifyFormat.TEXT)
    except Exception as error:  # noqa: BLE001 - whatever a service's code does, the next route is to be tried
        return Answer(ok=False, detail=f"apprise failed with {type(error).__name__}")
    finally:
        _ear.reset(token)
    return Answer(ok=True) if took else _refusal(heard)


def _service(url: str, severity: Severity | None, deadline_s: float) -> "Apprise":
    """The one service behind a URL, set to a severity where it knows priorities and the URL names none."""
    from apprise import Apprise, AppriseAsset, NotifyBase, PersistentStoreMode

    # At every level its log may name the URL, and all it says stands in the answer. What it asks through is no more
    # repeated by our log than any other library.
    logging.getLogger("apprise").disabled = True
    _overhear()
    asset = AppriseAsset(
        async_mode=False,
        storage_mode=PersistentStoreMode.MEMORY,
        service_timeout=0,  # in this very thread; the deadline is ours
        allow_templates=False,
    )
    asset.app_id, asset.app_desc, asset.app_url = "marginwatch", "marginwatch", ""
    asset.image_url_mask = asset.image_url_logo = ""  # no pictures from somebody else's server
    service = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if isinstance(service, NotifyBase) and severity in _WORDS:
        option = _priority(type(service), severity)
        if option is not None and f"{option.partition('=')[0]}=" not in url.partition("?")[2]:
            joined = f"{url}{'&' if '?' in url else '?'}{option}"
            service = Apprise.instantiate(joined, asset=asset, suppress_exceptions=True) or service
    services = Apprise(asset=asset)
    if isinstance(service, NotifyBase):
        # Longer than the deadline, so that a push that is taken late is known to have been taken.
        service.socket_connect_timeout = service.socket_read_timeout = deadline_s * PATIENCE
        services.add(service)
    return services


def _priority(service: type[Any], severity: Severity | None) -> str | None:
    """The option of the URL that sets the service's own priority, for example ``priority=high``."""
    for option in _PRIORITY_OPTIONS:
        known = service.template_args.get(option, {}).get("values")
        words = list(known.values() if isinstance(known, Mapping) else known or ())
        for word in _WORDS[severity]:
            if word in words:
                return f"{option}={word}"
    return None


# -- the HTTP answers ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Overheard:
    """One HTTP exchange: the status, or why there was none."""

    status: int | None
    failure: str = ""
    retry_after_s: float | None = None


_ear: ContextVar[list[_Overheard] | None] = ContextVar("push_answers", default=None)


def _overhear() -> None:
    """Have requests, through which apprise asks, tell what it is answered to whoever listens in this context."""
    from requests import RequestException, Session

    plain: Any = Session.send
    if getattr(plain, "is_overheard", False):
        return

    @functools.wraps(plain)
    def send(session: Any, request: Any, **options: Any) -> Any:
        heard = _ear.get()
        if heard is None:
            return plain(session, request, **options)
        try:
            response = plain(session, request, **options)
        except RequestException as error:
            heard.append(_Overheard(None, words_of(error) or "no connection"))
            raise
        heard.append(_Overheard(response.status_code, retry_after_s=_retry_after_s(response)))
        return response

    send.is_overheard = True  # type: ignore[attr-defined]
    Session.send = send  # type: ignore[assignment, method-assign]


def _refusal(heard: list[_Overheard]) -> Answer:
    """Why apprise said no: the last exchange that went wrong."""
    wrong = [each for each in heard if each.status is None or each.status >= HTTPStatus.BAD_REQUEST]
    if not wrong:
        return Answer(ok=False, detail="apprise could not push, and does not say why")
    last = wrong[-1]
    if last.status is None:
        return Answer(ok=False, detail=f"cannot be reached: {last.failure}")
    with suppress(ValueError):
        phrase = HTTPStatus(last.status).phrase
        detail = f"HTTP {last.status} {phrase}"
        return Answer(ok=False, detail=detail, retry=last.status not in _LASTING, retry_after_s=last.retry_after_s)
    return Answer(ok=False, detail=f"HTTP {last.status}", retry_after_s=last.retry_after_s)


def _retry_after_s(response: Any) -> float | None:
    """How long the server asks to be left alone: ``Retry-After``, or Telegram's ``parameters.retry_after``."""
    if response.status_code not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return None
    wish = response.headers.get("Retry-After", "")
    with suppress(ValueError, TypeError, LookupError):
        seconds = float(wish) if wish else float(response.json()["parameters"]["retry_after"])
        return max(0.0, seconds) if seconds < float("inf") else None
    with suppress(ValueError, TypeError):  # no date either
        return max(0.0, (parsedate_to_datetime(wish) - datetime.now(UTC)).total_seconds())
    return None
