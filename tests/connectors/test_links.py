"""One connection kept alive by making the next before dropping the last."""

from random import Random

from connectors.links import REPLACE_CAP_S, RETRY_CAP_S, Links
from connectors.session import Action, Connect, Disconnect, Timers


class Stage:
    """Links with an owner that dials at once."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.timers = Timers()
        self.now = 0.0
        self.links = Links("x", self.actions, self.timers, self._dial, Random(3), prove_s=5.0, life_s=1000.0)

    def _dial(self, now: float) -> None:
        self.links.connect("wss://x", now)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        handlers = {"dial": self.links.on_dial, "prove": self.links.on_prove, "rollover": self.links.on_rollover}
        end = self.now + seconds
        while (due := self.timers.next()) is not None and due <= end:
            self.now = due
            for name in self.timers.take(due):
                handlers[name](due)
        self.now = end

    def dialled(self) -> int:
        """How often."""
        return sum(isinstance(action, Connect) for action in self.actions)


def live() -> Stage:
    """With a connection that delivers."""
    stage = Stage()
    stage.links.begin(0.0)
    stage.links.opened("x-1", 0.0)
    stage.links.prove("x-1", 0.0)
    return stage


def test_only_a_connection_that_delivers_is_live() -> None:
    """Being open is not enough."""
    stage = Stage()
    assert stage.links.idle
    stage.links.begin(0.0)
    assert stage.links.opened("x-1", 0.0)
    assert (stage.links.live, stage.links.heir) == (None, "x-1")
    assert stage.links.prove("x-1", 0.0)
    assert (stage.links.live, stage.links.heir) == ("x-1", None)
    assert not stage.links.prove("x-1", 0.0)


def test_a_connection_that_delivers_nothing_is_dropped_and_another_made() -> None:
    """Within `prove_s` of its opening."""
    stage = Stage()
    stage.links.begin(0.0)
    stage.links.opened("x-1", 0.0)
    stage.pass_s(7.0)
    assert stage.actions[1:] == [Disconnect("x-1"), Connect("x-2", "wss://x")]


def test_a_connection_that_is_not_made_is_tried_with_growing_pauses() -> None:
    """Never more than the cap apart."""
    stage = Stage()
    stage.links.begin(0.0)
    for _ in range(40):
        assert stage.links.heir is not None
        stage.links.closed(stage.links.heir, "refused", stage.now)
        due = stage.timers.next()
        assert due is not None
        assert due - stage.now <= RETRY_CAP_S
        stage.pass_s(RETRY_CAP_S)
    assert stage.dialled() == 41


def test_a_lost_connection_has_a_successor() -> None:
    """And keeps the reason."""
    stage = live()
    assert stage.links.closed("x-1", "gone", 1.0)
    assert (stage.links.live, stage.links.lost_reason) == (None, "gone")
    stage.now = 1.0
    stage.pass_s(1.0)
    assert stage.links.heir == "x-2"


def test_the_old_connection_goes_when_the_new_one_delivers() -> None:
    """At the end of its life."""
    stage = live()
    stage.pass_s(1000.0)
    assert (stage.links.live, stage.links.heir) == ("x-1", "x-2")
    assert Disconnect("x-1") not in stage.actions
    stage.links.prove("x-2", stage.now)
    assert stage.actions[-1] == Disconnect("x-1")


def test_a_connection_is_replaced_at_once_and_then_ever_more_seldom() -> None:
    """A venue that has nothing to say is not hammered."""
    stage = live()
    stage.links.replace(0.0)
    stage.pass_s(0.0)
    assert stage.dialled() == 2
    for _ in range(3600):
        if stage.links.heir is not None:
            stage.links.prove(stage.links.heir, stage.now)
        stage.links.replace(stage.now)
        stage.pass_s(1.0)
    assert 3600 / REPLACE_CAP_S < stage.dialled() < 60
    stage.links.steady()


def test_a_connection_that_is_silent_is_replaced_as_soon_as_one_that_is_lost() -> None:
    """However often that was: every second of it is blindness."""
    stage = live()
    for _ in range(600):
        if stage.links.heir is not None:
            stage.links.prove(stage.links.heir, stage.now)
        before = stage.dialled()
        for _ in range(int(RETRY_CAP_S) + 1):
            stage.links.replace(stage.now, silent=True)
            stage.pass_s(1.0)
        assert stage.dialled() > before


def test_asking_twice_for_a_replacement_makes_one() -> None:
    """It is on its way already."""
    stage = live()
    stage.links.replace(0.0)
    stage.links.replace(0.0)
    stage.pass_s(0.0)
    stage.links.replace(0.0)
    stage.pass_s(0.0)
    assert stage.dialled() == 2


def test_strangers_change_nothing() -> None:
    """A connection that was dropped may still be heard of."""
    stage = live()
    assert not stage.links.opened("x-9", 0.0)
    assert not stage.links.closed("x-9", "gone", 0.0)
    assert stage.links.live == "x-1"


def test_a_stop_drops_everything_and_a_begin_starts_anew() -> None:
    """With nothing left to be due."""
    stage = live()
    stage.links.begin(0.0)
    stage.links.stop()
    assert {Disconnect("x-1"), Disconnect("x-2")} <= set(stage.actions)
    assert stage.timers.next() is None
    assert stage.links.idle
    stage.links.begin(0.0)
    assert stage.links.heir == "x-3"
