"""What a report is worth: small differences are carried, surprises frighten at once and reassure only when repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.anchoring import Anchor, after_change, anchor
from monitor.margin.risk import Risk
from monitor.model.assessment import Disagreement

MODEL = Risk(100.0, 10.0)
SAME = Disagreement("margin balance", 100.0, 100.0)


def hold(report: Risk, before: Anchor | None = None, *, computed: bool = True) -> Anchor | None:
    """Against the model, with a tolerance of 1 %."""
    return anchor(report, MODEL, computed=computed, before=before, tolerance=0.01)


@pytest.mark.parametrize(
    ("report", "offset", "error"),
    [
        pytest.param(Risk(100.5, 10.05), Risk(0.5, 0.05), 0.05 / 10.05, id="a small difference is carried whole"),
        pytest.param(Risk(150.0, 10.0), Risk(0.0, 0.0), 50 / 150, id="a rosy balance is not believed at once"),
        pytest.param(Risk(50.0, 10.0), Risk(-50.0, 0.0), 50 / 100, id="a grim balance is"),
        pytest.param(Risk(100.0, 5.0), Risk(0.0, 0.0), 5 / 10, id="a low requirement is not believed at once"),
        pytest.param(Risk(100.0, 20.0), Risk(0.0, 10.0), 10 / 20, id="a high one is"),
    ],
)
def test_a_first_report(report: Risk, offset: Risk, error: float) -> None:
    """The dangerous part counts at once."""
    held = hold(report)
    assert held is not None
    assert (held.offset.margin_balance, held.offset.maintenance_margin) == (
        pytest.approx(offset.margin_balance),
        pytest.approx(offset.maintenance_margin),
    )
    assert held.error == pytest.approx(error)


def test_the_same_again_is_believed_and_another_surprise_is_not() -> None:
    """Confirmed means the same difference, not any second one."""
    first = hold(Risk(150.0, 10.0))
    again = hold(Risk(150.2, 10.0), first)
    other = hold(Risk(900.0, 10.0), first)
    assert again is not None
    assert other is not None
    assert again.offset.margin_balance == pytest.approx(50.2)
    assert other.offset.margin_balance == 0.0


def test_without_a_model_the_report_cannot_disagree() -> None:
    """A requirement that only the venue computes is its own."""
    held = anchor(Risk(100.0, 33.0), Risk(100.0, 0.0), computed=False, before=None, tolerance=0.01)
    assert held == Anchor(Risk(0.0, 33.0), Risk(0.0, 33.0), 0.0, Disagreement("margin balance", 100.0, 100.0))


@pytest.mark.parametrize(
    ("report", "disagreement"),
    [
        pytest.param(Risk(90.0, 8.0), Disagreement("maintenance margin", 10.0, 8.0), id="maintenance by a fifth"),
        pytest.param(Risk(50.0, 8.0), Disagreement("margin balance", 100.0, 50.0), id="the balance by half"),
    ],
)
def test_the_worse_of_the_two_figures_is_named_with_both_numbers(report: Risk, disagreement: Disagreement) -> None:
    """As computed and as reported, whatever is carried of the difference, and also after a trade."""
    first = hold(report)
    assert first is not None
    again = hold(report, first)
    assert again is not None
    changed = after_change(again, computed=True, growth=1.0)
    assert [held.disagreement for held in (first, again, changed)] == [disagreement] * 3


def test_what_is_unknown_is_not_compared() -> None:
    """A missing mark or tier leaves nothing to hold a report against."""
    assert anchor(Risk(100.0, 1.0), Risk(float("nan"), 1.0), computed=True, before=None, tolerance=0.01) is None


def test_after_a_change_nothing_reassures() -> None:
    """What was measured on other positions may only frighten; a reported requirement grows with the pool."""
    held = Anchor(Risk(5.0, -3.0), Risk(5.0, -3.0), 0.05, SAME)
    assert after_change(held, computed=True, growth=0.1).offset == Risk(0.0, 0.0)
    reported = Anchor(Risk(5.0, 30.0), Risk(5.0, 30.0), 0.0, SAME)
    assert after_change(reported, computed=False, growth=2.0).offset == Risk(0.0, 60.0)
    assert after_change(reported, computed=False, growth=0.5).offset == Risk(0.0, 30.0)


@given(st.floats(-1e6, 1e6), st.floats(0.0, 1e6))
def test_a_first_report_never_makes_a_pool_look_safer_than_both(balance: float, maintenance: float) -> None:
    """Past the tolerance, what is carried is at least as dangerous as the model, and as the report in each figure."""
    held = hold(Risk(balance, maintenance))
    assert held is not None
    carried = MODEL + held.offset
    if held.error > 0.01:
        assert carried.margin_balance <= max(MODEL.margin_balance, balance) + 1e-9
        assert carried.maintenance_margin >= min(MODEL.maintenance_margin, maintenance) - 1e-9
        assert carried.margin_balance <= MODEL.margin_balance
        assert carried.maintenance_margin >= MODEL.maintenance_margin
