"""Every exception and warning that ilastik_lazy raises.

::

    IlastikLazyError
     +-- FormatError (ValueError)          what the file says cannot be right
     |    +-- CorruptFileError             not HDF5, cut off, or damaged as a whole
     |    +-- CorruptChunkError            one chunk cannot be decoded
     |    +-- MetadataError                axes, shape, dtype or attributes make no sense
     |    +-- DatasetNotFoundError (KeyError)
     |    +-- UnfinishedWriteError         a writer died, or has not finished
     |    +-- UnsupportedFilterError       a compression that nobody here can decode
     |    +-- UnknownFormatError           no format recognises the file
     +-- UnsafeFileError (PermissionError) refused by policy, before anything is followed
     |    +-- ExternalReferenceError
     |    +-- UnsafePathError
     |    +-- LimitExceededError
     +-- SourceError (OSError)             the file cannot be read just now
     |    +-- SourceNotFoundError (FileNotFoundError)
     |    +-- SourceChangedError
     |    +-- SourceIOError
     |    |    +-- AccessDeniedError      a server wants other credentials, or hides what is not there
     |    +-- FileBusyError
     +-- DestinationError (OSError)
     |    +-- DestinationExistsError (FileExistsError)
     |    +-- DestinationBusyError         another process is writing there
     |    +-- ResumeMismatchError          what was begun there is another conversion
     |    +-- VerificationError
     +-- ArgumentError (ValueError)        what the caller asked for cannot be done
     |    +-- AxesError
     |    +-- MemoryLimitError (MemoryError)
     +-- MissingExtraError (ImportError)

    IlastikLazyWarning (UserWarning)
     +-- MetadataWarning                   a part of the metadata was ignored or guessed
     +-- IncompleteSourceWarning           chunks that were never written read as fill value
     +-- IntegrityWarning                  a checksum that should be there is switched off
     +-- LockingWarning                    the file was opened without a lock
     +-- MissingSourceWarning              an image that a project names cannot be opened

Advice is worded for Python or for the command line when a message is made (`option`, `remedy`): a finished message,
which holds paths and contents of files, is never rewritten.
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
    r"""`text` on one line, whatever a file brought into it.

    Escape sequences would reach the terminal; marks of direction turn a name around.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def encodable(text: str) -> str:
    r"""Replace what UTF-8 cannot hold with a mark: halves of pairs out of JSON, bytes of names in other encodings.

    >>> encodable("a\ud800") == "a\ufffd"
    True
    """
    return _HALVES.sub("\ufffd", text)


# Options of the commands that are not named like the argument in Python.
_OPTIONS = {"internal_path": "dataset", "source_roots": "source-root", "version": "ome-version"}

Audience = Literal["python", "shell"]
audience: Audience = "python"
"""Whom messages are worded for, in all threads."""


def remedy(python: str, shell: str = "") -> str:
    """Return what to do in Python, or in the shell; nothing where no command can do it."""
    return shell if audience == "shell" else python


def option(name: str, *values: object) -> str:
    """Name an argument, and its value if that is given, as in Python or as the option of a command.

    >>> option("axes"), option("axes", "zyx"), option("overwrite", True)
    ('axes=', "axes='zyx'", 'overwrite=True')
    """
    value = "" if not values else repr(values[0] if len(values) == 1 else values)
    flag = f"--{_OPTIONS.get(name, name.replace('_', '-'))}"
    return remedy(f"{name}={value}", shlex.join([flag, *(str(value) for value in values if value is not True)]))


def folder_option(name: str) -> str:
    """Name an argument that takes folders."""
    return option(name) + remedy("[folder]", " FOLDER")


_MOST_LETTERS = 500


def _shortened(text: str) -> str:
    """At most 500 letters of `text`."""
    text = printable(text)
    # What was found stands at the front, what to do at the end.
    return text if len(text) <= _MOST_LETTERS else f"{text[:300]} ... {text[-195:]}"


class IlastikLazyError(Exception):
    """Base of all errors of this package."""

    def __str__(self) -> str:
        # KeyError and OSError print their arguments in ways of their own.
        return _shortened(str(self.args[0])) if self.args else type(self).__name__


class FormatError(IlastikLazyError, ValueError):
    """What the file says cannot be right."""


class CorruptFileError(FormatError):
    """The file is not what its name says, is cut off, or is damaged."""


class CorruptChunkError(FormatError):
    """One chunk of a dataset cannot be decoded."""


class MetadataError(FormatError):
    """Axes, shape, dtype or attributes of a dataset make no sense."""


class DatasetNotFoundError(FormatError, KeyError):
    """The file holds no such dataset, or the choice is not obvious."""


class UnfinishedWriteError(FormatError):
    """A writer died before it had finished, or is still writing."""


class UnsupportedFilterError(FormatError):
    """The data are compressed in a way that cannot be decoded here."""


class UnknownFormatError(FormatError):
    """No format recognises the file."""


class UnsafeFileError(IlastikLazyError, PermissionError):
    """The file asks for something that is refused by policy."""


class ExternalReferenceError(UnsafeFileError):
    """Data or links point out of the file."""


class UnsafePathError(UnsafeFileError):
    """A path in the metadata leaves the folder that it belongs to."""


class LimitExceededError(UnsafeFileError):
    """A size in the file is beyond what is sensible."""


class SourceError(IlastikLazyError, OSError):
    """The source cannot be read just now."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """There is no such file."""


class SourceChangedError(SourceError):
    """The file is not the one that was opened."""


class SourceIOError(SourceError):
    """The operating system could not read the file."""


class AccessDeniedError(SourceIOError):
    """A server does not let us read the object; S3 says so of missing ones too, where listing is not allowed."""


class FileBusyError(SourceError):
    """Another program has the file open for writing."""


class DestinationError(IlastikLazyError, OSError):
    """The target cannot be written."""


class DestinationExistsError(DestinationError, FileExistsError):
    """There is something at the target already."""


class DestinationBusyError(DestinationError):
    """Another process is writing there."""


class ResumeMismatchError(DestinationError, ValueError):
    """What was begun there is another conversion: other settings, or another version of the source."""


class VerificationError(DestinationError):
    """What was written is not what was read."""


class ArgumentError(IlastikLazyError, ValueError):
    """What the caller asked for cannot be done."""


class AxesError(ArgumentError):
    """Axis names that do not fit, or do not exist."""


class MemoryLimitError(ArgumentError, MemoryError):
    """The work does not fit into the memory that was granted."""


class MissingExtraError(IlastikLazyError, ImportError):
    """An optional package is needed; the message names the extra to install."""


class IlastikLazyWarning(UserWarning):
    """Base of all warnings of this package."""

    def __str__(self) -> str:
        return _shortened(str(self.args[0])) if self.args else type(self).__name__


class MetadataWarning(IlastikLazyWarning):
    """A part of the metadata was guessed, or ignored because it makes no sense."""


class IncompleteSourceWarning(IlastikLazyWarning):
    """Some chunks were never written; they read as the fill value."""


class IntegrityWarning(IlastikLazyWarning):
    """A checksum that should protect the data is switched off."""


class LockingWarning(IlastikLazyWarning):
    """The file was opened without a lock, since its file system has none."""


class MissingSourceWarning(IlastikLazyWarning):
    """An image that a project names is missing, or may not be opened; the rest of the project is there."""
