"""An exported file as a model: the results of PyTorch, and what is said of other files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference.onnx_export import export_onnx
from fusionkit.io.images import write_image


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, fk.Backbone]:
    folder = tmp_path_factory.mktemp("onnx")
    network = fk.build("backbone", name="ufuser", channels=[8, 16], heads=4).eval()
    fk.save(network, folder / "m.safetensors")
    export_onnx(network, folder / "m.onnx")
    return folder / "m.onnx", network


def images(height: int, width: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "infrared": generator.integers(0, 256, (height, width), np.uint8),
        "visible": generator.integers(0, 256, (height, width, 3), np.uint8),
    }


@pytest.mark.parametrize("size", [(32, 48), (37, 53)])
def test_it_fuses_as_pytorch_does(exported, size):
    path, network = exported
    model = fk.load(path)
    assert model.modalities == ("infrared", "visible")
    one, other = (fk.fuse(each, images(*size)) for each in (model, network))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_files_are_fused_by_it_under_the_names_of_the_command_line(exported, tmp_path: Path):
    pixels = images(40, 60)
    for name, image in pixels.items():
        write_image(tmp_path / f"{name}.png", image)
    sources = {"ir": tmp_path / "infrared.png", "vi": tmp_path / "visible.png"}
    one = fk.fuse(exported[0], sources)
    other = fk.fuse(exported[0].with_suffix(".safetensors"), pixels)
    assert np.abs(one.astype(int) - other).max() <= 1


def test_files_that_fuse_nothing_are_refused(tmp_path: Path):
    def value(name: str, kind: int = TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, ["b", 1, "h", "w"])

    damaged, single = tmp_path / "damaged.onnx", tmp_path / "single.onnx"
    damaged.write_bytes(b"not a graph")
    with pytest.raises(FusionkitError, match=r"damaged\.onnx"):
        fk.load(damaged)
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [value("x")], [value("y")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), single)
    with pytest.raises(FusionkitError, match=r"single\.onnx: expected an input"):
        fk.load(single)
    with pytest.raises(FusionkitError, match="nowhere"):
        fk.load(tmp_path / "nowhere.onnx")


def test_two_files_are_two_networks(exported, tmp_path: Path):
    other = tmp_path / "other.onnx"
    export_onnx(fk.build("backbone", name="average"), other, ["infrared", "visible"])
    assert repr(fk.load(exported[0])) != repr(fk.load(other))
    assert repr(fk.load(other)) == repr(fk.load(other))
