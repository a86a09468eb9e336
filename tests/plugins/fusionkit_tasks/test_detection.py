"""The detection task writes correct labels, touches nothing else and repeats its scores."""

from __future__ import annotations

import os
import random
import sys

import cv2
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Sample, TaskContext
from fusionkit_tasks.detection import Detection, count_matches, yolo_lines

CLASSES = ("person", "car")

# Python imports a module sitecustomize in every process. Audit hooks also see what C code does,
# and can't be removed again.
SPY = r"""
import os, sys

seen = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        os.write(seen, f"network {{event}} {{arguments}}\n".encode())
    elif event == "open" and isinstance(arguments[0], str) and arguments[2] & (1 | 2):
        os.write(seen, f"wrote {{os.path.abspath(arguments[0])}}\n".encode())


sys.addaudithook(note)
"""


@pytest.fixture(scope="module", autouse=True)
def libraries_as_before():
    """Take back what ultralytics replaces in other libraries when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        for library, names in (
            (PIL.Image, ("open",)),
            (torch, ("load", "save")),
            (cv2, ("imread", "imwrite", "imshow")),
        ):
            for name in names:
                patch.setattr(library, name, getattr(library, name))
        yield


def scenes(count, first=0):
    made = []
    for index in range(first, first + count):
        generator = torch.Generator().manual_seed(index)
        cx, cy = (0.2 + 0.6 * torch.rand(2, generator=generator)).tolist()
        image = torch.full((1, 64, 64), 0.2)
        top, left = int((cy - 0.15) * 64), int((cx - 0.15) * 64)
        image[:, top : top + 19, left : left + 19] = 0.9
        boxes = torch.tensor([[1, cx, cy, 0.3, 0.3]])
        made.append(Sample(f"street {index}/a", {"fused": image}, boxes=boxes))
    made[-1] = Sample("empty", {"fused": torch.full((1, 64, 64), 0.2)}, boxes=torch.zeros(0, 5))
    return made


def test_labels_are_in_yolo_format_and_cut_at_the_borders():
    boxes = torch.tensor([[1, 0.5, 0.5, 0.25, 0.5], [0, 0.0, 0.9, 0.2, 0.2]])
    assert yolo_lines(boxes) == (
        "1 0.500000 0.500000 0.250000 0.500000\n0 0.050000 0.900000 0.100000 0.200000\n"
    )
    assert yolo_lines(torch.zeros(0, 5)) == ""


def test_f1_counts_each_labelled_box_once_and_only_for_its_class():
    labelled = torch.tensor([[1, 0.3, 0.3, 0.2, 0.2], [0, 0.7, 0.7, 0.2, 0.2]])
    found = torch.tensor(
        [
            [1, 0.31, 0.3, 0.2, 0.2, 0.5],  # matches, but a more confident one has the box
            [1, 0.3, 0.3, 0.2, 0.2, 0.9],  # matches
            [1, 0.7, 0.7, 0.2, 0.2, 0.9],  # another class
            [0, 0.8, 0.7, 0.2, 0.2, 0.9],  # overlaps by a third
            [0, 0.7, 0.7, 0.2, 0.2, 0.2],  # too little confidence
        ]
    )
    assert count_matches(found, labelled) == (1, 6)
    assert count_matches(found[:0], labelled) == (0, 2)
    assert count_matches(found, labelled[:0]) == (0, 4)
    assert count_matches(found[:0], labelled[:0]) == (0, 0)


def fit(folder, seed=0, **arguments):
    folder.mkdir()
    task = fk.build(
        "task",
        name="detection",
        **{"epochs": 1, "image_size": 64, "batch_size": 4, **arguments},
    )
    task.fit(scenes(8), TaskContext(seed=seed, folder=folder, box_classes=CLASSES))
    return task


def run(folder):
    return fit(folder).score(scenes(4, first=20))


def test_a_training_repeats_itself_and_leaves_the_rest_of_the_machine_alone(tmp_path, monkeypatch):
    # The first build loads all plugins, whose packages may write files; the task does not.
    fk.build("task", name="detection")
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    log = tmp_path / "spy" / "log"
    log.parent.mkdir()
    (log.parent / "sitecustomize.py").write_text(SPY.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", str(log.parent))
    # Otherwise Python writes compiled files at the first import.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    state = torch.get_rng_state(), random.getstate(), dict(os.environ), torch.get_num_threads()
    result = run(tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), dict(os.environ), torch.get_num_threads()) == state[1:]
    assert not torch.are_deterministic_algorithms_enabled()
    assert "ultralytics" not in sys.modules
    lines = log.read_text().splitlines()
    assert any(line.endswith("results.csv") for line in lines)  # the spy works
    assert [line for line in lines if line.startswith("network")] == []
    inside = (str(tmp_path / "one"), "/dev/", "/proc/")
    assert [x for x in lines if not x.removeprefix("wrote ").startswith(inside)] == []
    assert {"mAP50", "mAP50-95", "F1", "AP50/car", "AP50-95/car"} == set(result.scores)
    assert all(0 <= value <= 1 for value in result.scores.values())
    assert set(result.predictions) == {"street 20/a", "street 21/a", "street 22/a", "empty"}
    assert all(rows.shape[1] == 6 for rows in result.predictions.values())
    assert list(home.iterdir()) == []
    assert list(here.iterdir()) == []
    folder = tmp_path / "one"
    assert len(list((folder / "images" / "train").iterdir())) == 8
    assert (folder / "labels" / "train" / "000007.txt").read_text() == ""
    assert "1: " in (folder / "data.yaml").read_text().replace('"', "")
    settings = next((folder / "home").rglob("settings.json")).read_text()
    assert '"sync": false' in settings
    assert str(home) not in settings
    assert run(tmp_path / "two").scores == result.scores
    weights = [weights_of(tmp_path / name) for name in ("one", "two")]
    for a, b in zip(*(w.values() for w in weights), strict=True):
        assert torch.equal(a, b)


def test_missing_weights_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("FUSIONKIT_TRUST_MODEL_FILES", "1")
    with pytest.raises(FusionkitError, match=r"the file no_such\.pt does not exist"):
        fit(tmp_path / "one", model="no_such.pt")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("yolo11n", "model: expected a configuration"),
        ("yolo11nn.yaml", r"no configuration 'yolo11nn.yaml'; did you mean 'yolo11n.yaml'"),
        ("weights/best.pt", "model: the file weights/best.pt does not exist"),
    ],
)
def test_models_that_can_not_exist_are_refused_at_once(model, message):
    with pytest.raises(FusionkitError, match=message):
        fk.build("task", name="detection", model=model)


@pytest.mark.parametrize("model", ["yolov8n-p2.yaml", "yolov5n6.yaml", "yolov9c.yaml"])
def test_models_of_ultralytics_are_accepted(model):
    assert fk.build("task", name="detection", model=model).model == model


@pytest.mark.parametrize("model", ["mine.pt", "yolo11n.yaml", "yolov5nu.pt", "weights/mine.yaml"])
def test_models_that_can_run_code_need_trust(model, tmp_path, monkeypatch):
    # A file beside the suite that has the name of a configuration of ultralytics is still a file.
    monkeypatch.chdir(tmp_path)
    if model != "yolov5nu.pt":
        (tmp_path / model).parent.mkdir(exist_ok=True)
        (tmp_path / model).write_text("nc: 80")
    with pytest.raises(FusionkitError, match="--trust-model-files"):
        fk.build("task", name="detection", model=model)
    monkeypatch.setenv("FUSIONKIT_TRUST_MODEL_FILES", "1")
    assert fk.build("task", name="detection", model=model).model.endswith(model)


def weights_of(folder):
    file = folder / "train/weights/last.pt"
    return torch.load(file, weights_only=False)["model"].state_dict()


def test_training_starts_from_weights_without_code(tmp_path):
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(1)
    given = DetectionModel("yolo11n.yaml", verbose=False).state_dict()
    file = tmp_path / "mine.safetensors"
    save_file(given, file, {"ultralytics": "yolo11n.yaml"})
    fit(tmp_path / "next", model=str(file), lr=1e-9, seed=5)
    found = weights_of(tmp_path / "next")
    # the layers behind the number of classes differ, and statistics are collected anew
    learned = [k for k in given if found[k].shape == given[k].shape and "num_batches" not in k]
    learned = [key for key in learned if "running" not in key]
    assert len(learned) > 200
    for key in learned:
        assert torch.allclose(found[key].float(), given[key], atol=2e-3), key


def test_weights_that_name_no_configuration_are_refused(tmp_path):
    file = tmp_path / "mine.safetensors"
    for metadata in ({}, {"ultralytics": "nowhere.yaml"}, {"ultralytics": "../yolo11n.yaml"}):
        save_file({"weight": torch.zeros(1)}, file, metadata)
        with pytest.raises(FusionkitError, match="model: "):
            Detection(str(file))
    file.write_bytes(b"no weights")
    with pytest.raises(FusionkitError, match="can't be read"):
        Detection(str(file))


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FusionkitError, match=r'run: pip install "fusionkit-mmif\[detection\]"'):
        Detection()


@pytest.mark.slow
def test_it_learns_to_find_bright_squares(tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    task = fk.build("task", name="detection", epochs=16, image_size=64, batch_size=8, mosaic=0)
    task.fit(scenes(64), TaskContext(seed=0, folder=folder, box_classes=CLASSES))
    result = task.score(scenes(16, first=200))
    assert result.scores["mAP50"] > 0.5
    assert result.scores["F1"] > 0.5
    images = result.per_image["F1"]
    assert all(0 <= value <= 1 for value in images.values())
    assert sum(images.values()) / len(images) == pytest.approx(result.scores["F1"], abs=0.2)
