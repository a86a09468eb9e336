"""Commands with ``--device cuda``: the images, errors and scores of the CPU."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import fusionkit as fk
from fusionkit.interfaces import Backbone
from fusionkit.io.images import read_image
from fusionkit.registry.plugins import load_installed_plugins

GPU = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

SUITE = """\
name: devices
reference: average
data:
  scenes: {name: scenes, size: 64, train: 4, val: 3}
methods:
  average: {backbone: {name: average}}
  trained: {weights: emma-ir-vis}
tasks:
  fusion: {name: fusion-metrics, metrics: [EN, SD, VIF, SSIM]}
"""


@pytest.fixture(autouse=True)
def _exact_convolutions():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # convolutions of 10 bits would be far from the CPU's
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        (("--model", "emma-ir-vis"), 1),
        (("--model", "emma-ir-vis", "--exact", "--tile", "off"), 1),
        (("--backbone", "laplacian-pyramid"), 1),
        (("--model", "emma-ir-vis", "--symmetrize", "d4"), 1),
        (("--model", "emma-ir-vis", "--precision", "bf16"), 6),
    ],
)
def test_fuse(fusionkit, pairs, sources, options, levels):
    images = {}
    for device, precise in (("cpu", True), (GPU, False)):
        out = pairs / device
        extra = ("--precision", "fp32") if precise else ()
        code, _, said = fusionkit("fuse", *sources, *options, *extra, "--device", device, "-o", out)
        assert code == 0, said
        images[device] = [read_image(path).astype(int) for path in sorted(out.glob("[!.]*.png"))]
    assert len(images["cpu"]) == 2
    for one, other in zip(images["cpu"], images[GPU], strict=True):
        assert np.abs(one - other).max() <= levels


def test_audit(fusionkit, pairs, sources):
    tables = {}
    for device in ("cpu", GPU):
        out = pairs / f"audit-{device}"
        common = (*sources, "--model", "emma-ir-vis", "--count", "2", "-o", out)
        code, _, said = fusionkit("audit", *common, "--device", device)
        assert code == 0, said
        with (out / "audit.csv").open(newline="") as file:
            tables[device] = list(csv.DictReader(file))
    assert len(tables["cpu"]) == len(tables[GPU]) > 4
    for one, other in zip(tables["cpu"], tables[GPU], strict=True):
        assert (one["image"], one["element"]) == (other["image"], other["element"])
        assert float(other["rmse"]) == pytest.approx(float(one["rmse"]), rel=1e-2, abs=1e-5)


def test_bench(fusionkit, tmp_path):
    (tmp_path / "devices.yaml").write_text(SUITE)
    tables = {}
    for device in ("cpu", GPU):
        out = tmp_path / device
        command = ("bench", tmp_path / "devices.yaml", "--out", out, "--device", device)
        code, _, said = fusionkit(*command)
        assert code == 0, said
        with (out / "results.csv").open(newline="") as file:
            tables[device] = list(csv.DictReader(file))
    assert len(tables["cpu"]) == len(tables[GPU]) > 4
    for one, other in zip(tables["cpu"], tables[GPU], strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            try:
                assert float(other[name]) == pytest.approx(float(value), rel=1e-2, abs=1e-3), name
            except ValueError:
                assert other[name] == value


def test_a_run_trains_fuses_and_scores(fusionkit, tmp_path):
    code, _, said = fusionkit(
        *("run", "quick.yaml", f"accelerator={GPU}", "data.train=8", "data.val=2"),
        *("--out", tmp_path / "run"),
    )
    assert code == 0, said
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    scores = metrics["methods"]["ufuser"].values()
    assert len(scores) > 3
    assert all(np.isfinite(score["mean"]) for score in scores)
    assert isinstance(fk.load(tmp_path / "run", device=GPU), Backbone)


@pytest.mark.parametrize("name", load_installed_plugins().registry.names("metric"))
def test_metrics(name):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, 1, 176, 192, generator=generator).mul(255).round() / 255
    fused, infrared, visible = images
    sources = {"infrared": infrared, "visible": visible}
    profile = "zoo" if name == "MS-SSIM" else "cddfuse"
    metric = fk.build("metric", name=name, profile=profile)
    expected = metric(fused, sources)
    found = metric(fused.to(GPU), {key: image.to(GPU) for key, image in sources.items()})
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_the_model_on_the_gpu_gives_arrays_of_the_cpu(pairs: Path):
    files = {"infrared": pairs / "ir" / "a.png", "visible": pairs / "vi" / "a.png"}
    one = fk.fuse(fk.load("emma-ir-vis"), files)
    other = fk.fuse(fk.load("emma-ir-vis", device=GPU), files)
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
