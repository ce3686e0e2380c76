"""What a sink is shown of the pools, round after round."""

from collections.abc import Sequence

import pytest

from alerts import showing as module
from alerts.showing import Showing
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment
from tests.alerts.stage import Pools
from tests.support.pools import a_pool
from tests.support.recording_sink import RecordingSink


async def test_what_is_gone_is_named_once_and_shown_again_when_it_comes_back() -> None:
    """However many rounds there are."""
    sink, pools = RecordingSink(), Pools()
    pools.present = {name: a_pool(0.1, pool=name) for name in ("a", "b")}
    subject = Showing(sink, pools)
    await subject.round()
    gone = pools.present.pop("b")
    await subject.round()
    await subject.round()
    assert (set(sink.shown), sink.gone) == ({"a", "b"}, ["b"])
    sink.shown.clear()
    pools.present["b"] = gone
    await subject.round()
    assert set(sink.shown) == {"a", "b"}


async def test_what_is_gone_is_named_until_the_sink_took_it() -> None:
    """A round that fails is not the last word."""
    sink, pools = RecordingSink(), Pools({"a": a_pool(0.1, pool="a")})
    subject = Showing(sink, pools)
    await subject.round()
    pools.present.clear()
    sink.failing = "connection reset"
    with pytest.raises(SinkError):
        await subject.round()
    sink.failing = ""
    await subject.round()
    assert sink.gone == ["a"]


async def test_many_pools_go_in_pieces_and_none_makes_a_round_trip_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The round trip is what notices a dead connection."""
    monkeypatch.setattr(module, "STATE_BATCH_MAX", 2)
    sizes: list[int] = []

    class Counting(RecordingSink):
        async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
            sizes.append(len(present))

    await Showing(Counting(), Pools({name: a_pool(0.1, pool=name) for name in "abc"})).round()
    await Showing(Counting(), None).round()
    assert sizes == [2, 1, 0]
