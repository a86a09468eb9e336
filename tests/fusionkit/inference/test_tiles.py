"""Tiles: the image that whole fusion gives, without seams, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference.folders import fuse_files
from fusionkit.inference.fusion import fuse_images
from fusionkit.inference.sources import FusionOptions
from fusionkit.inference.symmetrize import symmetrized
from fusionkit.inference.tiles import OVERLAP, choose_tile
from fusionkit.interfaces import Backbone
from fusionkit.io.images import read_image, write_image
from fusionkit.io.listing import list_pairs
from fusionkit.io.pairs import pair_images

Scene = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def large() -> Scene:
    """A scene of 500 x 650 pixels with light, edges and noise; no part is like another."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:500, 0:650]
    light = np.sin(rows / 90) * np.cos(columns / 130) * 70 + 120
    hot = 90.0 * ((rows - 210) ** 2 + (columns - 300) ** 2 < 60**2)
    infrared = light * 0.5 + hot + generator.normal(0, 4, light.shape)
    grey = light + 40 * (columns % 97 < 40) + generator.normal(0, 4, light.shape)
    visible = np.stack([grey, grey * 0.9, grey * 0.7], axis=-1)
    return {
        name: np.clip(image, 0, 255).astype(np.uint8)
        for name, image in (("infrared", infrared), ("visible", visible))
    }


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.square(one.astype(float) - other).mean()
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def test_pointwise_fusers_give_the_same_image(large: Scene):
    average = fk.build("backbone", name="average")
    for more in ({}, {"stretch": "minmax"}, {"bits": 16}, {"colour": "none"}):
        whole = fuse_images(average, large, FusionOptions(tile="off", **more))
        tiled = fuse_images(average, large, FusionOptions(tile=256, **more))
        assert whole.dtype == tiled.dtype
        assert np.abs(whole.astype(int) - tiled).max() <= (1 if whole.dtype == np.uint8 else 2)


@pytest.mark.parametrize("name", ["emma-ir-vis", "laplacian-pyramid"])
def test_no_seam_can_be_found(large: Scene, name: str):
    shipped = name == "emma-ir-vis"
    network = fk.load(name) if shipped else fk.build("backbone", name=name)
    whole = fuse_images(network, large, FusionOptions(tile="off", colour="none"))
    tiled = fuse_images(network, large, FusionOptions(tile=320, colour="none"))
    assert psnr(whole, tiled) > 45
    # A seam is a step in the difference of both images along a whole column or row.
    # The border is left out: whole and tile are padded to multiples of the stride differently.
    error = (tiled.astype(float) - whole)[8:-8, 8:-8]
    for axis in (0, 1):
        steps = np.abs(np.diff(error.mean(axis=1 - axis)))
        assert steps.max() < 0.25


def test_without_statistics_of_the_whole_the_parts_would_not_fit(large: Scene):
    torch.manual_seed(0)
    network = fk.build("backbone", name="ufuser", channels=[8, 16], heads=2).eval()
    images = {name: image / np.float32(255) for name, image in large.items()}

    def fuse(tile: int | str) -> np.ndarray:
        options = FusionOptions(tile=tile, colour="none")  # type: ignore[arg-type]
        return fuse_images(network, images, options)[8:-8, 8:-8]

    whole, fixed = fuse("off"), fuse(320)
    network.with_statistics_of = lambda sources: network  # type: ignore[method-assign]
    loose = fuse(320)
    gaps = [np.square(tiled - whole).mean() for tiled in (fixed, loose)]
    assert gaps[0] < gaps[1] / 4


def test_an_average_over_a_group_is_fused_in_tiles(large: Scene):
    network = symmetrized(fk.load("emma-ir-vis"), "reflect")
    whole = fuse_images(network, large, FusionOptions(tile="off", colour="none"))
    tiled = fuse_images(network, large, FusionOptions(tile=400, colour="none"))
    assert psnr(whole, tiled) > 45


class Named(Backbone):
    """Looks up its result, so it needs the whole image."""

    name = "named"

    def forward(self, sources):
        raise NotImplementedError

    def fuse(self, sample):
        return next(iter(sample.images.values()))


def test_what_needs_the_whole_image_is_refused_or_fused_whole(large: Scene):
    pair = pair_images(large)
    average = fk.build("backbone", name="average")
    assert choose_tile(average, pair, FusionOptions()) is None
    assert choose_tile(average, pair, FusionOptions(tile=300)) == 300
    with pytest.raises(FusionkitError, match="named"):
        choose_tile(Named(), pair, FusionOptions(tile=300))
    with pytest.raises(FusionkitError, match="alignment"):
        choose_tile(average, pair, FusionOptions(tile=300, align=True))
    huge = pair_images({name: np.zeros((2500, 2500), np.uint8) for name in ("mri", "pet")})
    assert choose_tile(average, huge, FusionOptions()) is not None
    assert choose_tile(average, huge, FusionOptions(tile="off")) is None
    assert choose_tile(Named(), huge, FusionOptions()) is None
    with pytest.raises(FusionkitError, match=str(2 * OVERLAP)):
        fuse_images(average, large, FusionOptions(tile=2 * OVERLAP))
    with pytest.raises(FusionkitError, match="tile"):
        FusionOptions(tile="on")  # type: ignore[arg-type]


def test_files_of_all_formats_are_fused_in_tiles(large: Scene, tmp_path: Path):
    average = fk.build("backbone", name="average")
    options = FusionOptions(tile=256)
    for suffix in (".png", ".tif"):
        sources = {name: tmp_path / f"{name}{suffix}" for name in large}
        for name, path in sources.items():
            write_image(path, large[name])
        out = tmp_path / f"out{suffix}"
        fuse_files(average, list_pairs(sources), out, options)
        assert np.array_equal(read_image(out), fuse_images(average, large, options))


def test_memory_is_bounded_by_a_band_of_tiles(tmp_path: Path):
    """Fuse 36 megapixels, which would take over a gigabyte as a whole."""
    size = (6000, 6000)
    for name in ("infrared", "visible"):
        tifffile.imwrite(
            tmp_path / f"{name}.tif", shape=size, dtype=np.uint16, photometric="minisblack"
        )
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import fusionkit as fk\n"
        "from fusionkit.inference.folders import fuse_files\n"
        "from fusionkit.inference.sources import FusionOptions\n"
        "from fusionkit.io.listing import list_pairs\n"
        "folder, side = Path(sys.argv[1]), sys.argv[2]\n"
        "sources = {n: folder / f'{n}.tif' for n in ('infrared', 'visible')}\n"
        "windows = {n: 'full' for n in sources}\n"
        "options = FusionOptions(tile=side if side == 'off' else int(side), windows=windows)\n"
        "model = fk.build('backbone', name='average')\n"
        "fuse_files(model, list_pairs(sources), folder / f'{side}.tif', options)\n"
        # Not ru_maxrss, which counts the memory of the process that started this one.
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(int(x.split()[1]) / 1024 for x in lines if x.startswith('VmHWM')))\n"
    )
    peaks = {}
    for side in ("512", "off"):
        run = [sys.executable, "-c", code, str(tmp_path), side]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        peaks[side] = float(done.stdout)
    assert peaks["512"] < peaks["off"] - 700
    assert tifffile.imread(tmp_path / "512.tif").shape == size
