"""The fusion metrics as components: name, profile, direction, and the function that computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional import metrics as functional
from fusionkit.interfaces import Images, Metric

Profile = Literal["cddfuse", "tang", "zoo", "vifb", "vfbench", "petrovic"]
"""Whose conventions a metric can follow; a metric need not be defined in all of them.

``cddfuse``: the evaluator of CDDFuse, DDFM and EMMA. ``tang``: the MATLAB code and spreadsheets of
L. Tang's Image-Fusion. ``zoo``: IVIF_ZOO. ``vifb``: the benchmark VIFB. ``vfbench``: VF-Bench.
``petrovic``: the formula of the paper on Qabf.
"""

_OfFused = Callable[[Tensor], Tensor]
_OfBoth = Callable[[Tensor, Sequence[Tensor]], Tensor]


class _Profiled(Metric):
    """A metric with one function for each profile that it is defined in."""

    higher_is_better = True
    functions: ClassVar[Mapping[str, Callable[..., Tensor]]]

    def __init_subclass__(cls) -> None:
        if "functions" in cls.__dict__:
            cls.profiles = tuple(cls.functions)

    def __init__(self, profile: Profile = "cddfuse"):
        self.profile = _defined(self, profile)
        if profile == "tang":
            self.grey = "matlab"


class _NoReference(_Profiled):
    """A metric of the fused image alone."""

    functions: ClassVar[Mapping[str, _OfFused]]

    def __call__(self, fused: Float[Tensor, "b 1 h w"], sources: Images) -> Float[Tensor, " b"]:
        """Score each image of a batch."""
        return self.functions[self.profile](_eight_bit(fused))


class _WithSources(_Profiled):
    """A metric of the fused image and its sources."""

    functions: ClassVar[Mapping[str, _OfBoth]]

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


_ALL = ("cddfuse", "tang", "zoo", "vifb", "vfbench")


class EN(_NoReference):
    """Entropy of the fused image, in bits."""

    name = "EN"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "tang", "vifb", "vfbench"), functional.entropy),
        "zoo": partial(functional.entropy, epsilon=1e-7),
    }


class SD(_NoReference):
    """Standard deviation of the fused image, in grey levels; ``vifb`` calls it Variance."""

    name = "SD"
    functions: ClassVar = dict.fromkeys(_ALL, functional.standard_deviation)


class SF(_NoReference):
    """Spatial frequency of the fused image, in grey levels per pixel."""

    name = "SF"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "zoo", "vfbench"), functional.spatial_frequency),
        "vifb": partial(functional.spatial_frequency, over_all=True),
        "tang": partial(functional.spatial_frequency, white=1.0),
    }


class AG(_NoReference):
    """Average gradient of the fused image, in grey levels per pixel."""

    name = "AG"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "zoo", "vfbench"), functional.average_gradient),
        **dict.fromkeys(("tang", "vifb"), partial(functional.average_gradient, over_inner=True)),
    }


class SCD(_WithSources):
    """Sum of the correlations of differences."""

    name = "SCD"
    functions: ClassVar = dict.fromkeys(_ALL, functional.differences_correlation)


class VIF(_WithSources):
    """Visual information fidelity, summed over the sources; their mean in ``vfbench``."""

    name = "VIF"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "tang"), functional.visual_information_fidelity),
        "vfbench": partial(functional.visual_information_fidelity, average=True),
        "zoo": partial(functional.visual_information_fidelity, padded=True),
    }


class MI(_WithSources):
    """Mutual information with the sources, summed, in nats; in bits in ``tang`` and ``zoo``."""

    name = "MI"
    functions: ClassVar = {
        "cddfuse": functional.mutual_information,
        "tang": partial(functional.mutual_information, base=2.0, saturated=True),
        "zoo": partial(functional.mutual_information, base=2.0),
    }


class Qabf(_WithSources):
    """Edge information carried over from the sources."""

    name = "Qabf"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "tang", "zoo"), functional.edge_transfer),
        "petrovic": partial(functional.edge_transfer, textbook=True),
    }


class Nabf(_WithSources):
    """Edges of the fused image that no source has: artefacts."""

    name = "Nabf"
    higher_is_better = False
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "zoo"), functional.fusion_artifacts),
        "tang": partial(functional.fusion_artifacts, permuted=True),
    }


class SSIM(_WithSources):
    """Structural similarity with the sources, summed; their mean in ``tang`` and ``vfbench``."""

    name = "SSIM"
    functions: ClassVar = {
        "cddfuse": functional.structural_similarity,
        **dict.fromkeys(
            ("vifb", "zoo"),
            partial(functional.structural_similarity, window="gaussian", data_range=255.0),
        ),
        # tang: images of 0 .. 1 with a data range of 1, which is the same.
        **dict.fromkeys(
            ("vfbench", "tang"),
            partial(
                functional.structural_similarity, window="gaussian", data_range=255.0, average=True
            ),
        ),
    }


class MSSSIM(_WithSources):
    """Structural similarity at five scales, summed over the sources; from 176 pixels a side on."""

    name = "MS-SSIM"
    example: ClassVar = {"profile": "zoo"}
    by_default = False
    functions: ClassVar = {"zoo": functional.multiscale_similarity}


class CC(_WithSources):
    """Mean correlation with the sources."""

    name = "CC"
    functions: ClassVar = dict.fromkeys(_ALL, functional.correlation)


class PSNR(_WithSources):
    """Peak signal to noise ratio against the sources, in dB."""

    name = "PSNR"
    functions: ClassVar = {
        "cddfuse": functional.peak_signal_to_noise,
        **dict.fromkeys(
            ("tang", "zoo"), partial(functional.peak_signal_to_noise, white=1.0, peak=255.0)
        ),
    }


class MSE(_WithSources):
    """Mean squared error against the sources, in squared grey levels; of 0 .. 1 in ``tang``."""

    name = "MSE"
    higher_is_better = False
    functions: ClassVar = {
        "cddfuse": functional.mean_squared_error,
        **dict.fromkeys(("tang", "zoo"), partial(functional.mean_squared_error, white=1.0)),
    }


METRICS: tuple[type[Metric], ...] = (
    EN,
    SD,
    SF,
    AG,
    SCD,
    VIF,
    MI,
    Qabf,
    Nabf,
    SSIM,
    MSSSIM,
    CC,
    PSNR,
    MSE,
)
"""In the order in which tables show them."""
