"""What the objects of a file are: a class of a probability map, classes of a segmentation, or the ids that it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ilastik_lazy.core.classes import place_of_class
from ilastik_lazy.core.options import Trust
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.window import one_channel
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.from_xarray import AnySource
from ilastik_lazy.reductions.objects import label_objects
from ilastik_lazy.reductions.thresholds import PROBABILITIES

__all__ = ["Settings", "labels_of"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of the command that say what an object is; None for those that were not given."""

    classes: tuple[str, ...] = ()
    threshold: float | None = None
    core: float | None = None
    smooth: str | None = None
    min_size: int | None = None
    max_size: int | None = None
    connectivity: int | None = None

    @property
    def given(self) -> list[str]:
        """The options that were given, as they are typed."""
        names = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return [f"--{'class' if name == 'classes' else name.replace('_', '-')}" for name in names]

    def of_labelling(self, *names: str) -> dict[str, Any]:
        """The arguments of `label_objects` of these names that were given."""
        values = {name: getattr(self, name) for name in names}
        if values.get("smooth") is not None:
            values["smooth"] = _sigmas(values["smooth"])
        return {name: value for name, value in values.items() if value is not None}


def labels_of(source: ArraySource, settings: Settings, project: str | None = None, trust: Trust = "local") -> AnySource:
    """Return the label image of a source, which is computed where the source holds no ids.

    Parameters
    ----------
    project
        Project whose step *Threshold and Size Filter* has the settings, in place of `settings`.
    trust
        See `label_objects`.

    Raises
    ------
    ArgumentError
        `settings` lack a class, or make no sense for such an image.
    """
    spec, where = source.spec, source.spec.storage.location
    if spec.kind in ("object identities", "tracking"):
        if settings.given:
            raise ArgumentError(f"{where} holds {spec.kind}, which are measured as they are: omit {settings.given[0]}")
        return source
    bounds = settings.of_labelling("min_size", "max_size", "connectivity")
    if spec.holds_classes:
        if settings.threshold is not None:
            raise ArgumentError(f"{where} holds {spec.kind}, which have no threshold: omit --threshold")
        if not settings.classes:
            raise ArgumentError(f"{where} holds {spec.kind}: say which are objects, {_names(spec, spec.channel_names)}")
        wanted = [_number(each, spec.channel_names, where) for each in settings.classes]
        return label_objects(source, classes=wanted, **bounds, **settings.of_labelling("core", "smooth"))
    if project is not None:
        return label_objects(source, project=project, trust=trust, **settings.of_labelling("connectivity"))
    if spec.kind not in PROBABILITIES and spec.dtype.kind != "b" and settings.threshold is None:
        raise ArgumentError(
            f"{where} holds {spec.kind or 'numbers of unknown meaning'} ({spec.dtype}): pass --threshold "
            "for probabilities or intensities, --kind 'object identities' for ids, --kind segmentation for classes"
        )
    return label_objects(_one_class(source, settings), **bounds, **settings.of_labelling("threshold", "core", "smooth"))


def _one_class(source: ArraySource, settings: Settings) -> ArraySource:
    """The channel of the one class that is wanted."""
    spec, where = source.spec, source.spec.storage.location
    channels = spec.channels
    names = spec.channel_names if len(spec.channel_names) == channels else ()
    if len(settings.classes) > 1:
        raise ArgumentError(f"{where} is not an image of classes: pass --class once")
    if not settings.classes and channels > 1:
        numbers = tuple(map(str, range(1, channels + 1)))
        raise ArgumentError(
            f"{where} has {channels} classes: say which one is objects, {_names(spec, names or numbers)}"
        )
    number = _number(settings.classes[0], names, where) if settings.classes else 1
    if not isinstance(number, int) or not 1 <= number <= channels:
        known = ", ".join(names) or f"1 to {channels}; --project FILE.ilp names them"
        raise ArgumentError(f"--class {settings.classes[0]}: {where} has {known}")
    return one_channel(source, number - 1) if "c" in spec.dims else source


def _number(text: str, names: tuple[str, ...], where: str) -> int | str:
    """The number of a class, from 1 on, by its name or number; the text itself where there is no such class."""
    if text in names:
        return place_of_class(text, names, where) + 1
    return int(text) if text.isdecimal() and text.isascii() else text


def _names(spec: ArraySpec, names: tuple[str, ...]) -> str:
    return " or ".join(f"--class {name}" for name in names[:8]) or "such as --class 1"


def _sigmas(text: str) -> float | dict[str, float]:
    """Sigmas of the Gaussian: ``1.5``, or ``z=0.5,y=1,x=1``."""
    try:
        if "=" not in text:
            return float(text)
        return {name.strip(): float(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise ArgumentError(f"--smooth {text}: expected a number of voxels, or one by axis such as y=1,x=1") from error
