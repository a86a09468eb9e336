"""Compare the profile ``vifb`` with the values that VIFB publishes for its own results.

VIFB's repository holds 21 pairs, what 25 methods made of them, and a value of each metric for each
of these images. It is compared with one of its checkouts::

    git clone https://github.com/xingchenzhang/VIFB
    python -m benchmarks.vifb VIFB --results 100
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fusionkit.evaluation.scores import installed_metrics

NAMES = {
    "EN": "Entropy",
    "SD": "Variance",
    "SF": "Spatial_frequency",
    "AG": "Avg_gradient",
    "CE": "Cross_entropy",
    "EI": "Edge_intensity",
    "SSIM": "Ssim",
    "Qcb": "Qcb",
    "Qcv": "Qcv",
}
"""Name of a metric -> its name in VIFB's files."""


def read(path: Path) -> torch.Tensor:
    """Return an image as a batch of its colours, (3, 1, h, w): VIFB scores them one by one."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels / 255).permute(2, 0, 1)[:, None]


def main() -> None:
    """Print how far the values are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--results", type=int, default=100, help="how many, drawn at random")
    arguments = parser.parse_args()
    output = arguments.checkout / "output"
    files = sorted((output / "fused_images").glob("*.jpg"))
    files = random.Random(0).sample(files, min(arguments.results, len(files)))
    metrics = {m.name: m for m in installed_metrics("vifb", list(NAMES))}
    apart: dict[str, list[float]] = {name: [] for name in NAMES}
    for path in files:
        pair = path.stem.split("_")[0]
        fused = read(path)
        sources = {m: read(arguments.checkout / "input" / m / f"{pair}.jpg") for m in ("VI", "IR")}
        for name, metric in metrics.items():
            # VIFB's code takes the columns of all colours for one image where it computes SF.
            scored = torch.cat(list(fused), dim=-1)[None] if name == "SF" else fused
            value = output / "evaluation_metrics_single" / f"{path.stem}_{NAMES[name]}.txt"
            published = float(value.read_text())
            found = float(metric(scored, sources).mean())
            apart[name].append(abs(found - published) / abs(published))
    print(f"{len(files)} results; relative difference")
    print("| metric | median | 90 % | largest |\n|---|--:|--:|--:|")
    for name, values in apart.items():
        cells = (np.quantile(values, q) for q in (0.5, 0.9, 1))
        print(f"| {name} | {' | '.join(f'{cell:.1e}' for cell in cells)} |")


if __name__ == "__main__":
    main()
