"""``fusionkit metrics`` and ``audit`` as a user types them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

import fusionkit as fk


def test_fuse_metrics_and_means(fusionkit, pairs, sources):
    code, _, said = fusionkit(
        "fuse", *sources, "-o", pairs / "out", "--backbone", "laplacian-pyramid"
    )
    assert code == 0
    assert "2 fused images" in said
    with Image.open(pairs / "out" / "a.png") as image:
        assert image.size == (67, 50)
        assert image.mode == "RGB"
    code, out, said = fusionkit(
        "metrics", "--fused", pairs / "out", *sources, "--metric", "EN", "--metric", "SD"
    )
    assert code == 0
    rows = list(csv.DictReader(out.splitlines()))
    assert [(r["image"], r["metric"]) for r in rows] == [
        ("a", "EN"),
        ("a", "SD"),
        ("b", "EN"),
        ("b", "SD"),
    ]
    assert "profile cddfuse" in said
    fused = np.asarray(Image.open(pairs / "out" / "a.png"))
    images = {
        m: np.asarray(Image.open(pairs / d / "a.png"))
        for m, d in (("infrared", "ir"), ("visible", "vi"))
    }
    scores = fk.evaluate(fused, images, metrics=["EN", "SD"])
    assert float(rows[0]["value"]) == scores["EN"]
    code, out, _ = fusionkit(
        "metrics", "--fused", pairs / "out", *sources, "--csv", pairs / "m.csv"
    )
    assert code == 0
    assert out == ""
    assert len((pairs / "m.csv").read_text().splitlines()) == 1 + 2 * 13


def test_profiles_side_by_side(fusionkit, pairs, sources, tmp_path):
    table = tmp_path / "scores.csv"
    options = ["metrics", "--fused", pairs / "ir", *sources, "--compare-profiles"]
    code, out, messages = fusionkit(*options, "--csv", table)
    assert code == 0
    assert all(name in out for name in ("tang", "petrovic", "liu", "cvejic"))
    assert "…" not in out  # what one terminal's width does not hold is in another table
    assert "zoo: MS-SSIM left out: MS-SSIM needs images of at least 176x176 pixels" in messages
    lines = table.read_text().splitlines()
    assert lines[0] == "profile,image,metric,value"
    found = {tuple(line.split(",")[:3]): float(line.split(",")[3]) for line in lines[1:]}
    assert found["tang", "a", "SF"] == pytest.approx(found["cddfuse", "a", "SF"] / 255)
    code, _, messages = fusionkit(*options, "--profile", "tang")
    assert code == 2
    assert "--profile" in messages


@pytest.fixture
def damaged(pairs):
    """Three fused images: ``a`` can be scored, ``b`` is truncated, ``c`` has no source."""
    folder = pairs / "fused"
    folder.mkdir()
    for name in "abc":
        pixels = (pairs / "vi" / "a.png").read_bytes()
        (folder / f"{name}.png").write_bytes(pixels[: 400 if name == "b" else None])
    return folder


@pytest.mark.parametrize("options", [(), ("--compare-profiles",)])
def test_a_bad_image_does_not_lose_the_folder(fusionkit, damaged, sources, tmp_path, options):
    table = tmp_path / "scores.csv"
    code, _, messages = fusionkit("metrics", "--fused", damaged, *sources, *options, "--csv", table)
    assert code == 2
    assert {row["image"] for row in csv.DictReader(table.read_text().splitlines())} == {"a"}
    assert str(damaged / "b.png") in messages
    assert str(damaged / "c.png") in messages
    failures = list(csv.DictReader((tmp_path / "scores.failures.csv").read_text().splitlines()))
    assert [row["id"] for row in failures] == ["b", "c"]
    for name in "bc":
        (damaged / f"{name}.png").unlink()
    code, _, _ = fusionkit("metrics", "--fused", damaged, *sources, *options, "--csv", table)
    assert code == 0
    assert [path.name for path in tmp_path.glob("*.csv")] == ["scores.csv"]


@pytest.mark.parametrize("options", [(), ("--compare-profiles",)])
def test_strict_stops_at_the_first_bad_image(fusionkit, damaged, sources, tmp_path, options):
    table = tmp_path / "scores.csv"
    code, _, messages = fusionkit(
        "metrics", "--fused", damaged, *sources, *options, "--csv", table, "--strict"
    )
    assert code == 2
    assert not table.exists()
    assert str(damaged / "b.png") in messages
    assert str(damaged / "c.png") not in messages


def test_folders_without_a_common_name_are_refused(fusionkit, pairs, sources):
    (pairs / "other").mkdir()
    (pairs / "vi" / "a.png").rename(pairs / "other" / "z.png")
    code, out, messages = fusionkit("metrics", "--fused", pairs / "other", *sources)
    assert code == 2
    assert out == ""
    assert "z" in messages


def test_audit(fusionkit, pairs, sources):
    common = (*sources, "--count", "2", "-o", pairs / "audit")
    code, out, said = fusionkit("audit", "--backbone", "average", *common)
    assert code == 0
    assert "equivariance of average on 2 pairs" in out
    for group in ("d4", "reflect", "rotate", "shift"):
        assert group in out
    assert "audit.csv" in said
    assert (pairs / "audit" / "audit.png").is_file()
    page = (pairs / "audit" / "audit.html").read_text()
    assert all(group in page for group in ("d4", "reflect", "rotate", "shift"))
    code, out, _ = fusionkit(
        "audit", "--backbone", "wavelet", "--symmetrize", "reflect", "--limit", "1",
        "--transform", "{name: shift, circular: false}", "--transform", "reflect", *common,
    )  # fmt: skip
    assert code == 0
    assert "equivariance of wavelet, symmetrized over reflect on 1 pair " in out
    for text, message in (
        ("shfit", "no transform 'shfit' is installed"),
        ("{name: shift, circle: false}", "no argument 'circle'"),
        ("{shift}", "expected a transform as NAME or {name: NAME, ARGUMENT: VALUE}"),
    ):
        code, _, said = fusionkit("audit", "--backbone", "max", "--transform", text, *common)
        assert code == 2
        assert message in said
