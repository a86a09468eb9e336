"""Three modalities run through EMMA with three sensors, by configuration alone."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

import fusionkit as fk
from fusionkit.config.run_config import load_config
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.runs.pipeline import run_pipeline

CONFIG = """\
name: three
modalities: [thermal, visible, near]
data: {name: paired-folders, root: ROOT, patch: 32, stride: 32, val: 0.25}
teacher: [{name: saliency}, {name: average}]
sensors:
  thermal: {name: unet, width: 2}
  visible: {name: unet, width: 2}
  near: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: shift, count: 1}, {name: reflect, count: 1}]
losses: [{name: sensing}, {name: equivariance, weight: 0.1}]
stages:
  - {name: train-sensors, epochs: 1, batch_size: 4}
  - {name: train-backbone, distill: {epochs: 1}, epochs: 1, batch_size: 4}
  - {name: fuse}
  - {name: evaluate, metrics: [EN, SD, SCD, VIF, SSIM, Qabf, MI]}
  - {name: report, pairs: 1}
"""
NAMES = ("thermal", "visible", "near")


def test_three_sources(tmp_path):
    draws = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(4):
            coarse = draws.integers(0, 256, (6, 8), np.uint8)
            image = Image.fromarray(coarse).resize((80, 64), Image.Resampling.BICUBIC)
            image.save(tmp_path / "data" / name / f"{index}.png")
    path = tmp_path / "three.yaml"
    path.write_text(CONFIG.replace("ROOT", str(tmp_path / "data")))
    plugins = load_installed_plugins()
    run = run_pipeline(load_config(path, [], plugins), plugins, tmp_path / "run")
    logged = [line for line in run.log.read() if "loss/sensing" in line]
    assert all(np.isfinite(line["loss/sensing"]) for line in logged)
    results = json.loads((run.folder / "metrics.json").read_text())
    assert all(np.isfinite(m["mean"]) for m in results["methods"]["ufuser"].values())
    page = (run.folder / "report.html").read_text()
    assert all(name in page for name in NAMES)
    model = fk.load(run.folder)
    sources = {n: np.asarray(Image.open(tmp_path / "data" / n / "0.png")) for n in NAMES}
    fused = fk.fuse(model, sources)
    assert fused.shape == (64, 80)
    # each of the three counts
    for name in NAMES:
        changed = {**sources, name: 255 - sources[name]}
        assert (fk.fuse(model, changed) != fused).any(), name
