"""Initial weights with which U-Fuser averages its sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fusionkit_emma.restormer import Residual, RestormerCNNBlock


@torch.no_grad()
def start_as_average(network: nn.Module, exact: bool) -> None:
    """Add to smaller random weights what lets the sources through to the output.

    Residual branches end in zeros, so a block is its embedding and its merging layer; both hand
    channel k on to channel k; the fusion blocks average the sources; the decoder hands on what its
    skip brings; and the output's sigmoid is steep enough to be nearly linear.

    Args:
        network: A U-Fuser as PyTorch initialises it.
        exact: Leave no random weights on the way of channel 0, which becomes the image, and bend it
            before the output's sigmoid, which else has neither black nor white. Without that a
            network starts with greys there, and after thousands of steps still has them.
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
                _hand_on(block.embed, [0.0, 1.0], exact)  # from the skip, not from below
            else:
                _hand_on(block.embed, [1 / max(1, parts)] * max(1, parts), exact)
            branches = block.FFN.in_channels // width
            _hand_on(block.FFN, [1 / branches] * branches, exact)
    out = network.get_submodule("last.0")
    assert isinstance(out, nn.Conv2d)
    assert out.bias is not None
    out.weight.mul_(0.1)
    # sigmoid(4.6 (x - 1/2)) runs from 0.09 to 0.91 and is straight in between.
    out.weight[0, 0, 1, 1] += 4.6
    out.bias.fill_(-2.3)
    block = network.get_submodule("de_1")
    assert isinstance(block, RestormerCNNBlock)
    if exact and "LocalFeature" in block._modules:
        residual = block.get_submodule("LocalFeature.Extraction.1")
        assert isinstance(residual, Residual)
        branches = block.FFN.in_channels // block.embed.out_channels
        _bend(residual.conv, branches / 4.6)


def _hand_on(conv: nn.Conv2d, shares: Sequence[float], exact: bool) -> None:
    """Halve the weights and let channel k of each part of the input through to channel k."""
    conv.weight.mul_(0.5)
    if exact:
        conv.weight[0].zero_()
    width = conv.out_channels
    for part, share in enumerate(shares):
        for k in range(min(width, conv.in_channels - part * width)):
            conv.weight[k, part * width + k, 1, 1] += share


def _bend(conv: nn.Sequential, unit: float) -> None:
    """Make a residual add to channel 0 what brings 4.6 (x - 1/2) near to logit(x).

    From 0.2 to 0.8 logit is as good as straight. Beyond, one steeper piece on each side follows it
    to 0.98 within 0.02 of x; each takes a ReLU. Steeper pieces made the training diverge.

    Args:
        conv: Convolution, ReLU, convolution.
        unit: What channel 0 must gain for the output to gain 1 before its sigmoid.
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
