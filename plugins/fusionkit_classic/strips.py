"""Filters that work strip by strip, with shifted sums in place of convolutions.

PyTorch convolves images of one channel slowly on a CPU, and large intermediate images cost more
time than the arithmetic on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

STRIP = 2**20
"""Pixels processed at a time: few enough for the CPU cache."""


def in_strips(rows: Callable[[int, int], Tensor], like: Tensor) -> Tensor:
    """Join the results of ``rows(top, bottom)`` for strips that stay in the CPU cache.

    Args:
        rows: Returns the rows from an even ``top`` to ``bottom`` of the result.
        like: Tensor of as many rows as the result.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 100, 30)
        >>> torch.equal(in_strips(lambda top, bottom: 2 * x[:, top:bottom], x), 2 * x)
        True
    """
    height = like.shape[-2]
    step = max(16, STRIP * height // max(1, like.numel()) // 2 * 2)
    strips = [rows(top, min(top + step, height)) for top in range(0, height, step)]
    return strips[0] if len(strips) == 1 else torch.cat(strips, dim=-2)


def padded(x: Float[Tensor, "*b h w"], top: int, bottom: int, columns: int) -> Tensor:
    """Return the rows from ``top`` to ``bottom`` and all columns, with reflected borders.

    Args:
        x: Images, of three or four dimensions.
        top: First row, negative above the image.
        bottom: Row after the last one.
        columns: Columns to add on the left and on the right.

    Example:
        >>> import torch
        >>> padded(torch.arange(6.0).view(1, 1, 3, 2), top=-1, bottom=2, columns=0)[0, 0]
        tensor([[2., 3.],
                [0., 1.],
                [2., 3.]])
    """
    height = x.shape[-2]
    inside = x[..., max(0, top) : min(bottom, height), :]
    padding = (columns, columns, max(0, -top), max(0, bottom - height))
    return F.pad(inside, padding, mode="reflect")


def smooth(x: Tensor, dim: int, taps: Sequence[float], step: int = 1) -> Tensor:
    """Return weighted sums of neighbours, at every ``step``-th place where all are inside.

    Args:
        x: Images.
        dim: Axis of the filter.
        taps: Weights of the neighbours; the first one is 1.
        step: Distance between the places in pixels.

    Example:
        >>> import torch
        >>> smooth(torch.tensor([1.0, 2.0, 4.0, 8.0]), 0, (1.0, 2.0, 1.0))
        tensor([ 9., 18.])
    """
    first, second, *others = x.unfold(dim, len(taps), step).unbind(-1)
    total = torch.add(first, second, alpha=taps[1])
    for tap, other in zip(taps[2:], others, strict=True):
        total.add_(other, alpha=tap)
    return total


def wins(
    magnitudes: Float[Tensor, "m b h w"], top: int, bottom: int, taps: Sequence[float]
) -> list[Float[Tensor, "b n w"]]:
    """Return where each source but the first is more active than all sources before it.

    The activity is the magnitude, smoothed in both directions with reflected borders.

    Args:
        magnitudes: Magnitudes of the sources; overwritten.
        top: First row of the result; it needs ``len(taps) // 2`` rows more on either side, which
            are reflected where they are outside of ``magnitudes``.
        bottom: Row after the last one of the result.
        taps: Symmetric weights of the smoothing; the first one is 1.

    Returns:
        1 or 0 at each pixel, for each source but the first.

    Example:
        >>> import torch
        >>> magnitudes = torch.stack([torch.full((1, 4, 4), level) for level in (0.2, 0.1, 0.3)])
        >>> [float(win.mean()) for win in wins(magnitudes, 0, 4, (1.0, 2.0, 1.0))]
        [0.0, 1.0]
    """
    reach = len(taps) // 2
    first, *others = magnitudes.detach()
    largest: Tensor | float = 0.0
    found = []
    for other in others:
        # Smoothing is linear, so smooth the difference of two magnitudes, not both of them.
        lead = padded(other.sub_(first)[None], top - reach, bottom + reach, columns=reach)
        lead = smooth(smooth(lead, -2, taps), -1, taps)[0]
        # In place, since torch is slow at comparisons that give bool.
        found.append(lead.clone().gt_(largest))
        largest = lead.clamp_min_(largest)
    return found
