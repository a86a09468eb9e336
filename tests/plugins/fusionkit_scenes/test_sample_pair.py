"""``python -m fusionkit_scenes`` writes a pair of images for ``fusionkit fuse``."""

from __future__ import annotations

import numpy as np
import pytest

from fusionkit.io.images import read_image
from fusionkit_scenes import __main__ as command
from fusionkit_scenes.dataset import Scenes


def test_writes_the_images_of_both_cameras(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fusionkit_scenes", str(tmp_path / "pair")])
    assert command.main() == 0
    infrared, visible = (tmp_path / "pair" / name for name in ("infrared", "visible"))
    (first,), (second,) = infrared.iterdir(), visible.iterdir()
    assert capsys.readouterr().out.split() == [str(first), str(second)]
    assert first.name == second.name
    assert read_image(second).shape == (256, 256, 3)
    scene = Scenes(size=256, train=1, val=0)[0]
    np.testing.assert_array_equal(
        read_image(first), np.rint(scene.images["infrared"][0].numpy() * 255)
    )


def test_folder_that_cannot_be_created_gives_an_error_of_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["fusionkit_scenes", str(tmp_path / "file")])
    assert command.main() == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_it_takes_one_folder(arguments, monkeypatch):
    monkeypatch.setattr("sys.argv", ["fusionkit_scenes", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
