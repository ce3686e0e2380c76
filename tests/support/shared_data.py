"""Where the collection of real venue data is: beside the checkout, or where `MARGINWATCH_SHARED_DATA` says."""

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(os.environ.get("MARGINWATCH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

ABSENT = f"the collection of real venue data is absent ({ROOT}; set MARGINWATCH_SHARED_DATA)"

needs_shared_data = pytest.mark.shared_data(absent=None if ROOT.is_dir() else ABSENT)
"""Of tests that are skipped where the collection is absent, which fails a run in CI (`tests/conftest.py`)."""


def all_cases() -> list[dict[str, Any]]:
    """Positions with the figures their venues reported; empty when the collection is absent."""
    return [json.loads(path.read_text()) for path in sorted(ROOT.glob("cases/*.json"))]


def cases(venue: str) -> list[dict[str, Any]]:
    """Those of one venue."""
    return [case for case in all_cases() if case["venue"] == venue]


def tier_rows(name: str) -> list[dict[str, str]]:
    """The rows of a tier table (``.csv`` or ``.csv.gz``)."""
    path = ROOT / "tiers" / name
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return list(csv.DictReader(file))
