"""Draws the gallery: python docs/make_gallery.py [--model RUN, FILE OR NAME].

Renders scenes, fuses them by the classic methods and by a trained network, and writes a sheet of
pictures per scene to docs/images/gallery and the tables of docs/gallery.md. Tables and pictures
come from the same arrays, and each sheet carries its own table in its JPEG comment, so a test can
tell when one was made without the other.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import fusionkit as fk
from fusionkit.functional.colour import join_chroma
from fusionkit.interfaces import Backbone, Dataset, Sample
from fusionkit.io.atomic_write import atomic_write, make_folder, write_text
from fusionkit.io.images import from_float

DOCS = Path(__file__).parent
IMAGES = "images/gallery"
MODEL = "emma-ir-vis"
SIZE = 256
SEED = 7
"""Of the scenes; that of the recipes is 0, so no network of theirs was trained on these."""

CONDITIONS = ("day", "night", "fog", "glare", "night", "fog")
METRICS = ("EN", "SD", "SF", "AG", "SCD", "VIF")
PROFILE = "cddfuse"
CLASSIC = {
    "average": "average",
    "Laplacian pyramid": "laplacian-pyramid",
    "guided filter": "guided-filter",
    "saliency": "saliency",
}
"""What a method is called -> the name of its backbone."""

INFRARED, VISIBLE, LABELS = "infrared", "visible", "what is there"
BEGIN, END = "<!-- make_gallery.py: begin -->\n", "<!-- make_gallery.py: end -->\n"

COLUMNS, GAP, CAPTION = 4, 6, 26
RED, GREEN, BLUE = "#f0561d", "#0a8f2f", "#2563eb"
Picture = NDArray[Any]


@dataclass(frozen=True)
class Scene:
    """One scene of the gallery.

    Attributes:
        id: As the data set calls it.
        pictures: Caption -> (h, w) or (h, w, 3), 8 bits: sources, labels, and a fused image each.
        scores: Caption -> metric -> value, for the sources and the fused images.
    """

    id: str
    pictures: Mapping[str, Picture]
    scores: Mapping[str, Mapping[str, float]]

    @property
    def table(self) -> str:
        """The scores of this scene."""
        return table(self.scores)


def pick(scenes: Dataset, conditions: Sequence[str] = CONDITIONS) -> list[Sample]:
    """Return the first scene of each condition that has a person, a bicycle and a car in it.

    A condition that comes again gets the next scene; what any method makes of it has no say.
    """
    left = list(conditions)
    found: dict[int, Sample] = {}
    for index in range(len(scenes)):
        sample = scenes[index]
        condition = sample.id.split("-")[0]
        if condition in left and _classes(sample) == {0, 1, 2}:
            place = next(n for n, c in enumerate(conditions) if c == condition and n not in found)
            found[place] = sample
            left.remove(condition)
        if not left:
            return [found[place] for place in sorted(found)]
    raise SystemExit(f"the data set has too few scenes of {', '.join(left)} with all three kinds")


def fuse(sample: Sample, fusers: Mapping[str, Backbone]) -> Scene:
    """Fuse one scene by every method, in colour, and score what came out."""
    assert sample.chroma is not None
    visible = join_chroma(sample.images["visible"], sample.chroma).movedim(0, -1).numpy()
    sources = {
        "infrared": from_float(sample.images["infrared"][0].numpy(), "uint8"),
        "visible": from_float(visible, "uint8"),
    }
    fused = {name: fk.fuse(model, sources, name=sample.id) for name, model in fusers.items()}
    scored = {f"{name} only": image for name, image in sources.items()} | fused
    return Scene(
        sample.id,
        {INFRARED: sources["infrared"], VISIBLE: sources["visible"], LABELS: labels(sample)}
        | fused,
        {
            name: fk.evaluate(image, sources, profile=PROFILE, metrics=METRICS)
            for name, image in scored.items()
        },
    )


def labels(sample: Sample) -> Picture:
    """Return the mean of the sources, paler, with a box around each person, bicycle and car."""
    assert sample.boxes is not None
    mean = torch.stack([image[0] for image in sample.images.values()]).mean(dim=0).numpy()
    picture = Image.fromarray(from_float(0.45 + 0.55 * mean, "uint8")).convert("RGB")
    draw = ImageDraw.Draw(picture)
    h, w = mean.shape
    for kind, cx, cy, wide, high in sample.boxes.tolist():
        corners = [(cx - wide / 2) * w, (cy - high / 2) * h]
        corners += [(cx + wide / 2) * w - 1, (cy + high / 2) * h - 1]
        draw.rectangle(corners, outline=(RED, GREEN, BLUE)[int(kind)], width=2)
    return np.asarray(picture)


def sheet(scene: Scene) -> Image.Image:
    """Return the pictures of a scene with their captions, four in a row."""
    h, w = scene.pictures[VISIBLE].shape[:2]
    rows = math.ceil(len(scene.pictures) / COLUMNS)
    size = COLUMNS * (w + GAP) + GAP, rows * (h + CAPTION + GAP)
    whole = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(whole)
    for place, (caption, picture) in enumerate(scene.pictures.items()):
        x, y = corner(place, w, h)
        whole.paste(Image.fromarray(picture).convert("RGB"), (x, y))
        words = {"person": RED, "bicycle": GREEN, "car": BLUE}
        _write(draw, (x, y), w, words if caption == LABELS else {caption: "black"})
    return whole


def corner(place: int, w: int, h: int) -> tuple[int, int]:
    """Return x and y of the picture at a place of a sheet; its caption is above."""
    row, column = divmod(place, COLUMNS)
    return GAP + column * (w + GAP), CAPTION + row * (h + CAPTION + GAP)


def write_sheet(scene: Scene, folder: Path) -> Path:
    """Write the sheet of a scene as JPEG, with its table as the comment."""
    path = folder / f"{scene.id}.jpg"
    data = io.BytesIO()
    # Full resolution of colour (subsampling 0), so that noise in saturated colours looks as fused.
    options = {"quality": 90, "subsampling": 0, "optimize": True}
    sheet(scene).save(data, "JPEG", comment=scene.table.encode(), **options)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.getvalue())
    return path


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Return scores as a table in Markdown, the best fused image of each column bold."""
    fused = [row for name, row in scores.items() if not name.endswith(" only")]
    best = {metric: max(round(row[metric], 3) for row in fused) for metric in METRICS}
    lines = [f"| | {' | '.join(METRICS)} |", "|---" * (len(METRICS) + 1) + "|"]
    for name, row in scores.items():
        cells = [f"{row[metric]:.3f}" for metric in METRICS]
        if not name.endswith(" only"):
            cells = [
                f"**{cell}**" if round(row[metric], 3) == best[metric] else cell
                for cell, metric in zip(cells, METRICS, strict=True)
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mean(scenes: Sequence[Scene]) -> dict[str, dict[str, float]]:
    """Return the scores averaged over the scenes."""
    return {
        name: {
            metric: math.fsum(scene.scores[name][metric] for scene in scenes) / len(scenes)
            for metric in METRICS
        }
        for name in scenes[0].scores
    }


def page(text: str, scenes: Sequence[Scene], network: str) -> str:
    """Return the page with what stands between its markers made anew.

    Args:
        text: The page as it is.
        scenes: What it shows.
        network: A sentence that says which network was drawn.
    """
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"the page has no lines {BEGIN.strip()} and {END.strip()}")
    parts = [f"\n{network}\n", f"## Means over the {len(scenes)} scenes\n", table(mean(scenes))]
    for scene in scenes:
        condition, number = scene.id.split("-")
        parts += [
            f"## {condition.capitalize()}, scene {int(number)}\n",
            f"![{', '.join(scene.pictures)}]({IMAGES}/{scene.id}.jpg)\n",
            scene.table,
        ]
    return before + BEGIN + "\n".join(parts) + "\n" + END + after


def make(scenes: Sequence[Scene], network: str, docs: Path) -> list[Path]:
    """Write the page and its sheets into a folder of documentation; return the files."""
    path, folder = docs / "gallery.md", docs / IMAGES
    text = page(path.read_text(encoding="utf-8"), scenes, network)
    make_folder(folder)
    sheets = [write_sheet(scene, folder) for scene in scenes]
    write_text(path, text)
    for old in set(folder.glob("*.jpg")) - set(sheets):
        old.unlink()
    return [*sheets, path]


def describe(name: str, model: Backbone) -> str:
    """Return a sentence that says which network was drawn."""
    count = sum(weights.numel() for weights in model.parameters())
    kind = f"`{model.name}`, {count:,} weights"
    return f"`{name}` is a trained network ({kind}); all others need no training."


def main() -> None:
    """Make the gallery."""
    parser = argparse.ArgumentParser(description="Draw the gallery of the documentation.")
    parser.add_argument("--model", default=MODEL, help="a run folder, a weights file, or a name")
    chosen = parser.parse_args().model
    name, model = Path(chosen).name.removesuffix(".safetensors"), fk.load(chosen)
    # The network first, beside the sources.
    fusers = {name: model} | classic()
    scenes = [fuse(sample, fusers) for sample in pick(dataset())]
    for path in make(scenes, describe(name, model), DOCS):
        print(path)


def dataset() -> Dataset:
    """Return the scenes that the gallery picks from."""
    return fk.build("dataset", name="scenes", size=SIZE, train=400, val=0, seed=SEED)


def classic() -> dict[str, Backbone]:
    """Return the methods that need no training."""
    return {name: fk.build("backbone", name=own) for name, own in CLASSIC.items()}


def _classes(sample: Sample) -> set[int]:
    assert sample.boxes is not None
    return {int(kind) for kind in sample.boxes[:, 0]}


def _write(
    draw: ImageDraw.ImageDraw, above: tuple[int, int], width: int, words: Mapping[str, str]
) -> None:
    """Write words of a colour each in a row above a picture, as large as fits."""
    text = "  ".join(words)
    size = 18
    font = ImageFont.load_default(size)
    while size > 6 and font.getlength(text) > width:
        size -= 1
        font = ImageFont.load_default(size)
    x, y = float(above[0]), above[1] - 7
    for word, colour in words.items():
        draw.text((x, y), word, fill=colour, font=font, anchor="ls")
        x += font.getlength(word + "  ")


if __name__ == "__main__":
    try:
        main()
    except fk.FusionkitError as error:
        raise SystemExit(str(error)) from None
