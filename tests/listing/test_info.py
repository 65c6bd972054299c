"""`il.info`: the same listing in Python, in a notebook and on the command line."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import ilastik_lazy as il
from ilastik_lazy.cli import cli
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import MetadataWarning
from tests.support.makers import write_hdf5_export


class Text(HTMLParser):
    """What a browser shows, and the tags that it was told."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    columns = [
        "label",
        *(f"Histogram of Intensity_{n}" for n in range(64)),
        *(f"Kind {chr(97 + n)}" for n in range(26)),
    ]
    table = pd.DataFrame(np.arange(5 * len(columns)).reshape(5, -1), columns=columns)
    table.to_csv(tmp_path / "cells_table.csv", index=False)
    return tmp_path / "cells_table.csv"


@pytest.mark.parametrize("name", ["probabilities", "segmentation", "project"])
def test_python_lists_what_the_command_prints(name: str) -> None:
    said = CliRunner().invoke(cli, ["info", sample(name)])
    assert said.exit_code == 0, said.output
    assert str(il.info(sample(name))) == said.stdout.rstrip("\n")


def test_a_listing_has_values_and_shows_them_in_a_notebook() -> None:
    listing = il.info(sample("segmentation"), project=sample("project"))
    (spec,) = listing.images
    assert (spec.shape, spec.dims, spec.kind) == ((40, 128, 160, 1), ("z", "y", "x", "c"), "segmentation")
    assert [axis.scale for axis in spec.axes] == [0.8, 0.25, 0.25, None]
    assert listing.as_json()[0]["channel_names"] == ["nucleus", "background"]
    shown = listing._repr_html_()
    for part in ("segmentation, uint8, 819 kB in memory", "z 40  y 128  x 160  c 1", "1 nucleus", "2 background"):
        assert part in Text(shown).text
    assert shown.count("background:rgb(") == len(spec.channel_colors) == 2


def test_many_files_are_a_pattern_or_a_list_and_a_bad_one_is_listed(tmp_path: Path) -> None:
    for number in (10, 2):
        write_hdf5_export(tmp_path / f"s{number}.h5", np.zeros((4, 5, 1), "u1"), axes="yxc")
    (tmp_path / "s3.h5").write_bytes(b"damaged")
    listing = il.info(tmp_path / "s*.h5")
    assert [spec.storage.path for spec in listing.images] == [str(tmp_path / "s2.h5"), str(tmp_path / "s10.h5")]
    assert list(listing.failed) == [str(tmp_path / "s3.h5")]
    assert str(listing.failed[str(tmp_path / "s3.h5")]) in str(listing)
    assert len(il.info([tmp_path / "s2.h5", tmp_path / "s10.h5"]).files) == 2
    with pytest.raises(il.errors.FormatError):
        il.info(tmp_path / "s3.h5")


def test_text_of_a_file_is_no_markup(tmp_path: Path) -> None:
    write_hdf5_export(tmp_path / "a.h5", np.zeros((4, 5, 1), "u1"), axes="yxc", internal_path="<script>alert(1)<")
    shown = Text(il.info(tmp_path / "a.h5")._repr_html_())
    assert "script" not in shown.tags
    assert "<script>alert(1)<" in shown.text


def test_guessed_axes_are_named_with_the_argument_of_the_interface(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 6), "u1"))
    assert "pass axes= if that is wrong" in str(il.info(tmp_path / "a.npy"))
    assert "pass --axes if that is wrong" in CliRunner().invoke(cli, ["info", str(tmp_path / "a.npy")]).stdout


def test_a_table_of_many_columns_is_a_few_lines(wide: Path) -> None:
    said = CliRunner().invoke(cli, ["info", str(wide)]).stdout
    lines = said.splitlines()
    assert len(lines) < 15
    assert max(map(len, lines[1:])) <= 100
    assert "Histogram of Intensity_0 to 63, Kind a, " in said
    assert "and 4 more" in said
    assert "  label  Histogram of Intensity_0" in said
    assert len(il.info(wide).as_json()[0]["columns"]) == 91


def test_the_command_table_prints_numbered_columns_as_one(wide: Path) -> None:
    lines = CliRunner().invoke(cli, ["table", str(wide), "--rows", "2"]).stdout.splitlines()
    assert "    Histogram of Intensity_0 to 63 int64" in lines
    assert len(lines) == 2 + 28 + 3


def test_a_project_says_where_a_missing_image_was_searched_for(tmp_path):
    project = shutil.copy(sample("project"), tmp_path)
    with pytest.warns(MetadataWarning):
        text = str(il.info(project))
    assert f"searched for in {tmp_path}" in text
    assert text.count("source_roots=[folder], with the folder that the path starts from") == 1
