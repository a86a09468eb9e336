"""Manifests check hashes and keep groups of similar scenes in one split."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import fusionkit as fk
from fusionkit.benchmark.content import check_disjoint
from fusionkit.benchmark.manifests import make_manifest, read_manifest
from fusionkit.benchmark.scene_groups import group_scenes
from fusionkit.errors import FusionkitError


def scene(rng, side=48):
    small = rng.integers(0, 255, (6, 6)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path):
    """Six scenes; b is a with a little noise, like the next frame of a video."""
    rng = np.random.default_rng(0)
    for modality in ("ir", "vi"):
        (tmp_path / modality).mkdir()
        images = {name: scene(rng) for name in "acdef"}
        noisy = images["a"].astype(int) + rng.integers(-2, 3, images["a"].shape)
        images["b"] = noisy.clip(0, 255).astype(np.uint8)
        for name, image in images.items():
            Image.fromarray(image).save(tmp_path / modality / f"{name}.png")
    return tmp_path


def pairs(folder):
    return fk.build(
        "dataset", name="paired-folders", root=folder, modalities=["infrared", "visible"]
    )


def test_neighbouring_frames_form_a_group(folder):
    groups = group_scenes(pairs(folder))
    assert groups[0] == groups[1]
    assert len(set(groups)) == 5


def test_a_manifest_keeps_groups_together_and_reads_back(folder, tmp_path):
    dataset = pairs(folder)
    for seed in range(4):
        manifest = make_manifest(dataset, {"train": 0.5, "test": 0.5}, seed=seed)
        path = tmp_path / "split.json"
        manifest.write(path)
        splits = read_manifest(path).indices(dataset, path)
        assert sorted(splits["train"] + splits["test"]) == list(range(6))
        assert (0 in splits["train"]) == (1 in splits["train"])
        assert 2 <= len(splits["train"]) <= 4
    assert make_manifest(dataset, {"a": 0.5, "b": 0.5}) == make_manifest(
        dataset, {"a": 0.5, "b": 0.5}
    )


def test_a_changed_file_is_named(folder, tmp_path):
    path = tmp_path / "split.json"
    make_manifest(pairs(folder), {"train": 0.5, "test": 0.5}).write(path)
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(folder / "vi" / "d.png")
    changed = pairs(folder)
    with pytest.raises(FusionkitError, match=r"vi/d\.png is not the file that .*split\.json names"):
        read_manifest(path).indices(changed, path)


def test_a_missing_scene_and_a_group_in_two_splits_are_refused(folder, tmp_path):
    path = tmp_path / "split.json"
    make_manifest(pairs(folder), {"train": 0.5, "test": 0.5}).write(path)
    values = json.loads(path.read_text())
    entries = {e["id"]: e for split in values["splits"].values() for e in split}
    values["splits"] = {"train": [entries["a"]], "test": [entries["b"]]}
    path.write_text(json.dumps(values))
    with pytest.raises(FusionkitError, match=r"train and test \(scene b\)"):
        read_manifest(path).indices(pairs(folder), path)
    for modality in ("ir", "vi"):
        (folder / modality / "a.png").unlink()
    with pytest.raises(FusionkitError, match="lacks 1 of the 1 scenes of the split 'train': a"):
        read_manifest(path).indices(pairs(folder), path)


def test_a_file_that_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(FusionkitError, match=r"none\.json"):
        read_manifest(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(FusionkitError, match=r"bad\.json: expected a split manifest"):
        read_manifest(tmp_path / "bad.json")


def test_the_same_image_in_both_sets_is_refused_whatever_its_name(folder):
    (folder / "vi" / "f.png").write_bytes((folder / "vi" / "c.png").read_bytes())
    dataset = pairs(folder)
    check_disjoint(dataset, [0, 1], [2, 5])
    with pytest.raises(
        FusionkitError,
        match=r"the visible image of .*vi/f\.png is also in the training set, as .*vi/c\.png",
    ):
        check_disjoint(dataset, [2], [5])


def test_impossible_fractions_are_refused(folder):
    with pytest.raises(FusionkitError, match="add up to 1"):
        make_manifest(pairs(folder), {"train": 0.5, "test": 0.2})
    with pytest.raises(FusionkitError, match="6 scenes form 1 groups"):
        make_manifest(pairs(folder), {"train": 0.5, "test": 0.5}, near=64)
