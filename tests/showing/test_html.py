"""Results show themselves in a notebook, and what a file says is text there."""

from __future__ import annotations

from pathlib import Path

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.showing.html import html_table, swatches


def test_reports_are_tables_with_what_their_text_says(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    report = il.to_ome_zarr(sample("segmentation"), target, project=sample("project"))
    shown = report._repr_html_()
    for part in (str(target), "40x128x160", " on disk, ", "nucleus 46,473 (5.67 %)"):
        assert part in shown
    assert "819,200 voxels are equal" in il.verify(target, sample("segmentation"))._repr_html_()
    assert "on disk" in il.to_ilastik(sample("segmentation"), tmp_path / "a.h5")._repr_html_()
    assert "nothing found" in il.doctor.examine(sample("raw"))._repr_html_()
    found = il.doctor.examine(sample("raw"), project=sample("project"))
    assert found.findings
    assert all(finding.remedy in found._repr_html_() for finding in found.findings)
    with il.serve(sample("raw")) as server:
        assert server.url in server._repr_html_()


def test_markup_in_names_is_text() -> None:
    shown = html_table("<b>", [("<i>", "<script>\x1b")], note="<u>") + swatches(["<s>"], [(1, 2, 3)])
    for name in ("i", "script", "u", "s"):
        assert f"<{name}>" not in shown
    assert "&lt;script&gt;\\x1b" in shown
    assert "background:rgb(1, 2, 3)" in shown
