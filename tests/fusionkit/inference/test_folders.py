"""Fusing files and folders of them: what is written where, what is said, and what is refused."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference.folders import FolderOptions, fuse_files
from fusionkit.inference.output import OutputFormat
from fusionkit.inference.sources import FusionOptions
from fusionkit.interfaces import Backbone, Images
from fusionkit.io.images import read_image, write_image
from fusionkit.io.listing import list_pairs
from fusionkit.progress import ProgressBar

MEAN = fk.build("backbone", name="average")
STRICT = FolderOptions(strict=True)


def fuse(
    sources: dict[str, Path],
    out: Path,
    options: FusionOptions | None = None,
    folder_options: FolderOptions | None = None,
    model: Backbone = MEAN,
    **more: Any,
) -> list[Path]:
    """Fuse sources, and return the results."""
    listing = list_pairs(sources)
    return list(fuse_files(model, listing, out, options, folder_options, **more).results)


def images_in(folder: Path) -> list[Path]:
    """Return what a user sees in a folder."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def noise(dtype: type, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Three pairs of differing sizes: 16-bit infrared PNG, coloured JPEG, PNG and TIFF."""
    folders = {name: tmp_path / name for name in ("infrared", "visible")}
    for folder in folders.values():
        folder.mkdir()
    for seed, name in enumerate(("a.jpg", "b.png", "c.tif")):
        size = (30 + seed, 40)
        write_image(folders["infrared"] / f"{name[0]}.png", noise(np.uint16, *size, seed=seed))
        write_image(folders["visible"] / name, noise(np.uint8, *size, 3, seed=seed + 9))
    return folders


def test_folders_are_fused_as_arrays_are_and_progress_is_told(sources, tmp_path: Path, capsys):
    out = tmp_path / "new" / "fused"
    with ProgressBar("fusing") as bar:
        written = fuse(sources, out, progress=bar)
    assert "fusing 3/3" in capsys.readouterr().err
    assert [path.name for path in written] == ["a.png", "b.png", "c.tif"]
    assert images_in(out) == written
    for path, name in zip(written, ("a.jpg", "b.png", "c.tif"), strict=True):
        images = {
            "infrared": read_image(sources["infrared"] / f"{name[0]}.png"),
            "visible": read_image(sources["visible"] / name),
        }
        assert np.array_equal(read_image(path), fk.fuse(MEAN, images))


def test_options_reach_every_file(sources, tmp_path: Path):
    (grey, *_) = fuse(sources, tmp_path / "o", FusionOptions("none", "minmax"))
    pixels = read_image(grey)
    assert (pixels.dtype, pixels.ndim, pixels.min(), pixels.max()) == (np.uint16, 2, 0, 65535)
    written = fuse(sources, tmp_path / "j", folder_options=FolderOptions(OutputFormat(".jpg")))
    assert [path.name for path in written] == ["a.jpg", "b.jpg", "c.jpg"]


def test_no_image_is_compressed_with_loss_twice_unless_asked(sources, tmp_path: Path):
    for source, folder in sources.items():
        image = noise(np.uint8, 31, 40, *([3] if source == "visible" else []))
        for path in folder.iterdir():
            path.unlink()
        for suffix in (".jpg", ".webp", *([".avif"] if features.check("avif") else [])):
            write_image(folder / f"{suffix[1:]}{suffix}", image)
    names = {path.stem: path.suffix for path in fuse(sources, tmp_path / "o")}
    assert names.pop("avif", ".png") == ".png"
    assert names == {"jpg": ".png", "webp": ".webp"}


def test_one_pair_goes_to_a_file_or_into_a_folder(sources, tmp_path: Path):
    pair = {"infrared": sources["infrared"] / "a.png", "visible": sources["visible"] / "a.jpg"}
    target = tmp_path / "deep" / "result.bmp"
    assert fuse(pair, target) == [target]
    assert read_image(target).shape == (30, 40, 3)
    assert fuse(pair, tmp_path / "o") == [tmp_path / "o" / "a.png"]
    with pytest.raises(
        FusionkitError, match=r"a: .*x\.jpg: \.jpg holds 8 bits|x\.jpg: \.jpg holds"
    ):
        fuse(pair, tmp_path / "x.jpg", FusionOptions("none"))


class Untouched(Backbone):
    """Fails if anything is fused."""

    name = "untouched"

    def forward(self, sources: Images) -> torch.Tensor:
        raise AssertionError("fused before everything was checked")


def test_nothing_starts_before_all_is_checked(sources, tmp_path: Path):
    def refused(
        message: str, out: Path = tmp_path / "o", suffix: str | None = None, **options: Any
    ) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(FusionkitError, match=message):  # noqa: PT012
            folder_options = FolderOptions(OutputFormat(suffix), strict=True)
            fuse(sources, out, FusionOptions(**options), folder_options, model=Untouched())
        assert sorted(tmp_path.rglob("*")) == before

    refused("colour: expected one of none, infrared, visible, found 'red'", colour="red")
    refused("stretch: expected none or minmax, found 'all'", stretch="all")
    refused(r"format: expected one of \.png.*found '\.gif'", suffix=".gif")
    refused(r"the output folder .* holds the source a\.png; name another", sources["infrared"])
    (tmp_path / "file").touch()
    refused("file can't be an output folder: a file stands there", tmp_path / "file")
    refused("can't be an output folder: a file stands there", tmp_path / "file" / "deeper")
    write_image(sources["infrared"] / "c.png", noise(np.uint8, 15, 40))
    write_image(sources["visible"] / "c.tif", noise(np.uint8, 15, 40))
    write_image(sources["infrared"] / "c.png", noise(np.uint8, 40, 53))
    refused("1 pair of unequal size")
    (sources["infrared"] / "c.png").unlink()
    refused(r"1 image without a partner: c \(no infrared\)")


def test_a_folder_of_counts_gets_one_window_and_it_is_said(tmp_path: Path, logged):
    folders = {name: tmp_path / name for name in ("infrared", "visible")}
    for folder in folders.values():
        folder.mkdir()
    for seed, name in enumerate("ab"):
        counts = 7000 + 1000 * seed + np.random.default_rng(seed).random((30, 40)) * 1000
        write_image(folders["infrared"] / f"{name}.tif", counts.astype(np.uint16))
        write_image(folders["visible"] / f"{name}.png", noise(np.uint8, 30, 40, 3, seed=seed))
    paths = fuse(folders, tmp_path / "o")
    (line, _) = logged
    assert line.startswith("infrared: values 70")
    assert "(0.5 % to 99.5 % of 2 images) become 0 to 1; another window: --window infrared" in line
    low, high = (float(line.split()[i]) for i in (2, 4))
    for path in paths:
        images = {
            "infrared": read_image(folders["infrared"] / f"{path.stem}.tif"),
            "visible": read_image(folders["visible"] / f"{path.stem}.png"),
        }
        expected = fk.fuse(MEAN, images, windows={"infrared": (low, high)})
        assert np.abs(read_image(path).astype(int) - expected).max() <= 1
    full = fuse(folders, tmp_path / "f", FusionOptions(windows={"infrared": "full"}))
    assert read_image(full[0]).mean() < read_image(paths[1]).mean() - 20
    fixed = {"infrared": (7000.0, 9000.0)}
    given = fuse(folders, tmp_path / "g", FusionOptions(windows=fixed))
    assert len([line for line in logged if "become" in line]) == 1
    assert np.array_equal(read_image(given[1]), fk.fuse(MEAN, images, windows=fixed))
    with pytest.raises(FusionkitError, match="the window of infrared: expected LOW:HIGH"):
        fuse(folders, tmp_path / "x", FusionOptions(windows={"infrared": "low"}), model=Untouched())
    broken = folders["infrared"] / "b.tif"
    broken.write_bytes(broken.read_bytes()[:400])
    with pytest.raises(FusionkitError, match=r"infrared/b\.tif is damaged"):
        fuse(folders, tmp_path / "x", None, STRICT, model=Untouched())
    assert not (tmp_path / "x").exists()


def test_files_are_resampled_and_aligned_and_it_is_said(tmp_path: Path, scene, logged):
    folders = {name: tmp_path / name for name in ("infrared", "visible")}
    for folder in folders.values():
        folder.mkdir()
    small = cv2.resize(scene["infrared"], (128, 128), interpolation=cv2.INTER_AREA)
    moves = {"a": (0, 0), "b": (4, 0), "c": (0, 8)}
    for name, move in moves.items():
        write_image(folders["infrared"] / f"{name}.png", np.roll(small, move, (0, 1)))
        rgb = np.repeat(scene["visible"][..., None], 3, axis=2)
        write_image(folders["visible"] / f"{name}.png", rgb)
    write_image(folders["infrared"] / "d.png", noise(np.uint8, 128, 128))
    write_image(folders["visible"] / "d.png", noise(np.uint8, 192, 192, 3))
    with pytest.raises(FusionkitError, match="1 pair of unequal size"):
        fuse(folders, tmp_path / "o", None, STRICT, model=Untouched())
    options = FusionOptions("visible", resample=True, align=True)
    paths = fuse(folders, tmp_path / "o", options)
    assert [read_image(path).shape for path in paths] == [(192, 192, 3)] * 4
    resampled, moved = logged[-3:-1]
    assert resampled == "infrared: 4 images of 128x128 resampled to 192x192"
    found = re.fullmatch(
        r"infrared: 2 of 4 images moved, by (.*) pixels in the median; "
        r"1 left, because no reliable shift was found",
        moved,
    )
    assert found
    assert float(found[1]) == pytest.approx(9, abs=0.3)
    a, b, c = (read_image(path).astype(int)[20:-20, 20:-20] for path in paths[:3])
    assert np.abs(a - b).mean() < 2
    assert np.abs(a - c).mean() < 2


def test_what_the_camera_wrote_is_kept(tmp_path: Path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "FLIR", 6
    exif[0x8825] = {1: "N", 2: (49.0, 24.0, 36.5)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    vi = tmp_path / "vi.jpg"
    Image.fromarray(noise(np.uint8, 40, 53, 3)).save(vi, exif=exif, icc_profile=profile)
    pair = {"infrared": tmp_path / "ir.png", "visible": vi}
    write_image(pair["infrared"], noise(np.uint8, 53, 40))
    for suffix in (".png", ".jpg", ".tif"):
        fuse(pair, tmp_path / f"out{suffix}")
        with Image.open(tmp_path / f"out{suffix}") as image:
            assert image.size == (40, 53)
            assert image.getexif()[0x010F] == "FLIR"
            assert image.getexif().get(0x0112, 1) == 1
            assert image.getexif().get_ifd(0x8825)[1] == "N"
            assert image.info["icc_profile"] == profile
    # A grey result is that of the first source, which has none, and is not in those colours.
    (grey,) = fuse(pair, tmp_path / "grey", FusionOptions("none"))
    reverse = dict(reversed(pair.items()))
    (turned,) = fuse(reverse, tmp_path / "t", FusionOptions("none"))
    with Image.open(grey) as image:
        assert not image.getexif()
    with Image.open(turned) as image:
        assert image.getexif()[0x010F] == "FLIR"
        assert "icc_profile" not in image.info


def test_a_source_is_never_replaced(sources, tmp_path: Path):
    pair = {"infrared": sources["infrared"] / "b.png", "visible": sources["visible"] / "b.png"}
    with pytest.raises(FusionkitError, match="is one of the sources; name another file"):
        fuse(pair, pair["visible"], model=Untouched())
    with pytest.raises(FusionkitError, match=r"holds the source b\.png; name another folder"):
        fuse(pair, sources["visible"], model=Untouched())


def test_a_damaged_file_is_named_and_the_others_are_fused(sources, tmp_path: Path, logged):
    path = sources["visible"] / "b.png"
    path.write_bytes(path.read_bytes()[:500])
    write_image(sources["infrared"] / "c.png", noise(np.uint8, 15, 40))
    write_image(sources["visible"] / "c.tif", noise(np.uint8, 15, 40))
    out = tmp_path / "o"
    report = fuse_files(MEAN, list_pairs(sources), out)
    assert [path.name for path in report.results] == ["a.png"]
    assert [(f.id, f.files[1].name) for f in report.failures] == [("b", "b.png"), ("c", "c.tif")]
    with (out / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["b", "c"]
    assert str(path) in rows[0]["files"]
    assert str(path) in rows[0]["reason"]
    assert "15x40" in rows[1]["reason"]
    assert any("failures.csv" in line for line in logged)
    # pairs are read side by side, so either may be the first to fail
    with pytest.raises(FusionkitError, match=r"visible/b\.png is damaged|15x40"):
        fuse(sources, tmp_path / "s", None, STRICT)
    # What failed is tried again, and what is mended is no longer listed.
    write_image(path, noise(np.uint8, 31, 40, 3))
    again = fuse_files(MEAN, list_pairs(sources), out)
    assert [path.name for path in again.results] == ["a.png", "b.png"]
    assert (again.skipped, [failure.id for failure in again.failures]) == (1, ["c"])


def test_real_pairs(data_root: Path, tmp_path: Path):
    pet = {name: data_root / f"harvard/mri_pet/{name}" for name in ("mri", "pet")}
    first = sorted(pet["mri"].iterdir())[0].name
    (path,) = fuse({name: pet[name] / first for name in pet}, tmp_path)
    fused = read_image(path)
    mri, colour = read_image(pet["mri"] / first), read_image(pet["pet"] / first)
    assert fused.shape == colour.shape
    assert fused.dtype == np.uint8
    mri = mri if mri.ndim == 2 else cv2.cvtColor(mri, cv2.COLOR_RGB2GRAY)
    mean = (mri.astype(float) + cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)) / 2
    assert np.abs(cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY) - mean).max() <= 2
