"""The segmentation task learns, repeats its scores, and computes them as torchmetrics does."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import IGNORED, Sample, TaskContext

CLASSES = ("ground", "thing", "nowhere")
CONTEXT = TaskContext(seed=3, mask_classes=CLASSES)


def scenes(count, first=0, side=(64, 64)):
    """Dark ground with a bright square on it."""
    made = []
    for index in range(first, first + count):
        generator = torch.Generator().manual_seed(index)
        h, w = side
        top, left = (int(torch.randint(0, n - 24, (1,), generator=generator)) for n in side)
        mask = torch.zeros(h, w, dtype=torch.int64)
        mask[top : top + 24, left : left + 24] = 1
        image = 0.2 + 0.6 * mask + 0.05 * torch.randn(h, w, generator=generator)
        mask[0] = IGNORED
        fused = image.clamp(0, 1)[None]
        made.append(Sample(f"s{index}", {"fused": fused, "infrared": fused}, mask=mask))
    return made


def task(**arguments):
    return fk.build(
        "task",
        name="segmentation",
        **{
            "architecture": "Unet",
            "encoder": "tu-mobilenetv3_small_050",
            "weights": None,
            "epochs": 8,
            "batch_size": 8,
            "lr": 5e-3,
            **arguments,
        },
    )


@pytest.fixture(scope="module")
def trained():
    made = task()
    made.fit(scenes(32), CONTEXT)
    return made.score(scenes(6, first=100))


def test_it_learns_to_find_bright_squares(trained):
    scores = trained.scores
    assert scores["IoU/thing"] > 0.7
    assert scores["IoU/ground"] > 0.8
    assert scores["mIoU"] > 0.8


def test_scores_are_those_of_torchmetrics(trained):
    scores, masks = trained.scores, trained.predictions
    test = scenes(6, first=100)
    predicted = torch.stack([masks[s.id] for s in test])
    labelled = torch.stack([s.mask for s in test])
    expected = multiclass_jaccard_index(
        predicted, labelled, num_classes=3, average=None, ignore_index=IGNORED
    )
    assert scores["IoU/ground"] == pytest.approx(float(expected[0]))
    assert scores["IoU/thing"] == pytest.approx(float(expected[1]))
    # a class that does not occur does not change the mean
    if not (predicted == 2).any():
        assert "IoU/nowhere" not in scores
        assert scores["mIoU"] == pytest.approx(float(expected[:2].mean()))
    assert set(trained.per_image["mIoU"]) == {s.id for s in test}


def test_the_same_seed_gives_the_same_scores_whatever_else_was_drawn(trained):
    short = {"epochs": 1, "architecture": "DeepLabV3Plus"}  # which has dropout
    scores = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        made = task(**short)
        made.fit(scenes(16), CONTEXT)
        assert torch.initial_seed() == noise
        scores.append(made.score(scenes(4, first=50)).scores)
    assert scores[0] == scores[1]
    other = task(**short)
    other.fit(scenes(16), TaskContext(seed=4, mask_classes=CLASSES))
    pairs = zip(made._network.parameters(), other._network.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_any_size_is_scored_and_crops_train_on_mixed_sizes():
    mixed = scenes(4, side=(50, 70)) + scenes(4, first=9)
    with pytest.raises(FusionkitError, match="differ in size; set `crop`"):
        task(epochs=1).fit(mixed, CONTEXT)
    made = task(epochs=1, crop=32, batch_size=4)
    made.fit(mixed, CONTEXT)
    assert made.score(mixed).predictions["s0"].shape == (50, 70)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "DeepLabV3plus"}, "no 'DeepLabV3plus'.*did you mean 'DeepLabV3Plus'"),
        ({"encoder": "resnet19"}, "no 'resnet19'; did you mean 'resnet18'"),
        ({"encoder": "tu-resnet19"}, "timm has no 'tu-resnet19'; did you mean 'tu-resnet1"),
        (
            {"encoder": "resnet18", "weights": "imagent"},
            r"resnet18 has no 'imagent' .*; did you mean 'imagenet'",
        ),
    ],
)
def test_unknown_names_are_refused_at_once(arguments, message):
    with pytest.raises(FusionkitError, match=message):
        task(**arguments)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_050"])
def test_weights_that_can_not_be_downloaded_are_one_sentence(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    made = task(encoder=encoder, weights="imagenet", epochs=1)
    with pytest.raises(FusionkitError, match=r"can't be downloaded: .*weights: null .*the cache"):
        made.fit(scenes(8), CONTEXT)


def unlabelled(sample):
    return dataclasses.replace(sample, mask=torch.full_like(sample.mask, IGNORED))


def test_scenes_without_labels_neither_stop_the_training_nor_count():
    train = [unlabelled(s) for s in scenes(8)] + scenes(8)
    made = task(epochs=1, batch_size=2)  # some batches have no label at all
    made.fit(train, CONTEXT)
    test = [unlabelled(scenes(1)[0]), *scenes(2, first=50)]
    result = made.score(test)
    assert all(0 <= value <= 1 for value in result.scores.values())
    assert set(result.per_image["mIoU"]) == {"s50", "s51"}
    assert made.score(test[1:]).scores == result.scores
    with pytest.raises(FusionkitError, match="no pixel of the test masks has a class"):
        made.score(test[:1])
    with pytest.raises(FusionkitError, match="no pixel of the training masks has a class"):
        made.fit(test[:1], CONTEXT)


def test_a_batch_that_the_network_can_not_process_is_one_sentence():
    made = task(architecture="DeepLabV3Plus", batch_size=1, epochs=1)
    with pytest.raises(FusionkitError, match=r"batch of shape \(1, 3, 64, 64\).*batch_size"):
        made.fit(scenes(2), CONTEXT)


def test_colour_reaches_the_network():
    from fusionkit_tasks.fused_rgb import fused_rgb

    fused = torch.full((1, 4, 4), 0.5)
    grey = Sample("a", {"fused": fused})
    assert torch.equal(fused_rgb(grey), fused.expand(3, -1, -1))
    red = Sample("a", {"fused": fused}, chroma=torch.stack([fused[0] * 0.6, fused[0] * 1.6]))
    r, g, b = fused_rgb(red).mean(dim=(1, 2))
    assert r > g
    assert r > b
