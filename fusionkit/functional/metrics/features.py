"""FMI: mutual information of features in small windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError

_SIDE = 3
_WINDOWS = 2**12
"""Windows at a time: few enough to keep 81 values of each in the CPU cache."""
_NOTHING = 1e-9
"""Features of 8-bit levels below are rounding."""

_TAPS = 50
"""Coefficients on each side of the wavelet's filter."""


def feature_information(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    feature: Literal["pixel", "dct", "wavelet"] = "pixel",
) -> Float[Tensor, " b"]:
    """FMI of Haghighat et al. (2011), as computed by Fast-FMI (AICT 2014); 1 for equal images.

    In each window of 3 x 3 features, the features of an image are stretched to 0 .. 1 and divided
    by their sum, as if they were the distribution of a position, column by column. The joint
    distribution of both images' positions mixes independence with the closest dependence, so that
    their correlation is that of the features. FMI is twice the mutual information over the
    entropies, averaged over the windows and the sources. A window counts as 1 if both images are
    equal in it, and as 0 if one is constant in it.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        feature: Grey levels, the discrete cosine transform of the whole image, or one level of
            the discrete Meyer wavelet (its four bands as one image stretched to 0 .. 1).

    Raises:
        FusionkitError: for images of fewer than 3x3 pixels.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> feature_information(ramp, [ramp, ramp.flip(-1)]).item() < 1
        True
    """
    if min(fused.shape[-2:]) < _SIDE:
        raise FusionkitError(
            f"FMI needs images of at least {_SIDE}x{_SIDE} pixels, found "
            f"{fused.shape[-2]}x{fused.shape[-1]}; choose other metrics"
        )
    transform = {"pixel": _pixels, "dct": _cosines, "wavelet": _wavelet}[feature]
    f, *given = (transform(x[:, 0].double()) for x in (fused, *sources))
    rows = max(1, _WINDOWS // (f.shape[-1] - _SIDE + 1))
    total = f.new_zeros(f.shape[0])
    height, width = (n - _SIDE + 1 for n in f.shape[-2:])
    for k in range(f.shape[0]):  # each image alone, as it would be in a batch of its own
        for top in range(0, height, rows):
            strip = slice(top, min(top + rows, height) + _SIDE - 1)
            of_f = _Positions(f[k, strip])
            for source in given:
                total[k] += _information(of_f, _Positions(source[k, strip])).sum()
    return total / (height * width * len(given))


class _Positions:
    """Distributions of positions in the windows of a strip: (9, windows) each."""

    def __init__(self, x: Float[Tensor, "s w"]):
        h, w = (n - _SIDE + 1 for n in x.shape)
        self.features = torch.stack(
            [x[j : j + h, i : i + w].flatten() for i in range(_SIDE) for j in range(_SIDE)]
        )
        low, high = self.features.aminmax(dim=0)
        flat = low == high
        p = torch.where(flat, 1, (self.features - low) / torch.where(flat, 1, high - low))
        self.p = p / p.sum(dim=0)
        self.below = self.p.cumsum(dim=0)
        self.deviation = torch.where(flat, 0, self.p - 1 / _SIDE**2)
        place = torch.arange(_SIDE**2, dtype=x.dtype, device=x.device)[:, None]
        self.spread = (self.p * (place - (self.p * place).sum(dim=0)) ** 2).sum(dim=0).sqrt()
        self.entropy = -torch.xlogy(self.p, self.p).sum(dim=0)


def _information(f: _Positions, s: _Positions) -> Float[Tensor, " n"]:
    norm = (f.deviation.square().sum(dim=0) * s.deviation.square().sum(dim=0)).sqrt()
    c = (f.deviation * s.deviation).sum(dim=0) / torch.where(norm > 0, norm, 1)
    rows, columns = f.below[:, None], s.below[None]
    # The closest dependence of either sign: the bounds of Frechet.
    joint = torch.where(c >= 0, torch.minimum(rows, columns), (rows + columns - 1).clamp_min(0))
    covariance = torch.addcmul(joint, rows, columns, value=-1).sum(dim=(0, 1))
    possible = (covariance != 0) & (f.spread > 0) & (s.spread > 0)
    share = c * f.spread * s.spread / torch.where(possible, covariance, 1)
    share = torch.where(possible, share, 0)
    joint = _differences(_differences(joint, 0), 1).mul_(share)
    joint.addcmul_(f.p[:, None] * (1 - share), s.p[None])
    # A share above 1 makes some of it negative; the original takes the real part of its logarithm.
    both = -torch.xlogy(joint, joint.abs()).sum(dim=(0, 1))
    entropies = f.entropy + s.entropy
    value = 2 * (entropies - both) / torch.where(entropies > 0, entropies, 1)
    value = torch.where(entropies > 0, value, 0)
    return torch.where((f.features == s.features).all(dim=0), 1, value)


def _differences(x: Tensor, axis: int) -> Tensor:
    """Return differences from the one before; the first from 0."""
    return torch.diff(x, dim=axis, prepend=torch.zeros_like(x.narrow(axis, 0, 1)))


def _pixels(x: Tensor) -> Tensor:
    return x


def _cosines(x: Float[Tensor, "b h w"]) -> Tensor:
    """Return the orthonormal discrete cosine transform (II)."""
    down, across = (_cosine_matrix(n, x) for n in x.shape[-2:])
    return _without_rounding(down @ x @ across.mT)


def _cosine_matrix(n: int, x: Tensor) -> Float[Tensor, "n n"]:
    at = torch.arange(n, dtype=x.dtype, device=x.device)
    matrix = torch.cos(math.pi / n * at[:, None] * (at + 0.5)) * (2 / n) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def _wavelet(x: Float[Tensor, "b h w"]) -> Tensor:
    """Return the four bands of the wavelet, stretched to 0 .. 1 together.

    Edges that run across are at the upper right, as in the original.
    """
    down, across = (_wavelet_matrix(n, x) for n in x.shape[-2:])
    bands = down @ x @ across.mT
    top, bottom = bands.chunk(2, dim=1)
    (smooth, upright), (level, both) = top.chunk(2, dim=2), bottom.chunk(2, dim=2)
    bands = torch.cat([torch.cat([smooth, level], 2), torch.cat([upright, both], 2)], 1)
    bands = _without_rounding(bands)
    low, high = bands.amin(dim=(1, 2), keepdim=True), bands.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (bands - low) / (high - low).clamp_min(1e-300), 1)


def _wavelet_matrix(n: int, x: Tensor) -> Float[Tensor, "m n"]:
    """Return the matrix that gives the lower and then the upper band of n values.

    The values are mirrored at the ends, as often as needed.
    """
    half = _meyer_filter(x)
    low = torch.cat([half.new_zeros(1), half[1:].flip(0), half])
    taps = len(low)
    high = low.flip(0) * (1 - 2 * (torch.arange(taps, device=x.device) % 2 == 0).to(x.dtype))
    count = (n + taps - 1) // 2
    k, j = torch.arange(count, device=x.device)[:, None], torch.arange(taps, device=x.device)
    at = (2 * k + 1 - j) % (2 * n)
    at = torch.where(at < n, at, 2 * n - 1 - at)
    matrix = x.new_zeros(2, count, n)
    for band, filtered in zip(matrix, (low, high), strict=True):
        band.scatter_add_(1, at, filtered.expand(count, taps))
    return matrix.flatten(0, 1)


def _meyer_filter(x: Tensor) -> Float[Tensor, " n"]:
    """Return the lowpass filter of Meyer's wavelet from its centre on; MATLAB has it to 5e-11."""
    frequency = torch.fft.fftfreq(4096, dtype=x.dtype, device=x.device).abs()
    v = (6 * frequency - 1).clamp(0, 1)  # from 1/6 to 1/3 the response falls from 1 to 0
    smooth = v**4 * (35 - 84 * v + 70 * v**2 - 20 * v**3)
    response = torch.cos(math.pi / 2 * smooth) * 2**0.5
    response[frequency >= 1 / 3] = 0
    return torch.fft.ifft(response).real[: _TAPS + 1]


def _without_rounding(x: Tensor) -> Tensor:
    return torch.where(x.abs() < _NOTHING, 0, x)
