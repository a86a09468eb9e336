"""Runs an exported ONNX file as a backbone, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fusionkit.inference.exported_model import ExportedModel, Port

__all__ = ["OnnxModel"]


class OnnxModel(ExportedModel):
    """A network in an ONNX file, such as ``fusionkit export`` writes; see ``ExportedModel``.

    Args:
        path: The ``.onnx`` file.

    Raises:
        FusionkitError: as ``ExportedModel``.

    Example:
        >>> import tempfile
        >>> import fusionkit as fk
        >>> from fusionkit.inference.onnx_export import export_onnx
        >>> average = fk.build("backbone", name="average")
        >>> images = {"mri": torch.zeros(1, 1, 17, 20), "pet": torch.ones(1, 1, 17, 20)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "average.onnx")
        ...     _ = export_onnx(average, path, ["mri", "pet"])
        ...     float(OnnxModel(path)(images).mean())
        0.5
    """

    name = "onnx"
    runtime = "ONNX Runtime"
    extra = "export"

    def _open(self, path: Path) -> tuple[list[Port], list[Port]]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        return [_port(value) for value in inputs], [_port(value) for value in outputs]

    def _run(self, images: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        (fused,) = self._session.run(None, images)
        return np.asarray(fused)


def _port(value: Any) -> Port:
    return Port(value.name, tuple(value.shape), value.type == "tensor(float)")
