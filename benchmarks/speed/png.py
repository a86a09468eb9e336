"""Times writing PNG files: python -m benchmarks.speed.png compares all ways that were tried.

The images are fused from real pairs, if the folder FUSIONKIT_DATA or ../shared/data has them, and
from rendered scenes otherwise. Each encoder's file is decoded and compared.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.speed.measurement import Row, Size, time_in_turn
from fusionkit.io import png
from fusionkit.io.images import list_images, read_image, to_float

Pixels = NDArray[Any]

DATA = Path(os.environ.get("FUSIONKIT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def measure(size: Size) -> list[Row]:
    """Return our time and bytes beside those of Pillow's default, and the time of decoding."""
    rows = []
    for name, image in images(size):
        ours, default = png.encode_png(image), default_file(image)
        if not np.array_equal(imagecodecs.png_decode(ours), image):
            raise AssertionError(f"{name}: the file holds other pixels")
        seconds = time_in_turn(
            {
                "ours": partial(png.encode_png, image),
                "default": partial(default_file, image),
                "reading": partial(imagecodecs.png_decode, default),
            },
            rounds=1 if size == "small" else 3,
        )
        milliseconds = {what: 1e3 * time for what, time in seconds.items()}
        peer = "Pillow" if image.dtype == np.uint8 else "libpng"
        rows += [
            Row(
                f"writing {name}", milliseconds["ours"], "ms", f"{peer} 6", milliseconds["default"]
            ),
            Row(f"writing {name}", milliseconds["ours"], "ms", "reading", milliseconds["reading"]),
            Row(f"file of {name}", len(ours) / 1e6, "MB", f"{peer} 6", len(default) / 1e6),
        ]
    return rows


def default_file(image: Pixels) -> bytes:
    """Return the file that Pillow writes by default, or libpng where Pillow can't."""
    if image.dtype == np.uint8:
        return encode_with_pillow(image)
    return bytes(imagecodecs.png_encode(image))


def encode_with_pillow(image: Pixels, level: int = 6) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=level)
    return file.getvalue()


def images(size: Size) -> Iterator[tuple[str, Pixels]]:
    """Yield (name, image): averages of two sources, as a fuser makes them, and thermal counts."""
    if size == "small" or not DATA.is_dir():
        from fusionkit_scenes.dataset import Scenes

        scene = Scenes(size=128 if size == "small" else 512, train=1)[0]
        infrared, visible = (scene.images[name][0].numpy() for name in ("infrared", "visible"))
        fused = (infrared + visible) / 2
        yield "a rendered scene, 8 bit", np.rint(255 * fused).astype(np.uint8)
        yield "a rendered scene, 16 bit", np.rint(65535 * fused).astype(np.uint16)
        return
    for folder in ("msrs/test", "m3fd"):
        infrared = next(iter(list_images(DATA / folder / "ir").values()))
        visible = to_float(read_image(DATA / folder / "vi" / infrared.name))
        grey = to_float(read_image(infrared)).reshape(*visible.shape[:2], -1)[..., :1]
        fused = (grey + visible) / 2
        name = f"{folder.split('/')[0]}, {visible.shape[1]}x{visible.shape[0]}"
        yield f"{name}, 8 bit RGB", np.rint(255 * fused).astype(np.uint8)
        yield f"{name}, 8 bit grey", np.rint(255 * fused.mean(-1)).astype(np.uint8)
        yield f"{name}, 16 bit RGB", np.rint(65535 * fused).astype(np.uint16)
    yield "counts of a FLIR T640, 16 bit", read_image(DATA / "radiometric/ir16/T640.png")


def encoders() -> dict[str, Callable[[Pixels], bytes]]:
    """Return what was tried, by name; strategy 3 is RLE, filters 16, 32, 128: sub, up, Paeth."""

    def libpng(**settings: int) -> Callable[[Pixels], bytes]:
        return lambda image: bytes(imagecodecs.png_encode(image, **settings))

    def packed(pack: Callable[..., Any], level: int) -> Callable[[Pixels], bytes]:
        # The packed rows alone: the frame around them is 57 bytes and a checksum.
        return lambda image: bytes(pack(png._filtered(image), level))

    return {
        "Pillow 6 (before, 8 bit)": encode_with_pillow,
        "Pillow 1": partial(encode_with_pillow, level=1),
        "libpng 6 (before, 16 bit)": libpng(),
        "libpng 1": libpng(level=1),
        "libpng 1, RLE, sub (OpenCV's)": libpng(level=1, strategy=3, filter=16),
        "libpng 1, RLE, Paeth": libpng(level=1, strategy=3, filter=128),
        "up, zlib-ng 1": packed(imagecodecs.zlibng_encode, 1),
        "up, libdeflate 2": packed(imagecodecs.deflate_encode, 2),
        "up, libdeflate 4": packed(imagecodecs.deflate_encode, 4),
        "up, libdeflate 1 (chosen)": png.encode_png,
    }


def main() -> None:
    for name, image in images("full"):
        candidates = {
            label: encode
            for label, encode in encoders().items()
            if image.dtype == np.uint8 or not label.startswith("Pillow")
        }
        default = default_file(image)
        functions = {label: partial(encode, image) for label, encode in candidates.items()}
        decode = {"decoding": partial(imagecodecs.png_decode, default)}
        seconds = time_in_turn({**functions, **decode}, 3)
        print(f"\n| {name} | ms | of decoding | bytes of pixels |\n|---|---:|---:|---:|")
        for label, encode in candidates.items():
            share = len(encode(image)) / image.nbytes
            relative = seconds[label] / seconds["decoding"]
            print(f"| {label} | {1e3 * seconds[label]:.1f} | {relative:.2f} | {share:.3f} |")
        print(f"| decoding the default's file | {1e3 * seconds['decoding']:.1f} | 1.00 | |")


if __name__ == "__main__":
    main()
