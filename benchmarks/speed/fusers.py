"""Times the fusers that need no training by the user: python benchmarks/speed/fusers.py.

Each fuses one pair of 480 x 640 pixels on one thread, without reading and writing files. The
fusers take turns. CPU times are given relative to the Laplacian pyramid.
"""

from __future__ import annotations

import statistics
import time

import torch

import fusionkit as fk

ROUNDS, HEIGHT, WIDTH = 7, 480, 640
CLASSIC = ("average", "max", "wavelet", "guided-filter", "saliency", "laplacian-pyramid")
MODEL, REFERENCE = "emma-ir-vis", "laplacian-pyramid"


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    sources = {name: torch.rand(1, 1, HEIGHT, WIDTH) for name in ("infrared", "visible")}
    fusers = {name: fk.build("backbone", name=name) for name in CLASSIC}
    fusers[MODEL] = fk.load(MODEL)
    seconds: dict[str, list[float]] = {name: [] for name in fusers}
    for round_ in range(ROUNDS + 1):
        for name, fuser in fusers.items():
            start = time.process_time()
            fuser(sources)
            if round_:  # the first round is a warm-up
                seconds[name].append(time.process_time() - start)
    for name, found in seconds.items():
        ratios = [own / other for own, other in zip(found, seconds[REFERENCE], strict=True)]
        print(
            f"{name:18} {statistics.median(ratios):6.2f} of the time"
            f" (from {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
