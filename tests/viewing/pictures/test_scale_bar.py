"""Scale bars have round lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ilastik_lazy.viewing.pictures.scale_bar import add_scale_bar, length_text, round_length


@given(st.floats(1e-9, 1e9))
def test_lengths_are_round_and_fill_at_least_two_fifths(most):
    length = round_length(most)
    digits = f"{length:e}".rstrip("0123456789").partition("e")[0].rstrip("0.")
    assert digits in ("1", "2", "5")
    assert most * 0.399 < length <= most * (1 + 1e-9)


@pytest.mark.parametrize(
    ("length", "unit", "text"),
    [
        (10, "micrometer", "10 µm"),
        (0.2, "micrometer", "200 nm"),
        (1000, "micrometer", "1 mm"),
        (500, "angstrom", "50 nm"),
        (2000, "nanometer", "2 µm"),
        (0.5, "foot", "0.5 foot"),
    ],
)
def test_units_are_those_that_people_use(length, unit, text):
    assert length_text(length, unit) == text


@pytest.mark.parametrize("width", [0.37, 42, 39_999.5])
def test_the_bar_is_as_long_as_it_says(width):
    axes = Figure().add_subplot()
    axes.set_xlim(5, 5 + width)
    add_scale_bar(axes, "nanometer")
    (bar,) = axes.lines
    left, right = np.asarray(bar.get_xdata())
    assert 5 < left < right < 5 + width
    (text,) = axes.texts
    assert text.get_text() == length_text(round_length(width / 4), "nanometer")
    assert right - left == pytest.approx(round_length(width / 4))
