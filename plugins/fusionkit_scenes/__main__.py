"""``python -m fusionkit_scenes FOLDER`` writes a rendered pair of images to try fusion with.

With ``--frames 50`` it writes a sequence in which the camera pans, cars drive and people walk.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import join_chroma
from fusionkit.io.images import from_float, write_image
from fusionkit_scenes.dataset import Scenes
from fusionkit_scenes.sequence import render_sequence

SCENE = 0
"""A scene at night; only the infrared camera sees the person who stands in the dark."""


def write_pair(folder: Path, index: int = SCENE, size: int = 256) -> list[Path]:
    """Render a scene and write the image of each camera.

    Args:
        folder: Folder in which to create ``infrared/`` and ``visible/``, with one PNG file each.
        index: Number of the scene.
        size: Height and width in pixels.

    Returns:
        Paths of the two files, infrared first.
    """
    sample = Scenes(size=size, train=index + 1, val=0)[index]
    assert sample.chroma is not None
    visible = join_chroma(sample.images["visible"], sample.chroma).movedim(0, -1)
    pixels = {"infrared": sample.images["infrared"][0], "visible": visible}
    paths = []
    for modality, image in pixels.items():
        paths.append(folder / modality / f"{sample.id}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        write_image(paths[-1], from_float(image.numpy(), "uint8"))
    return paths


def write_sequence(folder: Path, frames: int, index: int = SCENE, size: int = 256) -> list[Path]:
    """Render a moving scene and write the images of each camera, ``000000.png`` and so on.

    Args:
        folder: Folder in which to create ``infrared/`` and ``visible/``.
        frames: Number of frames; 25 are a second.
        index: Number of the scene.
        size: Height and width in pixels.

    Returns:
        The two folders, infrared first.
    """
    for number, frame in enumerate(render_sequence(frames, index, size)):
        for modality, image in frame.items():
            path = folder / modality / f"{number:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, from_float(image, "uint8"))
    return [folder / "infrared", folder / "visible"]


def main() -> int:
    """Write a pair of images, or a sequence of them, and print their paths."""
    parser = argparse.ArgumentParser(
        prog="python -m fusionkit_scenes", description="Write a rendered pair of images."
    )
    parser.add_argument("folder", type=Path, help="gets infrared/ and visible/ with a file each")
    parser.add_argument(
        "--frames", type=int, help="write a sequence of so many frames, at 25 a second"
    )
    arguments = parser.parse_args()
    try:
        if arguments.frames is None:
            paths = write_pair(arguments.folder)
        else:
            paths = write_sequence(arguments.folder, arguments.frames)
        for path in paths:
            print(path)
    except (FusionkitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
