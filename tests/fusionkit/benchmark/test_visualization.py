"""Pictures of the report: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusionkit.benchmark.visualization import class_colour, draw_scene, labels_like
from fusionkit.interfaces import IGNORED, Sample


def test_masks_are_blended_and_unlabelled_pixels_left_alone():
    image = np.full((4, 6), 100, np.uint8)
    mask = torch.zeros(4, 6, dtype=torch.int64)
    mask[:, 3:], mask[0] = 2, IGNORED
    drawn = draw_scene(image, mask)
    assert drawn.shape == (4, 6, 3)
    assert (drawn[0] == 100).all()
    for kind, column in ((0, 0), (2, 5)):
        expected = [(100 + c) / 2 for c in class_colour(kind)]
        assert drawn[2, column] == pytest.approx(expected, abs=1)


def test_boxes_are_drawn_at_their_borders_if_sure_enough():
    image = np.zeros((100, 480), np.uint8)
    boxes = [[1, 0.5, 0.5, 0.5, 0.6, 0.9], [0, 0.1, 0.5, 0.1, 0.2, 0.1]]
    drawn = draw_scene(image, torch.tensor(boxes))
    assert drawn.shape == (50, 240, 3)  # at most 240 pixels wide
    assert tuple(drawn[25, 60]) == class_colour(1)
    assert tuple(drawn[10, 120]) == class_colour(1)
    assert not drawn[25, 120].any()
    assert not drawn[:, :40].any()


def test_labels_are_those_that_the_task_predicts():
    sample = Sample(
        "a",
        {"infrared": torch.zeros(1, 2, 2)},
        mask=torch.tensor([[0, 1], [1, IGNORED]]),
        boxes=torch.tensor([[0, 0.5, 0.5, 1.0, 1.0]]),
    )
    assert labels_like(sample, torch.zeros(2, 2).long()).tolist() == [[0, 1], [1, IGNORED]]
    assert labels_like(sample, torch.zeros(0, 6)).tolist() == [[0, 0.5, 0.5, 1.0, 1.0, 1.0]]
