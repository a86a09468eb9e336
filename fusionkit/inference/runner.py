"""Runs one network for many threads, on any device."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.padding import pad_to_multiple
from fusionkit.inference.devices import Precision, in_precision, warn_if_slow
from fusionkit.inference.parallel import Turns
from fusionkit.interfaces import Backbone, Sample

__all__ = ["NetworkRunner"]

_LARGE = 1 << 21
"""Images of more pixels are fused alone: two at a time would double the peak of memory."""
_BATCH = 8
"""Most samples that a GPU fuses together, and only small ones."""


@dataclass(eq=False)
class _Request:
    sample: Sample
    fused: Tensor | None = None
    error: Exception | None = None


class NetworkRunner:
    """Fuses the samples that several threads bring, and keeps the device busy meanwhile.

    On the CPU, small images are fused side by side, each on a core. On another device one thread
    at a time runs the network, on all samples of one size that wait at that moment, while the
    others read and write.

    Args:
        network: Moved to the device and set to eval mode.
        device: Where to fuse; where the network is by default.
        precision: Arithmetic of the network.
        callers: Number of threads that will bring samples.

    Attributes:
        network: The network.

    Example:
        >>> import fusionkit as fk
        >>> runner = NetworkRunner(fk.build("backbone", name="average"))
        >>> images = {"mri": torch.zeros(1, 16, 16), "pet": torch.ones(1, 16, 16)}
        >>> float(runner.fuse(Sample("brain", images)).mean())
        0.5
    """

    def __init__(
        self,
        network: Backbone,
        device: torch.device | None = None,
        precision: Precision = "fp32",
        callers: int = 1,
    ):
        self.network = network.eval()
        self._callers = callers
        self._device = device or network.device
        if device is not None:
            network.to(device)
        self._precision: Precision = precision
        if self._device.type == "cpu":
            warn_if_slow(precision)  # a worker of a cluster has another CPU than the command
        self._turns = Turns()
        self._busy = threading.Lock()
        self._waiting: list[_Request] = []
        self._list = threading.Lock()

    def fuse(self, sample: Sample) -> Float[Tensor, "1 h w"]:
        """Fuse one sample; many threads may call it at once.

        Returns:
            (1, h, w) float32 in [0, 1], on the CPU.
        """
        if self._device.type == "cpu":
            pixels = math.prod(next(iter(sample.images.values())).shape)
            with self._turns.take(alone=self._callers == 1 or pixels > _LARGE):
                return self._run([sample])[0]
        return self._fuse_in_batch(_Request(sample))

    def with_statistics_of(self, samples: Sequence[Sample]) -> NetworkRunner:
        """Return a runner for parts of an image, if the network looks at the whole of it.

        Args:
            samples: Parts of the image, all of one size, that stand for the whole.

        Returns:
            A runner that shares the device with this one; this one if the network does not care.
        """
        images = {
            name: torch.stack([sample.images[name] for sample in samples]).to(self._device)
            for name in samples[0].images
        }
        padded = {
            name: pad_to_multiple(image, self.network.stride) for name, image in images.items()
        }
        with self._turns.take(alone=True), in_precision(self._device, self._precision):
            network = self.network.with_statistics_of(padded)
        if network is self.network:
            return self
        other = copy.copy(self)
        other.network = network.eval()
        return other

    def _fuse_in_batch(self, request: _Request) -> Tensor:
        with self._list:
            self._waiting.append(request)
        with self._busy:
            if request.fused is None and request.error is None:
                batch = self._take_batch(request)
                try:
                    for one, fused in zip(batch, self._run([r.sample for r in batch]), strict=True):
                        one.fused = fused
                except Exception as error:
                    if len(batch) == 1:
                        request.error = error
                    else:  # too large together, or one of them is at fault
                        self._run_singly(batch)
        if request.error is not None:
            raise request.error
        assert request.fused is not None
        return request.fused

    def _run_singly(self, batch: list[_Request]) -> None:
        for one in batch:
            try:
                one.fused = self._run([one.sample])[0]
            except Exception as error:
                one.error = error

    def _take_batch(self, first: _Request) -> list[_Request]:
        """Return a request and others of its size that wait, and take them off the list."""
        shape = _shape(first)
        most = _BATCH if math.prod(next(iter(shape.values()))) < _LARGE // _BATCH else 1
        with self._list:
            others = [r for r in self._waiting if r is not first and _shape(r) == shape]
            batch = [first, *others[: most - 1]]
            self._waiting = [r for r in self._waiting if r not in batch]
        return batch

    def _run(self, samples: list[Sample]) -> list[Tensor]:
        with in_precision(self._device, self._precision):
            return [fused.cpu() for fused in self.network.fuse_batch(samples)]


def _shape(request: _Request) -> dict[str, tuple[int, ...]]:
    return {name: tuple(image.shape) for name, image in request.sample.images.items()}
