"""Amounts and times as the page writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.progress import Stage
from blockmerge.jobs.states import JobProgress
from blockmerge.ui.views import duration_text, left_text, rate, share_text, time_left


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (5_945_000_000, 14_500_000_000, "5.9 of 14.5 GB"),
        (40_000_000, 145_000_000_000, "0 of 145 GB"),
        (999, 2_000_000, "0.0 of 2.0 MB"),
        (12, 500, "12 of 500 bytes"),
    ],
)
def test_bytes_of_bytes_share_one_unit(done: int, total: int, text: str) -> None:
    assert share_text(done, total) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (2.44, "2.4 s"), (40.2, "40 s"), (59.6, "1 min 0 s"), (130, "2 min 10 s"), (3900, "1 h 5 min")],
)
def test_a_measured_time_is_exact(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "a few seconds"),
        (9, "a few seconds"),
        (11, "about 20 s"),
        (40, "about 40 s"),
        (54, "about 60 s"),
        (56, "about 1 min"),
        (100, "about 2 min"),
        (5000, "about 83 min"),
        (7200, "about 2 h"),
    ],
)
def test_an_expected_time_is_rounded(seconds: float, text: str) -> None:
    assert left_text(seconds) == text


@given(total=st.integers(1, 10**13), share=st.floats(0.01, 1), seconds=st.floats(0.5, 10**5))
def test_rate_and_time_left_add_up_to_the_whole(total: int, share: float, seconds: float) -> None:
    done = max(1, int(total * share))
    progress = JobProgress(Stage.MERGE, done, total, "", 0.0, seconds)

    speed, left = rate(progress), time_left(progress)

    assert speed is not None
    assert left is not None
    assert speed * (seconds + left) == pytest.approx(total)
