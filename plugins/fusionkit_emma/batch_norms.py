"""Batch norms of processes that share a batch: they norm by the statistics of the whole batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # importing it takes seconds; only training needs it

Module = TypeVar("Module", bound=nn.Module)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose mean and variance are those of the images of all processes.

    PyTorch's ``SyncBatchNorm`` does the same, but not on CPUs. Each process has as many images.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normed images, (b, c, h, w)."""
        if not self.training:
            return super().forward(input)
        mean = _mean_over_processes(input.mean(dim=(0, 2, 3)))
        centred = input - mean[:, None, None]
        variance = _mean_over_processes(centred.square().mean(dim=(0, 2, 3)))
        with torch.no_grad():
            values = torch.distributed.get_world_size() * input.numel() // input.shape[1]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            for average, value in (
                (self.running_mean, mean),
                (self.running_var, variance * values / (values - 1)),
            ):
                average.lerp_(value.to(average), self.momentum)  # type: ignore[union-attr, arg-type]
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


class _Sum(torch.autograd.Function):
    """The sum over processes; each result depends on the inputs of all."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        torch.distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])


def _mean_over_processes(x: Tensor) -> Tensor:
    return _Sum.apply(x) / torch.distributed.get_world_size()  # type: ignore[operator]


def share_batch_norms(module: Module, fabric: Fabric) -> Module:
    """Let the batch norms of a module see the whole batch, if several processes share it.

    The module keeps its parameters and the keys of its state. Batch norms without averages or
    weights stay as they are.

    Args:
        module: The module; its batch norms are replaced.
        fabric: Devices and processes.

    Example:
        >>> from lightning_fabric import Fabric
        >>> layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        >>> share_batch_norms(layers, Fabric(accelerator="cpu", devices=1)) is layers
        True
    """
    if fabric.world_size == 1:
        return module
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d and child.affine and child.track_running_stats:
                shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum)
                shared.__dict__.update(child.__dict__)
                setattr(parent, name, shared)
    return module
