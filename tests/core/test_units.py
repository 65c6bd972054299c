"""Units as files spell them, in full words."""

from __future__ import annotations

import pytest

from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS, full_unit_name

SPELLINGS = {
    "micrometer": [
        "µm",
        "μm",
        "um",
        "micron",
        "Microns",
        "micrometre",
        "micrometres",
        "micrometers",
        "\\u00B5m",
        " um ",
    ],
    "nanometer": ["nm", "nanometer", "NANOMETERS"],
    "millimeter": ["mm"],
    "megameter": ["Mm"],
    "meter": ["m", "meter", "metre"],
    "centimeter": ["cm"],
    "angstrom": ["Å", "angstrom", "Ångström"],
    "inch": ["in", "inch", "inches"],
    "second": ["s", "sec", "seconds"],
    "millisecond": ["ms", "msec"],
    "minute": ["min", "minutes"],
    "hour": ["h", "hr", "hours"],
    "day": ["d", "days"],
}


@pytest.mark.parametrize(("full", "text"), [(full, text) for full, texts in SPELLINGS.items() for text in texts])
def test_a_unit_is_spelled_in_full(full, text):
    assert full_unit_name(text) == full


@pytest.mark.parametrize("text", ["", " ", "pixel", "Pixels", "px", "voxel", "none", "null", "unknown", "\x00"])
def test_what_stands_for_no_unit_is_empty(text):
    assert full_unit_name(text) == ""


@pytest.mark.parametrize("text", ["furlong", "µ m", "kg", "a.u."])
def test_an_unknown_unit_stays_as_it_is(text):
    assert full_unit_name(text) == text


def test_every_unit_of_ome_zarr_is_its_own_full_name():
    assert [unit for unit in OME_SPACE_UNITS | OME_TIME_UNITS if full_unit_name(unit) != unit] == []
    # https://ngff.openmicroscopy.org/0.5/#axes-md lists 26 and 23.
    assert (len(OME_SPACE_UNITS), len(OME_TIME_UNITS)) == (26, 23)


def test_a_full_name_stays_when_it_is_spelled_again():
    texts = [text for texts in SPELLINGS.values() for text in texts]
    assert [full_unit_name(full_unit_name(text)) for text in texts] == [full_unit_name(text) for text in texts]
