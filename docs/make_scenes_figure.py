"""Draws docs/images/scenes.png: four rendered scenes as both cameras see them, and their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fusionkit.functional.colour import join_chroma
from fusionkit.interfaces import Sample
from fusionkit_scenes.dataset import Scenes

SIZE = 256
CONDITIONS = ("day", "night", "fog", "glare")
PALETTE = np.array(
    [
        (110, 100, 110),
        (150, 170, 120),
        (150, 190, 230),
        (180, 140, 110),
        (70, 130, 60),
        (230, 210, 80),
        (230, 140, 30),
        (220, 40, 60),
        (150, 60, 180),
        (30, 70, 200),
    ],
    np.uint8,
)
BOX_COLOURS = ("#ffffff", "#f6c945", "#45e0f6")


def pictures(sample: Sample) -> Image.Image:
    """Return visible, infrared, and mask with boxes, one above the other."""
    assert sample.chroma is not None
    assert sample.mask is not None
    assert sample.boxes is not None
    visible = join_chroma(sample.images["visible"], sample.chroma).movedim(0, -1).numpy()
    infrared = sample.images["infrared"][0].numpy()[..., None].repeat(3, axis=-1)
    labels = Image.fromarray(PALETTE[sample.mask.numpy()])
    draw = ImageDraw.Draw(labels)
    for kind, cx, cy, w, h in sample.boxes.tolist():
        corners = [(cx - w / 2), (cy - h / 2), (cx + w / 2), (cy + h / 2)]
        draw.rectangle([SIZE * c for c in corners], outline=BOX_COLOURS[int(kind)], width=2)
    rows = [np.rint(visible * 255), np.rint(infrared * 255), np.asarray(labels)]
    return Image.fromarray(np.concatenate(rows).astype(np.uint8))


def main() -> None:
    scenes = Scenes(size=SIZE, train=400)
    chosen = []
    for condition in CONDITIONS:
        samples = (scenes[index] for index in range(400))
        # A scene with enough in it to show every kind of label.
        chosen.append(
            next(
                s
                for s in samples
                if s.id.startswith(condition)
                and s.boxes is not None
                and len(s.boxes) >= 4
                and len(set(s.boxes[:, 0].tolist())) == 3
            )
        )
    sheet = Image.new("RGB", (len(chosen) * (SIZE + 4) - 4, 3 * SIZE), "white")
    for column, sample in enumerate(chosen):
        sheet.paste(pictures(sample), (column * (SIZE + 4), 0))
    out = Path(__file__).parent / "images" / "scenes.png"
    sheet.save(out, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
