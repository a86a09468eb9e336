"""Which files belong together, and what is said of those that don't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusionkit.errors import FusionkitError
from fusionkit.io.images import write_image
from fusionkit.io.pairs import find_pairs


def fill(folder: Path, *names: str, size: tuple[int, int] = (20, 30)) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        write_image(folder / name, np.zeros(size, np.uint8))
    return folder


def test_folders_are_paired_by_stem_whatever_the_format(tmp_path: Path):
    sources = {
        "infrared": fill(tmp_path / "ir", "b.png", "a.bmp"),
        "visible": fill(tmp_path / "vi", "a.jpg", "b.tif"),
        "depth": fill(tmp_path / "d", "b.png", "a.png"),
    }
    pairs = find_pairs(sources)
    assert [pair.id for pair in pairs] == ["a", "b"]
    assert [path.name for path in pairs[0].paths.values()] == ["a.bmp", "a.jpg", "a.png"]
    assert list(pairs[0].paths) == ["infrared", "visible", "depth"]
    assert pairs[0].size == (20, 30)


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path):
    folder = fill(tmp_path / "x", "hot.png", "day.png")
    (pair,) = find_pairs({"infrared": folder / "hot.png", "visible": folder / "day.png"})
    assert pair.id == "hot"


def test_all_images_without_partner_are_named(tmp_path: Path):
    ir = fill(tmp_path / "ir", "a.png", "b.png", "c.png")
    vi = fill(tmp_path / "vi", "b.png", "d.png")
    message = r"3 images have no partner .*: a \(no visible\), c \(no visible\), d \(no infrared\);"
    with pytest.raises(FusionkitError, match=message):
        find_pairs({"infrared": ir, "visible": vi})


def test_long_lists_end_after_ten(tmp_path: Path):
    ir = fill(tmp_path / "ir", *(f"{i:02}.png" for i in range(14)))
    vi = fill(tmp_path / "vi", "00.png")
    with pytest.raises(FusionkitError, match=r"13 images have no.* 10 \(no visible\) and 3 more;"):
        find_pairs({"infrared": ir, "visible": vi})


def test_pairs_of_unequal_size_are_named_without_reading_pixels(tmp_path: Path):
    ir = fill(tmp_path / "ir", "a.png", "b.png")
    vi = fill(tmp_path / "vi", "a.png")
    fill(vi, "b.png", size=(21, 30))
    (ir / "a.png").write_bytes((ir / "a.png").read_bytes()[:50])  # header only
    message = r"1 pair of unequal size .*: b \(infrared 20x30, visible 21x30\); register"
    with pytest.raises(FusionkitError, match=message):
        find_pairs({"infrared": ir, "visible": vi})


def test_sizes_of_one_aspect_ratio_pass_where_they_are_to_be_resampled(tmp_path: Path):
    ir = fill(tmp_path / "ir", "a.png", "b.png", size=(60, 80))
    vi = fill(tmp_path / "vi", "a.png", "b.png", size=(121, 160))
    pair, _ = find_pairs({"infrared": ir, "visible": vi}, resample=True)
    assert pair.sizes == {"infrared": (60, 80), "visible": (121, 160)}
    assert pair.size == (60, 80)
    with pytest.raises(FusionkitError, match="2 pairs of unequal size"):
        find_pairs({"infrared": ir, "visible": vi})
    fill(vi, "b.png", size=(120, 200))
    message = r"1 pair of unequal aspect ratio .*: b \(infrared 60x80, visible 120x200\); .* crop"
    with pytest.raises(FusionkitError, match=message):
        find_pairs({"infrared": ir, "visible": vi}, resample=True)


def test_sources_that_are_no_pair(tmp_path: Path):
    ir = fill(tmp_path / "ir", "a.png")
    with pytest.raises(FusionkitError, match=r"folder .*/nowhere does not exist"):
        find_pairs({"infrared": ir, "visible": tmp_path / "nowhere"})
    with pytest.raises(FusionkitError, match=r"file or folder at .*nowhere \(visible\)"):
        find_pairs({"infrared": ir / "a.png", "visible": tmp_path / "nowhere"})
    with pytest.raises(FusionkitError, match="files for all sources or folders for all, found"):
        find_pairs({"infrared": ir / "a.png", "visible": ir})
    with pytest.raises(FusionkitError, match="expected two or more sources, found infrared"):
        find_pairs({"infrared": ir})


def test_real_folders_pair_up(data_root: Path):
    pairs = find_pairs(
        {"infrared": data_root / "roadscene/ir", "visible": data_root / "roadscene/vi"}
    )
    assert len(pairs) == len(list((data_root / "roadscene/ir").iterdir()))
    assert len({pair.size for pair in pairs}) > 1
