"""Export of trained backbones to ONNX, for programs without Python or PyTorch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.inference.exported_model import ExportedModel
from fusionkit.inference.onnx_model import OnnxModel
from fusionkit.interfaces import Backbone, Sample
from fusionkit.io.atomic_write import atomic_write

if TYPE_CHECKING:
    import onnx

__all__ = ["check_same_result", "export_onnx"]

TOLERANCE = 1e-3
"""Largest difference to PyTorch's result that is accepted, in units of the range [0, 1]."""

AXES = "fusionkit_axes"
BEFORE = "fusionkit_before"
SIZE = "fusionkit_size"


def export_onnx(
    backbone: Backbone, target: Path, modalities: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Write a backbone as ONNX that fuses images of any size, as ``Backbone.fuse`` does.

    The file has one input per modality, by its name, and the output ``fused``: each float32
    (batch, 1, height, width), luminance in [0, 1]. Padding to the network's stride and cropping
    are inside; at least 16 x 16 pixels are needed, as everywhere. Before the file is in its
    place, ONNX Runtime must give what PyTorch gives, to 1e-3.

    Args:
        backbone: With its weights, on the CPU and in eval mode, as ``fusionkit.load`` gives it.
        target: An ``.onnx`` file to write.
        modalities: Its sources, in the order of the inputs; by default those that it was built
            for (``Backbone.modalities``).

    Returns:
        The names of the inputs.

    Raises:
        FusionkitError: if ONNX packages are missing, the backbone does not say what it fuses, or
            ONNX can't express it.

    Example:
        >>> import tempfile
        >>> import fusionkit as fk
        >>> average = fk.build("backbone", name="average")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_onnx(average, Path(folder, "average.onnx"), ["infrared", "visible"])
        ('infrared', 'visible')
    """
    if target.suffix != ".onnx":
        raise FusionkitError(f"the output must be an .onnx file, found {target}")
    names = _modalities(backbone, modalities)
    _check_installed()
    if type(backbone).fuse is not Backbone.fuse:
        raise FusionkitError(
            f"the backbone {backbone.name!r} fuses in a way of its own (it overrides `fuse`), "
            f"which ONNX can't express; export the network that it wraps"
        )
    model = _with_padding(_network(backbone.exact_form(), names), backbone, names)
    with atomic_write(target) as temporary:
        temporary.write_bytes(model.SerializeToString())
        check_same_result(backbone, OnnxModel(temporary))
    return names


def _modalities(backbone: Backbone, given: Sequence[str] | None) -> tuple[str, ...]:
    known = backbone.modalities
    if given and known and sorted(given) != sorted(known):
        raise FusionkitError(
            f"the backbone {backbone.name!r} fuses {', '.join(known)}, not {', '.join(given)}"
        )
    names = tuple(given or known or ())
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise FusionkitError(
            f"the backbone {backbone.name!r} does not say what it fuses; give --modality for "
            f"each of its two or more sources"
        )
    if "fused" in names:
        raise FusionkitError("no modality may be called 'fused', which is the name of the output")
    return names


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise FusionkitError(
            f'exporting needs ONNX ({error}): run: pip install "fusionkit-mmif[export]"'
        ) from None


class _Positional(nn.Module):
    """A backbone that takes its sources as positional arguments, as exporters require."""

    def __init__(self, backbone: Backbone, names: tuple[str, ...]):
        super().__init__()
        self.backbone = backbone
        self.names = names

    def forward(self, *images: Tensor) -> Tensor:
        """Fuse images that are given in the order of the names."""
        fused = self.backbone(dict(zip(self.names, images, strict=True)))
        return fused.float().clamp(0, 1)


def _network(backbone: Backbone, names: tuple[str, ...]) -> onnx.ModelProto:
    """Return the network without padding: h and w must be multiples of its stride."""
    side = backbone.stride * max(4, -(-32 // backbone.stride))
    dim = torch.export.Dim
    shape = {
        0: dim("batch", min=1),
        2: backbone.stride * dim("rows", min=2),
        3: backbone.stride * dim("columns", min=2),
    }
    wide = side + 2 * backbone.stride
    examples = tuple(torch.zeros(2, 1, side, wide) for _ in names)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Positional(backbone, names).train(backbone.training),
                examples,
                input_names=[_padded(name) for name in names],
                output_names=[_padded("fused")],
                dynamic_shapes=(tuple(shape for _ in names),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        cause = error.__cause__ or error
        first = str(cause).strip().partition("\n")[0]
        raise FusionkitError(
            f"the backbone {backbone.name!r} can't be expressed in ONNX: "
            f"{type(cause).__name__}: {first}"
        ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages about its names of sizes and about unchanged nodes."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _padded(name: str) -> str:
    return f"{name}_padded"


def _with_padding(
    model: onnx.ModelProto, backbone: Backbone, names: tuple[str, ...]
) -> onnx.ModelProto:
    """Add padding by reflection before the network and cropping after it."""
    from onnx import TensorProto, checker, helper

    def ints(name: str, *values: int) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)

    def image(name: str) -> onnx.ValueInfoProto:
        shape = ["batch", 1, "height", "width"]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    for part in (model.graph, *model.functions):
        for step in part.node:
            del step.metadata_props[:]  # where in PyTorch's and our files it comes from
            step.ClearField("doc_string")
    node = helper.make_node
    before = [
        node("Shape", [names[0]], [SIZE], start=2),
        node("Neg", [SIZE], ["fusionkit_negative"]),
        node("Mod", ["fusionkit_negative", "fusionkit_stride"], ["fusionkit_extra"]),
        node("Div", ["fusionkit_extra", "fusionkit_two"], [BEFORE]),
        node("Sub", ["fusionkit_extra", BEFORE], ["fusionkit_after"]),
        node("Concat", [BEFORE, "fusionkit_after"], ["fusionkit_pads"], axis=0),
        *(
            node("Pad", [name, "fusionkit_pads", "", AXES], [_padded(name)], mode="reflect")
            for name in names
        ),
    ]
    after = [
        node("Add", [BEFORE, SIZE], ["fusionkit_end"]),
        node("Slice", [_padded("fused"), BEFORE, "fusionkit_end", AXES], ["fused"]),
    ]
    graph = helper.make_graph(
        [*before, *model.graph.node, *after],
        backbone.name,
        [image(name) for name in names],
        [image("fused")],
        [
            *model.graph.initializer,
            ints("fusionkit_stride", backbone.stride),
            ints("fusionkit_two", 2),
            ints(AXES, 2, 3),
        ],
        doc_string="Luminance in [0, 1] in and out; at least 16 x 16 pixels.",
    )
    whole = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
        producer_name="fusionkit",
    )
    spec = backbone.spec
    helper.set_model_props(
        whole,
        {
            "modalities": json.dumps(list(names)),
            "component": json.dumps(spec.to_dict() if spec else {"name": backbone.name}),
        },
    )
    checker.check_model(whole)
    return whole


def check_same_result(backbone: Backbone, exported: ExportedModel) -> None:
    """Compare a file with PyTorch at a size that needs padding and was not used for tracing.

    Args:
        backbone: What was exported.
        exported: The file.

    Raises:
        FusionkitError: if they differ by more than 1e-3 of the range.

    Example:
        >>> import tempfile
        >>> import fusionkit as fk
        >>> average = fk.build("backbone", name="average")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "average.onnx")
        ...     _ = export_onnx(average, path, ["infrared", "visible"])
        ...     check_same_result(average, OnnxModel(path))
    """
    random = torch.Generator().manual_seed(0)
    images = {name: torch.rand(1, 53, 94, generator=random) for name in exported.modalities}
    noise = Sample("noise", images)
    difference = (exported.fuse(noise) - backbone.fuse(noise)).abs().max().item()
    if not difference <= TOLERANCE:
        raise FusionkitError(
            f"the backbone {backbone.name!r} gives other images in {exported.runtime} than in "
            f"PyTorch (by up to {difference:.2g} of the range); nothing was written"
        )
