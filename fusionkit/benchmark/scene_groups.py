"""Groups of scenes that show nearly the same: sequences, or images with similar hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusionkit.interfaces import Dataset, Sample

__all__ = ["NEAR", "group_scenes"]

NEAR = 6
"""Largest number of differing bits, of 64, between the perceptual hashes of neighbouring frames."""


def group_scenes(dataset: Dataset, near: int = NEAR) -> list[str]:
    """Return the name of each scene's group.

    The group is the sequence that the data set names. For other scenes it is that of the scenes
    whose perceptual hashes differ in at most ``near`` of 64 bits in every modality, directly or
    through scenes between them.
    """
    groups = [dataset.group(index) for index in range(len(dataset))]
    unknown = [index for index, group in enumerate(groups) if group is None]
    parent = {index: index for index in unknown}

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    if unknown:
        hashes = np.stack([_perceptual_hash(dataset[index]) for index in unknown])
        for row, index in enumerate(unknown):
            bits = (hashes[row] != hashes[:row]).sum(axis=2)
            for other in np.flatnonzero((bits <= near).all(axis=1)):
                parent[root(index)] = root(unknown[int(other)])
    return [
        group if group is not None else f"like {dataset.id(root(index))}"
        for index, group in enumerate(groups)
    ]


def _perceptual_hash(sample: Sample) -> NDArray[np.bool_]:
    """Return (modalities, 64) bits: whether brightness grows from each cell of 8 x 9 to the next.

    This is the difference hash of N. Krawetz (2013). Brightness and contrast do not change it.
    """
    bits = []
    for image in sample.images.values():
        grey = Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8))
        small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
        bits.append((small[:, 1:] > small[:, :-1]).ravel())
    return np.stack(bits)
