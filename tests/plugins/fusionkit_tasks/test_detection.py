"""The detection task: labels as written, nothing else touched, repeatable scores."""

from __future__ import annotations

import os
import random
import sys

import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Sample, TaskContext
from fusionkit_tasks.detection import Detection, right_and_all, yolo_lines

CLASSES = ("person", "car")

# Python runs a module of this name in every process. Audit hooks see what is done in C as well,
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


def test_labels_are_yolos_and_cut_at_the_borders():
    boxes = torch.tensor([[1, 0.5, 0.5, 0.25, 0.5], [0, 0.0, 0.9, 0.2, 0.2]])
    assert yolo_lines(boxes) == (
        "1 0.500000 0.500000 0.250000 0.500000\n0 0.050000 0.900000 0.100000 0.200000\n"
    )
    assert yolo_lines(torch.zeros(0, 5)) == ""


def test_f1_counts_each_labelled_box_once_and_only_for_its_class():
    labelled = torch.tensor([[1, 0.3, 0.3, 0.2, 0.2], [0, 0.7, 0.7, 0.2, 0.2]])
    found = torch.tensor(
        [
            [1, 0.31, 0.3, 0.2, 0.2, 0.5],  # right, but a surer one has the box
            [1, 0.3, 0.3, 0.2, 0.2, 0.9],  # right
            [1, 0.7, 0.7, 0.2, 0.2, 0.9],  # of another class
            [0, 0.8, 0.7, 0.2, 0.2, 0.9],  # overlaps by a third
            [0, 0.7, 0.7, 0.2, 0.2, 0.2],  # not sure enough
        ]
    )
    assert right_and_all(found, labelled) == (1, 6)
    assert right_and_all(found[:0], labelled) == (0, 2)
    assert right_and_all(found, labelled[:0]) == (0, 4)
    assert right_and_all(found[:0], labelled[:0]) == (0, 0)


def run(folder, seed=0, **arguments):
    folder.mkdir()
    task = fk.build(
        "task",
        name="detection",
        **{"epochs": 1, "image_size": 64, "batch_size": 4, **arguments},
    )
    task.context = TaskContext(seed=seed, folder=folder, box_classes=CLASSES)
    task.fit(scenes(8))
    return task, task.score(scenes(4, first=20))


def test_a_training_repeats_itself_and_leaves_the_rest_of_the_machine_alone(tmp_path, monkeypatch):
    # The first build loads all plugins; what their packages do at that is not the task's doing.
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
    # A file compiled on the first import is no writing of ours.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    state = torch.get_rng_state(), random.getstate(), dict(os.environ), torch.get_num_threads()
    task, scores = run(tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), dict(os.environ), torch.get_num_threads()) == state[1:]
    assert not torch.are_deterministic_algorithms_enabled()
    assert "ultralytics" not in sys.modules
    lines = log.read_text().splitlines()
    assert any(line.endswith("results.csv") for line in lines)  # or the spy saw nothing
    assert [line for line in lines if line.startswith("network")] == []
    inside = (str(tmp_path / "one"), "/dev/", "/proc/")
    assert [x for x in lines if not x.removeprefix("wrote ").startswith(inside)] == []
    assert {"mAP50", "mAP50-95", "F1", "AP50/car", "AP50-95/car"} == set(scores)
    assert all(0 <= value <= 1 for value in scores.values())
    assert set(task.predictions()) == {"street 20/a", "street 21/a", "street 22/a", "empty"}
    assert all(rows.shape[1] == 6 for rows in task.predictions().values())
    assert list(home.iterdir()) == []
    assert list(here.iterdir()) == []
    folder = tmp_path / "one"
    assert len(list((folder / "images" / "train").iterdir())) == 8
    assert (folder / "labels" / "train" / "000007.txt").read_text() == ""
    assert "1: " in (folder / "data.yaml").read_text().replace('"', "")
    settings = next((folder / "home").rglob("settings.json")).read_text()
    assert '"sync": false' in settings
    assert str(home) not in settings
    _, again = run(tmp_path / "two")
    assert again == scores
    weights = [
        torch.load(tmp_path / name / "train/weights/last.pt", weights_only=False)["model"]
        for name in ("one", "two")
    ]
    for a, b in zip(*(w.state_dict().values() for w in weights), strict=True):
        assert torch.equal(a, b)


def test_weights_that_are_nowhere_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    with pytest.raises(FusionkitError, match=r"no_such\.pt \(is no_such\.pt a file"):
        run(tmp_path / "one", model="no_such.pt")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("yolo11n", "model: expected a configuration"),
        ("yolo11nn.yaml", r"no configuration 'yolo11nn.yaml'; did you mean 'yolo11n.yaml'"),
        ("weights/best.pt", "model: there is no file weights/best.pt"),
    ],
)
def test_models_that_can_not_be_are_refused_at_once(model, message):
    with pytest.raises(FusionkitError, match=message):
        fk.build("task", name="detection", model=model)


@pytest.mark.parametrize(
    "model", ["yolov5nu.pt", "yolov8n-p2.yaml", "yolov5n6.yaml", "yolov9c.yaml"]
)
def test_models_of_ultralytics_are_taken(model):
    assert fk.build("task", name="detection", model=model).model == model


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FusionkitError, match=r'run: pip install "fusionkit-mmif\[detection\]"'):
        Detection()


@pytest.mark.slow
def test_it_learns_what_is_bright(tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    task = fk.build("task", name="detection", epochs=16, image_size=64, batch_size=8, mosaic=0)
    task.context = TaskContext(seed=0, folder=folder, box_classes=CLASSES)
    task.fit(scenes(64))
    scores = task.score(scenes(16, first=200))
    assert scores["mAP50"] > 0.5
    assert scores["F1"] > 0.5
    images = task.per_image()["F1"]
    assert all(0 <= value <= 1 for value in images.values())
    assert sum(images.values()) / len(images) == pytest.approx(scores["F1"], abs=0.2)
