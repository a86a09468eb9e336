"""Exported files as models: the results of PyTorch, and what is said of other files."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference import openvino_export
from fusionkit.inference.onnx_export import export_onnx
from fusionkit.inference.openvino_export import export_openvino
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions, OpenedSources
from fusionkit.inference.tiles import fuse_in_tiles
from fusionkit.interfaces import Sample
from fusionkit.io.images import write_image
from fusionkit.io.pairs import pair_images

FORMATS = ("onnx", "xml")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, fk.Backbone]:
    """A folder with m.onnx, m.xml, m.bin and m.safetensors, and their network."""
    folder = tmp_path_factory.mktemp("exported")
    with torch.random.fork_rng():  # how much tiles differ depends on the weights
        torch.manual_seed(0)
        network = fk.build("backbone", name="ufuser", channels=[8, 16], heads=4).eval()
    fk.save(network, folder / "m.safetensors")
    names = export_onnx(network, folder / "m.onnx")

    def exported_before(_: fk.Backbone, target: Path, __: object) -> tuple[str, ...]:
        shutil.copy(folder / "m.onnx", target)
        return names

    with pytest.MonkeyPatch.context() as patch:  # an export to ONNX takes 20 s
        patch.setattr(openvino_export, "export_onnx", exported_before)
        export_openvino(network, folder / "m.xml")
    assert sorted(p.name for p in folder.iterdir()) == [
        "m.bin",
        "m.onnx",
        "m.safetensors",
        "m.xml",
    ]
    return folder, network


def sample(height: int, width: int) -> Sample:
    return Sample("x", {name: torch.rand(1, height, width) for name in ("infrared", "visible")})


def images(height: int, width: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "infrared": generator.integers(0, 256, (height, width), np.uint8),
        "visible": generator.integers(0, 256, (height, width, 3), np.uint8),
    }


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [(16, 16), (32, 48), (37, 53), (121, 64)])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_fuses_as_pytorch_does(exported, suffix, size, batch):
    folder, network = exported
    model = fk.load(folder / f"m.{suffix}")
    assert model.modalities == ("infrared", "visible")
    samples = [sample(*size) for _ in range(batch)]
    fused = model.fuse_batch(samples)
    for one, other in zip(fused, network.fuse_batch(samples), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_onnx_runtime_alone_fuses_alike(exported):
    path, network = exported[0] / "m.onnx", exported[1]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    scene = sample(37, 58)
    inputs = {name: image[None].numpy() for name, image in scene.images.items()}
    (fused,) = session.run(None, inputs)
    np.testing.assert_allclose(fused[0], network.fuse(scene), atol=1e-5)
    (component,) = [p.value for p in onnx.load(path).metadata_props if p.key == "component"]
    assert json.loads(component)["channels"] == [8, 16]


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_are_fused_by_it_under_the_names_of_the_command_line(
    exported, suffix, tmp_path: Path
):
    pixels = images(40, 60)
    for name, image in pixels.items():
        write_image(tmp_path / f"{name}.png", image)
    sources = {"ir": tmp_path / "infrared.png", "vi": tmp_path / "visible.png"}
    one = fk.fuse(exported[0] / f"m.{suffix}", sources)
    other = fk.fuse(exported[0] / "m.safetensors", pixels)
    assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_real_pair_is_fused_as_by_pytorch(exported, suffix, data_root: Path):
    stem = sorted((data_root / "tno" / "ir").iterdir())[0].name
    sources = {"ir": data_root / "tno" / "ir" / stem, "vi": data_root / "tno" / "vi" / stem}
    one = fk.fuse(exported[0] / f"m.{suffix}", sources)
    other = fk.fuse(exported[0] / "m.safetensors", sources)
    assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_tiles_go_through_it(exported, suffix):
    # Attention is of the tile, not of the whole image as in PyTorch, so results differ a little.
    ramp = np.tile(np.linspace(0, 255, 420), (300, 1)).astype(np.uint8)
    pair = pair_images({"infrared": ramp, "visible": np.ascontiguousarray(ramp[:, ::-1])})
    runner = NetworkRunner(fk.load(exported[0] / f"m.{suffix}"))
    sources = OpenedSources([pair], FusionOptions())
    tiled = fuse_in_tiles(runner, pair, sources, 256).whole()
    whole = fk.fuse(runner.network, {name: image.read() for name, image in pair.images.items()})
    assert tiled.shape == (300, 420)
    assert np.abs(tiled.astype(int) - whole).mean() < 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_threads_share_it_and_copies_work(exported, suffix):
    folder, network = exported
    model = fk.load(folder / f"m.{suffix}")
    samples = [sample(32 + 8 * (k % 3), 40) for k in range(12)]
    with ThreadPoolExecutor(4) as pool:
        fused = list(pool.map(model.fuse, samples))
    for one, scene in zip(fused, samples, strict=True):
        torch.testing.assert_close(one, network.fuse(scene), atol=1e-5, rtol=0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.fuse(samples[0]), model.fuse(samples[0]))


@pytest.mark.parametrize(("suffix", "package"), [("onnx", "onnxruntime"), ("xml", "openvino")])
def test_a_missing_runtime_is_named(exported, suffix, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FusionkitError, match="pip install"):
        fk.load(exported[0] / f"m.{suffix}")


def test_openvino_sends_and_stores_nothing(exported, tmp_path: Path):
    code = f"""
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.") else None)
import fusionkit as fk, torch
from fusionkit.interfaces import Sample
model = fk.load({str(exported[0] / "m.xml")!r})
model.fuse(Sample("x", {{name: torch.rand(1, 16, 16) for name in model.modalities}}))
from fusionkit.inference.openvino_export import export_openvino
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
print(sorted(set(seen) - {{"socket.__new__", "socket.bind"}}))
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "CI": ""}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "[]"
    assert [p.name for p in home.iterdir() if p.name != ".cache"] == []


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


def shifted(location: str) -> bytes:
    """Return a network whose constant lies in another file."""
    weights = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[1, 1, 1, 4], data_location="EXTERNAL"
    )
    for key, text in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=text)
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "h", "w"])
        for name in ("infrared", "visible", "fused")
    }
    nodes = [
        helper.make_node("Mul", ["infrared", "visible"], ["product"]),
        helper.make_node("ReduceSum", ["w"], ["shift"], keepdims=1),
        helper.make_node("Add", ["product", "shift"], ["fused"]),
    ]
    *inputs, output = values.values()
    graph = helper.make_graph(nodes, "g", inputs, [output], [weights])
    version = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=version, ir_version=8).SerializeToString()


def test_an_onnx_file_reads_no_files_outside_its_folder(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    np.arange(4, dtype=np.float32).tofile(tmp_path / "secret.bin")
    np.zeros(4, dtype=np.float32).tofile(folder / "zeros.bin")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = folder / "m.onnx"
    path.write_bytes(shifted("zeros.bin"))  # beside it, and without metadata
    assert fk.load(path).fuse(sample(16, 16)).shape == (1, 16, 16)
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "nowhere.bin"):
        path.write_bytes(shifted(location))
        with pytest.raises(FusionkitError, match=r"m\.onnx") as caught:
            fk.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["onnx", "xml", "bin"])
@pytest.mark.parametrize("keep", [0, 0.1, 0.5, 0.98])
def test_truncated_files_are_refused_in_one_sentence(exported, suffix, keep, tmp_path: Path):
    for each in ("onnx", "xml", "bin"):
        content = (exported[0] / f"m.{each}").read_bytes()
        part = content[: int(len(content) * keep)] if each == suffix else content
        (tmp_path / f"cut.{each}").write_bytes(part)
    with pytest.raises(FusionkitError, match=r"cut\.") as caught:
        fk.load(tmp_path / ("cut.onnx" if suffix == "onnx" else "cut.xml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_sources_of_two_sizes_are_refused(exported, suffix):
    model = fk.load(exported[0] / f"m.{suffix}")
    with pytest.raises(FusionkitError, match=r"20x16"):
        model({"infrared": torch.zeros(1, 1, 16, 20), "visible": torch.zeros(1, 1, 16, 24)})


def test_an_xml_file_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "page.xml").write_text("<html></html>")
    (tmp_path / "page.bin").touch()
    with pytest.raises(FusionkitError, match=r"page\.xml"):
        fk.load(tmp_path / "page.xml")
    (tmp_path / "page.bin").unlink()
    with pytest.raises(FusionkitError, match=r"page\.bin"):
        fk.load(tmp_path / "page.xml")


def test_two_files_are_two_networks(exported, tmp_path: Path):
    other = tmp_path / "other.onnx"
    export_onnx(fk.build("backbone", name="average"), other, ["infrared", "visible"])
    assert repr(fk.load(exported[0] / "m.onnx")) != repr(fk.load(other))
    assert repr(fk.load(other)) == repr(fk.load(other))
