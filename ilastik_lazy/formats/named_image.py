"""Choose the image that a caller names, or the only one; the errors list what a file holds instead."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ilastik_lazy.errors import DatasetNotFoundError, option, remedy

__all__ = ["no_such_image", "only_image", "require_images"]


def require_images(names: Collection[str], where: str) -> None:
    """Raise `DatasetNotFoundError` unless there are `names` of images."""
    if not names:
        raise DatasetNotFoundError(f"{where} holds no image: no numeric dataset with 2 to 5 dimensions")


def no_such_image(what: str, where: str, held: Sequence[str]) -> DatasetNotFoundError:
    """Make the error for a name that is not in a file, which has images called `held`.

    >>> print(no_such_image("dataset 'a'", "x.h5", ["'b'", "'c'"]))
    no dataset 'a' in x.h5; it holds 'b', 'c'
    """
    listed = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "")
    return DatasetNotFoundError(f"no {what} in {where}; it holds {listed or 'no image'}")


def only_image(
    where: str, names: Sequence[str], shown: Sequence[str] = (), *, what: str = "", together: str = "open_dataset()"
) -> str:
    """Return the only image, for a caller who named none.

    Parameters
    ----------
    where
        File or folder, for messages.
    names
        Internal paths of its images.
    shown
        What the message lists in their place.
    what
        How many there are of which kind, if not just so many images.
    together
        The function that opens all of them.

    Raises
    ------
    DatasetNotFoundError
        There is none, or there are several.
    """
    require_images(names, where)
    if len(names) == 1:
        return names[0]
    listed = ", ".join((shown or names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise DatasetNotFoundError(
        f"{where} holds {what or f'{len(names)} images'}: {listed}; name one with "
        f"{option('internal_path', names[0])}{remedy(f', or open all with {together}')}"
    )
