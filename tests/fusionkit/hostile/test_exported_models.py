"""Damaged and malicious exported models: ONNX files and those of OpenVINO."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fusionkit as fk
from fusionkit.inference.openvino_export import export_openvino
from fusionkit.io.images import read_image

GREY = ("n", 1, "h", "w")
HALF = numpy_helper.from_array(np.float32([0.5]).reshape(1, 1, 1, 1), "half")


def network(
    *nodes: onnx.NodeProto,
    inputs: dict[str, tuple] | None = None,
    output: tuple = GREY,
    kind: int = TensorProto.FLOAT,
    weights: tuple[onnx.TensorProto, ...] = (HALF,),
) -> onnx.ModelProto:
    """Return a model; without nodes it gives the mean of both images."""
    given = {"infrared": GREY, "visible": GREY} if inputs is None else inputs
    mean = (
        helper.make_node("Add", ["infrared", "visible"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["fused"]),
    )
    graph = helper.make_graph(
        nodes or mean,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in given.items()],
        [helper.make_tensor_value_info("fused", kind, output)],
        weights,
    )
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("stranger", 1)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def external(location: str, offset: int = 0, length: int = 4) -> onnx.ModelProto:
    tensor = TensorProto(name="half", data_type=TensorProto.FLOAT, dims=[1, 1, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return network(weights=(tensor,))


def unary(operator: str, **attributes: object) -> onnx.ModelProto:
    return network(helper.make_node(operator, ["infrared"], ["fused"], **attributes))


def scaled(value: float) -> onnx.ModelProto:
    return network(weights=(numpy_helper.from_array(np.float32([value]), "half"),))


def constant(*shape: int) -> onnx.ModelProto:
    return network(
        helper.make_node("ConstantOfShape", ["shape"], ["fused"]),
        weights=(numpy_helper.from_array(np.int64(shape), "shape"),),
    )


FUNCTION = helper.make_function(
    "stranger", "Self", ["x"], ["y"], [helper.make_node("Self", ["x"], ["y"], domain="stranger")],
    [helper.make_opsetid("stranger", 1)],
)  # fmt: skip


def recursive() -> onnx.ModelProto:
    model = network(helper.make_node("Self", ["infrared"], ["fused"], domain="stranger"))
    model.functions.append(FUNCTION)
    return model


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "external above": lambda: external("../secret.bin"),
    "external absolute": lambda: external("/etc/passwd"),
    "external device": lambda: external("/dev/zero"),
    "external missing": lambda: external("missing.bin"),
    "external link": lambda: external("link.bin"),
    "external itself": lambda: external("model.onnx", offset=1 << 40),
    "external negative": lambda: external("weights.bin", offset=-8),
    "external huge": lambda: external("weights.bin", length=1 << 60),
    "external address": lambda: external("http://127.0.0.1:9/weights.bin"),
    "colour": lambda: network(inputs={"infrared": (1, 3, "h", "w"), "visible": (1, 3, "h", "w")}),
    "other size": lambda: network(inputs={"infrared": (1, 1, 8, 8), "visible": (1, 1, 8, 8)}),
    "one input": lambda: network(
        helper.make_node("Identity", ["infrared"], ["fused"]), inputs={"infrared": GREY}
    ),
    "no input": lambda: network(
        helper.make_node("Constant", [], ["fused"], value=HALF), inputs={}, output=(1, 1, 1, 1)
    ),
    "numbers": lambda: network(kind=TensorProto.INT64),
    "texts": lambda: network(
        helper.make_node("Identity", ["infrared"], ["fused"]), kind=TensorProto.STRING
    ),
    "names with paths": lambda: network(
        helper.make_node("Add", ["../a", "/b"], ["fused"]), inputs={"../a": GREY, "/b": GREY}
    ),
    "NaN": lambda: scaled(float("nan")),
    "infinite": lambda: scaled(float("inf")),
    "large": lambda: scaled(1e30),
    "negative": lambda: scaled(-3.0),
    "transposed": lambda: unary("Transpose", perm=[0, 1, 3, 2]),
    "one number": lambda: unary("ReduceMean", keepdims=1),
    "bomb": lambda: constant(1, 1, 1 << 20, 1 << 20),
    "large bomb": lambda: constant(1, 1, 1 << 40, 1 << 40),
    "unknown operator": lambda: unary("Nonsense"),
    "operator of a stranger": lambda: network(
        helper.make_node("Run", ["infrared"], ["fused"], domain="stranger")
    ),
    "function of itself": recursive,
    "circle": lambda: network(
        helper.make_node("Add", ["infrared", "fused"], ["x"]),
        helper.make_node("Identity", ["x"], ["fused"]),
    ),
    "no graph": onnx.ModelProto,
    "future": lambda: onnx.ModelProto(ir_version=10**6),
}


@pytest.fixture
def fuse(ends_well, good, tmp_path) -> Callable[[Path], int]:
    """Return a check of a fusion by a model."""

    def check(path: Path) -> int:
        (tmp_path / "out.png").unlink(missing_ok=True)
        code = ends_well("fuse", "--model", path, "-o", tmp_path / "out.png",
                         "--source", f"infrared={good}", "--source", f"visible={good}")  # fmt: skip
        assert (tmp_path / "out.png").exists() == (code == 0)
        return code

    return check


@pytest.mark.parametrize("kind", MODELS)
def test_onnx_files(kind, fuse, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(np.float32([0.5]).tobytes())
    (folder / "weights.bin").write_bytes(np.float32([0.5]).tobytes())
    (folder / "link.bin").symlink_to("../secret.bin")
    (folder / "model.onnx").write_bytes(MODELS[kind]().SerializeToString())
    assert fuse(folder / "model.onnx") == 2


def test_damaged_onnx_files(fuse, damaged, tmp_path):
    path, data, chance = tmp_path / "model.onnx", network().SerializeToString(), random.Random(3)
    path.write_bytes(data)
    assert fuse(path) == 0
    for copy in [
        b"",
        b"\0" * 100,
        b"text\n" * 9,
        *(c for _ in range(4) for c in damaged(data, chance)),
    ]:
        path.write_bytes(copy)
        fuse(path)


XML = {
    "empty": lambda text: "",
    "text": lambda text: "no network\n" * 9,
    "other page": lambda text: "<html><net ></net></html>",
    "no layers": lambda text: '<net name="x" version="11"></net>',
    "bomb": lambda text: '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10 if k else "&a;" * 10}">' for k in range(20))
    + "]>" + text.replace('name="', 'name="&a19;', 1),
    "outer entity": lambda text: '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + text,
    "address": lambda text: '<!DOCTYPE net SYSTEM "http://127.0.0.1:9/a.dtd">' + text,
    "deep": lambda text: text + "<net >" * 10_000,
    "version": lambda text: re.sub(r'version="1\d"', 'version="99999999999"', text),
    "offset": lambda text: re.sub(r'offset="\d+"', 'offset="9999999"', text),
    "negative offset": lambda text: re.sub(r'offset="\d+"', 'offset="-8"', text),
    "size": lambda text: re.sub(r' size="\d+"', ' size="18446744073709551615"', text),
    "no size": lambda text: re.sub(r' size="\d+"', "", text),
    "shape": lambda text: re.sub(r'shape="[^"]*"', 'shape="1,3,8,8"', text),
    "huge shape": lambda text: re.sub(r'shape="[^"]*"', 'shape="1,1,9999999,9999999"', text),
    "negative shape": lambda text: re.sub(r'shape="[^"]*"', 'shape="-5,-5"', text),
    "type": lambda text: text.replace("f32", "string").replace("FP32", "string"),
    "operator": lambda text: text.replace('type="Multiply"', 'type="Nonsense"'),
    "edges": lambda text: re.sub(r'to-layer="\d+"', 'to-layer="0"', text),
    "edges to nowhere": lambda text: re.sub(r'to-layer="\d+"', 'to-layer="4000000000"', text),
    "ids": lambda text: re.sub(r'layer id="\d+"', 'layer id="1"', text),
}  # fmt: skip


@pytest.fixture(scope="module")
def intermediate(tmp_path_factory) -> tuple[bytes, bytes]:
    """The .xml and .bin file of OpenVINO."""
    folder = tmp_path_factory.mktemp("openvino")
    average = fk.build("backbone", name="average")
    export_openvino(average, folder / "m.xml", ["infrared", "visible"])
    return (folder / "m.xml").read_bytes(), (folder / "m.bin").read_bytes()


@pytest.mark.parametrize("kind", XML)
def test_openvino_files(kind, intermediate, fuse, tmp_path):
    xml, weights = intermediate
    (tmp_path / "m.bin").write_bytes(weights)
    (tmp_path / "m.xml").write_text(XML[kind](xml.decode()))
    fuse(tmp_path / "m.xml")


def test_damaged_openvino_files(intermediate, fuse, damaged, tmp_path):
    xml, weights = intermediate
    assert len(weights) > 3
    chance = random.Random(4)
    path = tmp_path / "m.xml"
    path.write_bytes(xml)
    assert fuse(path) == 2  # no weights
    for copy in [b"", weights[:2], np.full(len(weights) // 4 + 1, np.nan, np.float32).tobytes()]:
        path.with_suffix(".bin").write_bytes(copy)
        assert fuse(path) == 2
    path.with_suffix(".bin").write_bytes(weights)
    assert fuse(path) == 0
    for copy in (copy for _ in range(4) for copy in damaged(xml, chance)):
        path.write_bytes(copy)
        fuse(path)


def test_the_mean_is_the_mean(good, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network().SerializeToString())
    image = read_image(good)
    assert (fk.fuse(path, {"infrared": image, "visible": image}) == image).all()
