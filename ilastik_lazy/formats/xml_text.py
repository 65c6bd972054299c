"""XML out of files of strangers: nothing is expanded, fetched, or of any length."""

from __future__ import annotations

from xml.etree import ElementTree

from ilastik_lazy.errors import LimitExceededError, MetadataError

__all__ = ["MOST_XML", "parse_xml"]

# One plane of an OME-TIFF has about 200 bytes of XML: 300,000 planes.
MOST_XML = 64 * 2**20
# Two for each element with an end of its own; a plane has up to five.  A million take 0.1 GB and 0.5 s.
_MOST_TAGS = 1_500_000


def parse_xml(text: str, what: str) -> ElementTree.Element:
    """Root of an XML text; `what` names it in messages.

    Raises
    ------
    MetadataError
        The text is no XML, or has entities of its own.
    LimitExceededError
        It is too long, or has too many elements.
    """
    if len(text) > MOST_XML:
        raise LimitExceededError(f"{what} has {len(text)} characters, more than {MOST_XML}")
    if (count := text.count("<")) > _MOST_TAGS:
        raise LimitExceededError(f"{what} has {count} tags, more than {_MOST_TAGS}")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise MetadataError(f"{what} defines entities, which such files never do")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise MetadataError(f"{what} cannot be parsed ({error})") from error
