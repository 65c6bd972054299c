r"""Names of physical units: what files say, in full words.

ilastik stores the text that it got from the image file: ``µm``, ``um``, ``micron``, ``\\u00B5m``.
xarray's and OME-Zarr's users expect UDUNITS-2 names, ``micrometer``.
"""

from __future__ import annotations

__all__ = [
    "OME_SPACE_UNITS", "OME_TIME_UNITS", "converted", "full_unit_name", "in_base_unit", "unit_and_start", "unit_symbol",
]  # fmt: skip

# Prefix: its symbol, and its power of ten.
_PREFIXES = {
    "yotta": ("Y", 24), "zetta": ("Z", 21), "exa": ("E", 18), "peta": ("P", 15), "tera": ("T", 12), "giga": ("G", 9),
    "mega": ("M", 6), "kilo": ("k", 3), "hecto": ("h", 2), "": ("", 0), "deci": ("d", -1), "centi": ("c", -2),
    "milli": ("m", -3), "micro": ("u", -6), "nano": ("n", -9), "pico": ("p", -12), "femto": ("f", -15),
    "atto": ("a", -18), "zepto": ("z", -21), "yocto": ("y", -24),
}  # fmt: skip

_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}

# https://ngff.openmicroscopy.org/0.5/#axes-md: "unit" SHOULD be one of these.
OME_SPACE_UNITS = frozenset(
    {f"{prefix}meter" for prefix in _PREFIXES} | {"angstrom", "foot", "inch", "mile", "parsec", "yard"}
)
OME_TIME_UNITS = frozenset({f"{prefix}second" for prefix in _PREFIXES} | {"minute", "hour", "day"})

# None is the default.  They differ before 1582 only.
_CALENDARS = (None, "", "standard", "gregorian", "proleptic_gregorian")

# Text that stands for "no physical unit": Fiji and OME-XML write these.
_UNITLESS = frozenset({"", "pixel", "pixels", "px", "voxel", "none", "null", "unknown", "\\u00b5"})


def _spellings() -> tuple[dict[str, str], dict[str, str]]:
    """Return symbols, where case matters (Mm is not mm), and words, where it does not."""
    symbols = {"h": "hour", "d": "day", "in": "inch", "Å": "angstrom"}
    words = {
        "sec": "second", "secs": "second", "min": "minute", "mins": "minute", "hr": "hour",
        "hrs": "hour", "hours": "hour", "minutes": "minute", "days": "day", "inches": "inch",
        "micron": "micrometer", "microns": "micrometer", "feet": "foot", "ft": "foot",
        "mi": "mile", "yd": "yard", "pc": "parsec",
        "msec": "millisecond", "usec": "microsecond", "nsec": "nanosecond",
        "ångström": "angstrom", "ångstrom": "angstrom",
    }  # fmt: skip
    for unit in OME_SPACE_UNITS | OME_TIME_UNITS:
        words[unit] = unit
        words.setdefault(unit + "s", unit)
        if unit.endswith("meter"):
            words[unit[:-2] + "re"] = words[unit[:-2] + "res"] = unit
    for prefix, (letter, _) in _PREFIXES.items():
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


def unit_symbol(unit: str) -> str:
    """Abbreviate a full name of a unit, as figures do; an unknown one is returned as it is.

    >>> unit_symbol("micrometer"), unit_symbol("second"), unit_symbol("parsec")
    ('µm', 's', 'parsec')
    """
    symbol = next((symbol for symbol, name in _SYMBOLS.items() if name == unit), unit)
    return symbol.replace("u", "µ") if unit.startswith("micro") else symbol


def unit_and_start(text: object, calendar: object = None) -> tuple[str, str]:
    """Split the CF conventions' ``units`` of a coordinate into the unit, in full, and the date that it counts from.

    A date of another `calendar`, such as ``noleap``, is left out: as a date of ours it would be another day.

    >>> unit_and_start("days since 2024-05-01"), unit_and_start("um"), unit_and_start(None)
    (('day', '2024-05-01'), ('micrometer', ''), ('', ''))
    """
    unit, _, since = text.partition(" since ") if isinstance(text, str) else ("", "", "")
    return full_unit_name(unit), since.strip() if calendar in _CALENDARS else ""


def _base_and_power(unit: str) -> tuple[str, int] | None:
    """Split a metric unit into meter or second, and a power of ten."""
    if unit == "angstrom":
        return "meter", -10
    for base in ("meter", "second"):
        if unit.endswith(base) and (known := _PREFIXES.get(unit.removesuffix(base))) is not None:
            return base, known[1]
    return None


def in_base_unit(value: float, unit: str) -> float | None:
    """Convert a length to meter, or a time to second; None if the unit is not metric.

    >>> in_base_unit(500, "nanometer") == in_base_unit(0.5, "micrometer")
    True
    """
    found = _base_and_power(unit)
    return converted(value, unit, found[0]) if found else None


def converted(value: float, unit: str, wanted: str) -> float | None:
    """Convert `value` to another unit; None if that is not possible.

    >>> converted(40, "nanometer", "micrometer"), converted(1, "second", "micrometer")
    (0.04, None)
    >>> converted(1.5, "minute", "second"), converted(36, "minute", "hour")
    (90.0, 0.6)
    """
    if unit == wanted:
        return value
    if (seconds := _SECONDS.get(unit)) is not None:
        return converted(value * seconds, "second", wanted)
    if (seconds := _SECONDS.get(wanted)) is not None:
        found = converted(value, unit, "second")
        return None if found is None else found / seconds
    one, other = _base_and_power(unit), _base_and_power(wanted)
    if one is None or other is None or one[0] != other[0]:
        return None
    power = one[1] - other[1]
    # Divided, not multiplied by a fraction: 500 nanometer are 0.5 micrometer to the last digit.
    return value * 10.0**power if power >= 0 else value / 10.0**-power
