"""Filters that work strip by strip, with shifted sums in place of convolutions.

PyTorch convolves images of one channel slowly on a CPU, and large intermediate images cost more
time than the arithmetic on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

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


def leads(
    magnitudes: Float[Tensor, "m b h w"], top: int, bottom: int, taps: Sequence[float]
) -> list[Float[Tensor, "b n w"]]:
    """Return how much more active than the first each of the other sources is.

    The activity is the magnitude, smoothed in both directions with reflected borders.

    Args:
        magnitudes: Magnitudes of the sources; overwritten.
        top: First row of the result; it needs ``len(taps) // 2`` rows more on either side, which
            are reflected where they are outside of ``magnitudes``.
        bottom: Row after the last one of the result.
        taps: Symmetric weights of the smoothing; the first one is 1.

    Example:
        >>> import torch
        >>> magnitudes = torch.stack([torch.full((1, 4, 4), level) for level in (0.5, 0.25, 1.0)])
        >>> [float(lead.mean()) for lead in leads(magnitudes, 0, 4, (1.0, 2.0, 1.0))]
        [-4.0, 8.0]
    """
    reach = len(taps) // 2
    first, *others = magnitudes.detach()
    found = []
    for other in others:
        # Smoothing is linear, so smooth the difference of two magnitudes, not both of them.
        lead = padded(other.sub_(first)[None], top - reach, bottom + reach, columns=reach)
        found.append(smooth(smooth(lead, -2, taps), -1, taps)[0])
    return found


def wins(leads: Sequence[Tensor]) -> list[Tensor]:
    """Return where each source but the first is more active than all sources before it.

    Args:
        leads: How much more active than the first each of the other sources is.

    Returns:
        1 or 0 at each pixel, for each source but the first.

    Example:
        >>> import torch
        >>> [win.item() for win in wins([torch.tensor(-0.1), torch.tensor(0.1)])]
        [0.0, 1.0]
    """
    if not leads:
        return []
    before = accumulate(leads, torch.maximum, initial=leads[0].new_zeros(()))
    # Into floats, since torch is slow at comparisons that give bool.
    return [
        torch.gt(lead, largest, out=torch.empty_like(lead))
        for lead, largest in zip(leads, before, strict=False)
    ]


def most_active(values: Sequence[Tensor], leads: Sequence[Tensor]) -> Tensor:
    """Return the values of the most active source at each pixel; the first of equal ones wins.

    Args:
        values: Values of each source.
        leads: How much more active than the first each of the other sources is.

    Example:
        >>> import torch
        >>> values = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]
        >>> most_active(values, [torch.tensor([-0.1, 0.1])])
        tensor([1., 4.])
    """
    chosen, *others = values
    for other, win in zip(others, wins(leads), strict=True):
        # torch.where branches at every pixel, which is ten times slower on a CPU.
        chosen = torch.lerp(chosen, other, win)
    return chosen
