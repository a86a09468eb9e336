"""Rendered sequences: a scene in which the camera pans, cars drive and people walk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fusionkit_scenes.cameras import infrared_camera, visible_camera
from fusionkit_scenes.dataset import mix_seed
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.layout import draw_scene, illumination

RATE = 25
"""Frames per second."""

_PAN = 8.0
"""Pixels per second that the camera pans, for a picture of 256 pixels."""


def render_sequence(
    frames: int, index: int = 0, size: int = 256, seed: int = 0
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Render the frames of a moving scene; the same arguments give the same frames.

    Both cameras adjust their gain to each frame, as real ones do.

    Args:
        frames: Number of frames, at 25 a second; at most 100 stay in the picture.
        index: Number of the scene.
        size: Height and width in pixels, a multiple of 16.
        seed: Random seed.

    Yields:
        Modality -> ``infrared`` (h, w) and ``visible`` (h, w, 3) in [0, 1].

    Example:
        >>> for frame in render_sequence(2, size=64):
        ...     print(frame["infrared"].shape, frame["visible"].shape)
        (64, 64) (64, 64, 3)
        (64, 64) (64, 64, 3)
    """
    margin = int(np.ceil(_PAN * size / 256 * max(0, frames - 1) / RATE))
    for number in range(frames):
        time = number / RATE
        whole = size + margin
        noise = torch.Generator().manual_seed(mix_seed(seed + 1, number))
        draws = Draws(torch.Generator().manual_seed(mix_seed(seed, index)), noise)
        scene = draw_scene(draws, whole, time)
        light = illumination(scene)
        visible = visible_camera(scene, light, draws)
        infrared = infrared_camera(scene, draws)
        left = round(_PAN * size / 256 * time)
        columns = slice(left, left + size)
        yield {
            "infrared": infrared[0, margin:, columns],
            "visible": np.moveaxis(visible[:, margin:, columns], 0, -1),
        }
