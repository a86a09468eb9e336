"""Shifts between sensors: found to parts of a pixel, or not claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from fusionkit.functional.translation import estimate_shift, translate
from fusionkit.io.images import read_image, to_float
from fusionkit_scenes.dataset import Scenes


@pytest.fixture(scope="module")
def scene() -> dict[str, np.ndarray]:
    images = Scenes(size=192, train=1)[0].images
    return {name: image[0].numpy() for name, image in images.items()}


def shifted(image: np.ndarray, rows: float, columns: float) -> torch.Tensor:
    moved = ndimage.shift(image.astype(np.float64), (rows, columns), order=3, mode="nearest")
    return torch.from_numpy(np.clip(moved, 0, 1).astype(np.float32))[None]


@pytest.mark.parametrize(
    "shift", [(0, 0), (5, 0), (0, -7), (-3.5, 6.25), (7.7, -7.2), (20, -25)], ids=str
)
def test_a_known_shift_between_sensors_is_found(scene, shift):
    fixed = torch.from_numpy(scene["visible"])[None]
    found = estimate_shift(fixed, shifted(scene["infrared"], *shift))
    assert found is not None
    assert np.hypot(found[0] + shift[0], found[1] + shift[1]) < 0.4


def test_inverted_and_nonlinear_contrast_makes_no_difference(scene):
    fixed = torch.from_numpy(scene["visible"])[None]
    for changed in (1 - scene["visible"], scene["visible"] ** 3 * 0.1 + 0.4):
        found = estimate_shift(fixed, shifted(changed, 4, -6))
        assert found is not None
        assert np.hypot(found[0] + 4, found[1] - 6) < 0.2


def test_what_has_no_shift_gets_none(scene):
    generator = torch.Generator().manual_seed(0)
    noise = [torch.rand(1, 120, 150, generator=generator) for _ in range(2)]
    assert estimate_shift(*noise) is None
    flat = torch.full((1, 120, 150), 0.5)
    assert estimate_shift(flat, flat) is None
    assert estimate_shift(noise[0], flat) is None
    stripes = ((torch.arange(150) // 5) % 2).float().expand(1, 120, 150)
    assert estimate_shift(stripes, stripes) is None  # each period fits as well
    assert estimate_shift(noise[0][:, :16, :16], noise[1][:, :16, :16]) is None


def test_a_shift_beyond_the_limit_is_not_claimed(scene):
    fixed = torch.from_numpy(scene["visible"])[None]
    assert estimate_shift(fixed, shifted(scene["visible"], 0, 12), limit=8) is None
    assert estimate_shift(fixed, shifted(scene["visible"], 0, 6), limit=8) is not None


def test_a_faint_likeness_of_other_scenes_is_not_a_shift():
    scenes = Scenes(size=192, train=12)
    # Pairs whose best shift stands out, at a correlation under 0.1.
    for visible, infrared in ((0, 7), (2, 0), (2, 6), (9, 1), (10, 9)):
        found = estimate_shift(
            scenes[visible].images["visible"], scenes[infrared].images["infrared"]
        )
        assert found is None


def test_real_pairs_of_other_scenes_are_left_alone(data_root: Path):
    names = [path.stem for path in sorted((data_root / "tno/ir").iterdir())]

    def grey(folder: str, name: str) -> torch.Tensor:
        image = to_float(read_image(data_root / "tno" / folder / f"{name}.png"))
        return torch.from_numpy(image if image.ndim == 2 else image[..., 1].copy())[None]

    for name, other in zip(names[:4], names[4:8], strict=True):
        visible, infrared = grey("vi", name), grey("ir", other)
        h, w = (min(s) for s in zip(visible.shape[1:], infrared.shape[1:], strict=True))
        assert estimate_shift(visible[:, :h, :w], infrared[:, :h, :w]) is None


def test_whole_pixels_are_copied_and_the_border_repeated():
    x = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0))
    moved = translate(x, 3.0, -4.0)
    assert torch.equal(moved[:, 3:, :-4], x[:, :-3, 4:])
    assert torch.equal(moved[:, :3, :-4], x[:, :1, 4:].expand(-1, 3, -1))
    assert torch.equal(moved[:, 3:, -4:], x[:, :-3, -1:].expand(-1, -1, 4))
    assert torch.equal(translate(x, 0.0, 0.0), x)


def test_parts_of_a_pixel_follow_a_smooth_image_and_stay_in_range():
    def wave(rows: float, columns: float) -> torch.Tensor:
        y, x = torch.meshgrid(torch.arange(60) - rows, torch.arange(80) - columns, indexing="ij")
        return (0.5 + 0.5 * torch.sin(y / 5) * torch.cos(x / 7))[None].float()

    moved = translate(wave(0, 0), 1.3, -2.6)
    assert (moved - wave(1.3, -2.6))[:, 5:-5, 5:-5].abs().max() < 2e-3
    step = (torch.arange(32) >= 16).float().expand(1, 32, 32)
    found = translate(step, 0.0, 0.5)
    assert found.min() == 0
    assert found.max() == 1
