"""Initial weights that make U-Fuser average its sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fusionkit_emma.restormer import Residual, RestormerCNNBlock


@torch.no_grad()
def init_as_average(network: nn.Module, exact: bool) -> None:
    """Halve the random weights and add a path from the sources to the output.

    The last layer of each residual branch is zero, so that a block consists of its embedding and
    its merging layer. Both pass channel k on to channel k. The fusion blocks average the sources,
    the decoder passes on its skip connection, and the output's sigmoid is steep enough to be nearly
    linear.

    Args:
        network: A U-Fuser with PyTorch's initial weights.
        exact: Whether to remove the random weights from the path of channel 0, which becomes the
            image, and to bend its values before the output's sigmoid, so that the output reaches
            black and white. Otherwise the network begins with greys there, and keeps them for
            thousands of steps.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and name.endswith(("attn.proj", "mlp.project_out")):
            module.weight.zero_()
        if isinstance(module, Residual):
            last = module.conv[2]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            last.weight.zero_()
            last.bias.zero_()
    for name, block in network.named_children():
        if isinstance(block, RestormerCNNBlock):
            width = block.embed.out_channels
            parts = block.embed.in_channels // width
            if name.startswith("de_") and parts == 2:
                _pass_on(block.embed, [0.0, 1.0], exact)  # the skip connection only
            else:
                _pass_on(block.embed, [1 / max(1, parts)] * max(1, parts), exact)
            branches = block.FFN.in_channels // width
            _pass_on(block.FFN, [1 / branches] * branches, exact)
    out = network.get_submodule("last.0")
    assert isinstance(out, nn.Conv2d)
    assert out.bias is not None
    out.weight.mul_(0.1)
    # sigmoid(4.6 (x - 1/2)) runs from 0.09 to 0.91 and is nearly straight in between.
    out.weight[0, 0, 1, 1] += 4.6
    out.bias.fill_(-2.3)
    block = network.get_submodule("de_1")
    assert isinstance(block, RestormerCNNBlock)
    if exact and "LocalFeature" in block._modules:
        residual = block.get_submodule("LocalFeature.Extraction.1")
        assert isinstance(residual, Residual)
        branches = block.FFN.in_channels // block.embed.out_channels
        _bend(residual.conv, branches / 4.6)


def _pass_on(conv: nn.Conv2d, shares: Sequence[float], exact: bool) -> None:
    """Halve the weights and pass channel k of each part of the input on to channel k."""
    conv.weight.mul_(0.5)
    if exact:
        conv.weight[0].zero_()
    width = conv.out_channels
    for part, share in enumerate(shares):
        for k in range(min(width, conv.in_channels - part * width)):
            conv.weight[k, part * width + k, 1, 1] += share


def _bend(conv: nn.Sequential, unit: float) -> None:
    """Make a residual bend channel 0, so that 4.6 (x - 1/2) becomes approximately logit(x).

    Between 0.2 and 0.8 the logit is nearly straight. Beyond, one steeper linear piece on each side
    follows it up to 0.98 with an error of at most 0.02 in x; each piece needs one ReLU. Steeper
    pieces made the training diverge.

    Args:
        conv: Convolution, ReLU, convolution.
        unit: Change of channel 0 that changes the input of the output's sigmoid by 1.
    """
    into, _, back = conv
    assert isinstance(into, nn.Conv2d)
    assert isinstance(back, nn.Conv2d)
    assert into.bias is not None
    for k, (begin, direction) in enumerate(((0.8, 1), (0.2, -1))):
        into.weight[k].zero_()
        into.weight[k, 0, 1, 1] = direction
        into.bias[k] = -direction * begin
        back.weight[0, k, 1, 1] = direction * 7.0 * unit
