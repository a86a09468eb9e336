"""Measures how well `--align` finds shifts: python benchmarks/alignment.py DATA [--pairs 30].

DATA holds roadscene/{ir,vi}, msrs/test/{ir,vi} and tno/{ir,vi}. The infrared image of each pair is
shifted by up to 8 pixels against the visible image, and both are cropped, so that no border gives
the shift away. Two other estimators are run for comparison. Only the rendered scenes have a known
true registration. For the other pairs the table gives the residual against the estimate for the
published pair as well as against the published pair itself.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

import fusionkit as fk
from fusionkit.functional.colour import grey_u8
from fusionkit.functional.translation import LIMIT, estimate_shift
from fusionkit.io.images import list_images, read_image
from fusionkit_scenes.dataset import Scenes

MARGIN, MOST = 16, 8.0
FOLDERS = {
    "RoadScene": ("roadscene/ir", "roadscene/vi"),
    "MSRS test": ("msrs/test/ir", "msrs/test/vi"),
    "TNO": ("tno/ir", "tno/vi"),
}
SCORES = ["SCD", "VIF", "Qabf"]
Grey = NDArray[np.uint8]
Shift = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(options.seed)
    sets = {"rendered scenes": _scenes(options.pairs)}
    for name, (infrared, visible) in FOLDERS.items():
        sets[name] = _pairs(options.data / infrared, options.data / visible, options.pairs)
    errors, scores = [], []
    for name, pairs in sets.items():
        shifts = generator.uniform(-MOST, MOST, (len(pairs), 2))
        errors += list(_errors(name, pairs, shifts))
        scores += list(_scores(name, pairs, shifts))
    print(
        "| pairs | estimator | off as published, median px | residual to that, median px | 90 % "
        "| within 1 px | within 1 px of published | left | strangers moved |\n"
        + "|---|---"
        + "|--:" * 7
        + "|"
    )
    print("\n".join(errors))
    print("\n| pairs | fused | SCD | VIF | Qabf | SSIM |\n" + "|---|---" + "|--:" * 4 + "|")
    print("\n".join(scores))


def _pairs(infrared: Path, visible: Path, count: int) -> list[tuple[Grey, Grey]]:
    left, right = list_images(infrared), list_images(visible)
    names = sorted(left)
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)]
    return [(_grey(read_image(left[n])), _grey(read_image(right[n]))) for n in chosen]


def _grey(image: NDArray[Any]) -> Grey:
    return grey_u8(image) if image.ndim == 3 else image


def _scenes(count: int) -> list[tuple[Grey, Grey]]:
    scenes = Scenes(size=256, train=count)
    samples = [scenes[index].images for index in range(count)]
    return [
        (np.rint(s["infrared"][0].numpy() * 255).astype(np.uint8),
         np.rint(s["visible"][0].numpy() * 255).astype(np.uint8))
        for s in samples
    ]  # fmt: skip


def _shifted(image: Grey, shift: Shift) -> Grey:
    moved = ndimage.shift(image.astype(np.float64), shift, order=3, mode="nearest")
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def _crop(image: Grey) -> Grey:
    return np.ascontiguousarray(image[MARGIN:-MARGIN, MARGIN:-MARGIN])


def _tensor(image: Grey) -> Tensor:
    return torch.from_numpy(image.astype(np.float32) / 255)[None]


def _errors(name: str, pairs: list[tuple[Grey, Grey]], shifts: Shift) -> Iterator[str]:
    for method, estimate in METHODS.items():
        own, left, strangers = [], 0, 0
        relative, absolute = [], []
        for index, ((infrared, visible), shift) in enumerate(zip(pairs, shifts, strict=True)):
            fixed = _tensor(_crop(visible))
            still = estimate(fixed, _tensor(_crop(infrared)))
            moved = estimate(fixed, _tensor(_crop(_shifted(infrared, shift))))
            offset = np.array(still or (0.0, 0.0))
            own.append(math.hypot(*offset))
            left += moved is None
            found = np.zeros(2) if moved is None else np.array(moved)
            if moved is not None and still is not None:
                relative.append(math.hypot(*(found + shift - offset)))
            absolute.append(math.hypot(*(found + shift)))
            other = pairs[(index + len(pairs) // 2) % len(pairs)][0]
            h, w = (min(s) for s in zip(other.shape, visible.shape, strict=True))
            strangers += estimate(_tensor(visible[:h, :w]), _tensor(other[:h, :w])) is not None
        yield (
            f"| {name} ({len(pairs)}) | {method} | {np.median(own):.2f} "
            f"| {np.median(relative):.2f} | {np.percentile(relative, 90):.2f} "
            f"| {sum(error <= 1 for error in relative) / len(pairs):.0%} "
            f"| {sum(error <= 1 for error in absolute) / len(pairs):.0%} "
            f"| {left if method == OURS else '-'} | {strangers if method == OURS else '-'} |"
        )


def _scores(name: str, pairs: list[tuple[Grey, Grey]], shifts: Shift) -> Iterator[str]:
    backbone = fk.build("backbone", name="laplacian-pyramid")
    rows: dict[str, list[list[float]]] = {}
    for (infrared, visible), shift in zip(pairs, shifts, strict=True):
        sources = {"visible": _crop(visible), "infrared": _crop(infrared)}
        moved = {**sources, "infrared": _crop(_shifted(infrared, shift))}
        fused = {
            "as published": fk.fuse(backbone, sources),
            "as published, aligned": fk.fuse(backbone, sources, align=True),
            "shifted": fk.fuse(backbone, moved),
            "shifted, aligned": fk.fuse(backbone, moved, align=True),
        }
        inner = {modality: _crop(image) for modality, image in sources.items()}
        for how, image in fused.items():
            values = fk.evaluate(_crop(image), inner, metrics=SCORES)
            goal = _crop(fused["as published, aligned" if "aligned" in how else "as published"])
            both = fk.evaluate(_crop(image), {"a": goal, "b": goal}, metrics=["SSIM"])
            rows.setdefault(how, []).append([*(values[s] for s in SCORES), both["SSIM"] / 2])
    for how, values in rows.items():
        cells = " | ".join(f"{mean:.3f}" for mean in np.mean(values, axis=0))
        yield f"| {name} ({len(pairs)}) | {how} | {cells} |"


def _magnitude(image: Tensor) -> Tensor:
    smooth = torch.from_numpy(ndimage.gaussian_filter(image[0].numpy(), 1.0))
    gy, gx = torch.gradient(smooth)
    size = (gx**2 + gy**2).sqrt()
    return size - size.mean()


def _phase_correlation(reference: Tensor, moving: Tensor) -> tuple[float, float]:
    """Whitened spectra of gradient magnitudes under a Hann window, low-pass, whole pixels."""
    h, w = reference.shape[-2:]
    taper = torch.hann_window(h)[:, None] * torch.hann_window(w)
    a, b = (torch.fft.rfft2(_magnitude(x) * taper) for x in (reference, moving))
    cross = a.conj() * b
    frequency = torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2
    low_pass = torch.exp(-2 * (math.pi * 2) ** 2 * frequency)
    return _peak(torch.fft.irfft2(cross / cross.abs().clamp_min(1e-12) * low_pass, s=(h, w)))


def _cross_correlation(reference: Tensor, moving: Tensor) -> tuple[float, float]:
    """Gradient magnitudes correlated without whitening, whole pixels."""
    h, w = reference.shape[-2:]
    size = (h + LIMIT, w + LIMIT)
    a, b = (torch.fft.rfft2(_magnitude(x), s=size) for x in (reference, moving))
    return _peak(torch.fft.irfft2(a.conj() * b, s=size))


def _peak(scores: Tensor) -> tuple[float, float]:
    near = scores.roll((LIMIT, LIMIT), (0, 1))[: 2 * LIMIT + 1, : 2 * LIMIT + 1]
    row, column = divmod(int(near.argmax()), near.shape[1])
    return float(LIMIT - row), float(LIMIT - column)


OURS = "gradient orientations (ours)"
METHODS: dict[str, Callable[[Tensor, Tensor], tuple[float, float] | None]] = {
    OURS: estimate_shift,
    "phase correlation of gradient magnitudes": _phase_correlation,
    "correlation of gradient magnitudes": _cross_correlation,
}


if __name__ == "__main__":
    main()
