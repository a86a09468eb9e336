"""Fusion metrics as components, each with one function per profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional import metrics as functional
from fusionkit.interfaces import Images, Metric

Profile = Literal[
    "cddfuse", "tang", "zoo", "vifb", "vfbench", "petrovic", "liu", "cvejic", "haghighat"
]
"""Profiles: the evaluation code whose conventions a metric follows. Not every metric has them all.

``cddfuse``: the evaluation code of CDDFuse, DDFM and EMMA. ``tang``: the MATLAB code and
spreadsheets of L. Tang's Image-Fusion. ``zoo``: IVIF_ZOO. ``vifb``: the benchmark VIFB.
``vfbench``: VF-Bench. ``petrovic``: the formula in the paper on Qabf. ``liu``: the MATLAB toolbox
of Z. Liu (TPAMI 2012). ``cvejic``: the formula in the paper on TE. ``haghighat``: Fast-FMI.
"""

_OfFused = Callable[[Tensor], Tensor]
_OfBoth = Callable[[Tensor, Sequence[Tensor]], Tensor]


class _Profiled(Metric):
    """A metric with one function for each of its profiles."""

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
            FusionkitError: if there is no source, or a source and the fused image differ in shape.
        """
        if not sources:
            raise FusionkitError(f"the metric {self.name} needs one source or more, found none")
        for modality, source in sources.items():
            if source.shape != fused.shape:
                raise FusionkitError(
                    f"the metric {self.name} expects sources of the same shape as the fused "
                    f"image, {tuple(fused.shape)}, found {tuple(source.shape)} for {modality!r}; "
                    f"resize or crop one of them"
                )
        return self.functions[self.profile](
            _eight_bit(fused), [_eight_bit(source) for source in sources.values()]
        )


def _defined(metric: Metric, profile: str) -> str:
    """Return the profile; raise FusionkitError if the metric does not have it."""
    if profile not in metric.profiles:
        raise FusionkitError(
            f"the metric {metric.name} has the profiles {', '.join(metric.profiles)}, found "
            f"{profile!r}" + nearest(profile, metric.profiles)
        )
    return profile


def _eight_bit(x: Tensor) -> Tensor:
    """Return the grey levels, 0 to 255, of the 8-bit image that would be saved."""
    return (x * 255).round_().clamp_(0, 255)


_ALL = ("cddfuse", "tang", "zoo", "vifb", "vfbench")


class EN(_NoReference):
    """Entropy of the fused image in bits, 0 to 8; higher is better (Shannon, 1948).

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.tensor([0.0, 1.0]).repeat(1, 1, 8, 4)
        >>> fk.build("metric", name="EN")(fused, {})
        tensor([1.], dtype=torch.float64)
    """

    name = "EN"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "tang", "vifb", "vfbench"), functional.entropy),
        "zoo": partial(functional.entropy, epsilon=1e-7),
    }


class SD(_NoReference):
    """Standard deviation of the fused image in grey levels (contrast); higher is better.

    The profile ``vifb`` calls it variance.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.tensor([0.0, 1.0]).repeat(1, 1, 8, 4)
        >>> fk.build("metric", name="SD")(fused, {})
        tensor([127.5000], dtype=torch.float64)
    """

    name = "SD"
    functions: ClassVar = dict.fromkeys(_ALL, functional.standard_deviation)


class SF(_NoReference):
    """Spatial frequency in grey levels per pixel; higher is better (Eskicioglu and Fisher, 1995).

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.tensor([0.0, 1.0]).repeat(1, 1, 8, 4)
        >>> fk.build("metric", name="SF")(fused, {})
        tensor([255.], dtype=torch.float64)
    """

    name = "SF"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "zoo", "vfbench"), functional.spatial_frequency),
        "vifb": partial(functional.spatial_frequency, over_all=True),
        "tang": partial(functional.spatial_frequency, white=1.0),
    }


class AG(_NoReference):
    """Average gradient in grey levels per pixel; higher is better (Cui et al., 2015).

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.tensor([0.0, 1.0]).repeat(1, 1, 8, 4)
        >>> fk.build("metric", name="AG")(fused, {})
        tensor([45.0781], dtype=torch.float64)
    """

    name = "AG"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "zoo", "vfbench"), functional.average_gradient),
        **dict.fromkeys(("tang", "vifb"), partial(functional.average_gradient, over_inner=True)),
    }


class SCD(_WithSources):
    """Sum of the correlations of differences; higher is better (Aslantas and Bendes, AEU 2015).

    Sum over two sources of the correlation between one source and the difference of the fused image
    and the other source.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="SCD")(fused, sources)
        tensor([0.7052], dtype=torch.float64)
    """

    name = "SCD"
    functions: ClassVar = dict.fromkeys(_ALL, functional.differences_correlation)


class VIF(_WithSources):
    """Visual information fidelity; higher is better (Sheikh and Bovik, IEEE TIP 2006).

    Summed over the sources; their mean in the profile ``vfbench``.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="VIF")(fused, sources)
        tensor([1.0014], dtype=torch.float64)
    """

    name = "VIF"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "tang"), functional.visual_information_fidelity),
        "vfbench": partial(functional.visual_information_fidelity, average=True),
        "zoo": partial(functional.visual_information_fidelity, padded=True),
    }


class MI(_WithSources):
    """Mutual information of fused image and sources; higher is better (Qu et al., 2002).

    Summed over the sources. In nats; in bits in the profiles ``tang`` and ``zoo``.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="MI")(fused, sources)
        tensor([8.2722], dtype=torch.float64)
    """

    name = "MI"
    functions: ClassVar = {
        "cddfuse": functional.mutual_information,
        "tang": partial(functional.mutual_information, base=2.0, saturated=True),
        "zoo": partial(functional.mutual_information, base=2.0),
    }


class Qabf(_WithSources):
    """Edge information transferred from the sources, 0 to 1 (Xydeas and Petrovic, 2000).

    Higher is better. Electronics Letters 36(4), 2000.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="Qabf")(fused, sources)
        tensor([0.5597], dtype=torch.float64)
    """

    name = "Qabf"
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "tang", "zoo"), functional.edge_transfer),
        "petrovic": partial(functional.edge_transfer, textbook=True),
    }


class Nabf(_WithSources):
    """Fusion artefacts: edges that no source has, 0 to 1 (Shreyamsha Kumar, SIViP 2013).

    Lower is better.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="Nabf")(fused, sources)
        tensor([0.], dtype=torch.float64)
    """

    name = "Nabf"
    higher_is_better = False
    functions: ClassVar = {
        **dict.fromkeys(("cddfuse", "zoo"), functional.fusion_artifacts),
        "tang": partial(functional.fusion_artifacts, permuted=True),
    }


class SSIM(_WithSources):
    """Structural similarity to the sources; higher is better (Wang et al., IEEE TIP 2004).

    Summed over the sources; their mean in the profiles ``tang`` and ``vfbench``.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="SSIM")(fused, sources)
        tensor([1.0090], dtype=torch.float64)
    """

    name = "SSIM"
    functions: ClassVar = {
        "cddfuse": functional.structural_similarity,
        **dict.fromkeys(
            ("vifb", "zoo"),
            partial(functional.structural_similarity, window="gaussian", data_range=255.0),
        ),
        # tang has images in [0, 1] and a data range of 1, which gives the same values.
        **dict.fromkeys(
            ("vfbench", "tang"),
            partial(
                functional.structural_similarity, window="gaussian", data_range=255.0, average=True
            ),
        ),
    }


class MSSSIM(_WithSources):
    """Structural similarity at five scales (Wang, Simoncelli and Bovik, Asilomar 2003).

    Summed over the sources; higher is better. Images must have at least 176 x 176 pixels.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 192, 192, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="MS-SSIM", profile="zoo")(fused, sources)
        tensor([1.], dtype=torch.float64)
    """

    name = "MS-SSIM"
    example: ClassVar = {"profile": "zoo"}
    by_default = False
    functions: ClassVar = {"zoo": functional.multiscale_similarity}


class CC(_WithSources):
    """Correlation with the sources, averaged over them, -1 to 1; higher is better.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="CC")(fused, sources)
        tensor([0.5028], dtype=torch.float64)
    """

    name = "CC"
    functions: ClassVar = dict.fromkeys(_ALL, functional.correlation)


class PSNR(_WithSources):
    """Peak signal-to-noise ratio against the sources in dB; higher is better.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="PSNR")(fused, sources)
        tensor([10.8573], dtype=torch.float64)
    """

    name = "PSNR"
    functions: ClassVar = {
        "cddfuse": functional.peak_signal_to_noise,
        **dict.fromkeys(
            ("tang", "zoo"), partial(functional.peak_signal_to_noise, white=1.0, peak=255.0)
        ),
    }


class MSE(_WithSources):
    """Mean squared error against the sources in squared grey levels; lower is better.

    In the profiles ``tang`` and ``zoo``, grey levels are in [0, 1].

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="MSE")(fused, sources)
        tensor([5337.6208], dtype=torch.float64)
    """

    name = "MSE"
    higher_is_better = False
    functions: ClassVar = {
        "cddfuse": functional.mean_squared_error,
        **dict.fromkeys(("tang", "zoo"), partial(functional.mean_squared_error, white=1.0)),
    }


class CE(_WithSources):
    """Cross entropy between the levels of the sources and the fused image, in bits.

    Lower is better (Bulanon et al., Biosystems Engineering 2009). In the profile ``zoo``, it is the
    binary cross entropy of the pixels.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="CE", profile="vifb")(fused**2, sources)
        tensor([0.3829], dtype=torch.float64)
    """

    name = "CE"
    example: ClassVar = {"profile": "vifb"}
    higher_is_better = False
    functions: ClassVar = {
        "vifb": functional.cross_entropy,
        "zoo": partial(functional.cross_entropy, of_pixels=True),
    }


class NMI(_WithSources):
    """Normalized mutual information; higher is better (Hossny et al., Electronics Letters 2008).

    Summed over the sources. In the profile ``zoo``, it is divided by the sources' entropies.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="NMI", profile="liu")(fused, sources)
        tensor([1.4998], dtype=torch.float64)
    """

    name = "NMI"
    example: ClassVar = {"profile": "liu"}
    functions: ClassVar = {
        "liu": functional.normalized_mutual_information,
        "zoo": partial(functional.normalized_mutual_information, of_sources=True),
    }


class QNCIE(_WithSources):
    """Nonlinear correlation information entropy, 0 to 1; higher is better (Wang et al., 2008).

    In the profile ``zoo``, correlations are Pearson's.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="QNCIE", profile="liu")(fused, sources)
        tensor([0.9045], dtype=torch.float64)
    """

    name = "QNCIE"
    example: ClassVar = {"profile": "liu"}
    functions: ClassVar = {
        "liu": functional.nonlinear_correlation,
        "zoo": partial(functional.nonlinear_correlation, linear=True),
    }


class TE(_WithSources):
    """Mutual information of Tsallis' entropy; higher is better (Cvejic et al., 2006).

    Summed over the sources; of order 1.85. Electronics Letters 42(11), 2006.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="TE", profile="cvejic")(fused, sources)
        tensor([141.1040], dtype=torch.float64)
    """

    name = "TE"
    example: ClassVar = {"profile": "cvejic"}
    functions: ClassVar = {
        "liu": partial(functional.tsallis_information, exchanged=True),
        "cvejic": functional.tsallis_information,
    }


class EI(_NoReference):
    """Edge intensity: mean strength of Sobel's gradients; higher is better.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="EI", profile="vifb")(fused, sources)
        tensor([323.9995], dtype=torch.float64)
    """

    name = "EI"
    example: ClassVar = {"profile": "vifb"}
    functions: ClassVar = {
        "vifb": functional.edge_intensity,
        "zoo": partial(functional.edge_intensity, border="zeros"),
    }


class Qy(_WithSources):
    """Similarity with the source that is like the fused image, at most 1; higher is better.

    C. Yang et al., Information Fusion 9(2), 2008.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="Qy", profile="liu")(fused, sources)
        tensor([1.], dtype=torch.float64)
    """

    name = "Qy"
    example: ClassVar = {"profile": "liu"}
    functions: ClassVar = {"liu": functional.similarity_of_regions}


class Qcb(_WithSources):
    """Preserved local contrast, as the eye sees it, 0 to 1; higher is better.

    Chen and Blum, Image and Vision Computing 27(10), 2009.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="Qcb", profile="vifb")(fused, sources)
        tensor([0.7264], dtype=torch.float64)
    """

    name = "Qcb"
    example: ClassVar = {"profile": "vifb"}
    functions: ClassVar = {
        **dict.fromkeys(("vifb", "liu"), functional.contrast_preservation),
        "zoo": partial(functional.contrast_preservation, narrow=True),
    }


class Qcv(_WithSources):
    """Difference from the sources where they are salient, as the eye sees it; lower is better.

    In squared grey levels. Chen and Varshney, Information Fusion 8(2), 2007.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="Qcv", profile="vifb")(fused, sources)
        tensor([4482.4900], dtype=torch.float64)
    """

    name = "Qcv"
    example: ClassVar = {"profile": "vifb"}
    higher_is_better = False
    functions: ClassVar = dict.fromkeys(("vifb", "liu"), functional.perceived_difference)


class FMIPixel(_WithSources):
    """Feature mutual information of grey levels, at most 1; higher is better.

    Many papers' "FMI_pixel", near 0.9, is not this: Fast-FMI takes edge maps by default.

    Averaged over the sources. Haghighat et al., Computers and Electrical Engineering, 2011.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="FMI-pixel", profile="haghighat")(fused, sources)
        tensor([0.5518], dtype=torch.float64)
    """

    name = "FMI-pixel"
    example: ClassVar = {"profile": "haghighat"}
    functions: ClassVar = {"haghighat": partial(functional.feature_information, feature="pixel")}


class FMIDct(_WithSources):
    """Feature mutual information of the discrete cosine transform, at most 1; higher is better.

    Averaged over the sources. Haghighat et al., Computers and Electrical Engineering, 2011.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="FMI-dct", profile="haghighat")(fused, sources)
        tensor([0.6094], dtype=torch.float64)
    """

    name = "FMI-dct"
    example: ClassVar = {"profile": "haghighat"}
    functions: ClassVar = {"haghighat": partial(functional.feature_information, feature="dct")}


class FMIWavelet(_WithSources):
    """Feature mutual information of the discrete Meyer wavelet, at most 1; higher is better.

    Averaged over the sources. Haghighat et al., Computers and Electrical Engineering, 2011.

    Args:
        profile: Evaluation code whose conventions to follow.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> fused = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> sources = {"infrared": fused, "visible": fused.flip(-1)}
        >>> fk.build("metric", name="FMI-wavelet", profile="haghighat")(fused, sources)
        tensor([0.5524], dtype=torch.float64)
    """

    name = "FMI-wavelet"
    example: ClassVar = {"profile": "haghighat"}
    functions: ClassVar = {"haghighat": partial(functional.feature_information, feature="wavelet")}


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
    CE,
    NMI,
    QNCIE,
    TE,
    EI,
    Qy,
    Qcb,
    Qcv,
    FMIPixel,
    FMIDct,
    FMIWavelet,
)
"""All metrics, in the order of tables."""
