"""Times pseudo-sensors of several widths: python benchmarks/speed/sensors.py.

A step is a forward and a backward pass of 8 x 64 x 64 pixels. The widths take turns. CPU times
are given relative to the width of the recipes, 16.
"""

from __future__ import annotations

import statistics
import time

import torch

from fusionkit_emma.unet import UNet

ROUNDS, WIDTHS, REFERENCE = 7, (4, 8, 16, 32, 64), 16


def main() -> None:
    torch.set_num_threads(1)
    image = torch.rand(8, 1, 64, 64)
    networks = {width: UNet(width=width) for width in WIDTHS}
    seconds: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for round_ in range(ROUNDS + 1):
        for width, network in networks.items():
            start = time.process_time()
            network(image).sum().backward()
            if round_:  # the first round is a warm-up
                seconds[width].append(time.process_time() - start)
    for width, network in networks.items():
        ratio = statistics.median(
            own / reference
            for own, reference in zip(seconds[width], seconds[REFERENCE], strict=True)
        )
        weights = sum(p.numel() for p in network.parameters())
        print(f"width {width:2}: {weights / 1e6:6.2f} million weights, {ratio:5.2f} of the time")


if __name__ == "__main__":
    main()
