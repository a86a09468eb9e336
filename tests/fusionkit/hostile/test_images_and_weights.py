"""Damaged and malicious files end in success or in one sentence, soon and in bounded memory.

The files are made here, from a seed: whole files of every format, then cut, with flipped bytes,
with bytes put in or taken out, and with numbers in their headers replaced by extreme ones.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors.torch import save_file

import fusionkit as fk
from fusionkit.io.images import write_image

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def encoded(format: str, image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    return file.getvalue()


def tiff(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)  # type: ignore[arg-type]
    return file.getvalue()


def whole_images() -> dict[str, bytes]:
    grey, deep = NOISE[..., 0], NOISE[..., 0].astype(np.uint16) * 257
    return {
        "grey.png": encoded("PNG", grey),
        "deep.png": encoded("PNG", deep),
        "colour.jpg": encoded("JPEG", NOISE),
        "colour.webp": encoded("WEBP", NOISE, lossless=True),
        "grey.bmp": encoded("BMP", grey),
        "plain.tif": tiff(deep),
        "packed.tif": tiff(NOISE, compression="zlib", photometric="rgb"),
        "tiles.tif": tiff(grey, tile=(16, 16), compression="lzw"),
        "big.tif": tiff(grey, bigtiff=True),
    }


def names() -> list[str]:
    return [
        "a b.png", "ünï.png", "-o.png", "--help.png", "$(touch pwned).png", "`touch pwned`.png",
        "a'b.png", 'a"b.png', "<script>.png", "a;b.png", "=1+1.png", "%s%n.png", "{stem}.png",
        "a\tb.png", "\u202egnp.a", "con.png", "." * 3 + ".png", "n" * 240 + ".png",
    ]  # fmt: skip


@pytest.fixture
def fuse(ends_well, good: Path, tmp_path: Path) -> Callable[[Path], None]:
    """Return a check of a fusion of a good image with another one."""
    options = ["--backbone", "average", "-o", tmp_path / "out.png", "--overwrite"]
    return lambda path: ends_well(
        "fuse", *options, "--source", f"infrared={good}", "--source", f"visible={path}"
    )


@pytest.mark.parametrize("name", whole_images())
def test_damaged_images(name, fuse, damaged, tmp_path):
    data, chance = whole_images()[name], random.Random(name)
    path = tmp_path / name
    copies = [copy for _ in range(5) for copy in damaged(data, chance)]
    for copy in [data, b"", b"\0" * 100, *copies]:
        path.write_bytes(copy)
        fuse(path)


def test_files_that_are_something_else(fuse, tmp_path):
    contents: dict[str, bytes] = {
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print\n",
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "text.jpg": b"no image\n" * 100,
        "zip.tif": b"PK\3\4" + b"\0" * 200,
        "gif.png": encoded("GIF", NOISE[..., 0]),
        "animation.webp": encoded(
            "WEBP", NOISE, save_all=True, append_images=[Image.fromarray(NOISE[::-1].copy())]
        ),
    }
    for name, data in contents.items():
        path = tmp_path / name
        path.write_bytes(data)
        fuse(path)


def test_hostile_names(tmp_path, ends_well, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for modality in ("infrared", "visible"):
        (tmp_path / modality).mkdir()
        for name in names():
            if name.endswith(".png"):
                write_image(tmp_path / modality / name, NOISE[..., 0])
    ends_well("fuse", "--backbone", "average", "-o", tmp_path / "out",
              "--source", "infrared=infrared", "--source", "visible=visible")  # fmt: skip
    ends_well("metrics", "--metric", "EN", "--fused", "out", "--csv", "scores.csv",
              "--source", "infrared=infrared", "--source", "visible=visible")  # fmt: skip
    made = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert made >= {name for name in names() if name.endswith(".png") and name[0] != "."}
    assert {path.name for path in tmp_path.iterdir()} <= {
        "infrared", "visible", "out", "scores.csv", "scores.failures.csv",
    }  # fmt: skip
    assert "\n=1+1" not in (tmp_path / "scores.csv").read_text()


def recipes(text: str, chance: random.Random) -> Iterator[str]:
    """Yield damaged recipes: cut, lines out of place, and values of other types."""
    values = [
        "null",
        "[]",
        "{}",
        "-1",
        ".nan",
        ".inf",
        "1e400",
        "true",
        "'x'",
        "[[]]",
        "{a: 1}",
        "&a",
    ]
    lines = text.splitlines(keepends=True)
    for _ in range(25):
        kind, place = chance.randrange(4), chance.randrange(len(lines))
        copy = list(lines)
        if kind == 0:
            yield text[: chance.randrange(len(text))]
            continue
        if kind == 1:
            del copy[place]
        elif kind == 2:
            copy[place] = chance.choice([" ", "  ", "\t", "- "]) + copy[place]
        else:
            key = copy[place].partition(":")[0]
            copy[place] = f"{key}: {chance.choice(values)}\n"
        yield "".join(copy)


def test_damaged_recipes_and_suites(tiny_recipe, tmp_path, ends_well, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(1)
    suite = (
        "name: small\nreference: average\n"
        "data:\n  scenes: {name: scenes, size: 48, train: 2, val: 1}\n"
        "methods:\n  average: {backbone: average}\n  maximum: {backbone: maximum}\n"
        "tasks:\n  metrics: {name: fusion-metrics}\n"
    )
    for number, text in enumerate(recipes(tiny_recipe.read_text(), chance)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        # no stage starts: what is tested is reading
        ends_well("run", path, "stages=[{name: report, no_such_key: 1}]")
    for number, text in enumerate(recipes(suite, chance)):
        path = tmp_path / f"suite-{number}.yaml"
        path.write_text(text)
        ends_well("bench", path, "tasks.metrics.no_such_key=1")


def test_damaged_weights(good, damaged, tmp_path, ends_well):
    network = fk.build(
        "backbone", name="ufuser", channels=[4, 8], heads=4, modalities=("infrared", "visible")
    )
    path = tmp_path / "good.safetensors"
    fk.save(network, path)
    data, chance = path.read_bytes(), random.Random(2)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    copies = [copy for _ in range(6) for copy in damaged(data, chance)]
    for key in ("dtype", "shape", "data_offsets"):
        for value in ("F8", [], [-1], [2**62, 2**62], {}, None, [0, 2**63]):
            other = json.loads(json.dumps(header))
            first = next(name for name in other if name != "__metadata__")
            other[first][key] = value
            text = json.dumps(other).encode()
            copies.append(struct.pack("<Q", len(text)) + text + data[8 + length :])
    for name, value in list(header["__metadata__"].items()):
        for change in ("", "[" * 3000, "{}", value[:-1], value.replace("ufuser", "emma"), "1e999"):
            other = {**header, "__metadata__": {**header["__metadata__"], name: change}}
            text = json.dumps(other).encode()
            copies.append(struct.pack("<Q", len(text)) + text + data[8 + length :])
    bad = tmp_path / "bad.safetensors"
    for copy in copies:
        bad.write_bytes(copy)
        ends_well("fuse", "--model", bad, "-o", tmp_path / "out.png", "--overwrite",
                  "--source", f"infrared={good}", "--source", f"visible={good}")  # fmt: skip
    save_file(network.state_dict(), bad)  # no metadata
    ends_well("fuse", "--model", bad, "-o", tmp_path / "out.png", good, good)


MAKE_HOSTILE_RUNS: dict[str, Callable[[Path], object]] = {
    "empty": lambda folder: None,
    "state": lambda folder: (folder / "state.json").write_text("[1, 2"),
    "config": lambda folder: (folder / "config.yaml").write_text("!!python/name:os.system"),
    "binary config": lambda folder: (folder / "config.yaml").write_bytes(b"\xff\xfe\0"),
    "folder for a file": lambda folder: (folder / "config.yaml").mkdir(),
    "link to itself": lambda folder: (folder / "config.yaml").symlink_to("config.yaml"),
}


@pytest.mark.parametrize("kind", MAKE_HOSTILE_RUNS)
def test_damaged_run_folders(kind, tiny_recipe, good, tmp_path, ends_well, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    MAKE_HOSTILE_RUNS[kind](folder)
    ends_well("run", tiny_recipe, "stages=[{name: report, no_such_key: 1}]")
    ends_well("fuse", "--model", folder, "-o", tmp_path / "out.png", good, good)
