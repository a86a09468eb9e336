"""Activation checkpointing: compute again what gradients need, instead of keeping it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(network: nn.Module) -> None:
    """Let each child of a network keep its input only, and compute the rest again backwards.

    Results and gradients stay the same, and batch norms count each batch once.

    Args:
        network: The network; its children are changed in place. Its state keeps its keys.

    Example:
        >>> import torch
        >>> from fusionkit_emma.unet import UNet
        >>> sensor, image = UNet(width=4), torch.zeros(2, 1, 32, 32, requires_grad=True)
        >>> checkpoint_activations(sensor)
        >>> sensor(image).sum().backward()
        >>> image.grad.shape, int(sensor.down1.conv[1].num_batches_tracked)
        (torch.Size([2, 1, 32, 32]), 1)
    """
    for part in network.children():
        if next(part.parameters(), None) is not None:
            part.forward = partial(
                checkpoint, part.forward, use_reentrant=False, context_fn=partial(_contexts, part)
            )


def _contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first computation and of the second one."""
    return nullcontext(), _statistics_stay(part)


@contextmanager
def _statistics_stay(part: nn.Module) -> Iterator[None]:
    """Let the batch norms in training leave their averages alone, which have seen the batch."""
    norms = [
        (m, m.momentum)
        for m in part.modules()
        if isinstance(m, _BatchNorm) and m.training and m.track_running_stats
    ]
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
