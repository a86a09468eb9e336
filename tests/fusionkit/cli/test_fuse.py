"""``fusionkit fuse`` as a user types it: output, files, exit codes, messages."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

import fusionkit as fk
from fusionkit.io.images import read_image
from fusionkit.registry.model_cards import read_model
from fusionkit.registry.plugins import load_installed_plugins


def test_single_files_and_a_saved_model(fusionkit, pairs):
    fk.save(fk.build("backbone", name="ufuser", channels=[4, 8], heads=4), pairs / "m.safetensors")
    one = [
        "--source",
        f"infrared={pairs / 'ir/a.png'}",
        "--source",
        f"visible={pairs / 'vi/a.png'}",
    ]
    code, _, _ = fusionkit("fuse", *one, "-o", pairs / "x.tif", "--model", pairs / "m.safetensors")
    assert code == 0
    assert tifffile.imread(pairs / "x.tif").shape == (50, 67, 3)
    code, _, _ = fusionkit(
        "fuse",
        *one,
        "-o",
        pairs / "y.png",
        "--backbone",
        "max",
        "--colour",
        "none",
        "--stretch",
        "minmax",
    )
    assert code == 0
    grey = np.asarray(Image.open(pairs / "y.png"))
    assert grey.shape == (50, 67)
    assert (grey.min(), grey.max()) == (0, 255)


def test_colour_rules_differ_in_colour_but_not_in_luminance(fusionkit, pairs, sources):
    results = []
    for rule in ("oklab", "ycbcr"):
        out = pairs / rule
        options = ("-o", out, "--backbone", "max", "--colour-rule", rule)
        assert fusionkit("fuse", *sources, *options)[0] == 0
        results.append(np.asarray(Image.open(sorted(out.glob("*.*g"))[0]).convert("RGB")))
    assert not np.array_equal(*results)
    first, second = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(int) for x in results)
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x", "--backbone", "max"], "--model or --backbone"),
        (["--model", "nowhere"], "there is no run folder or weights file nowhere, nor a model"),
        (["--model", "no/where"], "expected a run folder or weights file at no/where"),
        (["--backbone", "ufuser"], "has weights that must be trained first"),
        (["--backbone", "max", "--colour", "visual"], "did you mean 'visible'"),
    ],
)
def test_wrong_models(fusionkit, pairs, sources, arguments, message):
    code, _, said = fusionkit("fuse", *sources, "-o", pairs / "out", *arguments)
    assert code == 2
    assert message in said


def test_the_model_of_the_sources_is_taken_if_none_is_named(
    fusionkit, pairs, monkeypatch, write_model
):
    model = write_model(pairs, accepts={"infrared": ["hot"], "visible": ["cold"]})
    monkeypatch.setattr(load_installed_plugins(), "models", {"small": read_model(model)})
    named = ["--source", f"hot={pairs / 'ir'}", "--source", f"cold={pairs / 'vi'}"]
    code, _, said = fusionkit("fuse", *named, "-o", pairs / "out")
    assert code == 0, said
    assert "model: small" in said
    fused = read_image(pairs / "out" / "a.png")
    assert fused.shape == (50, 67, 3)
    images = {
        m: read_image(pairs / d / "a.png") for m, d in (("infrared", "ir"), ("visible", "vi"))
    }
    assert np.array_equal(fused, fk.fuse(fk.load(pairs / "small.safetensors"), images))
    code, _, said = fusionkit("fuse", *named, "-o", pairs / "again", "--model", "small")
    assert code == 0, said
    assert np.array_equal(read_image(pairs / "again" / "a.png"), fused)
    others = ["--source", f"a={pairs / 'ir'}", "--source", f"b={pairs / 'vi'}"]
    code, _, said = fusionkit("fuse", *others, "-o", pairs / "out")
    assert code == 2
    assert "no installed model for the sources a, b (models: small: infrared, visible)" in said


def thermal(root: Path) -> None:
    """Replace the infrared images by counts of a smaller camera."""
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / "ir" / f"{name}.png").unlink()
        counts = generator.integers(7000, 9000, (25, 33)).astype(np.uint16)
        tifffile.imwrite(root / "ir" / f"{name}.tif", counts)


def test_counts_of_a_small_camera_are_windowed_resampled_and_aligned(fusionkit, pairs, sources):
    thermal(pairs)
    command = ["fuse", *sources, "--backbone", "average"]
    code, out, said = fusionkit(*command, "-o", pairs / "out", "--align")
    assert code == 0
    assert out == ""
    lines = said.splitlines()
    assert lines[0].startswith("infrared: values 70")
    assert lines[0].endswith(
        "(0.5 % to 99.5 % of 2 images) become 0 to 1; another window: --window infrared=LOW:HIGH"
    )
    assert "infrared: 2 images of 25x33 resampled to 50x67" in lines
    assert any(line.startswith("infrared: 0 of 2 images moved; 2 left, because") for line in lines)
    assert f"2 fused images in {pairs / 'out'}" in lines[-1]
    assert "images/s" in lines[-1]
    window = ["--window", "infrared=7000:9000"]
    code, _, said = fusionkit(*command, "-o", pairs / "own", *window)
    assert code == 0
    assert "become 0 to 1" not in said
    code, _, said = fusionkit(*command, "-o", pairs / "full", "--window", "infrared=full")
    assert code == 0
    means = [np.asarray(Image.open(pairs / o / "a.png")).mean() for o in ("out", "own", "full")]
    assert abs(means[0] - means[1]) < 5
    assert means[2] < means[0] - 30


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("7000:9000", "found '7000:9000'"),
        ("infrared=7000", "the window of infrared: expected LOW:HIGH (7000:9000)"),
        ("infrard=1:2", "windows: expected one of infrared, visible, found 'infrard'"),
        ("infrared=9:1", "expected a low value below the high one, found 9 and 1"),
    ],
)
def test_wrong_windows(fusionkit, pairs, sources, window, message):
    code, out, said = fusionkit(
        "fuse", *sources, "-o", pairs / "out", "--backbone", "max", "--window", window
    )
    assert (code, out) == (2, "")
    assert said.startswith("error: ")
    assert message in said
    assert not (pairs / "out").exists()


def test_another_field_of_view_is_refused(fusionkit, pairs, sources):
    Image.new("L", (40, 40)).save(pairs / "ir" / "b.png")
    code, _, said = fusionkit("fuse", *sources, "-o", pairs / "out", "--backbone", "max")
    assert code == 2
    assert "b (infrared 40x40, visible 50x67); only images with one aspect" in said
    assert "crop them alike" in said
    assert [path.name for path in sorted((pairs / "out").glob("[!.]*.*"))] == [
        "a.png",
        "failures.csv",
    ]
    code, _, said = fusionkit("audit", *sources, "--backbone", "max", "-o", pairs / "audit")
    assert "register the images of a pair pixel by pixel" in said


def test_an_output_that_is_a_file(fusionkit, pairs, sources):
    (pairs / "out").write_text("x")
    code, _, said = fusionkit("fuse", *sources, "-o", pairs / "out", "--backbone", "max")
    assert code == 2
    assert "a file stands there" in said


def test_two_files_without_options(fusionkit, pairs):
    ir, vi = pairs / "ir/a.png", pairs / "vi/a.png"
    code, _, said = fusionkit("fuse", vi, ir, "-o", pairs / "x.png", "--backbone", "average")
    assert code == 0, said
    assert f"infrared is {ir}" in said
    assert f"visible is {vi}" in said
    for path, name in ((ir, "1.png"), (vi, "2.png")):
        path.rename(pairs / name)
    unnamed = [pairs / "1.png", pairs / "2.png"]
    code, _, said = fusionkit("fuse", *unnamed, "-o", pairs / "y.png", "--backbone", "average")
    assert code == 2
    assert "--source infrared=" in said
    assert not (pairs / "y.png").exists()


def test_a_flat_folder_with_both_sources(fusionkit, pairs):
    both = pairs / "both"
    both.mkdir()
    for folder, ending in (("ir", "_ir.png"), ("vi", "_vis.png")):
        for path in (pairs / folder).iterdir():
            path.rename(both / f"{path.stem}{ending}")
    same = ["--source", f"infrared={both}", "--source", f"visible={both}"]
    code, _, said = fusionkit("fuse", *same, "-o", pairs / "out", "--backbone", "max")
    assert code == 2
    assert "--pair" in said
    patterns = ["--pair", "{stem}_ir.png", "{stem}_vis.png"]
    for sources in (same, [both]):
        out = pairs / f"out{len(sources)}"
        code, _, said = fusionkit("fuse", *sources, *patterns, "-o", out, "--backbone", "max")
        assert code == 0, said
        assert sorted(path.name for path in out.glob("[!.]*.*")) == ["a.png", "b.png"]
        assert read_image(out / "a.png").shape == (50, 67, 3)


def test_a_table_of_pairs(fusionkit, pairs):
    table = pairs / "pairs.csv"
    table.write_text("id,infrared,visible\nnight/one,ir/a.png,vi/a.png\ntwo,ir/b.png,vi/no.png\n")
    command = ["fuse", "--pairs", table, "--backbone", "max", "--bits", "16", "--format", "tif"]
    code, _, said = fusionkit(*command, "-o", pairs / "out")
    assert code == 2
    assert "no.png does not exist" in said
    assert read_image(pairs / "out/night/one.tif").dtype == np.uint16


def test_an_output_that_no_format_is_known_for(fusionkit, pairs, sources):
    one = [
        "--source",
        f"infrared={pairs / 'ir/a.png'}",
        "--source",
        f"visible={pairs / 'vi/a.png'}",
    ]
    code, _, said = fusionkit("fuse", *one, "-o", pairs / "one.gif", "--backbone", "max")
    assert code == 2
    assert "one.gif" in said
    code, _, said = fusionkit("fuse", *sources, "-o", pairs / "all.png", "--backbone", "max")
    assert code == 2
    assert "expected a folder" in said
    assert not (pairs / "all.png").exists()


def test_wrong_devices(fusionkit, pairs, sources):
    command = ["fuse", *sources, "-o", pairs / "out", "--backbone", "max", "--device"]
    for device in ("gpu", "cuda:99", "xpu"):
        code, _, said = fusionkit(*command, device)
        assert code == 2
        assert device in said
    code, _, _ = fusionkit(*command, "cpu", "--precision", "bf16")
    assert code == 0


def test_fusing_symmetrized(fusionkit, pairs, sources):
    for group in ("none", "d4"):
        code, _, _ = fusionkit(
            "fuse", *sources, "-o", pairs / group, "--backbone", "average",
            "--symmetrize", group,
        )  # fmt: skip
        assert code == 0
    one, other = (np.asarray(Image.open(pairs / group / "a.png")) for group in ("none", "d4"))
    assert (one == other).all()  # a pointwise fuser is symmetric as it is
