"""Backbone ``wavelet``, and the undecimated wavelet transform."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.pointwise import stack

LOW_PASS = {
    "haar": (0.7071067811865476, 0.7071067811865476),
    "db2": (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025),
    "sym4": (
        -0.07576571478927333,
        -0.02963552764599851,
        0.49761866763201545,
        0.8037387518059161,
        0.29785779560527736,
        -0.09921954357684722,
        -0.012603967262037833,
        0.0322231006040427,
    ),
}
"""Low-pass analysis filters of orthogonal wavelets (Daubechies), with unit norm."""


class Wavelet(Backbone):
    """Wavelet fusion: the largest coefficient of each band (Li, Manjunath and Mitra, 1995).

    Each detail coefficient comes from the source where its magnitude is largest; approximations are
    averaged. The transform is undecimated (a trous), so that it is invariant to shifts and
    leaves no block artefacts. Li, Manjunath and Mitra, "Multisensor Image Fusion Using the Wavelet
    Transform", Graphical Models and Image Processing, 1995.

    Args:
        levels: Largest number of scales; a small image has fewer, because a filter must not be
            longer than the image.
        filter: Name of the orthogonal wavelet.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="wavelet", filter="haar")
        >>> sources = {"infrared": torch.rand(2, 1, 48, 64), "visible": torch.rand(2, 1, 48, 64)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 48, 64)
    """

    name = "wavelet"

    def __init__(
        self,
        levels: Annotated[int, Field(ge=1, le=8)] = 3,
        filter: Literal["haar", "db2", "sym4"] = "db2",
    ):
        super().__init__()
        self.levels = levels
        self.filter = filter

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; returns the common image where all sources are equal."""
        x = stack(sources)
        m, b, _, h, w = x.shape
        low, high = filters(self.filter, x)
        levels = self.levels
        # An image cannot be padded by reflection by more than its own size.
        while levels > 1 and (len(low) - 1) * 2 ** (levels - 1) >= min(h, w):
            levels -= 1
        approximation = x.reshape(m * b, 1, h, w)
        bands = []
        for level in range(levels):
            details, approximation = analyse(approximation, low, high, 2**level)
            bands.append(
                [_largest(detail.reshape(m, b, 1, *detail.shape[-2:])) for detail in details]
            )
        fused = approximation.reshape(m, b, 1, *approximation.shape[-2:]).mean(dim=0)
        for level in reversed(range(levels)):
            fused = synthesise(fused, bands[level], low, high, 2**level)
        return fused.clamp(0, 1)


def filters(name: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the low-pass and high-pass analysis filters, scaled to keep the mean of an image.

    Args:
        name: Key of ``LOW_PASS``.
        like: Tensor whose type and device the filters get.
    """
    low = like.new_tensor(LOW_PASS[name]) / 2**0.5
    signs = like.new_tensor([(-1.0) ** (k + 1) for k in range(len(low))])
    return low, low.flip(0) * signs


def analyse(x: Tensor, low: Tensor, high: Tensor, step: int) -> tuple[list[Tensor], Tensor]:
    """Split images into three detail bands and an approximation, at one scale.

    Args:
        x: (b, 1, h, w).
        low: Low-pass filter.
        high: High-pass filter.
        step: Distance between the filter taps in pixels; doubles from scale to scale.

    Returns:
        Details and approximation. They are larger than ``x`` by (len(low) - 1) * step pixels, which
        ``synthesise`` removes again.

    Example:
        >>> import torch
        >>> x = torch.rand(1, 1, 16, 16)
        >>> low, high = filters("db2", x)
        >>> details, approximation = analyse(x, low, high, step=1)
        >>> len(details), tuple(approximation.shape)
        (3, (1, 1, 19, 19))
    """
    border = (len(low) - 1) * step
    x = F.pad(x, (border,) * 4, mode="reflect")
    rows_low, rows_high = _convolve(x, low, step, -2), _convolve(x, high, step, -2)
    return (
        [
            _convolve(rows_low, high, step, -1),
            _convolve(rows_high, low, step, -1),
            _convolve(rows_high, high, step, -1),
        ],
        _convolve(rows_low, low, step, -1),
    )


def synthesise(
    approximation: Tensor, details: list[Tensor], low: Tensor, high: Tensor, step: int
) -> Tensor:
    """Return the images whose bands ``analyse`` returned.

    Uses the reversed filters. Their scale, see ``filters``, divides out the twofold redundancy of
    the undecimated transform along each axis.

    Example:
        >>> import torch
        >>> x = torch.rand(1, 1, 16, 16)
        >>> low, high = filters("db2", x)
        >>> details, approximation = analyse(x, low, high, step=1)
        >>> torch.allclose(synthesise(approximation, details, low, high, step=1), x, atol=1e-6)
        True
    """
    back_low, back_high = low.flip(0), high.flip(0)
    rows_low = _convolve(approximation, back_low, step, -1) + _convolve(
        details[0], back_high, step, -1
    )
    rows_high = _convolve(details[1], back_low, step, -1) + _convolve(
        details[2], back_high, step, -1
    )
    return _convolve(rows_low, back_low, step, -2) + _convolve(rows_high, back_high, step, -2)


def _convolve(x: Tensor, taps: Tensor, step: int, axis: int) -> Tensor:
    shape = (1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1)
    dilation = (step, 1) if axis == -2 else (1, step)
    return F.conv2d(x, taps.view(shape), dilation=dilation)


def _largest(bands: Float[Tensor, "m b 1 h w"]) -> Tensor:
    choice = bands.abs().argmax(dim=0, keepdim=True)
    return bands.gather(0, choice)[0]
