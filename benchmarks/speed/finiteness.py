"""Times a training step with and without its checks: python benchmarks/speed/finiteness.py.

After each step, losses, gradients and weights are checked for NaN and infinity. The networks and
batches are those of two recipes. The step of a backbone is one pass through it; the losses of a
recipe take several, so that the share of its checks is smaller. Each step is followed by its
checks; the medians of the CPU time of both are given.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from fusionkit.interfaces import Images
from fusionkit_emma.divergence import FiniteGuard
from fusionkit_emma.optimization import OptimizerSettings, build_optimizer
from fusionkit_emma.ufuser import UFuser
from fusionkit_emma.unet import UNet

ROUNDS = 15


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    modalities = ("infrared", "visible")
    report("emma.yaml, sensor", UNet(width=16), torch.rand(16, 1, 48, 48))
    report("quick.yaml, sensor", UNet(width=8), torch.rand(8, 1, 64, 64))
    pairs = {m: torch.rand(4, 1, 32, 32) for m in modalities}
    report("emma.yaml, backbone", UFuser(modalities), pairs)
    report("quick.yaml, backbone", UFuser(modalities, channels=(8, 8, 16, 16)), pairs)


def report(what: str, network: nn.Module, images: Tensor | Images) -> None:
    """Print what the checks add to the training step of a network."""
    optimizer = build_optimizer(network.parameters(), OptimizerSettings(lr=1e-6))
    guard = FiniteGuard({"network": network})
    whole, checks = [], []
    for round_ in range(ROUNDS + 1):
        start = time.process_time()
        loss = network(images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        middle = time.process_time()
        measured = guard.measure()
        numbers = torch.stack(list(measured.values())).tolist()
        assert (
            guard.find_problem({"loss": value}, dict(zip(measured, numbers, strict=True))) is None
        )
        if round_:  # the first round is a warm-up
            whole.append(middle - start)
            checks.append(time.process_time() - middle)
    step, check = statistics.median(whole), statistics.median(checks)
    weights = sum(p.numel() for p in network.parameters())
    print(
        f"{what}: {weights:,} weights, step {1e3 * step:.1f} ms, checks {1e3 * check:.2f} ms, "
        f"{check / step:+.1%}"
    )


if __name__ == "__main__":
    main()
