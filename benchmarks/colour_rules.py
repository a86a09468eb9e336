"""Compares the rules that put colour back: python -m benchmarks.colour_rules DATA [--step 4].

DATA holds roadscene/{ir,vi}, msrs/test/{ir,vi}, llvip/{ir,vi}, m3svd_video/{ir,vi} and the Harvard
slices. From the videos, which need the extra ``video``, one frame in thirty is taken. Every pair
that is measured is fused once by the packaged model, and the colour of its visible, PET or SPECT
image is put back under the fused luminance by each rule. The result is compared with that image,
see benchmarks/results/colour/README.md. No image is written, unless --sheets names a folder for
contact sheets to look at; the terms of the data sets do not allow to publish them.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import colour
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

import fusionkit as fk
from fusionkit.functional.colour import channels_first, luminance, split_chroma
from fusionkit.functional.colour_rules import COLOUR_RULES, restore_colour
from fusionkit.io.images import list_images, read_image
from fusionkit.io.video import VideoSource

RESULTS = Path(__file__).parent / "results" / "colour" / "results.csv"
STRIDE = 3
"""Every third pixel of every third row is measured, because CAM16 is slow."""
COLOURED = 5.0
"""Chroma of CIELAB from which a pixel of the source counts: less is hardly seen as a colour."""
VIDEO_STEP = 30
"""Every n-th frame of a video counts as a pair; those between look the same."""
BRIGHTENED = 0.1
"""Rise of the luminance from which a pixel is counted as brightened."""
DARK = 0.1
"""Luminance of the source below which its colour is mostly noise, or too dark to be seen."""
NEON = 10.0
"""Rise of the chroma of CIELAB from which a dark pixel that was brightened is called neon."""
BLUE = (230.0, 262.0)
"""Hue angles of IPT that are called blue; sRGB blue has 252 degrees, lavender 272."""
PURPLER = 8.0
"""Turn of a blue towards purple in IPT, in degrees, from which it counts as lavender."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Pairs:
    """Pairs of one kind.

    Attributes:
        name: Name in the table.
        model: Packaged model that fuses them.
        folders: (folder of the grey source, folder of the colour source), each below DATA; with
            images or MP4 videos.
        modalities: Names of both sources.
    """

    name: str
    model: str
    folders: tuple[tuple[str, str], ...]
    modalities: tuple[str, str]


SETS = (
    Pairs("RoadScene", "emma-ir-vis", (("roadscene/ir", "roadscene/vi"),), ("ir", "vi")),
    Pairs("MSRS test", "emma-ir-vis", (("msrs/test/ir", "msrs/test/vi"),), ("ir", "vi")),
    Pairs("LLVIP", "emma-ir-vis", (("llvip/ir", "llvip/vi"),), ("ir", "vi")),
    Pairs("M3SVD video", "emma-ir-vis", (("m3svd_video/ir", "m3svd_video/vi"),), ("ir", "vi")),
    Pairs(
        "MRI and PET",
        "emma-medical",
        (
            ("harvard/mri_pet/mri", "harvard/mri_pet/pet"),
            ("harvard2/mri_pet/mri", "harvard2/mri_pet/pet"),
        ),
        ("mri", "pet"),
    ),
    Pairs(
        "MRI and SPECT",
        "emma-medical",
        (
            ("harvard/mri_spect/mri", "harvard/mri_spect/spect"),
            ("harvard2/mri_spect/mri", "harvard2/mri_spect/spect"),
        ),
        ("mri", "spect"),
    ),
)


@dataclass(frozen=True)
class Scene:
    """One fused pair: luminance (1, h, w) and RGB (3, h, w) in [0, 1]."""

    name: str
    grey: Array
    source: Tensor
    fused: Tensor


def main() -> None:
    """Measure every rule on every set; print the table and write the values of each image."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--step", type=int, default=4, help="take every n-th pair of a set")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets, to look at")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for pairs in SETS:
        for scene in fuse_scenes(pairs, options.data, options.step):
            images = {rule: restored(scene, rule) for rule in COLOUR_RULES}
            for rule, image in images.items():
                values = measure(scene, image)
                rows.append({"set": pairs.name, "image": scene.name, "rule": rule, **values})
            if options.sheets:
                write_sheet(scene, images, options.sheets / f"{pairs.name}-{scene.name}.png")
        print_table([row for row in rows if row["set"] == pairs.name])
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


def fuse_scenes(pairs: Pairs, data: Path, step: int) -> Iterator[Scene]:
    """Yield every ``step``-th pair of a set, fused in grey."""
    model = fk.load(pairs.model)
    for name, grey, rgb in islice(list_pairs(pairs, data), 0, None, step):
        sources = dict(zip(pairs.modalities, (grey, rgb), strict=True))
        fused = fk.fuse(model, sources, colour="none")
        grey, rgb = (read_image(x) if isinstance(x, Path) else x for x in (grey, rgb))
        yield Scene(
            name,
            grey if grey.ndim == 2 else grey[..., 0],
            channels_first(rgb).float() / 255,
            channels_first(fused).float() / 255,
        )


def list_pairs(pairs: Pairs, data: Path) -> Iterator[tuple[str, Path | Array, Path | Array]]:
    """Yield the name, grey source and colour source of every image and of some video frames."""
    for folders in pairs.folders:
        first, second = (data / folder for folder in folders)
        if videos := sorted(first.glob("*.mp4")):
            for video in videos:
                grey = VideoSource(str(video), colour=False).frames()
                rgb = VideoSource(str(second / video.name), colour=True).frames()
                frames = enumerate(zip(grey, rgb, strict=False))
                for number, (one, other) in islice(frames, 0, None, VIDEO_STEP):
                    yield f"{video.stem}-{number}", one.pixels, other.pixels
            continue
        images = [list_images(folder) for folder in (first, second)]
        for stem in sorted(images[0].keys() & images[1].keys()):
            yield stem, images[0][stem], images[1][stem]


def restored(scene: Scene, rule: Any) -> Tensor:
    """Return the result of a rule, not rounded."""
    luma, chroma = split_chroma(scene.source)
    assert chroma is not None
    return restore_colour(scene.fused, chroma, luma, rule)


def measure(scene: Scene, image: Tensor) -> dict[str, float]:
    """Return the errors of a result against its colour source; see the README of the results."""
    rounded = (image * 255).round() / 255
    source, result, saved = (
        x[:, ::STRIDE, ::STRIDE].flatten(1).T.double().numpy()
        for x in (scene.source, image, rounded)
    )
    lab, cam, ipt = ([space(x) for x in (source, result)] for space in (cielab, cam16, ipt_of))
    luma = luminance(scene.source)[:, ::STRIDE, ::STRIDE].flatten().numpy()
    fused = scene.fused[:, ::STRIDE, ::STRIDE].flatten().numpy()
    weight = np.where(chroma(lab[0]) >= COLOURED, chroma(lab[0]), 0)
    rise = fused - luma > BRIGHTENED
    dark = (luma < DARK) & rise
    hue = [np.degrees(np.arctan2(x[:, 2], x[:, 1])) % 360 for x in ipt]
    blue = (weight > 0) & (hue[0] >= BLUE[0]) & (hue[0] < BLUE[1])
    purple = (chroma(lab[1]) >= COLOURED) & (hue[1] - hue[0] > PURPLER) & (hue[1] < 300)
    error = (luminance(rounded) - scene.fused).abs() * 255
    return {
        "hue_ipt": mean(turn(*ipt), weight),
        "hue_ipt_8_bit": mean(turn(ipt[0], ipt_of(saved)), weight),
        "hue_cam16": mean(turn(*cam), weight),
        "hue_cielab": mean(turn(*lab), weight),
        "saturation": 100 * mean(np.abs(saturation(lab[1]) - saturation(lab[0])), weight),
        "saturation_brightened": 100
        * mean(np.abs(saturation(lab[1]) - saturation(lab[0])), weight * rise),
        "lavender": 100 * mean(purple, blue),
        "dark_source": mean(chroma(lab[0]), dark),
        "dark": mean(chroma(lab[1]), dark),
        "neon": 100 * mean(chroma(lab[1]) - chroma(lab[0]) > NEON, dark),
        "luma_mean": error.mean().item(),
        "luma_max": error.max().item(),
    }


def cielab(rgb: Array) -> Array:
    """Return L*, a*, b* (D65) of sRGB values (n, 3)."""
    return colour.XYZ_to_Lab(colour.sRGB_to_XYZ(rgb))


def cam16(rgb: Array) -> Array:
    """Return J', a', b' of CAM16-UCS."""
    # Black has no appearance correlates.
    return np.nan_to_num(colour.XYZ_to_CAM16UCS(colour.sRGB_to_XYZ(rgb)))


def ipt_of(rgb: Array) -> Array:
    """Return I, P, T of Ebner and Fairchild."""
    return colour.XYZ_to_IPT(colour.sRGB_to_XYZ(rgb))


def chroma(values: Array) -> Array:
    """Return the distance from grey in any of these spaces."""
    return np.hypot(values[:, 1], values[:, 2])


def saturation(lab: Array) -> Array:
    """Return C / sqrt(C^2 + L^2), in [0, 1] (Luebbe); 0 for black."""
    return chroma(lab) / np.maximum(np.hypot(chroma(lab), lab[:, 0]), 1e-6)


def turn(before: Array, after: Array) -> Array:
    """Return the angle in degrees between two hues."""
    first, second = (x[:, 1] + 1j * x[:, 2] for x in (before, after))
    return np.degrees(np.abs(np.angle(first * second.conj())))


def mean(values: Array, weights: Array) -> float:
    """Return a weighted mean; NaN if nothing counts."""
    total = float(np.sum(weights))
    return float(np.sum(values * weights)) / total if total else float("nan")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print means over the images of one set, one line for each rule."""
    names = [name for name in rows[0] if name not in ("set", "image", "rule")]
    count = len({row["image"] for row in rows})
    print(f"| {rows[0]['set']} ({count}) | {' | '.join(names)} |")
    for rule in COLOUR_RULES:
        chosen = [row for row in rows if row["rule"] == rule]
        means = [np.nanmean([row[name] for row in chosen] or [np.nan]) for name in names]
        print(f"| `{rule}` | {' | '.join(f'{value:.2f}' for value in means)} |", flush=True)


def write_sheet(scene: Scene, images: Mapping[str, Tensor], path: Path) -> None:
    """Write both sources and the result of each rule side by side."""
    cells = [np.repeat(scene.grey[..., None], 3, axis=2)]
    for image in (scene.source, *images.values()):
        cells.append((image.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy())
    sheet = Image.fromarray(np.hstack(cells))
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(("grey source", "colour source", *images)):
        draw.text((column * cells[0].shape[1] + 4, 2), label, fill=(255, 255, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    main()
