"""The gallery's page, its sheets and what the code gives today are one and the same."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fusionkit as fk

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules[spec.name] = module
    yield spec.loader.exec_module(module) or module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def untrained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return fk.build("backbone", name="ufuser", channels=[8, 8, 8, 8]).eval()


@pytest.fixture(scope="module")
def scenes(gallery, untrained):
    small = fk.build("dataset", name="scenes", size=96, train=100, val=0, seed=gallery.SEED)
    fusers = {"untrained": untrained, "average": fk.build("backbone", name="average")}
    return [gallery.fuse(s, fusers) for s in gallery.pick(small, ("night", "day", "night"))]


def rows(table: str) -> dict[str, list[str]]:
    """Return name -> cells of a table in Markdown, without its head."""
    cells = [
        [cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    return {name: values for name, *values in cells[2:]}


def cut(gallery, sheet: Path, place: int, size: int) -> np.ndarray:
    """Return the picture at a place of a sheet."""
    x, y = gallery.corner(place, size, size)
    with Image.open(sheet) as image:
        return np.asarray(image.crop((x, y, x + size, y + size)), np.float32)


def comment(sheet: Path) -> str:
    """Return the table that a sheet carries."""
    with Image.open(sheet) as image:
        return image.info["comment"].decode()


def as_rgb(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("RGB"), np.float32)


def made(gallery, scenes, folder: Path) -> tuple[str, dict[str, bytes]]:
    """Make the gallery in an empty folder; return page and sheets."""
    folder.mkdir()
    shutil.copy(DOCS / "gallery.md", folder)
    paths = gallery.make(scenes, "A sentence.", folder)
    return paths[-1].read_text(encoding="utf-8"), {p.name: p.read_bytes() for p in paths[:-1]}


def test_scenes_are_picked_by_what_is_in_them_alone(scenes):
    conditions, numbers = zip(*(scene.id.split("-") for scene in scenes), strict=True)
    assert conditions == ("night", "day", "night")
    assert numbers[0] < numbers[2]


def test_too_few_scenes_are_said(gallery):
    few = fk.build("dataset", name="scenes", size=64, train=1, val=0)
    with pytest.raises(SystemExit, match="too few scenes of day, fog"):
        gallery.pick(few, ("day", "fog"))


def test_table_and_pictures_are_of_the_same_images(gallery, scenes, tmp_path):
    page, sheets = made(gallery, scenes, tmp_path / "docs")
    assert sorted(sheets) == sorted(f"{scene.id}.jpg" for scene in scenes)
    for scene in scenes:
        sheet = tmp_path / "docs" / "images" / "gallery" / f"{scene.id}.jpg"
        assert comment(sheet) == scene.table
        assert f"](images/gallery/{sheet.name})\n\n{scene.table}\n" in page
        sources = {name: scene.pictures[name] for name in ("infrared", "visible")}
        for place, (caption, picture) in enumerate(scene.pictures.items()):
            assert np.abs(cut(gallery, sheet, place, 96) - as_rgb(picture)).mean() < 8, caption
            if caption == gallery.LABELS:
                continue
            name = f"{caption} only" if caption in sources else caption
            scores = fk.evaluate(picture, sources, profile="cddfuse", metrics=gallery.METRICS)
            assert rows(scene.table)[name] == [f"{scores[m]:.3f}" for m in gallery.METRICS]
    # The means are those of the tables below them.
    head = page.split("## Means over the 3 scenes\n\n")[1].split("\n\n")[0]
    for name, values in rows(head).items():
        own = [[float(cell) for cell in rows(scene.table)[name]] for scene in scenes]
        assert np.allclose([float(v) for v in values], np.mean(own, axis=0), atol=1.1e-3)


def test_fused_pictures_keep_the_colour_of_the_visible_image(scenes):
    for scene in scenes:
        assert scene.pictures["infrared"].ndim == 2
        assert scene.pictures["untrained"].shape == scene.pictures["visible"].shape == (96, 96, 3)


def test_the_best_fused_image_is_bold_and_a_source_never(gallery):
    low, high = dict.fromkeys(gallery.METRICS, 1.0), dict.fromkeys(gallery.METRICS, 2.0)
    table = gallery.table({"visible only": high, "a": low, "b": low | {"EN": 1.5}})
    assert "| visible only | 2.000 | 2.000 " in table
    assert "| a | 1.000 | **1.000** " in table
    assert "| b | **1.500** | **1.000** " in table


def test_making_it_again_changes_nothing(gallery, scenes, untrained, tmp_path):
    first = made(gallery, scenes, tmp_path / "first")
    small = fk.build("dataset", name="scenes", size=96, train=100, val=0, seed=gallery.SEED)
    fusers = {"untrained": untrained, "average": fk.build("backbone", name="average")}
    again = [gallery.fuse(s, fusers) for s in gallery.pick(small, ("night", "day", "night"))]
    assert made(gallery, again, tmp_path / "again") == first
    # Sheets of scenes that are shown no longer are gone, and the page is not appended to.
    stale = tmp_path / "first" / "images" / "gallery" / "day-99999.jpg"
    stale.touch()
    gallery.make(scenes, "A sentence.", tmp_path / "first")
    assert not stale.exists()
    assert (tmp_path / "first" / "gallery.md").read_text(encoding="utf-8") == first[0]


def test_a_page_without_markers_is_left_alone(gallery, scenes, tmp_path):
    (tmp_path / "gallery.md").write_text("# Gallery\n")
    with pytest.raises(SystemExit, match="the page has no lines"):
        gallery.make(scenes, "A sentence.", tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "gallery.md"]


def test_the_network_is_named(gallery, untrained):
    assert re.fullmatch(
        r"`mine` is a trained network \(`ufuser`, [\d,]+ weights\); all others need no training\.",
        gallery.describe("mine", untrained),
    )


def test_the_committed_page_and_sheets_are_what_the_code_gives(gallery):
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    sheets = sorted((DOCS / gallery.IMAGES).iterdir())
    shown = re.findall(r"\(images/gallery/(.+?)\)", page)
    assert sorted(shown) == [path.name for path in sheets]
    assert sum(path.stat().st_size for path in sheets) < 1_500_000
    samples = gallery.pick(gallery.dataset())
    assert [f"{sample.id}.jpg" for sample in samples] == shown
    for sample in samples:
        scene = gallery.fuse(sample, {gallery.MODEL: fk.load(gallery.MODEL), **gallery.classic()})
        path = DOCS / gallery.IMAGES / f"{sample.id}.jpg"
        table = comment(path)
        assert f"]({gallery.IMAGES}/{path.name})\n\n{table}\n" in page
        found, captions = rows(table), list(scene.pictures)
        assert [*found][2:] == [gallery.MODEL, *gallery.CLASSIC]
        for name, scores in scene.scores.items():
            # Another processor may round a pixel otherwise.
            values = [float(cell) for cell in found[name]]
            assert values == pytest.approx([scores[m] for m in gallery.METRICS], abs=0.01)
        assert f"![{', '.join(captions)}]({gallery.IMAGES}/{path.name})" in page
        for place, caption in enumerate(captions):
            gap = np.abs(cut(gallery, path, place, 256) - as_rgb(scene.pictures[caption]))
            assert gap.mean() < 4, (path.name, caption)
