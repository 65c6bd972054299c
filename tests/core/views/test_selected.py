"""Parts of images as people write them, against xarray's `sel` and `isel` of the same image."""

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.views.selected import selected
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, AxesError
from ilastik_lazy.lazy.from_xarray import source_of


@pytest.fixture(scope="module")
def prob():
    return il.open_dataarray(sample("probabilities"), project=sample("project"))


@pytest.fixture(scope="module")
def segmentation():
    return il.open_dataarray(sample("segmentation"), project=sample("project"))


@pytest.mark.parametrize(
    ("parts", "same"),
    [
        (["z=10:40"], lambda a: a.isel(z=slice(10, 40))),
        (["Z = -5:"], lambda a: a.isel(z=slice(-5, None))),
        (["z=7", "c=nucleus"], lambda a: a.isel(z=7).sel(c="nucleus")),
        (["c=0"], lambda a: a.isel(c=0)),
        (["c=1:2"], lambda a: a.isel(c=slice(1, 2))),
        (["c=nucleus,background"], lambda a: a.sel(c=["nucleus", "background"])),
        (["c=background, nucleus"], lambda a: a.sel(c=["background", "nucleus"])),
        (["z=5um:20um", "x=2:"], lambda a: a.sel(z=slice(5, 20)).isel(x=slice(2, None))),
        (["z=5000:20000nm"], lambda a: a.sel(z=slice(5, 20))),
        (["z=:0.02 mm"], lambda a: a.sel(z=slice(None, 20))),
        (["z=12.9um"], lambda a: a.sel(z=12.9, method="nearest")),
        (["z=2.4um:2.4um"], lambda a: a.isel(z=slice(3, 4))),  # xarray misses 3 * 0.8, which is a little more than 2.4
    ],
)
def test_a_selected_part_is_that_of_xarray(prob, parts, same):
    found, wanted = selected(source_of(prob), parts), source_of(same(prob))
    spec = found.spec
    assert (spec.shape, spec.dims, spec.kind, spec.drange) == (
        wanted.spec.shape, wanted.spec.dims, wanted.spec.kind, wanted.spec.drange,
    )  # fmt: skip
    for axis, other in zip(spec.axes, wanted.spec.axes, strict=True):
        assert axis == other
    whole = tuple(slice(0, length) for length in spec.shape)
    np.testing.assert_array_equal(found.read(whole), same(prob).values)


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        ("c=nucleous", ArgumentError, r"there is no channel 'nucleous' in c: nucleus, background \(did you mean 'nuc"),
        ("t=3", AxesError, "has no axis t, only z, y, x, c"),
        ("z=40", ArgumentError, "40 elements along z, counted from 0 to 39"),
        ("z=50:60", ArgumentError, "nothing lies there.*40 elements along z"),
        ("z=40um:50um", ArgumentError, "nothing lies there: positions along z go from 0 to 31.2 micrometer"),
        (
            "z=5nm:20nm",
            ArgumentError,
            "no centre of a voxel lies there: along z they go from 0 to 31.2 micrometer, 0.8 micrometer apart",
        ),
        ("z=5s:20s", ArgumentError, "along z are in micrometer, not in s"),
        ("z=1:9:2", ArgumentError, "expected an index such as 7, or a range"),
        ("z=2.5", ArgumentError, "a position has a unit, such as 5um"),
        ("nucleus", ArgumentError, "expected AXIS=PART"),
        ("c=0,nucleus", ArgumentError, "selected twice"),
        ("c=2", ArgumentError, "2 elements along c"),
    ],
)
def test_what_is_not_there_is_named(prob, part, error, message):
    with pytest.raises(error, match=message):
        selected(source_of(prob), [part])


def test_a_class_of_a_segmentation_is_selected_by_its_name():
    """As tried for ilastik#1148: a number along c is that of a channel, and there is one."""
    with pytest.raises(ArgumentError, match="is an image of classes: pass project= to select one by name"):
        selected(source_of(il.open_dataarray(sample("segmentation"))), ["c=2"])


def test_a_position_needs_a_known_voxel_size(prob):
    with pytest.raises(ArgumentError, match="states no positions with units along z: give indices, or the voxel size"):
        selected(source_of(prob.drop_vars("z")), ["z=5um:20um"])


def test_a_class_of_a_segmentation_is_its_mask(segmentation):
    nucleus = selected(source_of(segmentation), ["c=nucleus"])
    assert (nucleus.spec.dims, nucleus.spec.kind) == (("z", "y", "x"), "segmentation")
    assert (nucleus.spec.channel_names, nucleus.spec.channel_colors) == (("nucleus",), ((255, 200, 0),))
    mask = nucleus.read(tuple(slice(0, length) for length in nucleus.spec.shape))
    np.testing.assert_array_equal(mask, segmentation.values[..., 0] == 1)
    turned = selected(source_of(segmentation), ["c=background,nucleus", "z=0"])
    part = turned.read(tuple(slice(0, length) for length in turned.spec.shape))
    np.testing.assert_array_equal(part, 3 - segmentation.values[0, :, :, 0])
    with pytest.raises(ArgumentError, match="there is no class 'nuclei' in c: nucleus, background"):
        selected(source_of(segmentation), ["c=nuclei"])


def test_a_number_along_c_is_the_channel_of_a_segmentation_and_never_a_class():
    segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
    for part in ("c=0", "c=-1"):
        found = selected(source_of(segmentation), [part])
        assert found.spec.dims == ("z", "y", "x")
        assert found.spec.channel_names == ("nucleus", "background")
    assert selected(source_of(segmentation), ["c=0:1"]).spec.shape == segmentation.shape
    with pytest.raises(ArgumentError, match="is an image of classes: select one by its name: nucleus, background"):
        selected(source_of(segmentation), ["c=2"])
    for part in ("c=0", "c=2", "c=0:2"):
        with pytest.raises(AxesError, match="has no axis c; select a class by its name: nucleus, background"):
            selected(source_of(segmentation.isel(c=0)), [part])
    numbered = segmentation.assign_attrs(flag_meanings=["0", "1"])
    assert selected(source_of(numbered), ["c=0"]).spec.channel_names == ("0",)


@pytest.mark.parametrize("channels", [(1, 0), (1,)])
def test_selected_channels_hand_over_their_chunks_as_stored(prob, channels):
    source = source_of(prob)
    part = selected(source, [f"c={','.join(map(str, channels))}"])
    assert part.chunk_codec == source.chunk_codec == "zlib"
    first = (0,) * 3
    chunk = (*first, 0) if len(channels) > 1 else first
    assert part.encoded(chunk) == source.encoded((*first, channels[0])) != source.encoded((*first, 1 - channels[0]))
    kept = {}
    region = tuple(slice(0, min(length, 20)) for length in part.spec.shape)
    values = part.read_encoded(region, lambda chunk, stream, _: kept.update({chunk: stream}))
    np.testing.assert_array_equal(values, part.read(region))
    assert kept[chunk] == part.encoded(chunk)


def test_channels_that_share_a_chunk_change_places(prob):
    # As in an interleaved TIFF.
    together = il.open_dataarray(sample("probabilities"), chunks=None).isel(z=slice(0, 2)).load()
    source = source_of(together.transpose("c", "z", "y", "x"))
    part = selected(source, ["c=1,0"])
    whole = tuple(slice(0, length) for length in part.spec.shape)
    np.testing.assert_array_equal(part.read(whole), source.read(whole)[::-1])
