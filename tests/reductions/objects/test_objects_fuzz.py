"""Random images against scipy.ndimage and scikit-image; `python -m tests.fuzz.objects` does many more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.objects import check
from tests.support.faults import LONG


@pytest.mark.parametrize("number", range(40 if LONG else 10))
def test_labels_and_tables_are_those_of_scipy_and_scikit_image(number):
    check(1, number)


@settings(max_examples=100 if LONG else 10, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_no_image_is_found_whose_objects_differ(seed, number):
    check(seed, number)
