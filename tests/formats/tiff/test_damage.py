"""TIFF files that are damaged, lie, or want more than there is."""

from __future__ import annotations

import struct
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.core.options import DEFAULTS, Limits
from ilastik_lazy.errors import (
    CorruptChunkError,
    CorruptFileError,
    ExternalReferenceError,
    FormatError,
    IlastikLazyError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    MissingExtraError,
    UnsupportedFilterError,
)
from ilastik_lazy.formats import tiff
from ilastik_lazy.formats.location import Location
from tests.support.contract import regions_of
from tests.support.makers import some_data
from tests.support.tiff_makers import LAYOUTS, opened, whole, write

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")


# Damage and policy


def test_recognises_by_name_and_by_signature_without_tifffile(tmp_path):
    write(tmp_path / "a.dat", (20, 21))
    (tmp_path / "b.dat").write_bytes(b"no image")
    (tmp_path / "c.tif").write_bytes(b"")
    found = {
        name: tiff.recognises(Location.parse(tmp_path / name), DEFAULTS) for name in ("a.dat", "b.dat", "c.tif", ".")
    }
    assert found == {"a.dat": True, "b.dat": False, "c.tif": True, ".": False}


def test_without_tifffile_the_extra_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", (20, 21), metadata={"axes": "YX"})
    monkeypatch.setitem(sys.modules, "tifffile", None)
    monkeypatch.delitem(sys.modules, "ilastik_lazy.formats.tiff.file", raising=False)
    assert tiff.recognises(Location.parse(tmp_path / "a.tif"), DEFAULTS)
    with pytest.raises(MissingExtraError, match=r"pip install 'ilastik_lazy\[tiff\]'"):
        opened(tmp_path / "a.tif")


def test_without_imagecodecs_plain_files_open_and_others_name_the_extra(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", (20, 21), metadata={"axes": "YX"})
    write(tmp_path / "b.tif", (20, 21), compression="zlib", metadata={"axes": "YX"})
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    opened(tmp_path / "a.tif")
    with pytest.raises(MissingExtraError, match=r"ilastik_lazy\[tiff\]"):
        opened(tmp_path / "b.tif")


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"II*\0\x08\0\0\0", b"no TIFF", b"MM\0+" + bytes(20)])
def test_what_is_no_tiff_is_an_error(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.tif"):
        opened(tmp_path / "a.tif")
    with pytest.raises(FormatError, match=r"a\.tif"):
        tiff.images(Location.parse(tmp_path / "a.tif"), DEFAULTS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_a_cut_file_is_an_error_and_never_zeros(tmp_path, layout, part):
    path = tmp_path / "a.tif"
    data = write(path, **LAYOUTS[layout])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        try:
            source = opened(path)
            values = source.read(whole(source))
        except (CorruptFileError, CorruptChunkError, MetadataError):
            return
    # Where only the writer's notes at the very end are gone, all pixels are there.
    np.testing.assert_array_equal(values, data)


@pytest.mark.parametrize("name", ["lzw strips", "deflate tiles", "zstd", "packbits"])
def test_a_damaged_strip_is_an_error_and_the_others_are_read(tmp_path, name):
    path = tmp_path / "a.tif"
    data = write(path, **LAYOUTS[name])
    with tifffile.TiffFile(path) as file:
        page = file.pages[5]
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\x80" * count)
    source = opened(path)
    with pytest.raises(CorruptChunkError, match=r"a\.tif: strip or tile 0 of page 5"):
        source.read(whole(source))
    np.testing.assert_array_equal(source.read((slice(0, 1), *whole(source)[1:])), data[:1])


def test_a_strip_that_was_never_written_is_an_error(tmp_path):
    path = tmp_path / "a.tif"
    write(path, (2, 64, 64), tile=(32, 32), compression="zlib", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages[1].tags[325]
        counts.overwrite((0, *counts.value[1:]))
    source = opened(path)
    with pytest.raises(CorruptChunkError, match="never written"):
        source.read(whole(source))
    assert source.read((slice(0, 1), slice(0, 64), slice(0, 64))).any()


def test_pages_stored_in_two_ways_are_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    write(path, (3, 20, 21), "u2", compression="zlib", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[1].tags[259].overwrite(5)
    with pytest.raises(MetadataError, match="page 1 is not stored like page 0"):
        opened(path)


def test_pages_in_a_circle_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in some_data((3, 20, 21)):
            file.write(page, metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as file:
        last, first = file.pages[2], file.pages[0].offset
        end = last.offset + 2 + 12 * len(last.tags)
    with open(path, "r+b") as file:
        file.seek(end)
        file.write(struct.pack("<I", first))
    with pytest.raises(CorruptFileError, match="circle"):
        opened(path)


def ome_file(path, xml):
    tifffile.imwrite(path, some_data((20, 21), "u1"), description=xml, metadata=None)


PIXELS = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="Image:0"><Pixels '
    'ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="21" SizeY="20" SizeC="{c}" SizeZ="1" SizeT="1">'
    "{data}</Pixels></Image></OME>"
)
HOSTILE = {
    "planes elsewhere": (
        PIXELS.format(c=1, data='<TiffData IFD="0"><UUID FileName="../secret.tif">urn:uuid:2</UUID></TiffData>'),
        ExternalReferenceError,
    ),
    "metadata elsewhere": (
        '<OME UUID="urn:uuid:1"><BinaryOnly MetadataFile="other.ome.xml" UUID="urn:uuid:2"/></OME>',
        ExternalReferenceError,
    ),
    "entities": ('<!DOCTYPE OME [<!ENTITY a "aaaa">]><OME>&a;</OME>', MetadataError),
    "broken": ("<OME><Image></OME>", MetadataError),
    "a billion channels": (PIXELS.format(c=10**9, data="<TiffData/>"), LimitExceededError),
    "a billion planes": (PIXELS.format(c=1, data='<TiffData PlaneCount="1000000000"/>'), LimitExceededError),
    "nan planes": (PIXELS.format(c=1, data='<TiffData PlaneCount="nan"/>'), MetadataError),
    "planes that lack": (PIXELS.format(c=7, data="<TiffData/>"), CorruptFileError),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_ome_metadata_that_lie_are_refused(tmp_path, name):
    xml, error = HOSTILE[name]
    ome_file(tmp_path / "a.ome.tif", xml)
    with pytest.raises(error, match=r"a\.ome\.tif"):
        opened(tmp_path / "a.ome.tif")


def test_the_refused_file_is_not_opened(tmp_path, monkeypatch):
    write(tmp_path / "secret.tif", (20, 21))
    ome_file(tmp_path / "a.ome.tif", HOSTILE["planes elsewhere"][0].replace("../", ""))
    seen = []
    plain = tifffile.TiffFile.__init__

    def noted(self, file, *arguments, **options):
        seen.append(str(file))
        plain(self, file, *arguments, **options)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", noted)
    with pytest.raises(ExternalReferenceError):
        opened(tmp_path / "a.ome.tif")
    assert seen == [str(tmp_path / "a.ome.tif")]


def test_unknown_compressions_and_complex_numbers_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", some_data((32, 32), "u1"), compression="jpeg", metadata={"axes": "YX"})
    with pytest.raises(UnsupportedFilterError, match="JPEG"):
        opened(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.ones((20, 21), "c8"), metadata={"axes": "YX"})
    with pytest.raises(MetadataError, match="not an image"):
        opened(tmp_path / "b.tif")


@pytest.mark.parametrize("limits", [Limits(axis_length=20), Limits(chunk_count=3), Limits(chunk_bytes=100)])
def test_limits(tmp_path, limits):
    write(tmp_path / "a.tif", (2, 40, 41), tile=(16, 16), metadata={"axes": "ZYX"})
    with pytest.raises(LimitExceededError):
        opened(tmp_path / "a.tif", limits=limits)


@pytest.mark.parametrize("layout", ["ome", "imagej", "lzw strips", "deflate tiles"])
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_changed_byte_gives_values_or_a_typed_error(tmp_path_factory, layout, place, value):
    path = tmp_path_factory.mktemp("changed") / "a.tif"
    write(path, (2, 3, 8, 9), **{k: v for k, v in LAYOUTS[layout].items() if k != "tile"})
    content = bytearray(path.read_bytes())
    content[min(int(place * len(content)), len(content) - 1)] = value
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        said = what_is_said(path)
    assert said is None or ("a.tif" in said and len(said) < 600)


def what_is_said(path):
    """Message of the typed error that a file gives; None where it is read."""
    try:
        source = opened(path, limits=Limits(axis_length=10_000))
        if source.spec.nbytes < 10**6:
            for region in list(regions_of(source.spec.shape, source.spec.chunks).values())[:4]:
                source.read(region)
    except IlastikLazyError as error:
        return str(error)


def entry_of(path, tag):
    """Where the entry of a tag in the first page of a classic little-endian TIFF lies."""
    data = path.read_bytes()
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    return next(
        at for at in range(start + 2, start + 2 + 12 * count, 12) if struct.unpack_from("<H", data, at)[0] == tag
    )


@pytest.mark.parametrize(
    ("tag", "kind", "value"), [(278, 4, 0), (284, 11, 1)], ids=["no rows in a strip", "planes of an unknown kind"]
)
def test_strips_that_do_not_make_a_page_are_an_error(tmp_path, tag, kind, value):
    path = tmp_path / "a.tif"
    write(path, (30, 31, 3), "u2", compression="lzw", photometric="rgb", rowsperstrip=30)
    content = bytearray(path.read_bytes())
    struct.pack_into("<HII", content, entry_of(path, tag) + 2, kind, 1, value)
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.tif.* strips or tiles"):
        opened(path)


def big_tiff(entries, after=0):
    """A BigTIFF of one page, behind which another one lies at `after`."""
    return (
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(entries)) + b"".join(struct.pack("<HHQQ", *e) for e in entries)
        + struct.pack("<Q", after) + bytes(256)
    )  # fmt: skip


TILED = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (277, 3, 1, 1),
         (322, 4, 1, 16), (323, 4, 1, 16)]  # fmt: skip


@pytest.mark.parametrize("count", [2**40, 2**60, 2**61, 2**61 + 1, 2**64 - 1])
def test_more_tiles_than_bytes_are_an_error(tmp_path, count):
    (tmp_path / "a.tif").write_bytes(big_tiff([*TILED, (324, 16, count, 16), (325, 16, count, 16)]))
    with pytest.raises(CorruptFileError, match=r"a\.tif: a part of page 0 lies outside"):
        opened(tmp_path / "a.tif")


def test_a_page_beyond_all_offsets_is_an_error(tmp_path):
    (tmp_path / "a.tif").write_bytes(big_tiff([*TILED, (324, 16, 1, 16), (325, 16, 1, 16)], 2**64 - 1))
    with pytest.raises(CorruptFileError, match=r"a\.tif: page 1 .* is not there"):
        opened(tmp_path / "a.tif")


def test_pages_that_share_one_table_are_an_error(tmp_path):
    # 300 pages of 4 MB in all, of which tifffile would make 10 GB of numbers.
    count, pages = 500_000, 300
    table = struct.pack("<I", 8) * count
    entries = [(256, 3, 1, 16), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (273, 4, count, 8),
               (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, count, 8)]  # fmt: skip
    start, size = 8 + len(table), 2 + 12 * len(entries) + 4
    one = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    chain = [one + struct.pack("<I", start + size * (i + 1) if i + 1 < pages else 0) for i in range(pages)]
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", start) + table + b"".join(chain))
    with pytest.raises(CorruptFileError, match="tables of its pages"):
        opened(tmp_path / "a.tif")


def test_a_pyramid_of_a_hundred_thousand_levels_is_refused(tmp_path):
    levels = struct.pack("<I", 8) * 100_000
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 3, 1, 16), (279, 4, 1, 256), (330, 13, 100_000, 8)]  # fmt: skip
    page = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(levels)) + levels + page)
    with pytest.raises(LimitExceededError, match=r"a\.tif: the pyramid of page 0"):
        opened(tmp_path / "a.tif")


@pytest.mark.parametrize("xml", ["<a/>" * 1_600_000, "<a>" * 800_000 + "</a>" * 800_000], ids=["many", "deep"])
def test_xml_of_a_million_elements_is_refused_before_it_takes_memory(tmp_path, xml):
    description = f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{xml}</OME>'
    tifffile.imwrite(tmp_path / "a.tif", some_data((20, 21), "u1"), description=description, metadata=None)
    with pytest.raises(LimitExceededError, match=r"a\.tif: its OME-XML has 16\d* tags"):
        opened(tmp_path / "a.tif")
