"""Data set ``scenes``: rendered road scenes, no file needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from fusionkit.functional.colour import split_chroma
from fusionkit.interfaces import Dataset, Sample
from fusionkit_scenes.cameras import infrared_camera, visible_camera
from fusionkit_scenes.canvas import BOX_CLASSES, CLASSES, Canvas
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.layout import illumination, lay_out

LEAST_VISIBLE = 0.35
"""Objects of which less than this part is left uncovered have no box."""

LEAST_PIXELS = 12
"""Nor have objects of fewer pixels."""


class Scenes(Dataset):
    """Rendered road scenes seen by an infrared and a visible camera.

    Each is painted once as latent maps (albedo, temperature, emissivity, light, depth, class), by
    day, by night, in fog, or in the glare of headlights; then each camera sees it with its own
    response, blur, noise and bit depth. So both modalities agree on geometry and on nothing else:
    persons in the dark are seen by their heat alone, markings and signs by their paint alone.
    Scene i follows from the seed and i, on any machine.

    Args:
        size: Height and width in pixels.
        train: Number of scenes to train on.
        val: Number of further scenes to validate on.
        seed: Other seeds give other scenes.
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
        """Return the first ``train`` scenes and the ``val`` ones after them."""
        return {"train": range(self.train), "val": range(self.train, len(self))}

    def __getitem__(self, index: int) -> Sample:
        """Render scene ``index`` with mask, boxes and latent maps."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        draws = Draws(torch.Generator().manual_seed(_mix(self.seed, index)))
        scene = lay_out(draws, self.size)
        canvas = scene.canvas
        light = illumination(scene)
        colour = torch.from_numpy(visible_camera(scene, light, draws))
        infrared = torch.from_numpy(infrared_camera(scene, draws))
        luma, chroma = split_chroma(colour)
        return Sample(
            f"{scene.condition}-{index:05d}",
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


def _mix(seed: int, index: int) -> int:
    """Return 32 bits, all that a generator keeps of its seed, which no other index shares.

    Both steps can be undone (murmur3's finalizer, then exclusive or), so that one seed's scenes
    are never drawn from the same numbers, while neighbours draw unrelated ones.
    """
    return _scatter(index) ^ _scatter(seed ^ 0x9E3779B9)


def _scatter(x: int) -> int:
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


def _boxes(canvas: Canvas) -> torch.Tensor:
    """Return a box around what is seen of each person, bicycle and car."""
    rows = []
    for number, (label, painted) in enumerate(canvas.instances, start=1):
        seen = canvas.instance == number
        count = int(seen.sum())
        if count < max(LEAST_PIXELS, LEAST_VISIBLE * painted):
            continue
        ys, xs = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
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
