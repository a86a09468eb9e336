"""Runs an exported OpenVINO file as a backbone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fusionkit.inference.exported_model import ExportedModel, Port

__all__ = ["OpenVinoModel", "import_openvino"]


class OpenVinoModel(ExportedModel):
    """A network in OpenVINO's format, such as ``fusionkit export`` writes; see ``ExportedModel``.

    Args:
        path: The ``.xml`` file; the ``.bin`` file of the same name lies beside it.

    Raises:
        FusionkitError: as ``ExportedModel``.

    Example:
        >>> import tempfile
        >>> import fusionkit as fk
        >>> from fusionkit.inference.openvino_export import export_openvino
        >>> average = fk.build("backbone", name="average")
        >>> images = {"mri": torch.zeros(1, 1, 17, 20), "pet": torch.ones(1, 1, 17, 20)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "average.xml")
        ...     _ = export_openvino(average, path, ["mri", "pet"])
        ...     float(OpenVinoModel(path)(images).mean())
        0.5
    """

    name = "openvino"
    runtime = "OpenVINO"
    extra = "openvino"

    def _files(self, path: Path) -> list[Path]:
        return [path, path.with_suffix(".bin")]

    def _open(self, path: Path) -> tuple[list[Port], list[Port]]:
        core = import_openvino().Core()
        with path.open("rb") as file:
            if b"<net " not in file.read(1000):  # OpenVINO would try TensorFlow and others on it
                raise ValueError("it holds no network")
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # otherwise bf16 where the CPU is good at it
            "ENABLE_CPU_PINNING": False,  # other processes may have been given the same cores
        }
        self._compiled = core.compile_model(core.read_model(path), "CPU", settings)
        inputs, outputs = self._compiled.inputs, self._compiled.outputs
        return [_port(value) for value in inputs], [_port(value) for value in outputs]

    def _run(self, images: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        # A request serves one thread, and its output is overwritten by the next inference.
        return self._compiled.create_infer_request().infer(images)[0].copy()


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, and return the module.

    ``import openvino`` alone sends a message to Google Analytics and writes a user number below
    the home folder, if its package ``openvino-telemetry`` is there. It must not be found then.

    Raises:
        ImportError: if OpenVINO is not installed.

    Example:
        >>> "CPU" in import_openvino().Core().available_devices
        True
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules:
        import openvino

        return openvino
    before = sys.modules.pop(name, None)
    sys.modules[name] = None  # type: ignore[assignment]  # Python's way to say: not installed
    try:
        import openvino
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
    return openvino


def _port(value: Any) -> Port:
    shape = [side.get_length() if side.is_static else None for side in value.partial_shape]
    name = value.any_name if value.names else "?"
    return Port(name, tuple(shape), value.element_type.get_type_name() == "f32")
