"""Edge strength and structural similarity, as several losses need them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.gradients import sobel


def edge_strength(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Return |dx| + |dy| by the normalized Sobel operator.

    Example:
        >>> import torch
        >>> ramp = torch.arange(5.0).expand(1, 1, 5, 5)
        >>> edge_strength(ramp)[0, 0, 2]
        tensor([0.5000, 1.0000, 1.0000, 1.0000, 0.5000])
    """
    return sobel(x).abs().sum(dim=2)


def mean_ssim(a: Float[Tensor, "b 1 h w"], b: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Return the mean SSIM of each pair of images (Wang et al., 2004; window 11, range 1).

    Example:
        >>> import torch
        >>> x = torch.rand(2, 1, 32, 32)
        >>> mean_ssim(x, x)
        tensor([1., 1.])
    """
    from kornia.metrics import ssim  # here, because it is slow to import

    return ssim(a, b, window_size=11).mean(dim=(1, 2, 3))
