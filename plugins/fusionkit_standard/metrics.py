"""The fusion metrics as components: name, profile, direction, and the function that computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional import metrics as functional
from fusionkit.interfaces import Images, Metric

Profile = Literal["cddfuse"]
"""Whose conventions a metric can follow; a metric need not be defined in all of them."""

_OfFused = Callable[[Tensor], Tensor]
_OfBoth = Callable[[Tensor, Sequence[Tensor]], Tensor]


class _NoReference(Metric):
    """A metric of the fused image alone: one function for each profile."""

    higher_is_better = True
    profiles = ("cddfuse",)
    functions: ClassVar[Mapping[str, _OfFused]]

    def __init__(self, profile: Profile = "cddfuse"):
        self.profile = _defined(self, profile)

    def __call__(self, fused: Float[Tensor, "b 1 h w"], sources: Images) -> Float[Tensor, " b"]:
        """Score each image of a batch."""
        return self.functions[self.profile](_eight_bit(fused))


class _WithSources(Metric):
    """A metric of the fused image and its sources: one function for each profile."""

    higher_is_better = True
    profiles = ("cddfuse",)
    functions: ClassVar[Mapping[str, _OfBoth]]

    def __init__(self, profile: Profile = "cddfuse"):
        self.profile = _defined(self, profile)

    def __call__(self, fused: Float[Tensor, "b 1 h w"], sources: Images) -> Float[Tensor, " b"]:
        """Score each image of a batch.

        Raises:
            FusionkitError: if there is no source, or one has another shape than the fused images.
        """
        if not sources:
            raise FusionkitError(
                f"the metric {self.name} needs the sources of the fused image, found none"
            )
        for modality, source in sources.items():
            if source.shape != fused.shape:
                raise FusionkitError(
                    f"the metric {self.name} expects sources of the shape of the fused images, "
                    f"{tuple(fused.shape)}, found {tuple(source.shape)} for {modality!r}; "
                    f"resize or crop one of them"
                )
        return self.functions[self.profile](
            _eight_bit(fused), [_eight_bit(source) for source in sources.values()]
        )


def _defined(metric: Metric, profile: str) -> str:
    """Return the profile; raise FusionkitError if the metric is not defined in it."""
    if profile not in metric.profiles:
        raise FusionkitError(
            f"the metric {metric.name} has no profile {profile!r} "
            f"(it has: {', '.join(metric.profiles)})" + nearest(profile, metric.profiles)
        )
    return profile


def _eight_bit(x: Tensor) -> Tensor:
    """Grey levels 0 .. 255 of the 8-bit image that would be saved."""
    return (x * 255).round().clamp(0, 255)


class EN(_NoReference):
    """Entropy of the fused image, in bits."""

    name = "EN"
    functions: ClassVar = {"cddfuse": functional.entropy}


class SD(_NoReference):
    """Standard deviation of the fused image, in grey levels."""

    name = "SD"
    functions: ClassVar = {"cddfuse": functional.standard_deviation}


class SF(_NoReference):
    """Spatial frequency of the fused image, in grey levels per pixel."""

    name = "SF"
    functions: ClassVar = {"cddfuse": functional.spatial_frequency}


class AG(_NoReference):
    """Average gradient of the fused image, in grey levels per pixel."""

    name = "AG"
    functions: ClassVar = {"cddfuse": functional.average_gradient}


class SCD(_WithSources):
    """Sum of the correlations of differences."""

    name = "SCD"
    functions: ClassVar = {"cddfuse": functional.differences_correlation}


class VIF(_WithSources):
    """Visual information fidelity, summed over the sources."""

    name = "VIF"
    functions: ClassVar = {"cddfuse": functional.visual_information_fidelity}


class MI(_WithSources):
    """Mutual information with the sources, summed, in nats."""

    name = "MI"
    functions: ClassVar = {"cddfuse": functional.mutual_information}


class Qabf(_WithSources):
    """Edge information carried over from the sources."""

    name = "Qabf"
    functions: ClassVar = {"cddfuse": functional.edge_transfer}


class SSIM(_WithSources):
    """Structural similarity with the sources, summed."""

    name = "SSIM"
    functions: ClassVar = {"cddfuse": functional.structural_similarity}


class CC(_WithSources):
    """Mean correlation with the sources."""

    name = "CC"
    functions: ClassVar = {"cddfuse": functional.correlation}


class PSNR(_WithSources):
    """Peak signal to noise ratio against the sources, in dB."""

    name = "PSNR"
    functions: ClassVar = {"cddfuse": functional.peak_signal_to_noise}


class MSE(_WithSources):
    """Mean squared error against the sources, in squared grey levels."""

    name = "MSE"
    higher_is_better = False
    functions: ClassVar = {"cddfuse": functional.mean_squared_error}


METRICS: tuple[type[Metric], ...] = (
    EN,
    SD,
    SF,
    AG,
    SCD,
    VIF,
    MI,
    Qabf,
    SSIM,
    CC,
    PSNR,
    MSE,
)
"""In the order in which tables show them."""
