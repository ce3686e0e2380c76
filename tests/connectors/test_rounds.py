"""Rounds of questions, asked in turn."""

from collections.abc import Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.rounds import Unanswered, ask_in_turn
from connectors.session import Request
from connectors.wire import BadFrame, Defect
from monitor.errors import VenueError
from monitor.model.events import SnapshotReason


@dataclass
class Questions:
    """``state`` raises ``more``; ``note`` can be done without."""

    reason: SnapshotReason = SnapshotReason.START
    link: str | None = None
    missing: set[str] = field(default_factory=lambda: {"state", "note"})
    bodies: dict[str, bytes] = field(default_factory=dict)

    def take(self, kind: str, body: bytes, sent_ms: int) -> Collection[str]:
        """One answer."""
        if body == b"?":
            raise BadFrame(Defect.JSON, "not readable")
        self.missing.discard(kind)
        self.bodies[kind] = body
        return ("more",) if kind == "state" else ()

    def do_without(self, kind: str) -> Collection[str] | None:
        """A note."""
        return ("instead",) if kind == "note" else None


class Answers:
    """What `connectors.rest.Rest` would bring."""

    def __init__(self, **told: bytes | VenueError) -> None:
        self.told = told
        self.asked: list[str] = []

    async def perform(self, request: Request) -> Any:
        """As told, else empty."""
        self.asked.append(request.id)
        told = self.told.get(request.id, b"{}")
        if isinstance(told, VenueError):
            raise told
        return SimpleNamespace(body=told, sent_ms=1)


def question(kind: str) -> Request:
    """Of a kind."""
    return Request(kind, "GET", "https://rest.test", f"/{kind}")


async def asked(rest: Answers) -> Questions:
    """A whole round."""
    return (await asked_without(rest))[0]


async def asked_without(rest: Answers) -> tuple[Questions, dict[str, str]]:
    """A whole round, and what it did without."""
    questions = Questions()
    return questions, await ask_in_turn(rest, questions, question)  # type: ignore[arg-type]


async def test_every_question_is_asked_and_those_that_answers_raise() -> None:
    """One after the other."""
    rest = Answers()
    assert (await asked(rest)).bodies.keys() == {"state", "note", "more"}
    assert rest.asked == ["state", "more", "note"]


async def test_questions_may_wait_their_turn() -> None:
    """Each for as long as it is told to."""
    rest, waited = Answers(), []

    def pause_s(kind: str) -> float:
        waited.append((kind, len(rest.asked)))
        return 0.0

    await ask_in_turn(rest, Questions(), question, pause_s)  # type: ignore[arg-type]
    assert waited == [("state", 0), ("more", 1), ("note", 2)]


@pytest.mark.parametrize("told", [VenueError("no", retry=True), b"?"], ids=["an error", "an answer that is unreadable"])
async def test_what_can_be_done_without_is(told: bytes | VenueError) -> None:
    """And what is asked for instead is asked for."""
    questions, without = await asked_without(Answers(note=told))
    assert questions.bodies.keys() == {"state", "more", "instead"}
    assert without == {"note": "no" if isinstance(told, VenueError) else "not readable"}


@pytest.mark.parametrize(
    ("told", "error"), [(VenueError("no", retry=True), VenueError), (b"?", BadFrame)], ids=["error", "unreadable"]
)
async def test_what_is_needed_and_does_not_come_ends_the_round(
    told: bytes | VenueError, error: type[Exception]
) -> None:
    """With the error that it was."""
    with pytest.raises(error):
        await asked(Answers(state=told))


def test_what_is_not_answered_is_news_once_until_it_is() -> None:
    """However many rounds go by, and whether it is asked in each of them or not."""
    without = Unanswered()
    told = []
    for answered in (False, False, None, False, True, False):
        if answered:
            without.told("tiers")
        elif answered is not None:
            told.append(without.untold("tiers"))
        without.end_round()
    assert told == [True, False, False, True]


def test_questions_of_one_topic_are_one_thing_to_tell_of() -> None:
    """Also while some of them are answered."""
    without = Unanswered()
    told = []
    for _ in range(3):
        told += [without.untold("fees/A"), without.untold("fees/B")]
        without.told("fees/C")
        without.end_round()
    assert told == [True, False, False, False, False, False]
