"""The checks of data sets find each spoiled one, and say it in a sentence."""

from __future__ import annotations

import pytest
import torch

from fusionkit.interfaces import Dataset, Sample


class Made(Dataset):
    """Noise, spoiled as asked."""

    name = "made"
    mask_classes = ("ground", "thing")
    box_classes = ("thing",)

    def __init__(self, fault: str = "none"):
        self.fault = fault

    def __len__(self):
        return 0 if self.fault == "empty" else 4

    def splits(self):
        if self.fault == "no val":
            return {"train": [0, 1, 2, 3]}
        return {"train": [0, 1, 2], "val": [2, 3] if self.fault == "overlap" else [3]}

    def __getitem__(self, index):
        if index >= 4 and self.fault != "endless":
            raise IndexError(index)
        seed = None if self.fault == "random" else index
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        image = torch.rand(1, 32, 32, generator=generator)
        names = ("infrared",) if self.fault == "modality" else ("infrared", "visible")
        if self.fault == "range":
            image = image * 255
        mask = torch.zeros(32, 32, dtype=torch.int64)
        if self.fault == "mask":
            mask[0] = 9
        boxes = torch.tensor([[0.0, 0.5, 0.7, 0.1, 0.3]])
        if self.fault == "boxes":
            boxes = boxes * 50
        if self.fault == "corners":
            boxes = torch.tensor([[0.0, 0.45, 0.55, 0.55, 0.85]])
        if self.fault == "class":
            boxes[0, 0] = -1
        if self.fault == "half":
            boxes[0, 0] = 0.5
        if self.fault == "flat box":
            boxes[0, 4] = 0
        mask[17:27, 14:18] = 1
        if self.fault == "swapped":
            boxes = boxes[:, [0, 2, 1, 4, 3]]
        name = "one" if self.fault == "names" else f"scene {index}"
        return Sample(name, dict.fromkeys(names, image), mask=mask, boxes=boxes)


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("empty", "samples", "it is empty"),
        ("modality", "samples", "has no 'visible'"),
        ("range", "samples", "values outside of [0, 1]"),
        ("names", "samples", "two scenes have one name"),
        ("mask", "labels", "the mask has classes [0, 1, 9]"),
        ("boxes", "labels", "boxes are relative to the image"),
        ("corners", "labels", "class, cx, cy, w, h"),
        ("swapped", "labels", "class, cx, cy, w, h"),
        ("class", "labels", "box_classes"),
        ("half", "labels", "whole"),
        ("flat box", "labels", "class, cx, cy, w, h"),
        ("no val", "splits", "has no 'val'"),
        ("overlap", "splits", "scene 2 is in the splits 'train' and 'val'"),
        ("random", "repeatable", "read twice, scene 0 differs"),
        ("endless", "repeatable", "raises no IndexError"),
    ],
)
def test_a_spoiled_dataset_is_found(failures, fault, check, sentence):
    found = failures(Made, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]
