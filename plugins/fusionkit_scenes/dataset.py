"""Data set ``scenes``: rendered road scenes that need no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from fusionkit.functional.colour import luminance, split_chroma
from fusionkit.interfaces import Dataset, Sample
from fusionkit_scenes.cameras import infrared_camera, visible_camera
from fusionkit_scenes.canvas import BOX_CLASSES, CLASSES, Array, Canvas
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.layout import draw_scene, illumination
from fusionkit_scenes.scene import Scene

MIN_VISIBLE = 0.35
"""Smallest visible part of an object that gets a box."""

MIN_PIXELS = 12
"""Smallest number of visible pixels of an object that gets a box."""


class Scenes(Dataset):
    """Rendered road scenes as an infrared and a visible camera would see them; needs no files.

    A scene is first painted as latent maps (albedo, temperature, emissivity, emitted light, depth
    and class) by day, by night, in fog, or in the glare of headlights. Two simulated cameras then
    capture it, each with its own response, blur and noise, as 8-bit images. The modalities share
    the geometry and little else: only the infrared image shows people in the dark, and only the
    visible image shows road markings and the faces of signs. Scene i depends on the seed and i
    only and is the same on every machine. Scenes have masks, boxes and their latent maps.

    Args:
        size: Height and width in pixels.
        train: Number of training scenes.
        val: Number of validation scenes.
        seed: Random seed; different seeds give different scenes.

    Example:
        >>> import fusionkit as fk
        >>> scenes = fk.build("dataset", name="scenes", size=64, train=10, val=2)
        >>> sample = scenes[0]
        >>> sample.id, {name: tuple(image.shape) for name, image in sample.images.items()}
        ('night-00000', {'infrared': (1, 64, 64), 'visible': (1, 64, 64)})
        >>> tuple(sample.mask.shape), scenes.box_classes
        ((64, 64), ('person', 'bicycle', 'car'))
    """

    name = "scenes"
    example: ClassVar = {"size": 64, "train": 6, "val": 2}
    mask_classes = CLASSES
    box_classes = BOX_CLASSES

    def __init__(
        self,
        size: Annotated[int, Field(ge=32, le=1024, multiple_of=16)] = 128,
        train: Annotated[int, Field(ge=1)] = 400,
        val: Annotated[int, Field(ge=0)] = 40,
        seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    ):
        self.size, self.train, self.val, self.seed = size, train, val, seed

    def __len__(self) -> int:
        return self.train + self.val

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the first ``train`` scenes as ``train`` and the next ``val`` scenes as ``val``."""
        return {"train": range(self.train), "val": range(self.train, len(self))}

    def __getitem__(self, index: int) -> Sample:
        """Render scene ``index`` with its mask, boxes and latent maps; IndexError past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        scene, light, colour, infrared = self._render(index)
        canvas = scene.canvas
        luma, chroma = split_chroma(colour)
        return Sample(
            _name(scene, index),
            {"infrared": infrared, "visible": luma.clamp(0, 1)},
            chroma=chroma,
            mask=torch.from_numpy(canvas.label.astype(np.int64)),
            boxes=_boxes(canvas),
            latent={
                "albedo": torch.from_numpy(canvas.albedo),
                "illumination": torch.from_numpy(light),
                "glow": torch.from_numpy(canvas.glow),
                "temperature": torch.from_numpy(canvas.temperature[None] + 273.15),
                "emissivity": torch.from_numpy(canvas.emissivity[None]),
                "depth": torch.from_numpy(canvas.depth[None]),
            },
        )

    def patches(self, indices: Sequence[int]) -> Sequence[Sample]:
        """Return the images of these scenes, without labels and latent maps."""
        return _ImagesOnly(self, indices)

    def _render(self, index: int) -> tuple[Scene, Array, torch.Tensor, torch.Tensor]:
        """Return a scene, the light on its surfaces, its colour image and its infrared image."""
        draws = Draws(torch.Generator().manual_seed(mix_seed(self.seed, index)))
        scene = draw_scene(draws, self.size)
        light = illumination(scene)
        colour = torch.from_numpy(visible_camera(scene, light, draws))
        return scene, light, colour, torch.from_numpy(infrared_camera(scene, draws))


class _ImagesOnly(Sequence[Sample]):
    """Scenes as training needs them, rendered on access."""

    def __init__(self, scenes: Scenes, indices: Sequence[int]):
        self._scenes, self._indices = scenes, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> Sample:  # type: ignore[override]
        index = self._indices[number]
        scene, _, colour, infrared = self._scenes._render(index)
        images = {"infrared": infrared, "visible": luminance(colour).clamp(0, 1)}
        return Sample(_name(scene, index), images)


def _name(scene: Scene, index: int) -> str:
    return f"{scene.condition}-{index:05d}"


def mix_seed(seed: int, index: int) -> int:
    """Return a 32-bit generator seed that is different for every index.

    Two scenes of one seed never use the same random numbers, because hashing and exclusive or are
    both bijective. Neighbouring indices get unrelated seeds.
    """
    # 32 bits, because a torch.Generator keeps only 32 bits of its seed.
    return _hash(index) ^ _hash(seed ^ 0x9E3779B9)


def _hash(x: int) -> int:
    """Return the finalizer of MurmurHash3, a bijection of 32-bit integers."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


def _boxes(canvas: Canvas) -> torch.Tensor:
    """Return a box around the visible part of each person, bicycle and car."""
    rows = []
    for number, (label, painted) in enumerate(canvas.instances, start=1):
        visible = canvas.instance == number
        count = int(np.count_nonzero(visible))
        if count < max(MIN_PIXELS, MIN_VISIBLE * painted):
            continue
        ys, xs = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        top, bottom, left, right = ys[0], ys[-1] + 1, xs[0], xs[-1] + 1
        size = canvas.size
        rows.append(
            [
                BOX_CLASSES.index(label),
                (left + right) / 2 / size,
                (top + bottom) / 2 / size,
                (right - left) / size,
                (bottom - top) / size,
            ]
        )
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
