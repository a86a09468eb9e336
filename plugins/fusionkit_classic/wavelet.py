"""Fusion of undecimated wavelet transforms."""

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
"""Decomposition low-pass filters of Daubechies' orthogonal wavelets, of unit norm."""


class Wavelet(Backbone):
    """Strongest wavelet coefficient in each band, mean of the approximations.

    The transform is undecimated (a trous), so it does not see shifts and leaves no blocks; Li,
    Manjunath and Mitra, 1995, for the rule of the maximum.

    Args:
        levels: Number of scales; fewer where the filter would outgrow the image.
        filter: Orthogonal wavelet.
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
        """Fuse; sources that are equal come back."""
        x = stack(sources)
        m, b, _, h, w = x.shape
        low, high = filters(self.filter, x)
        levels = self.levels
        # Reflection reaches at most to the other border.
        while levels > 1 and (len(low) - 1) * 2 ** (levels - 1) >= min(h, w):
            levels -= 1
        approximation = x.reshape(m * b, 1, h, w)
        bands = []
        for level in range(levels):
            details, approximation = analyse(approximation, low, high, 2**level)
            bands.append(
                [_strongest(detail.reshape(m, b, 1, *detail.shape[-2:])) for detail in details]
            )
        fused = approximation.reshape(m, b, 1, *approximation.shape[-2:]).mean(dim=0)
        for level in reversed(range(levels)):
            fused = synthesise(fused, bands[level], low, high, 2**level)
        return fused.clamp(0, 1)


def filters(name: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the analysis low-pass and high-pass, scaled so that analysis keeps the mean."""
    low = like.new_tensor(LOW_PASS[name]) / 2**0.5
    signs = like.new_tensor([(-1.0) ** (k + 1) for k in range(len(low))])
    return low, low.flip(0) * signs


def analyse(x: Tensor, low: Tensor, high: Tensor, step: int) -> tuple[list[Tensor], Tensor]:
    """Split into three detail bands and the approximation, all padded by the filter's reach."""
    reach = (len(low) - 1) * step
    # The reach is kept as a border on all bands; synthesis eats it up again.
    x = _reflect(x, reach)
    rows_low, rows_high = _along(x, low, step, -2), _along(x, high, step, -2)
    return (
        [
            _along(rows_low, high, step, -1),
            _along(rows_high, low, step, -1),
            _along(rows_high, high, step, -1),
        ],
        _along(rows_low, low, step, -1),
    )


def synthesise(
    approximation: Tensor, details: list[Tensor], low: Tensor, high: Tensor, step: int
) -> Tensor:
    """Invert ``analyse``: time-reversed filters, and the redundancy of each axis divided out."""
    back_low, back_high = low.flip(0), high.flip(0)
    rows_low = _along(approximation, back_low, step, -1) + _along(details[0], back_high, step, -1)
    rows_high = _along(details[1], back_low, step, -1) + _along(details[2], back_high, step, -1)
    return _along(rows_low, back_low, step, -2) + _along(rows_high, back_high, step, -2)


def _along(x: Tensor, taps: Tensor, step: int, axis: int) -> Tensor:
    shape = (1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1)
    dilation = (step, 1) if axis == -2 else (1, step)
    return F.conv2d(x, taps.view(shape), dilation=dilation)


def _reflect(x: Tensor, reach: int) -> Tensor:
    return F.pad(x, (reach, reach, reach, reach), mode="reflect") if reach else x


def _strongest(bands: Float[Tensor, "m b 1 h w"]) -> Tensor:
    choice = bands.abs().argmax(dim=0, keepdim=True)
    return bands.gather(0, choice)[0]
