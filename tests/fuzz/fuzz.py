"""Look for inputs that break the promises of ``test_corpus.py``, guided by coverage.

It needs atheris (``pip install atheris``), which has libFuzzer inside and takes its options:

    python tests/fuzz/fuzz.py images FOUND -max_total_time=600

The targets are images, recipes and suites. Inputs that reach new code are left in the folder
``FOUND``. One that breaks a promise ends the search; it is left in ``crash-TARGET``, and its error
is printed. The corpus keeps a choice of what was found:

    python tests/fuzz/fuzz.py images --keep FOUND
"""

from __future__ import annotations

import base64
import io
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import atheris
import numpy as np
from PIL import Image

CODE = ["fusionkit", "tifffile", "PIL", "yaml"]

with atheris.instrument_imports(include=CODE):
    import tifffile
    from test_corpus import CORPUS, MOST_PIXELS, TARGETS, VARIABLE, plugins, read_corpus

    Image.init()
    plugins()

LIMITS = ["-timeout=10", "-rss_limit_mb=4096", "-max_len=4096"]
LONGEST, MOST = 1000, 30_000
"""Bytes of an input that is kept, and of all that are kept for a target."""
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    target, *options = sys.argv[1:]
    if options[:1] == ["--keep"]:
        keep(target, Path(options[1]))
        return
    check, name = TARGETS[target]
    os.environ[VARIABLE] = MOST_PIXELS
    logging.disable()
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        path, words, seeds = (Path(folder, part) for part in (name, "words", "seeds"))
        seeds.mkdir()
        found = {word for data in starts(target) for word in re.findall(rb"[\w-]{2,40}", data)}
        words.write_bytes(b"".join(b'"%s"\n' % word for word in sorted(found)))
        for number, data in enumerate([*starts(target), *read_corpus(target)]):
            (seeds / str(number)).write_bytes(data)

        def run(data: bytes) -> None:
            path.write_bytes(data)
            try:
                check(path)
            except BaseException:
                Path(f"crash-{target}").write_bytes(data)
                raise

        # libFuzzer starts itself again, by its first argument, to choose inputs (-merge=1).
        command = f"{sys.executable} {Path(__file__).resolve()} {target}"
        extra = [f"-dict={words}"] if name.endswith(".yaml") else []
        atheris.Setup([command, *LIMITS, *extra, *options, str(seeds)], run)
        atheris.Fuzz()


def keep(target: str, found: Path) -> None:
    """Write a choice of the inputs that reach most code into the corpus."""
    with tempfile.TemporaryDirectory() as chosen:
        command = [sys.executable, __file__, target, "-merge=1", chosen, str(found)]
        subprocess.run(command, check=True)
        inputs = [path.read_bytes() for path in Path(chosen).iterdir()]
    inputs = sorted((data for data in inputs if len(data) <= LONGEST), key=lambda x: (len(x), x))
    step = -(-sum(map(len, inputs)) // MOST)
    text = "".join(f"{base64.b64encode(data).decode('ascii')}\n" for data in inputs[::step])
    (CORPUS / f"{target}.txt").write_text(text, encoding="ascii")


def starts(target: str) -> Iterator[bytes]:
    """Yield whole inputs, whose parts the search combines."""
    if target == "images":
        yield from small_images()
    folder, pattern = {
        "images": (CORPUS, ""),
        "recipes": (ROOT / "plugins", "*/recipes/*.yaml"),
        "suites": (ROOT / "benchmarks", "*.yaml"),
    }[target]
    for path in folder.glob(pattern) if pattern else ():
        # Comments only take the place of what is read.
        yield re.sub(rb"(?m)^\s*#.*\n|\s+#.*$", b"", path.read_bytes())


def small_images() -> Iterator[bytes]:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    colour = np.stack([grey, grey[::-1], 255 - grey], axis=-1)
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "FLIR", 0x8769: {0xA002: 8, 0xA003: 6}, 0x8825: {1: "N"}})
    pictures = [Image.fromarray(array) for array in (grey, grey.astype(np.uint16) * 257, colour)]
    others = [pictures[0].convert("1"), pictures[2].convert("P"), pictures[2].convert("RGBA")]
    for picture in [*pictures, *others]:
        yield saved(picture, "PNG", exif=exif)
        yield saved(picture, "TIFF", compression="tiff_lzw")
    yield saved(pictures[2], "PNG", save_all=True, append_images=[pictures[0].convert("RGB")])
    for picture in (pictures[0], pictures[2]):
        yield saved(picture, "BMP")
        yield saved(picture, "JPEG", quality=5, exif=exif)
        yield saved(picture, "WEBP", lossless=True, exif=exif)
    yield saved(pictures[2], "MPO", quality=5, save_all=True, append_images=[pictures[0]])
    yield saved(pictures[2], "AVIF", quality=5, exif=exif)
    tags = [(274, 3, 1, 8, True)]
    for data, options in (
        (grey, {"photometric": "miniswhite", "extratags": tags}),
        (grey, {"tile": (16, 16), "compression": "zlib", "predictor": True}),
        (grey, {"bigtiff": True, "byteorder": ">", "extratags": [(42113, 2, 2, "0", True)]}),
        (grey.astype(np.float32), {"rowsperstrip": 2}),
        (colour, {"photometric": "ycbcr", "subsampling": (1, 1)}),
        (colour, {"photometric": "rgb", "compression": "jpeg"}),
        (np.moveaxis(colour, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.stack([grey, grey]), {"photometric": "minisblack"}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, data, **options)
        yield file.getvalue()


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def memory() -> str | None:
    """Return a folder in memory, where writing is fast."""
    return next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)


if __name__ == "__main__":
    main()
