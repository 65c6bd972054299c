"""Rules of viewers that do not run here, Neuroglancer and Fiji, as assertions on the metadata.

Neuroglancer: https://github.com/google/neuroglancer/tree/master/src/datasource/zarr, ``ome.ts`` and
``metadata/parse.ts``.  Fiji: https://github.com/saalfeldlab/n5-zarr#supported-zarr-features and n5-universe's
``OmeNgffMetadataParser``.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS
from ilastik_lazy.writers.ome_zarr.encode import CODECS
from ilastik_lazy.writers.ome_zarr.metadata.attributes import ome_attributes
from ilastik_lazy.writers.ome_zarr.metadata.documents import metadata_documents
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from tests.support.ome_zarr.fakes import small_plans, spec_of

# ilastik writes no other than these; what Neuroglancer cannot show are bool, float16, int64 and float64.
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"]
SHAPE = {"t": 3, "c": 2, "z": 9, "y": 20, "x": 31}

Documents = dict[str, Any]


@pytest.fixture(
    params=[
        *((axes, "float32", "zstd") for axes in ("yx", "zyxc", "xyc", "txyzc")),
        *(("zyxc", dtype, "zstd") for dtype in DTYPES),
        *(("zyxc", "float32", codec) for codec in CODECS),
        *(("zyxc", "uint32", codec) for codec in CODECS),
    ],
    ids="-".join,
)
def case(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    found: tuple[str, str, str] = request.param
    return found


def documents_of(case: tuple[str, str, str], version: Any) -> Documents:
    """All JSON of a store by its key, and the attributes of the root as ``/``."""
    axes, dtype, codec = case
    scales = {"t": 3.0, "z": 2.0, "y": 0.5, "x": 0.25}
    units = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
    spec = spec_of([SHAPE[a] for a in axes], dtype, axes, scales=scales, units=units, channel_names=("a", "b"))
    with small_plans(shard=500, smallest=5):
        plan = plan_pyramid(spec, version=version, codec=codec)  # type: ignore[arg-type]  # of CODECS
    documents = metadata_documents(plan, ome_attributes(plan, "brain"), {"drange": [0.0, 1.0]})
    names = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
    found = {key: json.loads(data) for key, data in documents.items() if key.rsplit("/", 1)[-1] in names}
    found["/"] = found["zarr.json"]["attributes"]["ome"] if version == "0.5" else found[".zattrs"]
    return found


class TestNeuroglancer:
    def check_multiscale(self, documents: Documents, version: str) -> int:
        (multiscale,) = documents["/"]["multiscales"]
        assert (multiscale["version"] if version == "0.4" else documents["/"]["version"]) == version
        rank = len(multiscale["axes"])
        for axis in multiscale["axes"]:
            assert isinstance(axis["name"], str)
            assert axis["type"] in ("time", "channel", "space")
        for dataset in multiscale["datasets"]:
            for transformation in dataset["coordinateTransformations"]:
                values = transformation[transformation["type"]]
                assert transformation["type"] in ("identity", "scale", "translation")
                assert len(values) == rank
                assert all(map(math.isfinite, values))
                assert transformation["type"] != "scale" or min(values) > 0
        return rank

    def test_takes_arrays_of_v3(self, case: tuple[str, str, str]) -> None:
        documents = documents_of(case, "0.5")
        rank = self.check_multiscale(documents, "0.5")
        for dataset in documents["/"]["multiscales"][0]["datasets"]:
            array = documents[f"{dataset['path']}/zarr.json"]
            assert (array["zarr_format"], array["node_type"]) == (3, "array")
            assert len(array["shape"]) == len(array["dimension_names"]) == rank
            assert array["data_type"] in DTYPES
            assert array["chunk_grid"]["name"] == "regular"
            assert array["chunk_key_encoding"]["name"] in ("default", "v2")
            assert array["fill_value"] == 0
            self.check_codecs(array["codecs"])

    def check_codecs(self, codecs: list[Any]) -> None:
        known = ("crc32c", "blosc", "bytes", "gzip", "sharding_indexed", "transpose", "zstd")
        for codec in codecs:
            assert codec["name"] in known
            for chain in ("codecs", "index_codecs"):
                self.check_codecs(codec.get("configuration", {}).get(chain, []))

    def test_takes_arrays_of_v2(self, case: tuple[str, str, str]) -> None:
        documents = documents_of(case, "0.4")
        rank = self.check_multiscale(documents, "0.4")
        for dataset in documents["/"]["multiscales"][0]["datasets"]:
            array = documents[f"{dataset['path']}/.zarray"]
            assert array["zarr_format"] == 2
            assert len(array["shape"]) == len(array["chunks"]) == rank
            assert array["order"] == "C"
            assert array["dimension_separator"] == "/"
            assert np.dtype(array["dtype"]).name in DTYPES
            assert array["fill_value"] in (None, 0)
            assert array["filters"] is None
            compressor = array["compressor"] or {"id": None}
            assert compressor["id"] in ("blosc", "gzip", "zlib", "zstd", None)
            keys = {"blosc": ("cname", "clevel", "shuffle"), "gzip": ("level",), "zstd": ("level",), None: ()}
            assert set(keys[compressor["id"]]) <= set(compressor)
            assert len(documents[f"{dataset['path']}/.zattrs"]["_ARRAY_DIMENSIONS"]) == rank

    def test_knows_every_unit_that_is_written(self) -> None:
        prefixes = [
            "yotta", "zetta", "exa", "peta", "tera", "giga", "mega", "kilo", "milli", "micro", "nano", "pico", "femto",
            "atto", "zepto", "yocto", "", "hecto", "deca", "deci", "centi",
        ]  # fmt: skip
        known = {f"{prefix}{unit}" for prefix in prefixes for unit in ("meter", "second")}
        known |= {"angstrom", "foot", "inch", "mile", "parsec", "yard", "minute", "hour", "day"}
        assert known >= OME_SPACE_UNITS | OME_TIME_UNITS


class TestFiji:
    def check_multiscale(self, documents: Documents, name: str) -> None:
        (multiscale,) = documents["/"]["multiscales"]
        assert isinstance(multiscale["name"], str)
        assert isinstance(multiscale["type"], str)
        # Read into a class of Java, whose fields have these types.
        types = {"order": int, "preserve_range": bool, "method": str, "version": str, "args": str, "kwargs": dict}
        assert all(isinstance(v, types[k]) for k, v in multiscale["metadata"].items() if k in types)
        for dataset in multiscale["datasets"]:
            # A path is looked up below the group, as deep as it goes, since n5-universe reads 0.5.  Before,
            # only children of the group itself were found: https://github.com/saalfeldlab/n5-zarr/issues/60
            assert f"{dataset['path']}/{name}" in documents
            assert {t["type"] for t in dataset["coordinateTransformations"]} <= {"scale", "translation"}

    def test_takes_arrays_of_v3(self, case: tuple[str, str, str]) -> None:
        documents = documents_of(case, "0.5")
        self.check_multiscale(documents, "zarr.json")
        for dataset in documents["/"]["multiscales"][0]["datasets"]:
            array = documents[f"{dataset['path']}/zarr.json"]
            assert array["data_type"] in [*DTYPES, "int64", "float64"]
            assert array["chunk_grid"]["name"] == "regular"
            assert array["chunk_key_encoding"]["name"] in ("default", "v2")
            (sharding,) = array["codecs"]
            names = [codec["name"] for codec in sharding["configuration"]["codecs"]]
            assert (sharding["name"], names[0]) == ("sharding_indexed", "bytes")
            assert set(names[1:]) <= {"gzip", "blosc", "zstd", "crc32c"}

    def test_takes_arrays_of_v2(self, case: tuple[str, str, str]) -> None:
        documents = documents_of(case, "0.4")
        self.check_multiscale(documents, ".zarray")
        required = {"zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "filters", "order"}
        for dataset in documents["/"]["multiscales"][0]["datasets"]:
            array = documents[f"{dataset['path']}/.zarray"]
            assert required <= set(array)
            assert np.dtype(array["dtype"]).kind in "uif"

    def test_of_any_age_decompresses_what_0_4_is_written_with_by_default(self) -> None:
        # Early releases of n5-zarr take chunks of zstd for raw ones; jzarr knows Blosc and zlib alone.
        plan = plan_pyramid(spec_of((9, 9), "uint8", "yx"), version="0.4")
        assert {level.codec for level in plan.levels} == {"blosc"}
