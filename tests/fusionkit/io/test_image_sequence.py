"""Reading folders of images and numbered images as videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fusionkit.errors import FusionkitError
from fusionkit.io.images import write_image
from fusionkit.io.video import open_frames


def test_numbered_images_are_read_in_the_order_of_their_numbers(tmp_path: Path, caplog):
    for number in (2, 9, 10, 12):
        write_image(tmp_path / f"f{number}.png", np.full((32, 48), number, np.uint16))
    (tmp_path / "notes.txt").touch()
    for source in (str(tmp_path), str(tmp_path / "f%d.png")):
        opened = open_frames(source, rate=Fraction(5))
        frames = list(opened.frames())
        assert [int(frame.pixels[0, 0]) for frame in frames] == [2, 9, 10, 12]
        assert [frame.time for frame in frames] == [Fraction(i, 5) for i in range(4)]
    assert "missing" in caplog.text
    for pattern in ("g%d.png", "f%06d.png"):
        with pytest.raises(FusionkitError):
            open_frames(str(tmp_path / pattern))
