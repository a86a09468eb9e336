"""Runs an exported ONNX file as a backbone, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, Images, ordered_sources
from fusionkit.io.hashes import file_hash

__all__ = ["OnnxModel"]


class OnnxModel(Backbone):
    """A network in an ONNX file, such as ``fusionkit export`` writes.

    It runs on the CPU, on as many cores as PyTorch may use. The file has an input for each
    modality, by its name, and one output: float32, (batch, 1, height, width), in [0, 1].

    Args:
        path: The ``.onnx`` file.

    Raises:
        FusionkitError: if ONNX Runtime is missing, or the file is damaged, or its inputs and
            outputs are others.

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

    def __init__(self, path: Path):
        super().__init__()
        self._path, self._hash = path, file_hash(path)
        self._session = _open(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = {tuple(value.shape[1:2]) for value in (*inputs, *outputs)}
        types = {value.type for value in (*inputs, *outputs)}
        if len(inputs) < 2 or len(outputs) != 1 or shapes != {(1,)} or types != {"tensor(float)"}:
            raise FusionkitError(
                f"{path}: expected an input (batch, 1, height, width) of float32 for each of two "
                f"or more modalities and one output, found the inputs "
                f"{', '.join(f'{value.name} {value.shape}' for value in inputs) or 'none'} and the "
                f"outputs {', '.join(f'{value.name} {value.shape}' for value in outputs)}"
            )
        self.modalities = tuple(value.name for value in inputs)

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch of any size of at least 16 x 16 pixels."""
        images = [
            np.ascontiguousarray(image.detach().cpu().numpy(), np.float32)
            for image in ordered_sources(self, sources)
        ]
        try:
            (fused,) = self._session.run(None, dict(zip(self.modalities, images, strict=True)))
        except Exception as error:  # ONNX Runtime has a family of errors of its own
            size = "x".join(str(side) for side in images[0].shape[-2:])
            raise FusionkitError(
                f"{self._path} can't fuse images of {size} pixels: {_first_line(error)}"
            ) from None
        return torch.from_numpy(fused)

    def extra_repr(self) -> str:
        """Return what tells this network from others: the hash of its file."""
        return f"sha256={self._hash}"


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise FusionkitError(
            f'{path} needs ONNX Runtime: run: pip install "fusionkit-mmif[export]"'
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise FusionkitError(
            f"{path} is no ONNX file that ONNX Runtime can run: {_first_line(error)}"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
