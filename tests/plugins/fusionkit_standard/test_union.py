"""Data set ``union``: names, splits, patches, labels and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset, Patches
from fusionkit.io.images import write_image
from fusionkit_scenes.dataset import Scenes
from fusionkit_standard.folders import PairedFolders
from fusionkit_standard.union import Union


def scenes(seed: int, train: int = 2, val: int = 1, size: int = 32) -> Dataset:
    return Scenes(size=size, train=train, val=val, seed=seed)


@pytest.fixture(scope="module")
def union() -> Union:
    return Union({"a": scenes(0), "b": scenes(1, train=3, val=2)})


def test_scenes_are_concatenated_and_named_after_their_part(union: Union):
    parts = [scenes(0), scenes(1, train=3, val=2)]
    assert len(union) == 8
    originals = [*(("a", parts[0][i]) for i in range(3)), *(("b", parts[1][i]) for i in range(5))]
    for index, (name, original) in enumerate(originals):
        assert union[index].id == union.id(index) == f"{name}-{original.id}"
        for modality, image in original.images.items():
            assert torch.equal(union[index].images[modality], image)
    assert union[-1].id == union[7].id
    with pytest.raises(IndexError):
        union[8]
    with pytest.raises(IndexError):
        union.id(-1)


def test_parts_keep_their_splits(union: Union):
    splits = union.splits()
    assert list(splits["train"]) == [0, 1, 3, 4, 5]
    assert list(splits["val"]) == [2, 6, 7]


def test_parts_keep_their_patches(union: Union):
    patches = union.patches([4, 0])
    assert [patch.id for patch in patches] == [union.id(0), union.id(4)]
    assert torch.equal(patches[-1].images["infrared"], union[4].images["infrared"])
    with pytest.raises(IndexError):
        patches[2]
    assert len(union.patches([])) == 0


def test_patches_of_one_image_stay_together(tmp_path: Path):
    modalities = ("infrared", "visible")
    for name in modalities:
        (tmp_path / name).mkdir()
        for stem in "ab":
            pixels = np.random.default_rng(0).integers(0, 256, (32, 48), np.uint8)
            write_image(tmp_path / name / f"{stem}.png", pixels)
    folders = PairedFolders(modalities, root=tmp_path, patch=32, stride=16)
    patches = Union({"scenes": Scenes(size=32, train=3, val=0), "files": folders}).patches(range(5))
    assert isinstance(patches, Patches)
    assert [list(patches.together(k)) for k in range(len(patches))] == [
        *([0], [1], [2]),
        *([3, 4], [3, 4], [5, 6], [5, 6]),
    ]


def test_labels_are_kept_if_all_parts_have_the_same_classes(union: Union):
    assert union.mask_classes == scenes(0).mask_classes
    assert union[0].mask is not None

    class Bare(Scenes):
        """Scenes without classes."""

        name = "bare"
        mask_classes = ()

    mixed = Union({"a": scenes(0), "bare": Bare(size=32, train=1, val=0)})
    assert mixed.mask_classes == ()
    assert mixed[0].mask is None
    assert mixed[0].boxes is not None


def test_patches_of_different_sizes_raise():
    union = Union({"small": scenes(0), "big": scenes(0, size=48)})
    with pytest.raises(FusionkitError, match=r"small 32x32, big 48x48"):
        union.patches([0, 3])


def test_union_of_no_parts_raises():
    with pytest.raises(FusionkitError, match="parts"):
        Union({})


def test_parts_are_configured_by_name_and_receive_the_modalities():
    parts = {"a": {"name": "scenes", "size": 32, "train": 1, "val": 1}}
    union = fk.build("dataset", name="union", parts=parts)
    assert union.spec.to_dict()["parts"]["a"]["size"] == 32
    assert set(union[0].images) == {"infrared", "visible"}
    with pytest.raises(FusionkitError, match=r"parts\.a\.siez.*did you mean 'size'"):
        fk.build("dataset", name="union", parts={"a": {"name": "scenes", "siez": 32}})
