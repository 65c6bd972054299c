"""Data in other files: refused, unless they lie below a folder that the caller named."""

from __future__ import annotations

import os
import pickle

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import (
    ArgumentError,
    CorruptFileError,
    DatasetNotFoundError,
    ExternalReferenceError,
    SourceChangedError,
    SourceNotFoundError,
    UnsupportedFilterError,
)
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.allowed import checked_options
from tests.support.contract import CHANGES
from tests.support.makers import axistags, some_data, write_hdf5_export

SHAPE = (4, 6, 5, 2)
DATA = some_data(SHAPE)
WHOLE = tuple(slice(0, n) for n in SHAPE)


def _tagged(file, name="exported_data"):
    file[name].attrs["axistags"] = axistags("zyxc")


def link(path, target):
    write_hdf5_export(target, DATA, chunks=(2, 4, 4, 1), filters="gzip", internal_path="volume/data")
    with h5py.File(path, "w") as file:
        file["exported_data"] = h5py.ExternalLink(os.path.relpath(target, path.parent), "volume/data")


def link_to_the_group(path, target):
    write_hdf5_export(target, DATA, chunks=(2, 4, 4, 1), internal_path="volume/data")
    with h5py.File(path, "w") as file:
        file["there"] = h5py.ExternalLink(str(target), "/volume")
        file["exported_data"] = h5py.SoftLink("/there/data")


def storage(path, target):
    target.write_bytes(b"head" + DATA.tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset("exported_data", SHAPE, DATA.dtype, external=[(str(target), 4, DATA.nbytes)])
        _tagged(file)


def virtual(path, target):
    write_hdf5_export(target, DATA, chunks=(2, 4, 4, 1), filters="gzip", internal_path="volume/data")
    layout = h5py.VirtualLayout(SHAPE, DATA.dtype)
    layout[...] = h5py.VirtualSource(os.path.relpath(target, path.parent), "volume/data", SHAPE)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_virtual_dataset("exported_data", layout, fillvalue=7)
        _tagged(file)


MECHANISMS = {"link": link, "link to the group": link_to_the_group, "storage": storage, "virtual": virtual}


@pytest.fixture(params=MECHANISMS)
def pair(request, tmp_path):
    """An export, and the file in another folder that holds its data."""
    for name in ("here", "there", "elsewhere"):
        (tmp_path / name).mkdir()
    path, target = tmp_path / "here" / "a.h5", tmp_path / "there" / "data.h5"
    MECHANISMS[request.param](path, target)
    return path, target


trusted_or_not = pytest.mark.parametrize("trust", ["local", "untrusted"])


def opened(path, *roots, trust="local"):
    return open_source(Location.parse(path), checked_options(None, trust, list(roots)))


@trusted_or_not
def test_by_default_it_is_refused_and_the_error_says_how_to_allow_it(pair, trust):
    with pytest.raises(ExternalReferenceError, match="allow_external=") as caught:
        il.open_dataarray(pair[0], trust=trust)
    assert "a.h5" in str(caught.value)


@trusted_or_not
def test_below_a_named_folder_it_is_read(pair, trust):
    path, target = pair
    array = il.open_dataarray(path, trust=trust, allow_external=target.parent)
    np.testing.assert_array_equal(array.values, DATA, strict=True)
    copy = pickle.loads(pickle.dumps(opened(path, target.parent, trust=trust)))
    region = (slice(1, 3), slice(2, 6), slice(0, 1), slice(1, 2))
    np.testing.assert_array_equal(copy.read(region), DATA[region], strict=True)
    np.testing.assert_array_equal(
        il.open_dataset(f"{path}/exported_data", trust=trust, allow_external=[target.parent]).exported_data, DATA
    )
    tree = il.open_datatree(f"{path}/exported_data", trust=trust, allow_external=[target.parent])
    np.testing.assert_array_equal(tree["exported_data/image"], DATA)


@trusted_or_not
def test_another_folder_does_not_help(pair, trust):
    path, target = pair
    for root in (path.parent, target.parent.parent / "elsewhere"):
        with pytest.raises(ExternalReferenceError, match="none of the folders in allow_external"):
            opened(path, root, trust=trust)


def test_a_folder_whose_name_begins_alike_does_not_help(pair):
    path, target = pair
    other = target.parent.parent / "the"
    other.mkdir()
    with pytest.raises(ExternalReferenceError):
        opened(path, other)


@trusted_or_not
def test_a_symbolic_link_out_of_the_folder_is_refused(pair, trust):
    path, target = pair
    moved = target.rename(target.parent.parent / "elsewhere" / "data.h5")
    target.symlink_to(moved)
    with pytest.raises(ExternalReferenceError, match="none of the folders"):
        opened(path, target.parent, trust=trust)


def test_what_is_missing_is_an_error_and_never_fill_value(pair):
    path, target = pair
    target.unlink()
    with pytest.raises(SourceNotFoundError, match="refers to the file"):
        opened(path, target.parent)
    # Whether a file exists outside the named folders is not told.
    with pytest.raises(ExternalReferenceError, match="none of the folders"):
        opened(path, path.parent)


@trusted_or_not
def test_a_pipe_is_refused_at_once(pair, trust):
    path, target = pair
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(ExternalReferenceError, match="not a regular file"):
        opened(path, target.parent, trust=trust)


# Sources of either trust notice it in the same way: one change shows that the child hands on what is needed for it.
@pytest.mark.parametrize(("change", "trust"), [*((change, "local") for change in CHANGES), (CHANGES[0], "untrusted")])
@pytest.mark.parametrize("which", [0, 1])
def test_a_change_of_either_file_is_an_error(pair, trust, change, which):
    source = opened(pair[0], pair[1].parent, trust=trust)
    source.read(WHOLE)
    change(pair[which])
    with pytest.raises(SourceChangedError):
        source.read(WHOLE)


def test_neither_file_is_written_to(pair):
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in pair]
    opened(pair[0], pair[1].parent).read(WHOLE)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in pair] == before


def test_a_link_that_runs_through_itself_ends(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = h5py.ExternalLink("a.h5", "exported_data")
    with pytest.raises(ExternalReferenceError, match="more than 8 files"):
        opened(tmp_path / "a.h5", tmp_path)


def test_links_through_three_files_are_followed(tmp_path):
    write_hdf5_export(tmp_path / "c.h5", DATA)
    for name, after in (("b", "c"), ("a", "b")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["exported_data"] = h5py.ExternalLink(f"{after}.h5", "exported_data")
    source = opened(tmp_path / "a.h5", tmp_path)
    np.testing.assert_array_equal(source.read(WHOLE), DATA)
    assert [os.path.basename(path) for path, _ in source.files] == ["a.h5", "b.h5"]


def test_external_data_that_end_early_are_an_error(tmp_path):
    storage(tmp_path / "a.h5", tmp_path / "raw")
    os.truncate(tmp_path / "raw", 100)
    with pytest.raises(CorruptFileError, match="has 100 bytes instead of"):
        opened(tmp_path / "a.h5", tmp_path)


def test_external_data_in_several_files_are_refused(tmp_path):
    half = DATA.nbytes // 2
    with h5py.File(tmp_path / "a.h5", "w") as file:
        parts = [(str(tmp_path / name), 0, half) for name in "xy"]
        file.create_dataset("exported_data", SHAPE, DATA.dtype, external=parts)[...] = DATA
        _tagged(file)
    with pytest.raises(UnsupportedFilterError, match="spread over 2 other files"):
        opened(tmp_path / "a.h5", tmp_path)


def test_a_virtual_dataset_without_its_source_dataset_is_an_error(tmp_path):
    virtual(tmp_path / "a.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["other"] = np.zeros(3)
    with pytest.raises(DatasetNotFoundError, match="volume/data"):
        opened(tmp_path / "a.h5", tmp_path)


def test_a_virtual_dataset_made_of_virtual_ones_is_refused(tmp_path):
    virtual(tmp_path / "b.h5", tmp_path / "c.h5")
    layout = h5py.VirtualLayout(SHAPE, DATA.dtype)
    layout[...] = h5py.VirtualSource("b.h5", "exported_data", SHAPE)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("exported_data", layout)
        _tagged(file)
    with pytest.raises(ExternalReferenceError, match="not a plain dataset"):
        opened(tmp_path / "a.h5", tmp_path)


def test_where_the_library_could_find_another_file_it_is_refused(tmp_path, monkeypatch):
    for name in ("here", "cwd"):
        (tmp_path / name).mkdir()
    virtual(tmp_path / "here" / "a.h5", tmp_path / "here" / "b.h5")
    write_hdf5_export(tmp_path / "cwd" / "b.h5", DATA + 1, internal_path="volume/data")
    monkeypatch.chdir(tmp_path / "cwd")
    with pytest.raises(ExternalReferenceError, match="several such files"):
        opened(tmp_path / "here" / "a.h5", tmp_path)


def test_a_root_must_be_a_folder(pair):
    with pytest.raises(ArgumentError, match="allow_external= names"):
        il.open_dataarray(pair[0], allow_external=[pair[1].parent / "nothing"])


@pytest.mark.parametrize("options", [{"allow_external": 3}, {"allow_external": [3]}, {"limits": 3}])
def test_what_is_no_folder_or_no_limits_is_an_error_of_the_call(tmp_path, options):
    write_hdf5_export(tmp_path / "a.h5", DATA)
    with pytest.raises(ArgumentError, match="expected"):
        il.open_dataarray(tmp_path / "a.h5", **options)


@pytest.mark.parametrize("trust", ["local", "untrusted"])
def test_an_export_that_is_a_link_is_among_the_images_where_that_is_allowed(tmp_path, trust):
    link(tmp_path / "link.h5", tmp_path / "target.h5")
    found = il.open_dataset(tmp_path / "link.h5", allow_external=tmp_path, trust=trust)
    np.testing.assert_array_equal(found["exported_data"].values, DATA)
    tree = il.open_datatree(tmp_path / "link.h5", allow_external=tmp_path, trust=trust)
    np.testing.assert_array_equal(tree["exported_data/image"].values, DATA)
    with pytest.raises(DatasetNotFoundError):
        il.open_dataset(tmp_path / "link.h5", trust=trust)
