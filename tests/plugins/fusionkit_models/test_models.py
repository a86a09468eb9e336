"""The packaged models match their cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fusionkit as fk
from fusionkit.functional.collapse import shares, unexplained
from fusionkit.io.images import read_image, to_float
from fusionkit.registry.model_cards import Model, model_for
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.registry.weights import read_header

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results"
SUITES = {"emma-ir-vis": "models", "emma-medical": "medical"}
MODELS = {
    name: model
    for name, model in load_installed_plugins().models.items()
    if "fusionkit_models" in str(model.path)
}


@pytest.fixture(params=sorted(MODELS))
def model(request) -> Model:
    return MODELS[request.param]


def test_every_suite_has_a_packaged_model():
    assert set(MODELS) == set(SUITES)


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (("infrared", "visible"), "emma-ir-vis"),
        (("rgb", "thermal"), "emma-ir-vis"),
        (("mri", "ct"), "emma-medical"),
        (("pet", "mri"), "emma-medical"),
        (("mri", "spect"), "emma-medical"),
    ],
)
def test_names_of_the_sources_choose_the_model(sources, name):
    assert model_for(sources, MODELS).card.name == name


def test_weights_match_the_hash_of_the_card_and_are_small(model: Model):
    path = model.verify()
    assert path.stat().st_size < 20e6
    kind, component = read_header(path)
    assert kind == "backbone"
    assert component["modalities"] == list(model.card.modalities)


def test_records_of_the_training_run_are_committed(model: Model):
    folder = RESULTS / "models" / model.card.name
    for name in ("config.yaml", "environment.json", "log.jsonl", "metrics.json"):
        assert (folder / name).stat().st_size
    text = "".join(path.read_text() for path in folder.iterdir())
    assert "/work/" not in text
    assert "/tmp/" not in text


def test_card_has_the_scores_of_the_committed_results(model: Model):
    for data, scores in model.card.metrics.items():
        cell = cell_of(model.card.name, data)
        for metric, value in scores.items():
            mean = np.mean(list(cell["images"][metric].values()))
            assert value == pytest.approx(mean, abs=5e-4), (data, metric)


def test_model_fuses_colour_images_of_any_size(model: Model):
    generator = np.random.default_rng(0)
    first, second = model.card.modalities
    images = {
        first: generator.integers(0, 256, (37, 61), dtype=np.uint8),
        second: generator.integers(0, 256, (37, 61, 3), dtype=np.uint8),
    }
    fused = fk.fuse(fk.load(model.card.name), images)
    assert fused.shape == (37, 61, 3)
    assert fused.dtype == np.uint8
    assert fused.std() > 10


@pytest.mark.parametrize(
    ("name", "data", "scene", "folders"),
    [
        ("emma-ir-vis", "TNO", "08", {"infrared": "tno/ir", "visible": "tno/vi"}),
        ("emma-ir-vis", "TNO", "22", {"infrared": "tno/ir", "visible": "tno/vi"}),
        (
            "emma-medical",
            "neighbouring slices",
            "ct-17",
            {"mri": "harvard/mri_ct/mri", "partner": "harvard/mri_ct/ct"},
        ),
        (
            "emma-medical",
            "neighbouring slices",
            "pet-18",
            {"mri": "harvard/mri_pet/mri", "partner": "harvard/mri_pet/pet"},
        ),
    ],
)
def test_scores_on_real_pairs_match_the_committed_results_and_both_sources_show(
    name, data, scene, folders, data_root: Path
):
    stem = scene.split("-")[-1]
    images = {m: read_image(data_root / folder / f"{stem}.png") for m, folder in folders.items()}
    fused = fk.fuse(fk.load(name), images)
    cell = cell_of(name, data)
    for metric, value in fk.evaluate(fused, images, metrics=list(cell["images"])).items():
        # Other builds of torch round differently, which changes single grey levels.
        assert value == pytest.approx(cell["images"][metric][scene], rel=5e-3), metric
    tensors = [plane(image) for image in images.values()]
    assert shares(plane(fused), tensors).min() > 0.5
    assert unexplained(plane(fused), tensors).max() < 0.15


def cell_of(name: str, data: str) -> dict[str, Any]:
    """Return the committed results of a model on a data set."""
    results = json.loads((RESULTS / SUITES[name] / "results.json").read_text())
    return next(c for c in results["cells"] if (c["method"], c["data"]) == (name, data))


def plane(image: np.ndarray) -> torch.Tensor:
    """Return a grey image, which may be stored as RGB, as (1, 1, h, w)."""
    values = torch.from_numpy(to_float(image))
    return (values if values.ndim == 2 else values[..., 0])[None, None]
