"""The control interface: what it answers, and how it refuses."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.connectors.simulator.stage import stage
from tests.support.venue_server import ControlError, Venue, venue_in_process


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    """A venue with one empty account."""
    async with venue_in_process(stage()) as running:
        yield running


async def test_state_and_account(venue: Venue) -> None:
    """Marks, steps, pools with ratios, and the worst that was seen."""
    await venue.act("main", "set_position", symbol="BTCUSDT", size="1", isolated_wallet="6000")
    await venue.marks(BTCUSDT="54400")  # 217.6 / 400
    state = await venue.state()
    assert (state["marks"]["BTCUSDT"], state["accounts"], state["liquidations"]) == ("54400", ["main"], 0)
    account = await venue.account("main")
    [pool] = account["pools"]
    assert (pool["scope"], pool["margin_ratio"]) == ("BTCUSDT:long", 0.544)
    assert list(account["peaks"]["BTCUSDT:long"]["rungs"]) == ["0.50"]


async def test_silent_actions_change_without_telling(venue: Venue) -> None:
    """The frames of a lost event do not go out; what it led to does."""
    assert await venue.act("main", "transfer", asset="USDT", amount="5") == 1
    assert await venue.act("main", "transfer", asset="USDT", amount="5", silent=True) == 0
    assert (await venue.account("main"))["cross_wallets"] == {"USDT": "10010"}


async def test_an_action_can_lead_to_a_liquidation(venue: Venue) -> None:
    """Taking margin out is looked at at once."""
    await venue.act("main", "set_position", symbol="BTCUSDT", size="1", isolated_wallet="6000")
    await venue.act("main", "isolated_margin", symbol="BTCUSDT", amount="-5900")
    assert [each["scope"] for each in await venue.liquidations()] == ["BTCUSDT:long"]


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("accounts/nobody/transfer", {"asset": "USDT", "amount": 1}, 404, "nobody"),
        ("accounts/main/dance", {}, 404, "dance"),
        ("accounts/main/transfer", {"asset": "USDT"}, 400, "amount"),
        ("accounts/main/transfer", {"asset": "USDT", "amount": "nan"}, 400, "amount"),
        ("accounts/main/transfer", {"asset": "USDT", "amount": 1, "x": 1}, 400, "x"),
        ("accounts/main/fill", {"symbol": "BTCUSDT", "side": "HOLD", "quantity": 1}, 400, "side"),
        ("accounts/main/fill", {"symbol": "BTCUSDT", "side": "BUY", "quantity": 1, "position_side": "UP"}, 400, "UP"),
        ("accounts/main/permissions", {"enableFlying": True}, 400, "enableFlying"),
        ("marks", {"BTCUSDT": "nan"}, 400, "finite"),
        ("marks", {"BTCUSDT": "-1"}, 400, "impossible"),
        ("marks", {"BTCEUR": "1"}, 400, "BTCEUR"),
        ("path", {"action": "fly"}, 400, "fly"),
        ("faults", {"fault": "rest", "kind": "fire"}, 400, "kind"),
        ("faults", {"fault": "moon"}, 400, "moon"),
        ("contracts/BTCUSDT/brackets", {"brackets": "x", "top": "1"}, 400, "list"),
    ],
)
async def test_what_cannot_be_done_is_said(
    venue: Venue, path: str, body: dict[str, Any], status: int, problem: str
) -> None:
    """A 4xx that names what was wrong."""
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{venue.control_url}/{path}", json=body) as response:
            assert response.status == status
            assert problem in (await response.json())["msg"]
        async with http.post(f"{venue.control_url}/{path}", data=b"[") as response:
            assert response.status in (400, 404)


async def test_refusals_of_the_venue_keep_their_code(venue: Venue) -> None:
    """An action that the venue would refuse is refused with its code."""
    await venue.act("main", "set_position", symbol="BTCUSDT", size="1")
    with pytest.raises(ControlError) as refused:
        await venue.act("main", "position_mode", hedge=True)
    assert refused.value.code == -4068


async def test_the_log_can_be_narrowed(venue: Venue) -> None:
    """By kind; events carry their whole frame."""
    await venue.act("main", "transfer", asset="USDT", amount="5")
    [entry] = await venue.log("event")
    assert (entry["account"], entry["event"], entry["frame"]["a"]["m"]) == ("main", "ACCOUNT_UPDATE", "DEPOSIT")
    assert {entry["kind"] for entry in await venue.log()} == {"event", "transfer"}
