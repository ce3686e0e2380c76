"""Recordings: what is written, what is not, and what is told again."""

import gzip
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors import FeedSettings
from connectors.binance.product import USD_M
from connectors.binance_common.account import AccountFeed
from connectors.binance_common.assembly import arrange
from connectors.plan import Plan
from connectors.recorder import Recorder, Replay
from monitor.errors import DocumentError, VenueError
from monitor.telemetry import Telemetry
from tests.connectors.binance.stage import Stage, load, raw, settings
from tests.support.stage import START_S


def recorded(path: Path) -> Stage:
    """An account that went through a few things, recorded."""
    recorder = Recorder(path)
    telemetry = Telemetry()
    plan = recorder.record(arrange(lambda _: USD_M, [settings()], FeedSettings(), telemetry, 7), START_S)
    stage = Stage(plan.accounts[0], telemetry)
    stage.start()
    stage.pass_s(2.0)
    stage.frame("ws_account_update_order")
    stage.frame(b"\xff\xfe not text")
    stage.replies["risk"] = VenueError("binance: HTTP 503", retry=True, retry_after_s=2.5, code=503)
    stage.pass_s(70.0)
    stage.replies["risk"] = raw("rest_position_risk")
    stage.tell(stage.session.reconcile)
    stage.frame("ws_listen_key_expired")
    stage.lose()
    stage.pass_s(70.0)
    recorder.close()
    return stage


@pytest.mark.parametrize("name", ["recording.jsonl", "recording.jsonl.gz"])
def test_a_recording_tells_the_same_events_again(tmp_path: Path, name: str) -> None:
    """In the same order, with the times of receipt."""
    stage = recorded(tmp_path / name)
    with Replay(tmp_path / name) as recording:
        items = list(recording)
        assert [account.name for account in recording.accounts] == ["binance/main"]
    told = [event for _, events in items for event in events]
    assert told == stage.events
    assert [at for at, _ in items] == sorted(at for at, _ in items)


def test_secrets_are_concealed_and_stay_apart(tmp_path: Path) -> None:
    """Each has an alias, so that a replay can tell them apart."""
    path = tmp_path / "r.jsonl"
    recorder = Recorder(path)
    plan = recorder.record(arrange(lambda _: USD_M, [settings()], FeedSettings(), Telemetry(), 7), START_S)
    stage = Stage(plan.accounts[0], Telemetry())
    stage.start()
    stage.replies["keep"] = b'{"listenKey":"listen-key-0002"}'
    stage.pass_s(1600.0)
    stage.frame(orjson.dumps(load("ws_listen_key_expired") | {"listenKey": "listen-key-0002"}))
    recorder.close()
    text = path.read_text()
    assert "listen-key" not in text
    assert "concealed-1" in text
    assert "concealed-2" in text


def test_a_recording_is_for_its_owner_only_and_overwrites_nothing(tmp_path: Path) -> None:
    """It holds balances."""
    path = tmp_path / "r.jsonl"
    Recorder(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        Recorder(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_ends_the_recording_and_not_the_watch(tmp_path: Path) -> None:
    """The session goes on; the recorder says why it stopped."""
    recorder = Recorder(tmp_path / "r.jsonl")
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), recorder._raw.fileno())
    telemetry = Telemetry()
    plan = recorder.record(arrange(lambda _: USD_M, [settings()], FeedSettings(), telemetry, 7), START_S)
    stage = Stage(plan.accounts[0], telemetry)
    stage.start()
    stage.pass_s(10.0)
    assert recorder.failure is not None
    assert len(stage.events) > 3
    recorder.close()


def test_a_recording_that_was_cut_off_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    """Its writer was killed."""
    recorded(tmp_path / "r.jsonl")
    whole = (tmp_path / "r.jsonl").read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(whole[:-20])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(whole)[:-20])
    for name in ("cut.jsonl", "cut.jsonl.gz"):
        with Replay(tmp_path / name) as recording:
            assert len(list(recording)) > 20


def header(**changes: Any) -> bytes:
    """The first line of a recording."""
    plan: Plan = arrange(lambda _: USD_M, [settings()], FeedSettings(), Telemetry(), 7)
    line: Mapping[str, Any] = {"t": START_S, "k": "plan", "v": 1, **plan.header}
    return orjson.dumps({**line, **changes}) + b"\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello\n", "line 1"),
        (b"[]\n", "line 1"),
        (header(v=99), "version 99"),
        (header(venue="nowhere"), "venue nowhere"),
        (header(accounts=5), "missing"),
        (header(accounts=[{"name": "x"}]), "line 1"),
        (header() + b'{"t":1,"s":"nobody","k":"tick"}\n', "line 2"),
        (header() + b'{"t":1,"s":"binance/main","k":"dance"}\n', "dance"),
        (header() + b'{"t":"x","s":"binance/main","k":"tick"}\n', "line 2"),
    ],
)
def test_a_file_that_is_not_a_recording_is_refused_with_the_line(tmp_path: Path, content: bytes, words: str) -> None:
    """No traceback reaches a user."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with Replay(path) as recording, pytest.raises(DocumentError, match=words):
        list(recording)


def test_a_file_that_is_not_there_or_not_gzip_is_refused(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(DocumentError, match=r"gone\.jsonl"):
        Replay(tmp_path / "gone.jsonl")
    (tmp_path / "x.jsonl.gz").write_bytes(b"not packed")
    with Replay(tmp_path / "x.jsonl.gz") as recording, pytest.raises(DocumentError, match="gzip"):
        list(recording)


def test_accounts_of_one_address_share_a_market_feed_that_watches_what_any_of_them_holds() -> None:
    """The wire between the sessions of a plan."""
    telemetry = Telemetry()
    plan = arrange(
        lambda _: USD_M,
        [settings(name="one"), settings(name="two"), settings(name="far", feed="far", market_url="wss://far.test")],
        FeedSettings(),
        telemetry,
        7,
    )
    assert set(plan.markets) == {"binance", "far"}
    one = plan.accounts[0]
    assert isinstance(one, AccountFeed)
    stage = Stage(one, telemetry)
    stage.start()
    stage.pass_s(1.0)
    plan.follow(stage.events, one, START_S + 1.0)
    market = plan.markets["binance"]
    assert len(market.actions) == 1
    assert plan.markets["far"].actions == []
    plan.follow(stage.events, one, START_S + 1.0)
    assert len(market.actions) == 1
    plan.follow(stage.frame("ws_account_update_closed"), one, START_S + 2.0)
    assert one.needs() == {"ETHUSDT", "SOLUSDC"}
