"""What the simulated OKX says of its account and its market."""

from connectors.simulator.okx_account import Position, State
from connectors.simulator.okx_answers import account_pages, contracts, funding, position_pages, tiers

DEADLINE_S = 5.0

NOW_MS = 1_790_001_234_567


def test_contracts_are_listed_by_kind() -> None:
    """Options by family; an inverse contract counts dollars, an option its coin."""
    made = State()
    made.marks |= {"BTC-USD-261225": 76_000.0, "BTC-USD-261225-90000-C": 0.01, "ETH-USD-261225-9000-P": 0.02}

    def listed(**query: str) -> dict[str, str]:
        return {row["instId"]: row["ctType"] for row in contracts(made, query)}

    assert listed(instType="SWAP").keys() == {"BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP"}
    assert listed(instType="FUTURES") == {"BTC-USD-261225": "inverse"}
    assert listed(instType="OPTION", instFamily="BTC-USD") == {"BTC-USD-261225-90000-C": ""}


def test_the_account_comes_in_pages_without_what_is_empty() -> None:
    """Only currencies with a balance, or with a profit."""
    held = Position("BTC-USD-SWAP", 10.0, 70_000.0, "cross")
    made = State(level="3", cash={"USDT": 5.0, "BTC": 0.0, "ETH": 0.0}, positions=[held], page=1)
    made.usd["ETH"] = 4000.0
    pages = account_pages(made, NOW_MS)
    assert [[row["ccy"] for row in page["data"][0]["details"]] for page in pages] == [["USDT"], ["BTC"]]
    assert [(page["curPage"], page["lastPage"]) for page in pages] == [(1, False), (2, True)]


def test_tiers_are_told_by_family_and_mode() -> None:
    """Each begins one contract after the last one; those of isolated positions may have rates of their own."""
    made = State(isolated_share=2.0)
    rows = tiers(made, {"instFamily": "BTC-USDT,SOL-USDT", "tdMode": "isolated"})
    assert [(row["tier"], row["minSz"], row["maxSz"], row["mmr"]) for row in rows if row["uly"] == "BTC-USDT"] == [
        ("1", "0", "1000", "0.008"),
        ("2", "1001", "5000", "0.013"),
        ("3", "5001", "10000", "0.02"),
        ("4", "10001", "20000", "0.04"),
    ]
    assert {row["uly"] for row in rows} == {"BTC-USDT", "SOL-USDT"}


def test_funding_is_told_for_the_next_full_hour() -> None:
    """And for the one an interval later."""
    row = funding(State(), NOW_MS)[0]
    coming, following = int(row["fundingTime"]), int(row["nextFundingTime"])
    assert (coming % 3_600_000, following - coming) == (0, 28_800_000)
    assert 0 < coming - NOW_MS <= 3_600_000


def test_no_positions_are_a_page_as_well() -> None:
    """Which is the last one; what is flat is not told."""
    (page,) = position_pages(State(positions=[Position(size=0.0)]), NOW_MS)
    assert (page["data"], page["curPage"], page["lastPage"]) == ([], 1, True)
