"""The command line as a user types it: output, files, exit codes, messages."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import fusionkit as fk
from fusionkit import cli
from fusionkit.api import installed
from fusionkit.images import read_image
from fusionkit.models import read_model


@pytest.fixture
def fusionkit(capsys, monkeypatch):
    """Run a command in this process; return exit code, output, messages."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionkit", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two pairs: infrared grey, visible in colour."""
    generator = np.random.default_rng(0)
    for modality, shape in (("ir", (50, 67)), ("vi", (50, 67, 3))):
        (tmp_path / modality).mkdir()
        for name in ("a", "b"):
            pixels = generator.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / modality / f"{name}.png")
    return tmp_path


def sources(root: Path) -> list[str]:
    return ["--source", f"infrared={root / 'ir'}", "--source", f"visible={root / 'vi'}"]


def test_help_costs_no_torch():
    code = (
        "import sys; sys.argv=['fusionkit','--help']\nfrom fusionkit import cli\ntry: cli.main()\n"
    )
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for command in ("run", "fuse", "metrics", "plugins", "schema", "convert", "doctor"):
        assert command in result.stdout


def test_fuse_metrics_and_means(fusionkit, pairs):
    code, _, said = fusionkit(
        "fuse", *sources(pairs), "-o", pairs / "out", "--backbone", "laplacian-pyramid"
    )
    assert code == 0
    assert "2 fused images" in said
    with Image.open(pairs / "out" / "a.png") as image:
        assert image.size == (67, 50)
        assert image.mode == "RGB"
    code, out, said = fusionkit(
        "metrics", "--fused", pairs / "out", *sources(pairs), "--metric", "EN", "--metric", "SD"
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
        "metrics", "--fused", pairs / "out", *sources(pairs), "--csv", pairs / "m.csv"
    )
    assert code == 0
    assert out == ""
    assert len((pairs / "m.csv").read_text().splitlines()) == 1 + 2 * 13


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


def broken_png(root: Path) -> None:
    data = (root / "vi" / "b.png").read_bytes()
    (root / "vi" / "b.png").write_bytes(data[: len(data) // 2])


def unequal(root: Path) -> None:
    Image.new("L", (10, 10)).save(root / "ir" / "b.png")


def nan_tiff(root: Path) -> None:
    (root / "ir" / "b.png").unlink()
    pixels = np.full((50, 67), 0.5, np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(root / "ir" / "b.tif", pixels)


def lonely(root: Path) -> None:
    (root / "ir" / "b.png").unlink()


def empty(root: Path) -> None:
    for path in (root / "ir").iterdir():
        path.unlink()


def missing(root: Path) -> None:
    empty(root)
    (root / "ir").rmdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (broken_png, "b.png is damaged"),
        (unequal, "1 pair of unequal size (height x width): b (infrared 10x10, visible 50x67)"),
        (nan_tiff, "b.tif: 1 pixels are NaN or infinite, the first at row 3, column 4"),
        (lonely, "b (no infrared)"),
        (empty, "ir has no images"),
        (missing, "there is no folder"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("command", ["fuse", "run"])
def test_bad_images_get_one_sentence_and_exit_code_2(fusionkit, pairs, harm, message, command):
    harm(pairs)
    if command == "fuse":
        code, out, said = fusionkit(
            "fuse", *sources(pairs), "-o", pairs / "out", "--backbone", "average"
        )
    else:
        code, out, said = fusionkit(
            "run",
            "emma.yaml",
            "data.name=paired-folders",
            f"data.folders.infrared={pairs / 'ir'}",
            f"data.folders.visible={pairs / 'vi'}",
            "data.patch=48",
            "--out",
            pairs / "out",
        )
        assert not (pairs / "out").exists()
    assert code == 2
    assert out == ""
    assert said.startswith("error: ")
    assert message in said
    assert "Traceback" not in said
    # nothing half: only whole images of whole pairs
    assert [p.name for p in (pairs / "out").glob("*")] in ([], ["a.png"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fuse", "-o", "x", "--backbone", "max", "--source", "ir"], "expected --source MODALITY"),
        (
            ["fuse", "-o", "x", "--backbone", "max", "--source", "a=b"],
            "two or more sources, found 1",
        ),
        (["run", "emme.yaml"], "did you mean 'emma.yaml'"),
        (["run", "emma.yaml", "stages.train-sensors.epochs=x"], "stages[0].epochs"),
        (["plugins", "show", "backbone", "ufusr"], "did you mean 'ufuser'"),
        (["convert", "no.pth", "x.safetensors", "--as", "ufuser"], "there is no file no.pth"),
    ],
)
def test_wrong_commands(fusionkit, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, said = fusionkit(*arguments)
    assert code == 2
    assert message in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x", "--backbone", "max"], "give --model or --backbone, not both"),
        (["--model", "nowhere"], "there is no run folder or weights file nowhere, nor a model"),
        (["--model", "no/where"], "there is no run folder or weights file no/where"),
        (["--backbone", "ufuser"], "has weights that must be trained first"),
        (["--backbone", "max", "--colour", "visual"], "did you mean 'visible'"),
    ],
)
def test_wrong_models(fusionkit, pairs, arguments, message):
    code, _, said = fusionkit("fuse", *sources(pairs), "-o", pairs / "out", *arguments)
    assert code == 2
    assert message in said


def test_the_model_of_the_sources_is_taken_if_none_is_named(
    fusionkit, pairs, monkeypatch, write_model
):
    model = write_model(pairs, accepts={"infrared": ["hot"], "visible": ["cold"]})
    monkeypatch.setattr(installed(), "models", {"small": read_model(model)})
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
    code, _, said = fusionkit("fuse", "--source", "a=x", "--source", "b=y", "-o", pairs / "out")
    assert code == 2
    assert "no installed model for the sources a, b (models: small: infrared, visible)" in said


def test_models_are_listed_and_their_cards_printed(fusionkit, tmp_path, monkeypatch, write_model):
    monkeypatch.setattr(installed(), "models", {"small": read_model(write_model(tmp_path))})
    code, out, _ = fusionkit("models")
    assert code == 0
    assert "small" in out
    assert "infrared, visible" in out
    code, out, _ = fusionkit("models", "small")
    assert code == 0
    assert "TNO: EN 6.5, VIF 0.6123" in out
    code, _, said = fusionkit("models", "smal")
    assert code == 2
    assert "did you mean 'small'" in said
    monkeypatch.setattr(installed(), "models", {})
    assert "no installed plugin ships a trained model" in fusionkit("models")[2]


def thermal(root: Path) -> None:
    """Replace the infrared images by counts of a smaller camera."""
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / "ir" / f"{name}.png").unlink()
        counts = generator.integers(7000, 9000, (25, 33)).astype(np.uint16)
        tifffile.imwrite(root / "ir" / f"{name}.tif", counts)


def test_counts_of_a_small_camera_are_windowed_resampled_and_aligned(fusionkit, pairs):
    thermal(pairs)
    command = ["fuse", *sources(pairs), "--backbone", "average"]
    code, out, said = fusionkit(*command, "-o", pairs / "out", "--align")
    assert code == 0
    assert out == ""
    lines = said.splitlines()
    assert lines[0].startswith("infrared: values 70")
    assert lines[0].endswith(
        "(0.5 % to 99.5 % of 2 images) become 0 to 1; another window: --window infrared=LOW:HIGH"
    )
    assert "infrared: 2 images of 25x33 resampled to 50x67" in lines
    assert any(line.startswith("infrared: 0 of 2 images moved; 2 left, as no") for line in lines)
    assert lines[-1] == f"2 fused images in {pairs / 'out'}"
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
        ("7000:9000", "expected --window MODALITY=LOW:HIGH, MODALITY=LOW%:HIGH%"),
        ("infrared=7000", "the window of infrared: expected LOW:HIGH (7000:9000)"),
        ("infrard=1:2", "windows: expected one of the sources infrared, visible, found 'infrard'"),
        ("infrared=9:1", "expected a low value below the high one, found 9 and 1"),
    ],
)
def test_wrong_windows(fusionkit, pairs, window, message):
    code, out, said = fusionkit(
        "fuse", *sources(pairs), "-o", pairs / "out", "--backbone", "max", "--window", window
    )
    assert (code, out) == (2, "")
    assert said.startswith("error: ")
    assert message in said
    assert not (pairs / "out").exists()


def test_another_field_of_view_is_refused(fusionkit, pairs):
    Image.new("L", (40, 40)).save(pairs / "ir" / "b.png")
    code, _, said = fusionkit("fuse", *sources(pairs), "-o", pairs / "out", "--backbone", "max")
    assert code == 2
    assert "b (infrared 40x40, visible 50x67); only images of one aspect ratio" in said
    assert "crop them alike" in said
    assert not (pairs / "out").exists()
    code, _, said = fusionkit("audit", *sources(pairs), "--backbone", "max", "-o", pairs / "audit")
    assert "registered pixel by pixel" in said


def test_an_output_that_is_a_file(fusionkit, pairs):
    (pairs / "out").write_text("x")
    code, _, said = fusionkit("fuse", *sources(pairs), "-o", pairs / "out", "--backbone", "max")
    assert code == 2
    assert "a file stands there" in said


def test_plugins_schema_and_doctor(fusionkit):
    code, out, _ = fusionkit("plugins", "list")
    assert code == 0
    assert "ufuser  (fusionkit-emma)" in out
    assert "emma.yaml" in out
    code, out, _ = fusionkit("plugins", "show", "loss", "equivariance")
    assert code == 0
    assert "elements: None" in out
    code, out, _ = fusionkit("schema")
    assert json.loads(out)["$defs"]["backbone"]["oneOf"]
    code, out, _ = fusionkit("schema", "--suite")
    assert json.loads(out)["properties"]["methods"]
    code, out, _ = fusionkit("doctor")
    assert code == 0
    assert "torch" in out
    assert "fusionkit-emma (fusionkit-mmif" in out


def test_without_emma_the_core_starts_and_says_what_is_missing(fusionkit, monkeypatch):
    from fusionkit import api, plugins

    entry_points = [
        e
        for e in plugins.importlib.metadata.entry_points(group=plugins.GROUP)
        if e.name != "fusionkit-emma"
    ]
    left = plugins.load_plugins(entry_points)
    monkeypatch.setattr(api, "installed", lambda: left)
    code, out, _ = fusionkit("plugins", "list")
    assert code == 0
    assert "ufuser" not in out
    assert "laplacian-pyramid" in out
    code, _, said = fusionkit("run", "emma.yaml")
    assert code == 2
    assert "emma.yaml is neither a file nor a recipe of an installed plugin" in said
    recipe = Path(plugins.__file__).parents[1] / "plugins/fusionkit_emma/recipes/emma.yaml"
    code, _, said = fusionkit("run", recipe)
    assert code == 2
    for what in (
        "no installed plugin brings any sensor",
        "no backbone 'ufuser' is installed",
        "no installed plugin brings any transform",
        "no stage 'train-sensors'",
    ):
        assert what in said


def test_profiles_side_by_side(fusionkit, pairs, tmp_path):
    table = tmp_path / "scores.csv"
    options = ["metrics", "--fused", pairs / "ir", *sources(pairs), "--compare-profiles"]
    code, out, messages = fusionkit(*options, "--csv", table)
    assert code == 0
    assert "petrovic" in out
    assert "zoo: MS-SSIM left out: MS-SSIM needs images of at least 176x176 pixels" in messages
    lines = table.read_text().splitlines()
    assert lines[0] == "profile,image,metric,value"
    found = {tuple(line.split(",")[:3]): float(line.split(",")[3]) for line in lines[1:]}
    assert found["tang", "a", "SF"] == pytest.approx(found["cddfuse", "a", "SF"] / 255)
    code, _, messages = fusionkit(*options, "--profile", "tang")
    assert code == 2
    assert "shows all profiles and metrics; name neither" in messages


def test_plugins_new_and_check(fusionkit, tmp_path):
    code, out, said = fusionkit(
        "plugins", "new", "my-fusion", "--kind", "backbone", "--out", tmp_path
    )
    assert code == 0
    assert str(tmp_path / "my-fusion" / "pyproject.toml") in out
    assert "fusionkit run my-fusion.yaml" in said
    code, out, _ = fusionkit("plugins", "check", "fusionkit-scenes")
    assert code == 0
    assert "dataset scenes" in out
    code, _, said = fusionkit("plugins", "check", "fusionkit-scene")
    assert code == 2
    assert "no plugin or package 'fusionkit-scene' is installed" in said
    assert "did you mean 'fusionkit-scenes'" in said


def test_a_failed_check_is_named_with_what_to_mend(fusionkit, monkeypatch):
    from fusionkit_scenes.dataset import Scenes

    monkeypatch.setattr(Scenes, "__doc__", None)
    code, out, said = fusionkit("plugins", "check", "fusionkit-scenes")
    assert code == 2
    assert "failed  dataset scenes, docstring: Scenes has no docstring" in out
    assert "1 checks failed" in said


def test_audit(fusionkit, pairs):
    common = (*sources(pairs), "--count", "2", "-o", pairs / "audit")
    code, out, said = fusionkit("audit", "--backbone", "average", *common)
    assert code == 0
    assert "equivariance of average on 2 pairs" in out
    for group in ("d4", "reflect", "rotate", "shift"):
        assert group in out
    assert "audit.csv" in said
    assert (pairs / "audit" / "audit.png").is_file()
    code, out, _ = fusionkit(
        "audit", "--backbone", "wavelet", "--symmetrize", "reflect", "--limit", "1",
        "--transform", "{name: shift, circular: false}", "--transform", "reflect", *common,
    )  # fmt: skip
    assert code == 0
    assert "equivariance of symmetrized on 1 pairs" in out
    for text, message in (
        ("shfit", "no transform 'shfit' is installed"),
        ("{name: shift, circle: false}", "no argument 'circle'"),
        ("{shift}", "expected a transform as NAME or {name: NAME, ARGUMENT: VALUE}"),
    ):
        code, _, said = fusionkit("audit", "--backbone", "max", "--transform", text, *common)
        assert code == 2
        assert message in said


def test_fusing_symmetrized(fusionkit, pairs):
    for group in ("none", "d4"):
        code, _, _ = fusionkit(
            "fuse", *sources(pairs), "-o", pairs / group, "--backbone", "average",
            "--symmetrize", group,
        )  # fmt: skip
        assert code == 0
    one, other = (np.asarray(Image.open(pairs / group / "a.png")) for group in ("none", "d4"))
    assert (one == other).all()  # a pointwise fuser is symmetric as it is
