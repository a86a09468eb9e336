"""``fusionkit metrics`` and ``audit`` as a user types them."""

from __future__ import annotations

import csv
import json
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import fusionkit as fk
from fusionkit.cli.metrics import _print_places


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


def test_json_has_the_numbers_of_the_csv(fusionkit, pairs, sources, tmp_path):
    options = ["--metric", "EN", "--metric", "MSE", "--json"]
    code, out, _ = fusionkit(
        "metrics", "--fused", pairs / "ir", *sources, *options, "--csv", tmp_path / "scores.csv"
    )
    assert code == 0
    document = json.loads(out)
    assert document["profile"] == "cddfuse"
    assert document["better"] == {"EN": "higher", "MSE": "lower"}
    assert document["failures"] == []
    found = document["methods"]["ir"]
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert len(rows) == 4
    for row in rows:
        assert found["images"][row["image"]][row["metric"]] == float(row["value"])
    for name in ("EN", "MSE"):
        values = [float(row["value"]) for row in rows if row["metric"] == name]
        assert found["means"][name] == pytest.approx(statistics.mean(values))
        assert found["standard_deviations"][name] == pytest.approx(statistics.stdev(values))


def test_json_lists_failures(fusionkit, damaged, sources):
    code, out, _ = fusionkit("metrics", "--fused", damaged, *sources, "--metric", "EN", "--json")
    assert code == 2
    document = json.loads(out)
    assert list(document["methods"]["fused"]["images"]) == ["a"]
    failed = [failure["files"][0] for failure in document["failures"]]
    assert failed == [str(damaged / "b.png"), str(damaged / "c.png")]


def test_methods_are_sorted_by_place(fusionkit, pairs, sources):
    (pairs / "flat").mkdir()
    for path in (pairs / "ir").iterdir():
        with Image.open(path) as image:
            Image.new("L", image.size, 90).save(pairs / "flat" / path.name)
    folders = ["--fused", pairs / "flat", "--fused", f"copy={pairs / 'ir'}"]
    code, out, said = fusionkit("metrics", *folders, *sources, "--metric", "SD", "--metric", "EN")
    assert code == 0
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["method"] for row in rows] == ["flat"] * 4 + ["copy"] * 4
    lines = [line.split() for line in said.splitlines() if "copy" in line or "flat" in line]
    (_, first, _, place, *best), (_, second, _, other, *rest) = lines
    assert (first, second, float(place), float(other)) == ("copy", "flat", 1, 2)
    assert best.count("(1)") == 2
    assert rest.count("(2)") == 2
    code, _, said = fusionkit("metrics", *folders, "--fused", pairs / "flat", *sources)
    assert code == 2
    assert "'flat'" in said
    next((pairs / "flat").iterdir()).unlink()
    _, _, said = fusionkit("metrics", *folders, *sources, "--metric", "SD")
    assert "not scored on the same images" in said


def test_places_are_right_where_lower_is_better(capsys):
    metrics = [SimpleNamespace(name="MSE", higher_is_better=False)]
    means = {"a": {"MSE": (3.0, 0.0)}, "b": {"MSE": (1.0, 0.0)}, "c": {"MSE": (1.0, 0.0)}}
    _print_places("", metrics, means)  # type: ignore[arg-type]
    rows = [line for line in capsys.readouterr().err.splitlines() if "(" in line]
    assert [row.split()[1] for row in rows] == ["b", "c", "a"]
    assert [row[row.index("(") + 1] for row in rows] == ["1", "1", "3"]


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
