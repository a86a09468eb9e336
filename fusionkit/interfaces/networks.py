"""Networks: backbones that fuse, and pseudo-sensors that see the sources again."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusionkit.functional.padding import crop, pad_to_multiple
from fusionkit.interfaces.component import Component
from fusionkit.interfaces.sample import Images, Sample

__all__ = ["Backbone", "Sensor"]


class Backbone(Component, nn.Module, ABC):
    """Fuses the sources into one image."""

    kind = "backbone"
    stride: int = 1
    """The multiple that h and w must have in ``forward``; the host pads and crops."""
    modalities: tuple[str, ...] = ()
    """The sources that it was built for, in their order; empty if it takes any."""

    @abstractmethod
    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch: two or more modalities, each (b, 1, h, w) in [0, 1], to (b, 1, h, w)."""

    def fuse(self, sample: Sample) -> Float[Tensor, "1 h w"]:
        """Fuse one sample of any size, without gradients: pad by reflection, forward, crop, clamp.

        A backbone that needs more than the pixels (the file name, say) overrides this.
        """
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        with torch.no_grad():
            padded = {
                name: pad_to_multiple(image[None].to(device), self.stride)
                for name, image in sample.images.items()
            }
            size = next(iter(sample.images.values())).shape[-2:]
            fused = self(padded)
            return crop(fused, (size[0], size[1]))[0].float().clamp(0, 1).cpu()


class Sensor(Component, nn.Module, ABC):
    """A pseudo-sensor: what its modality would see of a fused image."""

    kind = "sensor"
    stride: int = 1
    """The multiple that h and w must have in ``forward``."""

    @abstractmethod
    def forward(self, fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Map fused images in [0, 1] to images of the modality in [0, 1]."""
