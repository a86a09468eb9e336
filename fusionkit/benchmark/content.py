"""Hashes of what scenes show, and a check that no image is in two sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset, Sample

__all__ = ["check_disjoint", "content_hash"]


def content_hash(sample: Sample) -> str:
    """Return a hash of everything that a task sees of a scene: id, images, chroma and labels.

    Example:
        >>> import torch
        >>> dark = Sample("a", {"infrared": torch.zeros(1, 2, 2)})
        >>> bright = Sample("a", {"infrared": torch.ones(1, 2, 2)})
        >>> content_hash(dark) == content_hash(bright)
        False
    """
    digest = hashlib.sha256(sample.id.encode(errors="surrogateescape"))
    for name, value in (
        *sorted(sample.images.items()),
        ("chroma", sample.chroma),
        ("mask", sample.mask),
        ("boxes", sample.boxes),
    ):
        digest.update(name.encode())
        if value is not None:
            digest.update(str(tuple(value.shape)).encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_disjoint(dataset: Dataset, train: Sequence[int], test: Sequence[int]) -> None:
    """Check that no image of the test set is in the training set, whatever its name.

    Args:
        dataset: The data set.
        train: Indices of the training scenes.
        test: Indices of the test scenes.

    Raises:
        FusionkitError: for the first image that is in both sets; names both files.
    """
    seen: dict[str, int] = {}
    for index in train:
        for name, digest in _image_hashes(dataset[index]).items():
            seen.setdefault(f"{name} {digest}", index)
    for index in test:
        for name, digest in _image_hashes(dataset[index]).items():
            if (first := seen.get(f"{name} {digest}")) is not None:
                raise FusionkitError(
                    f"the {name} image of {_where(dataset, index, name)} is also in the training "
                    f"set, as {_where(dataset, first, name)}; scores on it would mean nothing"
                )


def _image_hashes(sample: Sample) -> dict[str, str]:
    """Return modality -> hash; without uniform images, because all black frames are alike."""
    return {
        name: hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
        for name, image in sample.images.items()
        if image.min() < image.max()
    }


def _where(dataset: Dataset, index: int, name: str) -> str:
    return str(dataset.files(index).get(name, dataset.id(index)))
