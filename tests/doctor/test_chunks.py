"""Chunks that were never written or cannot be read, and values that cannot be right."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ilastik_lazy import to_ome_zarr
from ilastik_lazy.doctor import chunks, examine
from ilastik_lazy.formats.hdf5.chunks import absent, index
from tests.support.makers import write_hdf5_export
from tests.support.n5_makers import write_n5
from tests.support.zarr_makers import write_array


def damage(path: Path, *places: tuple[int, ...]) -> None:
    """Change a byte in the streams of the chunks at these places."""
    with h5py.File(path) as file:
        found = [file["exported_data"].id.get_chunk_info_by_coord(place).byte_offset for place in places]
    content = bytearray(path.read_bytes())
    for offset in found:
        content[offset + 5] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("trust", ["local", "untrusted"])
def test_full_finds_damaged_chunks_at_their_places(export, found, trust):
    path = export(shape=(20, 20, 20), chunks=(3, 4, 5))
    damage(path, (18, 16, 15), (3, 0, 10))
    finding = found(path, full=True, trust=trust)["damaged-chunks"]
    assert [(place.start, place.stop) for place in finding.places] == [
        ((3, 0, 10), (6, 4, 15)),
        ((18, 16, 15), (20, 20, 20)),
    ]
    assert finding.severity == "error"
    assert finding.error == finding.places[0].error == "CorruptChunkError"
    assert "2 chunks of 140 cannot be read" in finding.what
    assert "compare checksums" in finding.remedy
    assert "on_error='mask'" in finding.remedy


def test_chunks_that_a_conversion_filled_are_recognised(export, found, tmp_path):
    data = np.full((6, 8, 10, 2), 0.5, "f4")
    path = export("a_Probabilities.h5", shape=data.shape, axes="zyxc", chunks=(3, 4, 5, 1), data=data)
    damage(path, (0, 0, 0, 0), (3, 4, 5, 1))
    to_ome_zarr(path, tmp_path / "a_Probabilities.ome.zarr", on_error="mask")
    named = found(tmp_path / "a_Probabilities.ome.zarr", full=True)
    assert list(named) == ["masked-chunks"]
    assert named["masked-chunks"].what.startswith("2 chunks of the source could not be read when this image was made")
    assert named["masked-chunks"].remedy == "convert an undamaged copy of the source again"
    to_ome_zarr(export("b.h5"), tmp_path / "b.ome.zarr")
    assert found(tmp_path / "b.ome.zarr") == {}


def test_without_full_the_first_and_the_last_chunk_are_tried(export):
    path = export(shape=(20, 20, 20), chunks=(3, 4, 5))
    damage(path, (18, 16, 15))
    report = examine(path)
    assert (report.chunks, report.chunks_read, report.exit_code) == (140, 5, 2)
    (finding,) = report.findings
    assert "1 chunk of 5 that were tried cannot be read" in finding.what
    assert finding.remedy.endswith("full=True finds all of them")
    path = export(shape=(20, 20, 20), chunks=(3, 4, 5))
    damage(path, (3, 0, 10))
    assert examine(path).findings == ()


def test_all_chunks_may_be_damaged(export, found, small_blocks, monkeypatch):
    monkeypatch.setattr(chunks, "_MOST_PLACES", 7)
    path = export(shape=(12, 12, 10))
    damage(path, *((z, y, x) for z in (0, 3, 6, 9) for y in (0, 4, 8) for x in (0, 5)))
    report = examine(path, full=True)
    assert report.chunks_read == report.chunks == 24
    assert report.findings[0].what.startswith("24 chunks of 24 cannot be read")
    assert len(report.findings[0].places) == 7


def test_a_damaged_block_of_n5_and_of_zarr_is_found(found, tmp_path):
    write_n5(tmp_path / "a.n5", np.arange(512, dtype="u2").reshape(8, 8, 8), axes="zyx", chunks=(4, 4, 4))
    (block, *_) = sorted(path for path in (tmp_path / "a.n5").rglob("*") if path.is_file() and path.suffix == "")
    block.write_bytes(block.read_bytes()[:-3])
    assert found(tmp_path / "a.n5", full=True)["damaged-chunks"].error == "CorruptChunkError"
    write_array(tmp_path / "a.zarr")
    (chunk, *_) = sorted(path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file() and path.name[0] != ".")
    chunk.write_bytes(b"")
    assert found(tmp_path / "a.zarr", axes="zyxc", full=True)["damaged-chunks"].error == "CorruptChunkError"


@pytest.mark.parametrize("counted_at_opening", [0, 20_000])
def test_chunks_that_were_never_written_are_counted(export, found, monkeypatch, counted_at_opening):
    for module in (absent, index):
        monkeypatch.setattr(module, "COUNTED_AT_OPENING", counted_at_opening)
    path = export(f"{counted_at_opening}.h5", missing=[(0, 0, 5), (3, 4, 0)])
    finding = found(path)["missing-chunks"]
    assert "2 of 8 chunks were never written" in finding.what
    assert "refuse it without on_error='mask'" in finding.remedy
    assert found(path)["missing-chunks"] == finding  # also where the index is known already


def test_a_damaged_index_is_an_error(export, found):
    path = export(shape=(20, 20, 20))
    content = bytearray(path.read_bytes())
    nodes = [at for at in range(len(content) - 4) if content[at : at + 4] == b"TREE" and content[at + 4] == 1]
    for at in nodes:
        content[at + 24 + 8 : at + 24 + 16] = (7).to_bytes(8, "little")  # the origin of a chunk along z
    path.write_bytes(content)
    assert found(path)["cannot-open"].error == "CorruptFileError"


@pytest.mark.parametrize(("low", "high", "said"), [(0, 1, None), (0, 1.5, "from 0 to 1.5"), (-0.25, 1, "from -0.25")])
def test_probabilities_outside_0_and_1_are_found(export, found, low, high, said):
    data = np.full((6, 8, 10, 2), 0.5, "f4")
    data[2, 3, 4, 0], data[5, 7, 9, 1], data[0, 0, 0, 0] = low, high, 0
    options = {"shape": data.shape, "axes": "zyxc", "chunks": (3, 4, 5, 1), "data": data}
    named = found(export("a_Probabilities.h5", **options), full=True)
    assert named["values"].what.startswith("probabilities " + said) if said else named == {}
    assert found(export("a_Features.h5", **options), full=True) == {}


def test_probabilities_that_are_no_numbers_are_found(export, found):
    data = np.full((6, 8, 10, 2), 0.5, "f4")
    data[0, 0, 0, 0], data[5, 7, 9, 1] = np.nan, np.inf
    path = export("a_Probabilities.h5", shape=data.shape, axes="zyxc", chunks=(3, 4, 5, 1), data=data)
    assert found(path, full=True)["values"].what == "2 of 960 values that were read are NaN or infinite"


@pytest.mark.parametrize(
    ("name", "values", "more", "said"),
    [
        ("a_Simple Segmentation.h5", [0, 127, 254], {}, "the classes 0, 127, 254 were read"),
        ("a_Simple Segmentation.h5", [1, 2, 3], {}, ""),
        ("a_Simple Segmentation.h5", list(range(1, 60)), {}, ""),
        ("a_Probabilities.h5", [0, 1], {"drange": np.array([0, 1], "u1")}, "none of them lies between 0 and 1"),
        ("a_Probabilities.h5", [0, 1], {"drange": np.array([0, 255], "u1")}, ""),
    ],
)
def test_classes_and_probabilities_that_the_export_has_scaled_or_cut_are_found(
    tmp_path, found, name, values, more, said
):
    """As in ilastik#2291 (a renormalized segmentation) and ilastik#946 (probabilities as integers)."""
    data = np.resize(np.array(values, "u1"), (8, 10, 2 if "Prob" in name else 1))
    write_hdf5_export(tmp_path / name, data, axes="yxc", attributes=more)
    findings = found(tmp_path / name)
    assert said in findings["values"].what if said else "values" not in findings
