"""Tables of measured objects in CSV and Parquet: units, text and numbers come back as they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError, CorruptFileError, LimitExceededError, MetadataError
from ilastik_lazy.reductions.objects.columns import PROPERTIES
from ilastik_lazy.reductions.objects.crops import OF_WHOLE_OBJECTS
from ilastik_lazy.tables import open_table
from ilastik_lazy.tables.measured import with_unit_columns


@pytest.mark.parametrize("ndim", [2, 3])
def test_all_units_come_back_from_csv(tmp_path, ndim):
    rng = np.random.default_rng(0)
    dims = tuple("zyx"[-ndim:])
    coords = {dim: (dim, np.arange(6) * 0.5, {"units": "micrometer"}) for dim in dims}
    labels = xr.DataArray(rng.integers(0, 4, (6,) * ndim).astype("u4"), coords, dims)
    image = xr.DataArray(rng.random((6,) * ndim), coords, dims)
    flat = ("perimeter", "eccentricity", "orientation")
    names = [name for name in (*PROPERTIES, *OF_WHOLE_OBJECTS) if ndim == 2 or name not in flat]
    table = il.measure_objects(labels, image, properties=names)
    assert len(table.attrs["units"]) > 10
    with_unit_columns(table).to_csv(tmp_path / "a.csv", index=False)
    assert open_table(tmp_path / "a.csv").attrs["units"] == table.attrs["units"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("label,area\n1,2\n3\n", "line 3 has 1 values for 2 columns"),
        ("label,label\n1,2\n", "two columns of one name"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, content, says):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(MetadataError, match=says):
        open_table(tmp_path / "a.csv")


def test_a_damaged_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install 'ilastik_lazy[parquet]'")
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(CorruptFileError, match="is not a Parquet file"):
        open_table(tmp_path / "a.parquet")
    with pytest.raises(ArgumentError, match="trust='local'"):
        open_table(tmp_path / "a.parquet", trust="untrusted")


def written(table, path):
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        pytest.importorskip("pyarrow", reason="pip install 'ilastik_lazy[parquet]'")
        table.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_text_and_numbers_come_back_as_they_were(tmp_path, name):
    table = pd.DataFrame(
        {
            "source": ["nan", 'a,"b"\n.h5', "NA"],
            "label": np.array([1, 2**63 - 1, 3]),
            "area": [0.1 + 0.2, np.nan, 1e-300],
            "touches_border": [True, False, True],
            "intensity_mean_a,b": [1.5, 2.0, np.nan],
            "length_unit": ["micrometer", "micrometer", "voxel"],
            "area_unit": ["micrometer^2", "micrometer^2", "voxel"],
        }
    )
    found = open_table(written(table, tmp_path / name))
    pd.testing.assert_frame_equal(found, table, check_exact=True)
    assert found.attrs["kind"] == "measurements"
    assert "units" not in found.attrs  # they differ
    found = open_table(written(table[:2], tmp_path / name))
    assert found.attrs["units"] == {"area": "micrometer^2"}


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_table_that_is_larger_than_the_memory_is_refused(tmp_path, name):
    path = written(pd.DataFrame({"label": np.zeros(200_000, "i8")}), tmp_path / name)
    with pytest.raises(LimitExceededError, match="raise memory="):
        open_table(path, memory=50_000 if name == "a.csv" else 100)
