"""Symbolic links out of N5 and Zarr folders: refused, unless they lead below a folder that the caller named."""

from __future__ import annotations

import os
import pickle
import re

import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import SourceIOError, UnsafePathError
from ilastik_lazy.formats import format_of, open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.allowed import checked_options
from tests.support.makers import some_data
from tests.support.n5_makers import write_n5

SHAPE = (4, 6, 5)
DATA = some_data(SHAPE)
WHOLE = tuple(slice(0, n) for n in SHAPE)

pytestmark = pytest.mark.filterwarnings("ignore:.* names no axes")


def n5(path):
    write_n5(path, DATA, "image", chunks=(2, 3, 5), axes="zyx")


def zarr2(path):
    array = zarr.create_array(path, name="image", shape=SHAPE, chunks=(2, 3, 5), dtype=DATA.dtype, zarr_format=2)
    array[...] = DATA


def zarr3(path):
    array = zarr.create_array(path, name="image", shape=SHAPE, chunks=(2, 3, 5), dtype=DATA.dtype)
    array[...] = DATA


# What becomes a link: the dataset, its metadata, a folder of chunks, one chunk.
WRITERS = {"a.n5": n5, "v2.zarr": zarr2, "v3.zarr": zarr3}
PARTS = {
    "a.n5": ["image", "image/attributes.json", "image/0", "image/0/0/0"],
    "v2.zarr": ["image", "image/.zarray", "image/.zattrs", "image/0.0.0"],
    "v3.zarr": ["image", "image/zarr.json", "image/c/0", "image/c/0/0/0"],
}
CASES = [(name, part) for name, parts in PARTS.items() for part in parts]


@pytest.fixture(params=CASES, ids=lambda case: "/".join(case))
def linked(request, tmp_path):
    """A folder with a part that is a link, and the link's target in another folder."""
    name, part = request.param
    for folder in ("here", "there", "elsewhere"):
        (tmp_path / folder).mkdir()
    path, target = tmp_path / "here" / name, tmp_path / "there" / "target"
    WRITERS[name](path)
    link = path / part
    os.rename(link, target)
    link.symlink_to(os.path.relpath(target, link.parent))
    return path, link, target


def values_of(path, *roots):
    source = open_source(Location.parse(path, "image"), checked_options(None, allow_external=list(roots)))
    return pickle.loads(pickle.dumps(source)).read(WHOLE)


def test_by_default_it_is_refused_and_the_error_says_how_to_allow_it(linked):
    path, link, target = linked
    with pytest.raises(UnsafePathError, match=r"allow_external=\[folder\]") as caught:
        il.open_dataarray(path, "image").values  # noqa: B018  # a dask array is computed
    assert str(link) in str(caught.value)
    assert str(target) in str(caught.value)


def test_below_a_named_folder_it_is_read(linked):
    path, _, target = linked
    np.testing.assert_array_equal(values_of(path, target.parent), DATA, strict=True)
    array = il.open_dataarray(path, "image", allow_external=target.parent)
    np.testing.assert_array_equal(array.values, DATA, strict=True)
    np.testing.assert_array_equal(il.open_dataset(f"{path}/image", allow_external=[target.parent]).image, DATA)


def test_other_folders_do_not_help(linked):
    path, _, target = linked
    beside = target.parent.with_name("ther")
    beside.mkdir()
    for root in (path.parent, target.parent.with_name("elsewhere"), beside):
        with pytest.raises(UnsafePathError, match="none of"):
            values_of(path, root)


def test_a_link_that_leads_on_to_elsewhere_is_refused(linked):
    path, link, target = linked
    moved = target.rename(target.parent.with_name("elsewhere") / "target")
    target.symlink_to(moved)
    with pytest.raises(UnsafePathError, match=f"^{re.escape(str(link))} is a symbolic link out of"):
        values_of(path, target.parent)
    np.testing.assert_array_equal(values_of(path, target.parent, moved.parent), DATA, strict=True)


def test_a_link_to_nothing_is_an_error_and_never_fill_value(linked):
    path, _, target = linked
    target.unlink() if target.is_file() else target.rename(target.with_name("away"))
    with pytest.raises(SourceIOError, match="link to nothing"):
        values_of(path, target.parent)
    # Outside the named folders, whether something is there is not told.
    with pytest.raises(UnsafePathError):
        values_of(path)


@pytest.mark.parametrize("name", WRITERS)
def test_links_in_what_a_link_leads_to_are_followed_no_further(tmp_path, name):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    path, target = tmp_path / "here" / name, tmp_path / "there" / "image"
    WRITERS[name](path)
    os.rename(path / "image", target)
    (path / "image").symlink_to(target)
    chunk = next(each for each in sorted(target.rglob("*")) if each.is_file() and each.name.startswith("0"))
    secret = chunk.rename(tmp_path / "secret")
    chunk.symlink_to(secret)
    with pytest.raises(UnsafePathError, match="secret"):
        values_of(path, tmp_path / "there")


@pytest.mark.posix
@pytest.mark.parametrize("name", WRITERS)
def test_a_pipe_is_no_chunk(tmp_path, name):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "here" / name
    WRITERS[name](path)
    chunk = next(each for each in sorted(path.rglob("*")) if each.is_file() and each.name.startswith("0"))
    chunk.unlink()
    os.mkfifo(tmp_path / "there" / "pipe")
    chunk.symlink_to(tmp_path / "there" / "pipe")
    with pytest.raises(SourceIOError, match="not a regular file"):
        values_of(path, tmp_path / "there")


def test_a_repository_of_git_annex_is_read_when_it_is_named(tmp_path):
    """Each file there is a link to ``.git/annex/objects``, metadata too (DataLad keeps OME-Zarr so)."""
    path, objects = tmp_path / "repository" / "a.zarr", tmp_path / "repository" / ".git" / "annex" / "objects"
    objects.mkdir(parents=True)
    zarr3(path)
    for number, file in enumerate(sorted(each for each in path.rglob("*") if each.is_file())):
        os.rename(file, objects / str(number))
        file.symlink_to(os.path.relpath(objects / str(number), file.parent))
    with pytest.raises(UnsafePathError):
        values_of(path)
    np.testing.assert_array_equal(values_of(path, tmp_path / "repository"), DATA, strict=True)


def test_an_n5_that_is_not_called_so_is_known_by_metadata_that_are_a_link(tmp_path):
    n5(tmp_path / "a.n5")
    os.rename(tmp_path / "a.n5" / "image", tmp_path / "image")
    (tmp_path / "there").mkdir()
    os.rename(tmp_path / "image" / "attributes.json", tmp_path / "there" / "attributes.json")
    (tmp_path / "image" / "attributes.json").symlink_to(tmp_path / "there" / "attributes.json")
    assert format_of(Location.parse(tmp_path / "image")).name == "N5"
    with pytest.raises(UnsafePathError, match=r"allow_external=\[folder\]"):
        il.open_dataarray(tmp_path / "image")
    np.testing.assert_array_equal(values_of(tmp_path / "image", tmp_path / "there"), DATA, strict=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_chunk_without_links_is_not_resolved(tmp_path, name, monkeypatch):
    path = tmp_path / name
    WRITERS[name](path)
    source = open_source(Location.parse(path, "image"), checked_options(None, allow_external=tmp_path))
    monkeypatch.setattr(os.path, "realpath", lambda path: pytest.fail(f"{path} was resolved"))
    np.testing.assert_array_equal(source.read(WHOLE), DATA, strict=True)
