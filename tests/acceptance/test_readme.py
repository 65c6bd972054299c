"""README's code runs as it stands, and its commands are those of CI."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.storage.object_store import ObjectFolder
from tests.formats.hdf5.test_imaris import write as write_imaris
from tests.support.children import run_command
from tests.support.makers import some_data, write_hdf5_export, write_ilp
from tests.support.mrc_makers import write_mrc
from tests.support.table_makers import ROWS as TABLE_ROWS
from tests.support.table_makers import write_table, written
from tests.support.zarr_makers import write_array

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_readme_has_code():
    assert blocks("python")
    assert len(blocks("sh")) >= 2


@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_readme_runs(code, tmp_path):
    # In a new interpreter, as for a reader: a fork has imported what the code may lack, and warned about it before.
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "nucleus" in result.stdout


def test_console_commands_of_readme_exist():
    for block in blocks("console"):
        for line in block.splitlines():
            name, *options = re.findall(r"(?<=ilastik-lazy )\w+|--\w+", line)
            ended = run_command(name, "--help")
            assert ended.returncode == 0, ended.stderr
            for option in options:
                assert option in ended.stdout, line


def test_ci_runs_the_test_command_of_readme():
    (command,) = [block for block in blocks("sh") if "pytest" in block]
    assert command.strip() in (ROOT / ".ci" / "run").read_text()


# --- the table of what it opens: each row's code is run, on files that are made for it

VOLUME = some_data((4, 6, 8), "u1")


def image(path, axes="zyx", inside="exported_data", shape=(4, 6, 8)):
    write_hdf5_export(Path(path), some_data(shape, "u1"), axes=axes, chunks=(2,) * len(shape), internal_path=inside)


def several(path):
    image(path)
    image(path, inside="volume/data")


def n5(path):
    il.to_ilastik(xr.DataArray(VOLUME, dims=tuple("zyx")), path)
    shutil.copytree("x.n5/exported_data", "x.n5/volume/data")


def pyramid(path):
    write_array(Path(path) / "s0")
    write_array(Path(path) / "s1")
    axes = [{"name": name} for name in "zyxc"]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": [{"path": "s0"}, {"path": "s1"}]}]
    (Path(path) / ".zgroup").write_text('{"zarr_format": 2}')
    (Path(path) / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))


def remote(s3, bucket):
    pyramid("x.zarr")
    target = ObjectFolder.parse(f"s3://{bucket}/x.zarr", s3.options)
    for file in Path("x.zarr").rglob("*"):
        if file.is_file():
            target.put(file.relative_to("x.zarr").as_posix(), file.read_bytes())


def pictures():
    from PIL import Image

    Path("slices").mkdir()
    for name in ("x.png", "slices/a.png", "slices/b.png"):
        Image.fromarray(VOLUME[0]).save(name)


def bigdataviewer():
    with h5py.File("x.h5", "w") as file:
        file["s00/resolutions"] = np.array([[1.0, 1, 1], [2, 2, 2]])
        for level, data in enumerate((VOLUME, VOLUME[::2, ::2, ::2])):
            file.create_dataset(f"t00000/s00/{level}/cells", data=data.astype("i2"), chunks=(2, 2, 2))
    Path("x.xml").write_text('<SpimData><ImageLoader format="bdv.hdf5"><hdf5>x.h5</hdf5></ImageLoader></SpimData>')


def table_and_labels():
    image("labels.h5", axes="yx", shape=(6, 8))
    write_table(Path("x_table.h5"), written(TABLE_ROWS[:2]))


MAKERS = {
    "HDF5 export": lambda: several("x.h5"),
    "several images": lambda: several("x.h5"),
    "any HDF5 array": lambda: image("x.h5", axes=None, shape=(4, 6, 8, 2)),
    "N5": lambda: n5("x.n5"),
    "zipped OME-Zarr": lambda: il.to_ome_zarr(xr.DataArray(VOLUME, dims=tuple("zyx")), "x.ozx"),
    "OME-Zarr": lambda: pyramid("x.zarr"),
    "TIFF": lambda: pytest.importorskip("tifffile").imwrite("x.tiff", VOLUME, ome=True, metadata={"axes": "ZYX"}),
    "numpy": lambda: np.save("x.npy", VOLUME),
    "MRC": lambda: write_mrc(Path("x.mrc"), VOLUME.astype("<u2")),
    "PNG": pictures,
    "stacks": lambda: (pictures(), image("t0.h5"), image("t1.h5")),
    "BigDataViewer": bigdataviewer,
    "Imaris": lambda: write_imaris("x.ims"),
    "projects": lambda: (write_ilp(Path("p.ilp")), Path("data").mkdir()),
    "exports with": lambda: (write_ilp(Path("p.ilp")), image("x_Probabilities.h5", "zyxc", shape=(4, 6, 8, 2))),
    "object and tracking": table_and_labels,
    "images and projects": lambda: image("x.h5"),
}
ROWS = re.findall(
    r"^\| (.*?) \| (.*?) \|$", README[README.index("| file | how |") :].partition("\n\n")[0], re.MULTILINE
)[2:]


def test_the_table_is_found():
    assert len(ROWS) >= 15


@pytest.mark.parametrize(("files", "how"), ROWS, ids=[row[0] for row in ROWS])
@pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.IlastikLazyWarning")
def test_every_row_of_the_table_does_what_it_says(files, how, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    names = {"xr": xr, **{name: getattr(il, name) for name in il.__all__ if not name.startswith("_")}}
    if "s3://" in how:
        s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
        remote(s3, bucket)
        how, names = how.replace("s3://bucket", f"s3://{bucket}"), names | {"endpoint": s3.endpoint}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "us-east-1")
    else:
        (make,) = [make for start, make in MAKERS.items() if files.startswith(start)]
        make()
    codes = [code for code in re.findall("`([^`]+)`", how) if "(" in code]
    assert codes
    for code in codes:
        found = eval(code, names)
        if isinstance(found, xr.DataTree):
            assert any(node.data_vars for node in found.subtree) or "p.ilp" in code
        else:
            assert found.nbytes if isinstance(found, xr.Dataset | xr.DataArray) else len(found)
