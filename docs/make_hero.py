"""Makes docs/images/hero.jpg: two scenes as infrared, visible and fused image.

The frames are from the M3SVD videos (VideoFusion, CVPR 2026, MIT licence,
https://github.com/Linfeng-Tang/M3SVD). The model has seen none of them in training.

    python docs/make_hero.py FOLDER     # the folder with ir/*.mp4 and vi/*.mp4

It needs OpenCV (``pip install opencv-python``, part of the extra ``test``).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import fusionkit as fk

MODEL = "emma-ir-vis"
FRAMES = (("0111_1716", 21), ("1230_1202", 10))
"""Video and frame number of each row."""

CAPTIONS = ("infrared", "visible", "fused")
GAP, HEAD = 8, 44
OUT = Path(__file__).parent / "images" / "hero.jpg"


def read_frame(path: Path, number: int) -> NDArray[Any]:
    """Return one frame of a video as (h, w, 3), RGB, 8 bits."""
    video = cv2.VideoCapture(str(path))
    # Seeking is inexact in some formats, so pass over the frames before it.
    for _ in range(number):
        video.grab()
    found, frame = video.read()
    if not found:
        raise SystemExit(f"{path}: no frame {number}")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def sheet(rows: list[list[NDArray[Any]]]) -> Image.Image:
    """Return pictures of one size in rows and columns, with a caption above each column."""
    h, w = rows[0][0].shape[:2]
    size = len(CAPTIONS) * (w + GAP) - GAP, HEAD + len(rows) * (h + GAP) - GAP
    whole = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(whole)
    for column, caption in enumerate(CAPTIONS):
        left = column * (w + GAP)
        font = ImageFont.load_default(30)
        draw.text((left + w // 2, HEAD // 2), caption, fill="#222222", font=font, anchor="mm")
        for row, pictures in enumerate(rows):
            picture = Image.fromarray(pictures[column]).convert("RGB")
            whole.paste(picture, (left, HEAD + row * (h + GAP)))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the picture of the front page.")
    parser.add_argument("folder", type=Path, help="the folder with ir/*.mp4 and vi/*.mp4")
    folder = parser.parse_args().folder
    model = fk.load(MODEL)
    rows = []
    for video, number in FRAMES:
        infrared = read_frame(folder / "ir" / f"{video}.mp4", number).mean(axis=2)
        infrared = np.rint(infrared).astype(np.uint8)
        visible = read_frame(folder / "vi" / f"{video}.mp4", number)
        fused = fk.fuse(model, {"infrared": infrared, "visible": visible})
        rows.append([infrared, visible, fused])
    sheet(rows).save(OUT, "JPEG", quality=87, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
