"""XML from untrusted files: no entities are expanded, nothing is fetched, the length is limited."""

from __future__ import annotations

from xml.etree import ElementTree

from ilastik_lazy.errors import LimitExceededError, MetadataError

__all__ = ["MOST_XML", "parse_xml"]

# One plane of an OME-TIFF has about 200 bytes of XML: 300,000 planes.
MOST_XML = 64 * 2**20
# An element with an end tag has two; a plane has up to five.  A million tags take 0.1 GB and 0.5 s.
_MOST_TAGS = 1_500_000


def parse_xml(text: str, what: str) -> ElementTree.Element:
    """Parse an XML text and return its root; `what` names it in messages.

    Raises
    ------
    MetadataError
        The text is not XML, or defines entities.
    LimitExceededError
        The text is too long, or has too many elements.
    """
    if len(text) > MOST_XML:
        raise LimitExceededError(f"{what} has {len(text)} characters, more than {MOST_XML}")
    if (count := text.count("<")) > _MOST_TAGS:
        raise LimitExceededError(f"{what} has {count} tags, more than {_MOST_TAGS}")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise MetadataError(f"{what} defines entities, which are not supported")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise MetadataError(f"{what} cannot be parsed ({error})") from error
