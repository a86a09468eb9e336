"""Times the rendering of 128 x 128 pairs on one core: python benchmarks/speed/scenes.py."""

from __future__ import annotations

import statistics
import time

import torch

from fusionkit_scenes.dataset import Scenes

ROUNDS, PAIRS = 7, 40


def main() -> None:
    torch.set_num_threads(1)
    scenes = Scenes(size=128, train=ROUNDS * PAIRS)
    scenes[0]  # warm-up
    rates = []
    for round_ in range(ROUNDS):
        start = time.process_time()
        for index in range(round_ * PAIRS, (round_ + 1) * PAIRS):
            scenes[index]
        rates.append(PAIRS / (time.process_time() - start))
    print(
        f"median {statistics.median(rates):.0f} pairs/s (from {min(rates):.0f} to {max(rates):.0f})"
    )


if __name__ == "__main__":
    main()
