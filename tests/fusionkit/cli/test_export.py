"""``fusionkit export`` as a user types it."""

from __future__ import annotations

import pytest

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference.onnx_export import export_onnx


def test_a_trained_network_is_exported(fusionkit, tmp_path):
    weights, out = tmp_path / "small.safetensors", tmp_path / "new" / "small.onnx"
    fk.save(fk.build("backbone", name="densefuse"), weights)
    code, printed, said = fusionkit("export", "--model", weights, out)
    assert (code, printed) == (0, "")
    assert f"{out}: infrared, visible -> fused, 0." in said
    assert fk.load(out).modalities == ("infrared", "visible")


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
