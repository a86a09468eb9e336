"""Runs an exported network as a backbone: what all runtimes have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.inference.devices import Precision
from fusionkit.interfaces import Backbone, Images, ordered_sources
from fusionkit.io.hashes import file_hash

__all__ = ["ExportedModel", "Port", "last_line"]


_ROUNDING = 1e-3
"""How far results may lie outside [0, 1]."""


@dataclass(frozen=True)
class Port:
    """An input or output of an exported network.

    Args:
        name: Its name; an input is called like its modality.
        shape: Sizes of the axes; names or None for axes of any size.
        is_float32: Whether it holds 32-bit floats.
    """

    name: str
    shape: tuple[int | str | None, ...]
    is_float32: bool

    @property
    def is_grey(self) -> bool:
        """Whether it takes or gives float32 images (batch, 1, height, width)."""
        return self.is_float32 and len(self.shape) == 4 and self.shape[1] == 1

    def __str__(self) -> str:
        axes = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} ({axes})"


class ExportedModel(Backbone):
    """A network in a file that a runtime other than PyTorch runs.

    It runs on the CPU in 32-bit floats, on as many cores as PyTorch may use. The file has an input
    for each modality, by its name, and one output: float32, (batch, 1, height, width), in [0, 1].

    A runtime is a subclass with ``_open`` and ``_run``. Copies, and pickles for other processes,
    open the file again.

    Args:
        path: The file that ``fusionkit export`` wrote.

    Raises:
        FusionkitError: if the runtime is missing, the file is damaged, or its inputs and outputs
            are others.
    """

    runtime: ClassVar[str]
    """Name of the runtime, for messages."""
    extra: ClassVar[str]
    """Optional dependencies of fusionkit that bring it."""

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self._hashes = [file_hash(file) for file in self._files(path)]
        try:
            inputs, outputs = self._open(path)
        except ImportError:
            raise FusionkitError(
                f'{path} needs {self.runtime}: run: pip install "fusionkit-mmif[{self.extra}]"'
            ) from None
        except FusionkitError:
            raise
        except Exception as error:  # runtimes have families of errors of their own
            raise FusionkitError(
                f"{path} is no file that {self.runtime} can run: {last_line(error)}"
            ) from None
        grey = all(port.is_grey for port in (*inputs, *outputs))
        if len(inputs) < 2 or len(outputs) != 1 or not grey:
            raise FusionkitError(
                f"{path}: expected an input (batch, 1, height, width) of float32 for each of two "
                f"or more modalities and one output, found the inputs "
                f"{', '.join(map(str, inputs)) or 'none'} and the outputs "
                f"{', '.join(map(str, outputs)) or 'none'}"
            )
        self.modalities = tuple(port.name for port in inputs)
        self.eval()

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch of any size of at least 16 x 16 pixels; many threads may call it at once."""
        images = {
            name: np.ascontiguousarray(image.detach().cpu().numpy(), np.float32)
            for name, image in zip(self.modalities, ordered_sources(self, sources), strict=True)
        }
        shape = next(iter(images.values())).shape
        try:
            fused = self._run(images)
            if fused.shape != shape:
                raise ValueError(f"the result has the shape {fused.shape}")
            low, high = float(fused.min()), float(fused.max())
            if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN is neither
                raise ValueError(f"expected values from 0 to 1, found {low:.3g} to {high:.3g}")
        except Exception as error:
            raise FusionkitError(
                f"{self._path} can't fuse images of {shape[3]}x{shape[2]} pixels: "
                f"{last_line(error)}"
            ) from None
        return torch.from_numpy(fused)

    def check_place(self, device: str, precision: Precision) -> None:
        """Raise if it is asked to run in another place or way than it can.

        Args:
            device: ``cpu``, ``auto``, or the name of another device.
            precision: Arithmetic of the network.

        Raises:
            FusionkitError: for anything but 32-bit floats on the CPU.
        """
        if device not in ("auto", "cpu") or precision != "fp32":
            raise FusionkitError(
                f"{self.runtime} runs exported files on the CPU and in fp32 only, found "
                f"--device {device} --precision {precision}; leave these options out, or "
                f"give a model that PyTorch runs"
            )

    def extra_repr(self) -> str:
        """Return what tells this network from others: the hash of its files."""
        return f"sha256={'+'.join(self._hashes)}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)

    def _files(self, path: Path) -> list[Path]:
        """Return all files of the network."""
        return [path]

    @abstractmethod
    def _open(self, path: Path) -> tuple[list[Port], list[Port]]:
        """Open the file and return its inputs and outputs."""

    @abstractmethod
    def _run(self, images: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the output for images (b, 1, h, w) by modality."""


def last_line(error: Exception) -> str:
    r"""Return the last line of an error's message, which says most, or its type if it has none.

    Example:
        >>> last_line(ValueError("in core.cpp:84:\nno graph")), last_line(ValueError())
        ('no graph', 'ValueError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]
