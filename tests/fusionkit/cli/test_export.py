"""``fusionkit export`` as a user types it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference.onnx_export import export_onnx


def test_a_trained_ufuser_fuses_alike_in_onnx_runtime(fusionkit, tmp_path):
    torch.manual_seed(0)
    small = fk.build(
        "backbone", name="ufuser", channels=(4, 4), heads=2, branches=("global",), start="average"
    )
    weights, out = tmp_path / "small.safetensors", tmp_path / "new" / "small.onnx"
    fk.save(small, weights)
    code, printed, said = fusionkit("export", "--model", weights, out)
    assert (code, printed) == (0, "")
    assert f"{out}: infrared, visible -> fused, 0." in said
    images = {
        name: np.random.default_rng(seed).random((37, 58), np.float32)
        for seed, name in enumerate(("infrared", "visible"))
    }
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (fused,) = session.run(None, {name: image[None, None] for name, image in images.items()})
    np.testing.assert_allclose(fused[0, 0], fk.fuse(fk.load(weights), images), atol=1e-5)
    (component,) = [p.value for p in onnx.load(out).metadata_props if p.key == "component"]
    assert json.loads(component)["channels"] == [4, 4]


def test_an_exported_model_refuses_other_devices_and_precisions(fusionkit, pairs, sources):
    out, model = pairs / "out", pairs / "m.onnx"
    export_onnx(fk.build("backbone", name="average"), model, ("infrared", "visible"))
    command = ["fuse", *sources, "-o", out, "--model", model]
    for option, value in (("--device", "cuda"), ("--precision", "fp16")):
        code, _, said = fusionkit(*command, option, value)
        assert code == 2
        assert value in said
        assert not out.exists()
    assert fusionkit(*command, "--device", "cpu", "--precision", "fp32")[0] == 0
    with pytest.raises(FusionkitError, match="cuda"):
        fk.load(model, device="cuda")


def test_what_export_cannot_do_is_said_in_one_line(fusionkit, tmp_path):
    code, _, said = fusionkit("export", "--model", "emma-ir-vis", tmp_path / "x.pt")
    assert code == 2
    assert ".onnx or .xml" in said
    assert said.strip().endswith(f"found {tmp_path / 'x.pt'}")
    code, _, said = fusionkit("export", "--model", "emma-ir-viz", tmp_path / "x.onnx")
    assert code == 2
    assert "did you mean 'emma-ir-vis'" in said
