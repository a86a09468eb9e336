"""Every backbone trains with EMMA's losses, every loss trains U-Fuser, and every recipe runs."""

from __future__ import annotations

import pytest
import torch

import fusionkit as fk
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.runs.pipeline import run_pipeline

METHODS = ("densefuse", "u2fusion", "seafusion", "cddfuse", "swinfusion")
OWN = [e for e in load_installed_plugins().registry if e.plugin.startswith("fusionkit-")]
TRAINABLE = [
    e.cls
    for e in OWN
    if e.cls.kind == "backbone"
    and e.cls.name != "folder"
    and any(
        p.requires_grad for p in fk.build("backbone", name=e.cls.name, **e.cls.example).parameters()
    )
]
LOSSES = [e.cls for e in OWN if e.cls.kind == "loss"]

CROSSED = """\
name: crossed
data: {name: scenes, size: 64, train: 2, val: 1}
teacher: [{name: average}]
sensors: {infrared: {name: unet, width: 2}, visible: {name: unet, width: 2}}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: shift, count: 1}, {name: reflect, count: 1}]
losses: [{name: sensing}, {name: equivariance, weight: 0.1}]
stages:
  - {name: train-sensors, epochs: 1}
  - {name: train-backbone, epochs: 2, batch_size: 2, optimizer: {lr: 1.0e-3}}
"""


@pytest.fixture
def trained(tmp_path):
    """Return a function that trains two steps and returns the weights before and after."""

    def train(*overrides):
        (tmp_path / "crossed.yaml").write_text(CROSSED)
        plugins = load_installed_plugins()
        loaded = load_config(tmp_path / "crossed.yaml", overrides, plugins)
        run = run_pipeline(loaded, plugins, tmp_path / "run")
        return run.context().components.build_backbone().state_dict(), fk.load(
            run.folder
        ).state_dict()

    return train


def as_yaml(cls):
    import yaml

    values = {"name": cls.name, **cls.example}
    return yaml.safe_dump(values, default_flow_style=True, width=10**6).strip()


def test_all_methods_are_tested():
    assert {cls.name for cls in TRAINABLE} >= {"ufuser", "timm-unet", *METHODS}
    assert len(LOSSES) >= 7


@pytest.mark.parametrize("cls", TRAINABLE, ids=lambda cls: cls.name)
def test_every_backbone_trains_with_emmas_losses(trained, cls):
    before, after = trained(f"backbone={as_yaml(cls)}")
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(x.isfinite().all() for x in after.values())


@pytest.mark.parametrize("cls", LOSSES, ids=lambda cls: cls.name)
def test_every_loss_trains_ufuser(trained, cls):
    if cls.name == "decomposition":
        with pytest.raises(FusionkitError, match="cddfuse"):
            trained(f"losses=[{as_yaml(cls)}]")
        return
    before, after = trained(f"losses=[{as_yaml(cls)}]")
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(x.isfinite().all() for x in after.values())


@pytest.mark.parametrize("name", METHODS)
def test_every_recipe_runs_end_to_end(tmp_path, name):
    plugins = load_installed_plugins()
    small = ("data.size=64", "data.train=4", "data.val=2", "stages.train-backbone.epochs=1")
    loaded = load_config(f"{name}.yaml", small, plugins)
    assert loaded.config.backbone.name == name
    run = run_pipeline(loaded, plugins, tmp_path / "run")
    assert (run.folder / "report.html").is_file()
    assert len(list((run.folder / "fused").iterdir())) == 2


@pytest.mark.parametrize("name", METHODS)
def test_three_modalities_fuse_in_any_order(name):
    example = load_installed_plugins().registry.get("backbone", name).cls.example
    names = ("a", "b.c", "d")
    network = fk.build("backbone", name=name, modalities=names, **example).eval()
    images = {k: torch.rand(1, 1, 32, 40) for k in names}
    reversed_images = dict(reversed(images.items()))
    with torch.no_grad():
        assert torch.equal(network(images), network(reversed_images))
    with pytest.raises(FusionkitError, match=r"b\.c"):
        network({k: images[k] for k in ("a", "d")})
    with pytest.raises(FusionkitError, match=r"modalities.*a.*a"):
        fk.build("backbone", name=name, modalities=("a", "a"), **example)
