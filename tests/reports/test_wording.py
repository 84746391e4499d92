import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import wording
from reports.case_maps_view import scale_bar
from reports.parts import Estimate


@given(st.floats(0, 1))
def test_a_score_is_never_rounded_to_certainty(value: float) -> None:
    shown = wording.score(value)
    assert (shown == "1.00") == (value == 1.0)
    assert (shown == "0.00") == (value == 0.0)


@pytest.mark.parametrize(
    ("value", "beside", "shown"),
    [(0.41, 0.41, "0.41"), (0.412, 0.409, "0.412"), (0.873, 0.41, "0.87"), (0.9999, 0.41, ">0.99")],
)
def test_a_score_never_looks_equal_to_a_threshold_that_it_is_not(value: float, beside: float, shown: str) -> None:
    assert wording.score(value, beside) == shown


@given(st.text(max_size=400), st.integers(1, 60))
def test_a_shortened_text_says_how_long_it_was(text: str, limit: int) -> None:
    folded = " ".join(text.split())
    shown = wording.one_line(text, limit)
    assert ("shortened" in shown) == (len(folded) > limit) or "shortened" in folded


@given(st.text(max_size=200), st.integers(5, 60))
def test_a_short_name_keeps_beginning_and_end(text: str, limit: int) -> None:
    folded = " ".join(text.split()).replace("\u200b", "")
    shown = wording.short_name(folded, limit).replace("\u200b", "")
    assert len(shown) <= limit
    if len(folded) <= limit:
        assert shown == folded
    else:
        assert shown[0] == folded[0]
        assert shown[-1] == folded[-1]


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        (0, "5 Mar 2026, 09:07 (UTC+00:00)"),
        (8, "5 Mar 2026, 09:07 (UTC+08:00)"),
        (-3.5, "5 Mar 2026, 09:07 (UTC-03:30)"),
    ],
)
def test_a_time_is_printed_with_its_zone(hours: float, shown: str) -> None:
    zone = dt.timezone(dt.timedelta(hours=hours))
    assert wording.moment(dt.datetime(2026, 3, 5, 9, 7, tzinfo=zone)) == shown


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (Estimate(value=0.934, low=0.881, high=0.965), "93.4\u00a0% (88.1 to 96.5)"),
        (Estimate(value=0.934), "93.4\u00a0%"),
        (Estimate(), "not defined"),
    ],
)
def test_a_proportion_comes_with_its_interval(estimate: Estimate, shown: str) -> None:
    assert wording.percent_interval(estimate) == shown


@pytest.mark.parametrize(
    ("width", "microns", "label"),
    [(700, 0.25, "50\u00a0µm"), (1390, 0.5, "200\u00a0µm"), (96, 0.1, "2\u00a0µm")],
)
def test_the_scale_bar_is_round_and_true(width: int, microns: float, label: str) -> None:
    bar = scale_bar(width, microns)
    assert bar is not None
    assert bar["label"] == label
    assert bar["share"] * width * microns == pytest.approx(float(label.split("\u00a0")[0]))
    assert bar["share"] <= 0.4 + 1e-9


def test_without_a_scale_there_is_no_bar() -> None:
    assert scale_bar(700, None) is None
