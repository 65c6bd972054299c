"""Every exception and warning that ilastik_lazy raises.

::

    IlastikLazyError
     +-- FormatError (ValueError)          the file is malformed
     |    +-- CorruptFileError             not the format of its name, truncated, or damaged
     |    +-- CorruptChunkError            one chunk cannot be decoded
     |    +-- MetadataError                axes, shape, dtype or attributes are malformed
     |    +-- DatasetNotFoundError (KeyError)
     |    +-- UnfinishedWriteError         a writer has stopped, or is still writing
     |    +-- UnsupportedFilterError       a compression that cannot be decoded here
     |    +-- UnknownFormatError           no format recognises the file
     +-- UnsafeFileError (PermissionError) refused by policy, before anything is followed
     |    +-- ExternalReferenceError
     |    +-- UnsafePathError
     |    +-- LimitExceededError
     +-- SourceError (OSError)             the file cannot be read at present
     |    +-- SourceNotFoundError (FileNotFoundError)
     |    +-- SourceChangedError
     |    +-- SourceIOError
     |    |    +-- AccessDeniedError      a server needs other credentials, or hides that the object is missing
     |    +-- FileBusyError
     +-- DestinationError (OSError)
     |    +-- DestinationExistsError (FileExistsError)
     |    +-- DestinationBusyError         another process is writing there
     |    +-- ResumeMismatchError          an unfinished conversion there has different settings or another source
     |    +-- VerificationError
     +-- ArgumentError (ValueError)        the request of the caller is invalid
     |    +-- AxesError
     |    +-- MemoryLimitError (MemoryError)
     +-- MissingExtraError (ImportError)

    IlastikLazyWarning (UserWarning)
     +-- MetadataWarning                   a part of the metadata was ignored or guessed
     +-- IncompleteSourceWarning           chunks that were never written read as fill value
     +-- IntegrityWarning                  a checksum that should be there is switched off
     +-- LockingWarning                    the file was opened without a lock
     +-- MissingSourceWarning              an image that a project names cannot be opened
     +-- NetworkWarning                    other machines can reach a server of this process

Advice is worded for Python or for the command line when a message is made (`option`, `remedy`).  A finished message
contains paths and contents of files, so it is never rewritten.
"""

from __future__ import annotations

import re
import shlex
from typing import Literal

__all__ = [
    "AccessDeniedError",
    "ArgumentError",
    "AxesError",
    "CorruptChunkError",
    "CorruptFileError",
    "DatasetNotFoundError",
    "DestinationBusyError",
    "DestinationError",
    "DestinationExistsError",
    "ExternalReferenceError",
    "FileBusyError",
    "FormatError",
    "IlastikLazyError",
    "IlastikLazyWarning",
    "IncompleteSourceWarning",
    "IntegrityWarning",
    "LimitExceededError",
    "LockingWarning",
    "MemoryLimitError",
    "MetadataError",
    "MetadataWarning",
    "MissingExtraError",
    "MissingSourceWarning",
    "NetworkWarning",
    "ResumeMismatchError",
    "SourceChangedError",
    "SourceError",
    "SourceIOError",
    "SourceNotFoundError",
    "UnfinishedWriteError",
    "UnknownFormatError",
    "UnsafeFileError",
    "UnsafePathError",
    "UnsupportedFilterError",
    "VerificationError",
]

_HALVES = re.compile(r"[\ud800-\udfff]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Escape everything in `text` that is not printable, so that it is one line.

    Escape sequences would reach the terminal; bidirectional control characters could make a name display backwards.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def encodable(text: str) -> str:
    r"""Replace surrogates, which UTF-8 cannot encode: they come from JSON and from file names in other encodings.

    >>> encodable("a\ud800") == "a\ufffd"
    True
    """
    return _HALVES.sub("\ufffd", text)


_OPTIONS = {  # whose names differ from the argument in Python
    "internal_path": "dataset", "classes": "class", "source_roots": "source-root", "version": "ome-version",
    "stack_along": "stack", "stack_order": "order",
}  # fmt: skip

Audience = Literal["python", "shell"]
audience: Audience = "python"
"""Whether messages name arguments of Python or options of commands; for all threads."""


def remedy(python: str, shell: str = "") -> str:
    """Return the advice for Python, or for the shell; empty if no command can do it."""
    return shell if audience == "shell" else python


def option(name: str, *values: object) -> str:
    """Name an argument with its value, if given, as in Python or as the option of a command.

    >>> option("axes"), option("axes", "zyx"), option("overwrite", True)
    ('axes=', "axes='zyx'", 'overwrite=True')
    """
    value = "" if not values else repr(values[0] if len(values) == 1 else values)
    flag = f"{'-' if len(name) == 1 else '--'}{_OPTIONS.get(name, name.replace('_', '-'))}"
    return remedy(f"{name}={value}", shlex.join([flag, *(str(value) for value in values if value is not True)]))


def folder_option(name: str) -> str:
    """Name an argument that takes folders."""
    return option(name) + remedy("[folder]", " FOLDER")


_MOST_LETTERS = 500


def _shortened(text: str) -> str:
    """Return at most 500 characters of `text`."""
    text = printable(text)
    # The problem is at the beginning, the advice at the end.
    return text if len(text) <= _MOST_LETTERS else f"{text[:300]} ... {text[-195:]}"


class IlastikLazyError(Exception):
    """Base of all errors of this package."""

    def __str__(self) -> str:
        # KeyError and OSError format their arguments differently.
        return _shortened(str(self.args[0])) if self.args else type(self).__name__


class FormatError(IlastikLazyError, ValueError):
    """The file is malformed."""


class CorruptFileError(FormatError):
    """The file does not have the format of its name, is truncated, or is damaged."""


class CorruptChunkError(FormatError):
    """One chunk of a dataset cannot be decoded."""


class MetadataError(FormatError):
    """Axes, shape, dtype or attributes of a dataset are malformed."""


class DatasetNotFoundError(FormatError, KeyError):
    """The file holds no such dataset, or several to choose from."""


class UnfinishedWriteError(FormatError):
    """A writer stopped before it had finished, or is still writing."""


class UnsupportedFilterError(FormatError):
    """The data are compressed in a way that cannot be decoded here."""


class UnknownFormatError(FormatError):
    """No format recognises the file."""


class UnsafeFileError(IlastikLazyError, PermissionError):
    """The file requires something that is refused by policy."""


class ExternalReferenceError(UnsafeFileError):
    """Data or links refer to another file."""


class UnsafePathError(UnsafeFileError):
    """A path in the metadata leads out of the allowed folders."""


class LimitExceededError(UnsafeFileError):
    """A size in the file exceeds a limit."""


class SourceError(IlastikLazyError, OSError):
    """The source cannot be read at present."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """There is no such file."""


class SourceChangedError(SourceError):
    """The file has changed since it was opened."""


class SourceIOError(SourceError):
    """The operating system could not read the file."""


class AccessDeniedError(SourceIOError):
    """A server refuses access; S3 does so for missing objects too if listing is not allowed."""


class FileBusyError(SourceError):
    """Another program has the file open for writing."""


class DestinationError(IlastikLazyError, OSError):
    """The target cannot be written."""


class DestinationExistsError(DestinationError, FileExistsError):
    """Something exists at the target already."""


class DestinationBusyError(DestinationError):
    """Another process is writing there."""


class ResumeMismatchError(DestinationError, ValueError):
    """The unfinished conversion has other settings, or another version of the source."""


class VerificationError(DestinationError):
    """The written data differ from the source."""


class ArgumentError(IlastikLazyError, ValueError):
    """An argument is invalid, or the request cannot be carried out."""


class AxesError(ArgumentError):
    """Axis names are unknown, or do not match the array."""


class MemoryLimitError(ArgumentError, MemoryError):
    """The work does not fit into the allowed memory."""


class MissingExtraError(IlastikLazyError, ImportError):
    """An optional package is needed; the message names the extra to install."""


class IlastikLazyWarning(UserWarning):
    """Base of all warnings of this package."""

    def __str__(self) -> str:
        return _shortened(str(self.args[0])) if self.args else type(self).__name__


class MetadataWarning(IlastikLazyWarning):
    """A part of the metadata was guessed, or ignored because it is malformed."""


class IncompleteSourceWarning(IlastikLazyWarning):
    """Chunks were never written; they read as the fill value."""


class IntegrityWarning(IlastikLazyWarning):
    """A checksum that should protect the data is switched off."""


class LockingWarning(IlastikLazyWarning):
    """The file was opened without a lock, since its file system does not support locks."""


class MissingSourceWarning(IlastikLazyWarning):
    """An image of a project is missing or must not be opened; the rest of the project is available."""


class NetworkWarning(IlastikLazyWarning):
    """Other machines can reach a server of this process."""
