"""ONNX files against PyTorch, run by ONNX Runtime."""

from __future__ import annotations

import json
import logging
import sys

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference.onnx_export import export_onnx
from fusionkit.interfaces import Backbone, Sample

SOURCES = ("thermal", "visible")


class Blend(Backbone):
    """Goes through a quarter of the size: sizes must be multiples of four."""

    name = "blend"
    stride = 4

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 4, stride=4)
        self.up = nn.ConvTranspose2d(4, 1, 4, stride=4)

    def forward(self, sources):
        """Fuse."""
        both = torch.cat([sources[name] for name in sorted(sources)], dim=1)
        return 0.5 + self.up(self.down(both)) + both.mean(dim=1, keepdim=True)


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def fused_by(path, images):
    (fused,) = session(path).run(["fused"], {name: x.numpy() for name, x in images.items()})
    return torch.from_numpy(fused)


@pytest.fixture(scope="module")
def blend(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "blend.onnx"
    torch.manual_seed(3)
    backbone = Blend().eval()
    assert export_onnx(backbone, path, SOURCES) == SOURCES
    return backbone, path


@pytest.mark.parametrize("size", [(16, 16), (48, 64), (61, 17), (30, 103)])
def test_any_size_fuses_as_in_pytorch(blend, size):
    backbone, path = blend
    images = {name: torch.rand(1, *size) for name in SOURCES}
    expected = backbone.fuse(Sample("x", images))
    assert expected.max() == 1  # so that clamping is seen as well
    fused = fused_by(path, {name: x[None] for name, x in images.items()})
    torch.testing.assert_close(fused[0], expected, atol=1e-5, rtol=0)


def test_a_batch_fuses_as_its_images_do(blend):
    _, path = blend
    images = {name: torch.rand(3, 1, 24, 33) for name in SOURCES}
    together = fused_by(path, images)
    assert together.shape == (3, 1, 24, 33)
    for k in range(3):
        alone = fused_by(path, {name: x[k : k + 1] for name, x in images.items()})
        torch.testing.assert_close(together[k : k + 1], alone)


def test_the_file_says_what_it_is_and_not_where_it_was_made(blend):
    _, path = blend
    inputs = {i.name: i.shape for i in session(path).get_inputs()}
    assert inputs == {name: ["batch", 1, "height", "width"] for name in SOURCES}
    model = onnx.load(path)
    said = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert said == {"modalities": ["thermal", "visible"], "component": {"name": "blend"}}
    assert b"test_exporting" not in path.read_bytes()


class Stubborn(Blend):
    name = "stubborn"

    def forward(self, sources):
        """Branch on pixels, which no graph can."""
        return super().forward(sources) if sources["thermal"].mean() > 0.5 else sources["visible"]


class Own(Blend):
    name = "own"

    def fuse(self, sample):
        """Fuse in a way of its own."""
        return sample.images["visible"]


class Forgetful(Blend):
    """Acts otherwise while it is written."""

    name = "forgetful"

    def forward(self, sources):
        """Fuse, or the negative."""
        if torch.compiler.is_exporting():
            return super().forward(sources)
        return 1 - super().forward(sources)


def test_what_cannot_be_exported_is_refused_and_writes_nothing(tmp_path, monkeypatch):
    out = tmp_path / "x.onnx"
    with pytest.raises(FusionkitError, match=r"must be an \.onnx file, found .*x\.pt"):
        export_onnx(Blend(), tmp_path / "x.pt")
    with pytest.raises(FusionkitError, match="'blend' does not say what it fuses; give --modality"):
        export_onnx(Blend(), out)
    ufuser = fk.build("backbone", name="ufuser", channels=(4, 4), heads=2, modalities=("a", "b"))
    with pytest.raises(FusionkitError, match="'ufuser' fuses a, b, not mri, b"):
        export_onnx(ufuser, out, ["mri", "b"])
    with pytest.raises(FusionkitError, match="no modality may be called 'fused'"):
        export_onnx(Blend(), out, ["fused", "visible"])
    with pytest.raises(FusionkitError, match="'own' fuses in a way of its own"):
        export_onnx(Own(), out, SOURCES)
    with pytest.raises(FusionkitError, match="'stubborn' can't be expressed in ONNX: "):
        export_onnx(Stubborn().eval(), out, SOURCES)
    with pytest.raises(FusionkitError, match="'forgetful' gives other images"):
        export_onnx(Forgetful().eval(), out, SOURCES)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        FusionkitError, match=r'needs ONNX .*run: pip install "fusionkit-mmif\[export\]"'
    ):
        export_onnx(Blend(), out, SOURCES)
    assert list(tmp_path.iterdir()) == []


class Split(Blend):
    name = "split"

    def forward(self, sources):
        """Fuse with a constant in two parts, of which the exporter has something to say."""
        first, second = torch.arange(4.0).split(2)
        return super().forward(sources) + first[0] - second[0] + 2


def test_the_exporters_talk_is_kept_back(tmp_path, caplog):
    export_onnx(Split().eval(), tmp_path / "x.onnx", SOURCES)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_modalities_give_the_order_of_the_inputs(tmp_path):
    export_onnx(Blend().eval(), tmp_path / "x.onnx", ["visible", "thermal"])
    assert [i.name for i in session(tmp_path / "x.onnx").get_inputs()] == ["visible", "thermal"]
