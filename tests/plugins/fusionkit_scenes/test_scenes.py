"""Rendered scenes are reproducible, match their labels, and differ between modalities."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import join_chroma, split_chroma
from fusionkit.io.images import read_image
from fusionkit_scenes.canvas import BOX_CLASSES, CLASSES
from fusionkit_scenes.dataset import Scenes, mix_seed
from fusionkit_scenes.sequence import render_sequence


@pytest.fixture(scope="module")
def samples():
    scenes = Scenes(size=96, train=40)
    return [scenes[index] for index in range(40)]


def test_a_scene_depends_on_seed_and_index_only():
    one, other = Scenes(size=64, seed=3)[7], Scenes(size=64, train=9, val=1, seed=3)[7]
    for modality in ("infrared", "visible"):
        assert torch.equal(one.images[modality], other.images[modality])
    assert torch.equal(one.mask, other.mask)
    assert not torch.equal(one.images["visible"], Scenes(size=64, seed=4)[7].images["visible"])
    assert not torch.equal(one.images["visible"], Scenes(size=64, seed=3)[8].images["visible"])
    # rendering does not use the global generator
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    Scenes(size=64)[0]
    assert torch.equal(torch.rand(1), first)


def test_scenes_stay_the_pictures_that_they_were():
    """Scenes by night, in fog, in glare and by day, as the first version of the renderer drew them.

    A grey level may differ, because other processors round in other ways.
    """
    scenes = Scenes(size=48, train=40)
    rows = []
    for index in (0, 1, 3, 4):
        sample = scenes[index]
        infrared = sample.images["infrared"].repeat(3, 1, 1)
        visible = join_chroma(sample.images["visible"], sample.chroma)
        rows.append(torch.cat((infrared, visible), dim=-1))
    drawn = torch.cat(rows, dim=-2).movedim(0, -1).numpy() * 255
    expected = read_image(Path(__file__).with_name("scenes.png"))
    np.testing.assert_allclose(drawn, expected, atol=1.01)


def test_patches_are_the_images_of_scenes(samples):
    patches = Scenes(size=96, train=40).patches(range(2, 5))
    assert [patch.id for patch in patches] == [sample.id for sample in samples[2:5]]
    for patch, sample in zip(patches, samples[2:5], strict=True):
        assert all(torch.equal(patch.images[name], sample.images[name]) for name in sample.images)


def test_splits_are_disjoint_and_cover_all_scenes():
    scenes = Scenes(train=5, val=3)
    splits = scenes.splits()
    assert len(scenes) == 8
    assert [*splits["train"], *splits["val"]] == list(range(8))
    with pytest.raises(IndexError, match="scene 8 of 8"):
        scenes[8]


def test_images_have_eight_bit_levels_in_the_unit_range(samples):
    for sample in samples[:8]:
        assert set(sample.images) == {"infrared", "visible"}
        for image in sample.images.values():
            assert image.shape == (1, 96, 96)
            assert image.dtype == torch.float32
            assert 0 <= image.min() < image.max() <= 1
        infrared = sample.images["infrared"] * 255
        assert torch.allclose(infrared, infrared.round(), atol=1e-3)
        rgb = join_chroma(sample.images["visible"], sample.chroma)
        assert torch.allclose(rgb * 255, (rgb * 255).round(), atol=1e-2)
        assert torch.allclose(split_chroma(rgb)[0], sample.images["visible"], atol=1e-5)


def test_all_conditions_and_classes_occur(samples):
    assert {s.id.split("-")[0] for s in samples} == {"day", "night", "fog", "glare"}
    seen = set(torch.cat([s.mask.flatten() for s in samples]).unique().tolist())
    assert seen == set(range(len(CLASSES)))
    kinds = set(torch.cat([s.boxes[:, 0] for s in samples]).tolist())
    assert kinds == {0.0, 1.0, 2.0}


def test_every_index_has_its_own_generator_seed():
    assert len({mix_seed(0, index) for index in range(300_000)}) == 300_000
    assert max(mix_seed(2**31 - 1, index) for index in range(1000)) < 2**32


def test_only_glaring_headlights_are_very_bright():
    """Glaring headlights are several times as bright as all other lamps."""
    scenes = Scenes(size=128, train=160)
    glaring = [s for s in map(scenes.__getitem__, range(160)) if s.id.startswith("glare")]
    others = [s for s in map(scenes.__getitem__, range(60)) if not s.id.startswith("glare")]
    assert len(glaring) > 25
    counts = torch.tensor([int((s.latent["glow"][0] > 6).sum()) for s in glaring]).float()
    assert counts.min() >= 6
    assert counts.median() >= 20
    assert all((s.latent["glow"][0] > 6).sum() == 0 for s in others)


def test_boxes_fit_tightly_around_pixels_of_their_class(samples):
    for sample in samples:
        size = sample.mask.shape[-1]
        for kind, cx, cy, w, h in sample.boxes.tolist():
            left, right = round((cx - w / 2) * size), round((cx + w / 2) * size)
            top, bottom = round((cy - h / 2) * size), round((cy + h / 2) * size)
            assert 0 <= left < right <= size
            assert 0 <= top < bottom <= size
            inside = sample.mask[top:bottom, left:right]
            label = CLASSES.index(BOX_CLASSES[int(kind)])
            # the object touches all four sides of its box
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert (edge == label).any()


def test_people_in_the_dark_have_more_contrast_in_the_infrared(samples):
    def contrast(image, mask):
        return (image[mask].mean() - image[~mask].mean()).abs() / image.std()

    found = {"infrared": [], "visible": []}
    for sample in samples:
        person = sample.mask == CLASSES.index("person")
        if sample.id.startswith(("night", "glare")) and person.sum() > 60:
            for modality, values in found.items():
                values.append(contrast(sample.images[modality][0], person))
    assert len(found["infrared"]) > 5
    infrared, visible = (torch.stack(found[m]).mean() for m in ("infrared", "visible"))
    assert infrared > 2 * visible


def test_road_markings_have_more_contrast_in_the_visible_image(samples):
    """White paint reflects six times as much as asphalt and has almost the same temperature."""
    ratios = []
    for sample in samples:
        road = sample.mask == CLASSES.index("road")
        paint = road & (sample.latent["albedo"][1] > 0.5)
        if sample.id.startswith("day") and paint.sum() > 20:
            visible = sample.images["visible"][0]
            infrared = sample.images["infrared"][0]
            ratios.append(
                (visible[paint].mean() - visible[road & ~paint].mean()).abs()
                / (infrared[paint].mean() - infrared[road & ~paint].mean()).abs().clamp_min(0.01)
            )
    assert ratios
    assert torch.stack(ratios).median() > 2


def test_latent_maps_have_plausible_physical_values(samples):
    for sample in samples[:8]:
        assert 230 < sample.latent["temperature"].min() < sample.latent["temperature"].max() < 380
        assert 0 <= sample.latent["albedo"].min() <= sample.latent["albedo"].max() <= 1
        assert 0.5 < sample.latent["emissivity"].min() <= sample.latent["emissivity"].max() <= 1
        assert sample.latent["depth"].min() > 0


@pytest.mark.parametrize("size", [32, 64, 160])
def test_size_sets_the_shape_of_the_images(size):
    assert Scenes(size=size)[0].images["visible"].shape == (1, size, size)


def test_sizes_must_be_multiples_of_16():
    with pytest.raises(FusionkitError, match=r"size.*16.*100"):
        fk.build("dataset", name="scenes", size=100)


def test_a_sequence_moves_smoothly_and_is_the_same_again():
    first, again = (list(render_sequence(6, size=64)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    steps = [np.abs(new["visible"] - old["visible"]).mean() for old, new in pairwise(first)]
    # Something moves, and nothing jumps: another scene is much farther away.
    other = next(render_sequence(1, index=4, size=64))["visible"]
    assert min(steps) > 0
    assert max(steps) < np.abs(first[0]["visible"] - other).mean() / 3


def test_rows_of_images_lie_one_after_another():
    # Libraries that write images read the memory row by row.
    assert all(image.is_contiguous() for image in Scenes(size=64, train=1)[0].images.values())
