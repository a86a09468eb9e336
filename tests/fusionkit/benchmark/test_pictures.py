"""Pictures of the report: what is drawn where, and that predictions survive the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fusionkit.benchmark.pictures import class_colour, draw_scene, kept, labelled, unpacked
from fusionkit.interfaces import IGNORED, Sample


def test_masks_are_blended_and_unlabelled_pixels_left_alone():
    image = np.full((4, 6), 100, np.uint8)
    mask = np.zeros((4, 6), np.int64)
    mask[:, 3:], mask[0] = 2, IGNORED
    drawn = draw_scene(image, {"mask": mask})
    assert drawn.shape == (4, 6, 3)
    assert (drawn[0] == 100).all()
    for kind, column in ((0, 0), (2, 5)):
        expected = [(100 + c) / 2 for c in class_colour(kind)]
        assert drawn[2, column] == pytest.approx(expected, abs=1)


def test_boxes_are_drawn_at_their_borders_if_sure_enough():
    image = np.zeros((100, 480), np.uint8)
    boxes = [[1, 0.5, 0.5, 0.5, 0.6, 0.9], [0, 0.1, 0.5, 0.1, 0.2, 0.1]]
    drawn = draw_scene(image, {"boxes": boxes})
    assert drawn.shape == (50, 240, 3)  # at most 240 pixels wide
    assert tuple(drawn[25, 60]) == class_colour(1)
    assert tuple(drawn[10, 120]) == class_colour(1)
    assert not drawn[25, 120].any()
    assert not drawn[:, :40].any()


def test_predictions_survive_the_file():
    mask = torch.randint(0, 3, (5, 7), generator=torch.Generator().manual_seed(0))
    found = unpacked(json.loads(json.dumps(kept(mask))))
    assert found is not None
    assert (found["mask"] == mask.numpy()).all()
    boxes = torch.tensor([[1, 0.5, 0.25, 0.5, 0.5, 0.875]])
    assert unpacked(json.loads(json.dumps(kept(boxes)))) == {"boxes": boxes.tolist()}
    assert unpacked(None) is None


def test_labels_are_those_that_the_task_predicts():
    sample = Sample(
        "a",
        {"infrared": torch.zeros(1, 2, 2)},
        mask=torch.tensor([[0, 1], [1, IGNORED]]),
        boxes=torch.tensor([[0, 0.5, 0.5, 1.0, 1.0]]),
    )
    assert labelled(sample, {"mask": None})["mask"].tolist() == [[0, 1], [1, IGNORED]]
    assert labelled(sample, {"boxes": []}) == {"boxes": [[0, 0.5, 0.5, 1.0, 1.0, 1.0]]}
