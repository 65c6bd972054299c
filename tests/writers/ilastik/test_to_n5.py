"""An N5 written for ilastik is what ilastik writes, block for block, and is there only when it is whole."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy import cli
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, DestinationError, DestinationExistsError
from ilastik_lazy.storage import files
from ilastik_lazy.writers.ilastik import n5 as ilastik_n5
from ilastik_lazy.writers.ilastik import to_ilastik
from tests.support.in_memory import DTYPES, ArrayInMemory
from tests.support.makers import some_data
from tests.support.shared_files import entries, over_files, shared_path

# Not as ilastik's exporter writes: 1-D data, a text that is not JSON, a range that is not a list, the bare writer.
UNLIKE = ("axes_x_", "description", "npuint8", "direct_raw")
ENTRIES = [e for e in entries("writer", ".n5") if not any(part in e["path"] for part in UNLIKE)]


def blocks_of(folder: Path) -> dict[str, bytes]:
    """Header and elements of each block, inflated."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "attributes.json":
            data = path.read_bytes()
            head = 4 + 4 * data[3]
            body = data[head:]
            found[str(path.relative_to(folder))] = data[:head] + (
                gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
            )
    return found


@over_files("entry", ENTRIES, lambda entry: f"writer/{entry['path']}")
@pytest.mark.filterwarnings("ignore:.*only images with x and y")
def test_what_ilastik_wrote_is_written_again(entry, tmp_path):
    inside, path = entry["internal_path"], shared_path("ilastik-files", "writer", entry["path"])
    compression = "gzip" if entry["compression"]["type"] == "gzip" else None
    to_ilastik(il.open_dataarray(path, inside), tmp_path / "a.n5", inside, compression=compression)
    ours, theirs = tmp_path / "a.n5" / inside, path / inside
    stated, expected = (json.loads((folder / "attributes.json").read_text()) for folder in (ours, theirs))
    assert stated == expected
    found = blocks_of(ours)
    assert {name: data for name, data in found.items() if name in blocks_of(theirs)} == blocks_of(theirs)
    assert all(not any(data[4 + 4 * data[3] :]) for name, data in found.items() if name not in blocks_of(theirs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", ["gzip", None])
def test_all_dtypes_come_back(dtype, compression, tmp_path):
    data = some_data((9, 10, 11), dtype)
    report = to_ilastik(xr.DataArray(data, dims=tuple("zyx")), tmp_path / "a.n5", compression=compression)
    found = il.open_dataarray(tmp_path / "a.n5")
    np.testing.assert_array_equal(found.values, data.astype(report.dtype), strict=True)
    assert report.bytes_written == sum(f.stat().st_size for f in (tmp_path / "a.n5").rglob("*") if f.is_file())


def test_positions_and_units_come_back(tmp_path):
    prob = il.open_dataarray(sample("probabilities"))
    to_ilastik(prob, tmp_path / "a.n5", "volume/data", workers=2)
    found = il.open_dataarray(tmp_path / "a.n5")
    xr.testing.assert_equal(found, prob)
    assert {dim: found[dim].attrs for dim in "zyx"} == {dim: prob[dim].attrs for dim in "zyx"}


class TestTheFolder:
    array = xr.DataArray(some_data((4, 5), "u1"), dims=tuple("yx"))

    def test_what_is_there_stays_unless_told(self, tmp_path):
        to_ilastik(self.array, tmp_path / "a.n5")
        with pytest.raises(DestinationExistsError):
            to_ilastik(self.array + 1, tmp_path / "a.n5")
        to_ilastik(self.array + 1, tmp_path / "a.n5", "other", overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == ["a.n5"]
        np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.n5").values, self.array.values + 1)

    @pytest.mark.parametrize("kind", ["folder", "file", "link"])
    def test_nothing_else_is_ever_replaced(self, tmp_path, kind):
        target, precious = tmp_path / "a.n5", tmp_path / "precious"
        precious.mkdir()
        (precious / "thesis.txt").write_text("text")
        {"folder": lambda: precious.rename(target), "file": lambda: target.write_text("x"),
         "link": lambda: target.symlink_to(precious)}[kind]()  # fmt: skip
        with pytest.raises(DestinationExistsError, match="remove it yourself"):
            to_ilastik(self.array, target, overwrite=True)
        assert kind == "file" or (target / "thesis.txt").read_text() == "text"

    def test_a_failure_leaves_nothing_and_what_was_there_before(self, tmp_path, monkeypatch):
        to_ilastik(self.array, tmp_path / "a.n5")

        def full(path, *parts):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ilastik_n5, "write_new", full)
        for name in ("a.n5", "b.n5"):
            with pytest.raises(DestinationError, match="No space left"):
                to_ilastik(self.array, tmp_path / name, overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == ["a.n5"]
        np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.n5").values, self.array.values)

    def test_an_n5_is_not_written_over_itself(self, tmp_path):
        to_ilastik(self.array, tmp_path / "a.n5")
        with pytest.raises(ArgumentError, match="read from"):
            to_ilastik(tmp_path / "a.n5", tmp_path / "a.n5", overwrite=True)
        assert il.open_dataarray(tmp_path / "a.n5").shape == (4, 5)

    def test_the_command_line_goes_by_the_name(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as ended:
            cli.main(["export", sample("raw"), str(tmp_path / "raw.n5"), "-q"])
        assert ended.value.code == 0
        xr.testing.assert_equal(il.open_dataarray(tmp_path / "raw.n5"), il.open_dataarray(sample("raw")))


def test_memory_is_that_of_blocks_and_a_source_that_lies_is_found_out(tmp_path):
    class Liar(ArrayInMemory):
        def read(self, region):
            return super().read(region).astype("f8")

    with pytest.raises(ArgumentError, match="float64"):
        to_ilastik(Liar(some_data((4, 5)), "yx", (2, 2)), tmp_path / "a.n5")
    assert not (tmp_path / "a.n5").exists()
    assert files.write_new(str(tmp_path / "x"), b"a", b"bc") == 3
