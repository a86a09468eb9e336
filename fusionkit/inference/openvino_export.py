"""Export of trained backbones to OpenVINO's format."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from fusionkit.errors import FusionkitError, WriteError
from fusionkit.inference.onnx_export import check_same_result, export_onnx
from fusionkit.inference.openvino_model import OpenVinoModel, import_openvino
from fusionkit.interfaces import Backbone
from fusionkit.io.atomic_write import TEMPORARY

__all__ = ["export_openvino"]


def export_openvino(
    backbone: Backbone, target: Path, modalities: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Write a backbone as an ``.xml`` file and the ``.bin`` file of its weights beside it.

    The network goes by way of ONNX; inputs, output and weights are those of ``export_onnx``.
    Before the files are in their place, OpenVINO must give what PyTorch gives, to 1e-3.

    Args:
        backbone: See ``export_onnx``.
        target: An ``.xml`` file to write.
        modalities: See ``export_onnx``.

    Returns:
        The names of the inputs.

    Raises:
        FusionkitError: as ``export_onnx``, or if OpenVINO is missing.

    Example:
        >>> import fusionkit as fk
        >>> average = fk.build("backbone", name="average")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names = export_openvino(average, Path(folder, "m.xml"), ["infrared", "visible"])
        ...     names, sorted(path.name for path in Path(folder).iterdir())
        (('infrared', 'visible'), ['m.bin', 'm.xml'])
    """
    if target.suffix != ".xml":
        raise FusionkitError(f"the output must be an .xml file, found {target}")
    try:
        openvino = import_openvino()
    except ImportError:
        raise FusionkitError(
            'exporting to .xml needs OpenVINO: run: pip install "fusionkit-mmif[export,openvino]"'
        ) from None
    try:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target.parent) as folder:
            onnx, written = Path(folder, "network.onnx"), Path(folder, target.name)
            names = export_onnx(backbone, onnx, modalities)
            model = openvino.Core().read_model(onnx)
            openvino.save_model(model, written, compress_to_fp16=False)
            check_same_result(backbone, OpenVinoModel(written))
            for file in (written.with_suffix(".bin"), written):
                file.replace(target.with_name(file.name))
    except OSError as error:
        raise WriteError(f"{target} can't be written: {error.strerror}") from None
    return names
