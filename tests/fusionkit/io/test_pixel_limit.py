"""Small files that claim many pixels."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.io.images import open_image, read_image
from fusionkit.io.png import png_chunk


def write_png(path: Path, height: int, width: int) -> None:
    """A PNG that holds only the first of its black rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(width + 1)) for _ in range(64)) + packer.flush()
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def write_tiff(path: Path, height: int, width: int) -> None:
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression="zlib", rowsperstrip=16)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        claims = {"ImageWidth": width, "ImageLength": height, "RowsPerStrip": height}
        for name, value in claims.items():
            struct.pack_into("<H", data, tags[name].offset + 2, 4)
            struct.pack_into("<I", data, tags[name].offset + 8, value)
    path.write_bytes(data)


def read_part(path: Path) -> None:
    open_image(path).read_window(slice(0, 4), slice(0, 4))


@pytest.mark.parametrize("write", [write_png, write_tiff])
@pytest.mark.parametrize("read", [read_image, read_part])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, write, read):
    path = tmp_path / ("a.png" if write is write_png else "a.tif")
    write(path, 100_000, 100_000)
    start = time.process_time()
    with pytest.raises(FusionkitError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_the_limit_is_that_of_the_variable(tmp_path, monkeypatch, name):
    path = tmp_path / name
    Image.new("L", (20, 10)).save(path)
    monkeypatch.setenv("FUSIONKIT_MAX_PIXELS", "200")
    assert read_image(path).shape == (10, 20)
    monkeypatch.setenv("FUSIONKIT_MAX_PIXELS", "199")
    with pytest.raises(FusionkitError, match="--max-pixels"):
        read_image(path)
    monkeypatch.setenv("FUSIONKIT_MAX_PIXELS", "many")
    with pytest.raises(FusionkitError, match="FUSIONKIT_MAX_PIXELS"):
        read_image(path)
