"""The checks of tasks find each spoiled one, and say it in a sentence."""

from __future__ import annotations

import pytest
import torch

from fusionkit.interfaces import Task, TaskResult


class Judged(Task):
    """Spread of the fused image, spoiled as asked."""

    name = "judged"
    trains = False

    def __init__(self, fault: str = "none"):
        self.fault = fault

    def fit(self, train, context):
        if self.fault == "global":
            torch.rand(1)

    def score(self, test):
        image = "infrared" if self.fault == "source" else "fused"
        each = {s.id: float(s.images[image].std()) for s in test}
        value = sum(each.values()) / len(each)
        if self.fault == "seed":
            generator = torch.Generator()
            generator.seed()
            value += float(torch.empty(()).uniform_(generator=generator))
        if self.fault == "nan":
            value = float("nan")
        if self.fault == "reversed":
            value = 1 - value
        if self.fault == "ids":
            each = dict.fromkeys(["elsewhere"], 0.0)
        if self.fault == "lost":
            each.popitem()
        return TaskResult({"spread": value}, {"spread": each})


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("none", None, ""),
        ("global", "task_scores", "the global random generator"),
        ("nan", "task_scores", "spread"),
        ("ids", "task_scores", "elsewhere"),
        ("lost", "task_scores", "scene 103"),
        ("seed", "task_seed", "with one seed it scores"),
        ("source", "task_answers", "does not show"),
        ("reversed", "task_answers", "lower_is_better"),
    ],
)
def test_a_spoiled_task_is_found(failures, fault, check, words):
    found = failures(Judged, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert words in found[check]


class Boxed(Task):
    """Contrast of what is labelled; its boxes are read or written in other formats, as asked."""

    name = "boxed"
    labels = "boxes"
    trains = False

    def __init__(self, reads: str = "cxcywh", writes: str = "cxcywh", classes: float = 0.0):
        self.reads, self.writes, self.classes = reads, writes, classes

    def fit(self, train, context):
        pass

    def score(self, test):
        contrast, found = {}, {}
        for sample in test:
            image = sample.images["fused"][0]
            contrast[sample.id] = self._contrast(image, sample.boxes[0, 1:])
            bright = (image > 0.6).nonzero()
            boxes = torch.zeros(0, 4)
            if len(bright):
                size = torch.tensor(image.shape)
                low, high = bright.amin(0) / size, (bright.amax(0) + 1) / size
                boxes = self._written(low, high, image.shape)[None]
            ends = torch.full((len(boxes), 1), self.classes), torch.full((len(boxes), 1), 0.9)
            found[sample.id] = torch.cat([ends[0], boxes, ends[1]], dim=1)
        return TaskResult(
            {"contrast": sum(contrast.values()) / len(contrast)}, {"contrast": contrast}, found
        )

    def _contrast(self, image, box):
        h, w = image.shape
        a, b, c, d = box.tolist()
        left, top, right, bottom = {
            "cxcywh": (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
            "xyxy": (a, b, c, d),
            "xywh": (a, b, a + c, b + d),
            "cycxhw": (b - d / 2, a - c / 2, b + d / 2, a + c / 2),
        }[self.reads]
        inside = image[int(top * h) : int(bottom * h), int(left * w) : int(right * w)]
        # Guarded, as many would write it: a box of no pixels has no contrast.
        return float(inside.mean() - image.mean()) if inside.numel() else 0.0

    def _written(self, low, high, shape):
        (top, left), (bottom, right) = low.tolist(), high.tolist()
        cx, cy, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        return torch.tensor(
            {
                "cxcywh": (cx, cy, w, h),
                "xyxy": (left, top, right, bottom),
                "xywh": (left, top, w, h),
                "cycxhw": (cy, cx, h, w),
                "pixels": (cx * shape[1], cy * shape[0], w * shape[1], h * shape[0]),
            }[self.writes]
        )


@pytest.mark.parametrize("reads", ["xyxy", "xywh", "cycxhw"])
def test_a_task_that_misreads_labelled_boxes_is_found(failures, reads):
    found = failures(Boxed, reads=reads)
    assert "class, cx, cy, w, h" in found["task_answers"]


@pytest.mark.parametrize("writes", ["xyxy", "xywh", "cycxhw", "pixels"])
def test_predicted_boxes_in_another_format_are_found(failures, writes):
    found = failures(Boxed, writes=writes)
    assert list(found) == ["task_scores"]
    assert "class, cx, cy, w, h" in found["task_scores"]


def test_a_class_that_does_not_exist_is_found(failures):
    assert "class" in failures(Boxed, classes=3.0)["task_scores"]


def test_a_task_that_reads_and_writes_boxes_passes(failures):
    assert failures(Boxed) == {}


class Masked(Task):
    """Brightness inside of the mask against outside, which is read transposed if asked."""

    name = "masked"
    labels = "masks"
    trains = False

    def __init__(self, fault: str = "none"):
        self.fault = fault

    def fit(self, train, context):
        pass

    def score(self, test):
        contrast, masks = {}, {}
        for sample in test:
            image, mask = sample.images["fused"][0], sample.mask
            if self.fault == "other class":
                mask = 1 - mask
            contrast[sample.id] = float(image[mask == 1].mean() - image[mask == 0].mean())
            masks[sample.id] = (image > 0.6).long()
            if self.fault == "classes":
                masks[sample.id] = 255 * masks[sample.id]
            if self.fault == "transposed":
                masks[sample.id] = masks[sample.id].T
        return TaskResult({"contrast": sum(contrast.values()) / len(contrast)}, {}, masks)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("none", None),
        ("other class", "task_answers"),
        ("classes", "task_scores"),
        ("transposed", "task_scores"),
    ],
)
def test_a_task_on_masks(failures, fault, check):
    found = failures(Masked, fault=fault)
    assert list(found) == ([check] if check else [])
