r"""Names of physical units: what files say, in full words.

ilastik stores the text that it got from the image file: ``µm``, ``um``, ``micron``, ``\\u00B5m``.
xarray's and OME-Zarr's users expect UDUNITS-2 names, ``micrometer``.
"""

from __future__ import annotations

__all__ = ["OME_SPACE_UNITS", "OME_TIME_UNITS", "converted", "full_unit_name", "in_base_unit", "unit_and_start"]

_PREFIXES = {
    "yotta": "Y", "zetta": "Z", "exa": "E", "peta": "P", "tera": "T", "giga": "G", "mega": "M",
    "kilo": "k", "hecto": "h", "deci": "d", "centi": "c", "milli": "m", "micro": "u",
    "nano": "n", "pico": "p", "femto": "f", "atto": "a", "zepto": "z", "yocto": "y",
}  # fmt: skip

# https://ngff.openmicroscopy.org/0.5/#axes-md: "unit" SHOULD be one of these.
OME_SPACE_UNITS = frozenset(
    {f"{prefix}meter" for prefix in _PREFIXES} | {"meter", "angstrom", "foot", "inch", "mile", "parsec", "yard"}
)
OME_TIME_UNITS = frozenset({f"{prefix}second" for prefix in _PREFIXES} | {"second", "minute", "hour", "day"})

# Text that stands for "no physical unit": Fiji and OME-XML write these.
_UNITLESS = frozenset({"", "pixel", "pixels", "px", "voxel", "none", "null", "unknown", "\\u00b5"})


def _spellings() -> tuple[dict[str, str], dict[str, str]]:
    """Symbols, where case counts (Mm is not mm), and words, where it does not."""
    symbols = {"m": "meter", "s": "second", "h": "hour", "d": "day", "in": "inch", "Å": "angstrom"}
    words = {
        "sec": "second", "secs": "second", "min": "minute", "mins": "minute", "hr": "hour",
        "hrs": "hour", "hours": "hour", "minutes": "minute", "days": "day", "inches": "inch",
        "micron": "micrometer", "microns": "micrometer", "feet": "foot", "ft": "foot",
        "msec": "millisecond", "usec": "microsecond", "nsec": "nanosecond",
        "ångström": "angstrom", "ångstrom": "angstrom",
    }  # fmt: skip
    for unit in OME_SPACE_UNITS | OME_TIME_UNITS:
        words[unit] = unit
        words.setdefault(unit + "s", unit)
        if unit.endswith("meter"):
            words[unit[:-2] + "re"] = words[unit[:-2] + "res"] = unit
    for prefix, letter in _PREFIXES.items():
        symbols[letter + "m"] = prefix + "meter"
        symbols[letter + "s"] = prefix + "second"
    return symbols, words


_SYMBOLS, _WORDS = _spellings()


def full_unit_name(text: str) -> str:
    """Spell a unit in full; an unknown one is returned as it is, "no unit" as an empty text.

    Examples
    --------
    >>> full_unit_name("µm"), full_unit_name("micron"), full_unit_name("sec"), full_unit_name("pixel")
    ('micrometer', 'micrometer', 'second', '')
    """
    # Two code points look like a mu; ImageJ also writes the escape as six characters of text.
    plain = text.strip().strip("\x00")
    for mu in ("\\u00B5", "\\u00b5", "\\u03BC", "\\u03bc", "\u00b5", "\u03bc"):
        plain = plain.replace(mu, "u")
    if plain.lower() in _UNITLESS:
        return ""
    return _SYMBOLS.get(plain) or _WORDS.get(plain.lower()) or text.strip()


def unit_and_start(text: object) -> tuple[str, str]:
    """Split the CF conventions' ``units`` of a coordinate into the unit, in full, and the date that it counts from.

    >>> unit_and_start("days since 2024-05-01"), unit_and_start("um"), unit_and_start(None)
    (('day', '2024-05-01'), ('micrometer', ''), ('', ''))
    """
    unit, _, since = text.partition(" since ") if isinstance(text, str) else ("", "", "")
    return full_unit_name(unit), since.strip()


_POWERS = {
    "yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2,
    "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18,
    "zepto": -21, "yocto": -24, "": 0,
}  # fmt: skip


def in_base_unit(value: float, unit: str) -> float | None:
    """A length in meter, or a time in second; None where the unit is not metric.

    >>> in_base_unit(500, "nanometer") == in_base_unit(0.5, "micrometer")
    True
    """
    if unit == "angstrom":
        return value / 1e10
    found = (converted(value, unit, base) for base in ("meter", "second"))
    return next((number for number in found if number is not None), None)


def converted(value: float, unit: str, wanted: str) -> float | None:
    """`value` in another unit; None where nobody can say.

    >>> converted(40, "nanometer", "micrometer"), converted(1, "second", "micrometer")
    (0.04, None)
    """
    if unit == wanted:
        return value
    for base in ("meter", "second"):
        powers = [_POWERS.get(text.removesuffix(base)) if text.endswith(base) else None for text in (unit, wanted)]
        if powers[0] is not None and powers[1] is not None:
            power = powers[0] - powers[1]
            # Divided, not multiplied by a fraction: 500 nanometer are 0.5 micrometer to the last digit.
            return value * 10.0**power if power >= 0 else value / 10.0**-power
    return None
