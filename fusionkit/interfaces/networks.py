"""Networks: backbones that fuse, and pseudo-sensors that see the sources again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.functional.padding import crop, pad_to_multiple
from fusionkit.interfaces.component import Component
from fusionkit.interfaces.sample import Images, Sample

__all__ = ["Backbone", "Sensor", "check_modalities", "ordered_sources"]


class Backbone(Component, nn.Module, ABC):
    """A fusion network: fuses the sources into one image."""

    kind = "backbone"
    stride: int = 1
    """``forward`` needs h and w to be multiples of it; the caller pads and crops."""
    modalities: tuple[str, ...] = ()
    """The sources that it was built for, in order; empty if it accepts any."""

    @abstractmethod
    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch of two or more modalities.

        Args:
            sources: Modality name -> (b, 1, h, w) in [0, 1]; h and w are multiples of ``stride``.

        Returns:
            (b, 1, h, w), in [0, 1] up to rounding.
        """

    def fuse(self, sample: Sample) -> Float[Tensor, "1 h w"]:
        """Fuse one sample of any size, without gradients.

        Pads by reflection to a multiple of ``stride``, calls ``forward``, crops and clamps. A
        backbone that needs more than the pixels, the file name for example, overrides this.

        Args:
            sample: A scene; its images may lie on any device.

        Returns:
            (1, h, w) float32 in [0, 1], on the device of the backbone.
        """
        return _fuse_together(self, [sample])[0]

    def fuse_batch(self, samples: Sequence[Sample]) -> list[Float[Tensor, "1 h w"]]:
        """Fuse samples of one size together, which is faster on a GPU if they are small.

        Args:
            samples: Scenes with the same modalities and sizes.

        Returns:
            What ``fuse`` returns for each of them.
        """
        if type(self).fuse is not Backbone.fuse:
            return [self.fuse(sample) for sample in samples]
        return list(_fuse_together(self, samples))

    @property
    def device(self) -> torch.device:
        """The device of the weights; the CPU for a backbone without weights."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def inference_form(self) -> Backbone:
        """Return a network with the same results that only infers, faster; by default itself.

        ``fusionkit.load`` builds it once and compares it with this network. It copies what it needs
        of the weights, takes the sources that ``forward`` takes, and must work in double precision.
        """
        return self

    def training_form(self) -> Backbone:
        """Return a network with equal results and gradients that trains faster; by default itself.

        It keeps the weights of this network instead of copying them, so that a step of the
        optimizer changes both. Every weight that can be trained must get a gradient, if only zeros.
        """
        return self

    def with_statistics_of(self, sources: Images) -> Backbone:
        """Return the backbone with what it measures of whole images fixed to that of ``sources``.

        A network with statistics over all pixels gives other results for a part of an image; with
        fixed ones, parts fit together. Those without such statistics return themselves.

        Args:
            sources: Modality name -> (b, 1, h, w): an image, or equally large parts of one.
        """
        return self

    def exact_form(self) -> Backbone:
        """Return the network as its authors wrote it: itself, unless this is a faster form."""
        return self


def _fuse_together(backbone: Backbone, samples: Sequence[Sample]) -> Float[Tensor, "b 1 h w"]:
    with torch.no_grad():
        images = {
            name: torch.stack([sample.images[name] for sample in samples]).to(backbone.device)
            for name in samples[0].images
        }
        height, width = next(iter(images.values())).shape[-2:]
        padded = {name: pad_to_multiple(image, backbone.stride) for name, image in images.items()}
        return crop(backbone(padded), (height, width)).float().clamp(0, 1)


class Sensor(Component, nn.Module, ABC):
    """A pseudo-sensor: what its modality would see of a fused image."""

    kind = "sensor"
    stride: int = 1
    """``forward`` needs h and w to be multiples of it."""

    @abstractmethod
    def forward(self, fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Map fused images in [0, 1] to images of the modality in [0, 1]."""

    def inference_form(self) -> Sensor:
        """Return a sensor with the same results that only infers, faster; by default itself."""
        return self

    def exact_form(self) -> Sensor:
        """Return the sensor as its authors wrote it: itself, unless this is a faster form."""
        return self


def check_modalities(name: str, modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the modalities that a backbone is built for.

    Raises:
        FusionkitError: unless there are two or more, all different.

    Example:
        >>> check_modalities("my-net", ["infrared", "visible"])
        ('infrared', 'visible')
    """
    if len(modalities) < 2 or len(set(modalities)) < len(modalities):
        raise FusionkitError(
            f"{name}: expected two or more different modalities, found {list(modalities)}"
        )
    return tuple(modalities)


def ordered_sources(backbone: Backbone, sources: Images) -> list[Tensor]:
    """Return the sources in the order of ``backbone.modalities``; others are left out.

    Raises:
        FusionkitError: if a modality that the backbone was built for is missing.

    Example:
        >>> import fusionkit as fk
        >>> network = fk.build("backbone", name="ufuser", modalities=("infrared", "visible"))
        >>> images = {"visible": torch.ones(1, 1, 8, 8), "infrared": torch.zeros(1, 1, 8, 8)}
        >>> [float(image.mean()) for image in ordered_sources(network, images)]
        [0.0, 1.0]
    """
    if missing := [name for name in backbone.modalities if name not in sources]:
        raise FusionkitError(
            f"{backbone.name}: expected the sources {', '.join(backbone.modalities)}, found "
            f"{', '.join(sources) or 'none'}; missing: {', '.join(missing)}"
        )
    return [sources[name] for name in backbone.modalities]
