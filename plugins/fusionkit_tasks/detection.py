"""Task ``detection``: a YOLO detector trained on fused images, scored by average precision."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Sample, Task, TaskContext, TaskResult
from fusionkit.io.atomic_write import make_folder, write_text
from fusionkit.io.images import from_float, write_image
from fusionkit_tasks.pictures import rgb

_CONFIDENCE, _OVERLAP = 0.25, 0.5
"""Of the boxes that count for F1: ultralytics' default confidence, and PASCAL VOC's overlap."""


class Detection(Task):
    """Train a YOLO of ultralytics on the fused images, and score its boxes.

    Training and validation run in processes of their own whose settings, working folder and home
    are the task's folder: nothing is reported to anybody or written elsewhere. The last weights
    are scored, not the best ones on the test set, which would be chosen by what they are tested on.

    Args:
        model: A configuration such as ``yolo11n.yaml``, trained from random weights; or pretrained
            weights, a file or a name such as ``yolov5nu.pt`` that ultralytics can download.
        epochs: Passes over the training scenes.
        batch_size: Scenes per step.
        image_size: Longer side in pixels that images are resized to.
        lr: Rate of AdamW at the start.
        mosaic: Probability of ultralytics' mosaic augmentation.
    """

    name = "detection"
    labels = "boxes"
    example: ClassVar = {"epochs": 1, "batch_size": 4, "image_size": 64}

    def __init__(
        self,
        model: str = "yolo11n.yaml",
        epochs: Annotated[int, Field(ge=1)] = 100,
        batch_size: Annotated[int, Field(ge=1)] = 16,
        image_size: Annotated[int, Field(ge=32, multiple_of=32)] = 640,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        mosaic: Annotated[float, Field(ge=0, le=1)] = 1.0,
    ):
        if not model.endswith((".yaml", ".pt")):
            raise FusionkitError(
                f"model: expected a configuration (yolo11n.yaml) or weights (.pt), found {model!r}"
            )
        _check_model(model)
        # A file is looked for where the user stands, not where the training will run.
        self.model = str(Path(model).resolve()) if Path(model).is_file() else model
        self.epochs, self.batch_size, self.image_size = epochs, batch_size, image_size
        self.lr, self.mosaic = lr, mosaic
        self._context = TaskContext()

    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Write the data in YOLO layout and train.

        Raises:
            FusionkitError: with the last lines of ultralytics, if it fails.
        """
        self._context = context
        self._write("train", train)
        # Ultralytics wants a validation set even where none is used.
        names = json.dumps(dict(enumerate(self._context.box_classes)))
        write_text(
            self._context.folder / "data.yaml",
            f"path: {json.dumps(str(self._context.folder))}\n"
            f"train: images/train\nval: images/train\ntest: images/test\nnames: {names}\n",
        )
        self._run("train")

    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Return ``mAP50``, ``mAP50-95``, ``F1``, and both precisions of each class there is.

        F1 = 2 TP / (2 TP + FP + FN) counts boxes of confidence 0.25 and more, right where they
        overlap a box of their class by 0.5. It is there because it has a value in each image.
        """
        ids = self._write("test", test)
        self._run("validate")
        result = json.loads((self._context.folder / "result.json").read_text(encoding="utf-8"))
        boxes = {
            ids[name]: torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
            for name, rows in result["boxes"].items()
        }
        counts = {s.id: right_and_all(boxes[s.id], _labelled(s)) for s in test}
        # Where there is nothing to find and nothing was found, there is no value.
        f1 = {name: 2 * right / count for name, (right, count) in counts.items() if count}
        right, count = (sum(values) for values in zip(*counts.values(), strict=True))
        scores = {**result["scores"], "F1": 2 * right / count if count else 0.0}
        return TaskResult(scores, {"F1": f1}, boxes)

    def _write(self, split: str, samples: Sequence[Sample]) -> dict[str, str]:
        """Write images and labels in YOLO layout; return file stem -> scene id."""
        images = self._context.folder / "images" / split
        labels = self._context.folder / "labels" / split
        make_folder(images)
        make_folder(labels)
        ids = {}
        for place, sample in enumerate(samples):
            # Numbered, as ids may hold what a file name can't, and order decides the batches.
            stem = f"{place:06d}"
            ids[stem] = sample.id
            write_image(
                images / f"{stem}.png", from_float(rgb(sample).movedim(0, -1).numpy(), "uint8")
            )
            write_text(labels / f"{stem}.txt", yolo_lines(_labelled(sample)))
        return ids

    def _run(self, action: str) -> None:
        folder = self._context.folder
        device = {"cuda": "0", "mps": "mps"}.get(self._context.accelerator, "cpu")
        job: dict[str, Any] = {
            "action": action,
            "model": self.model,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "image_size": self.image_size,
            "lr": self.lr,
            "mosaic": self.mosaic,
            "seed": self._context.seed,
            "device": device,
            "classes": list(self._context.box_classes),
        }
        path = folder / f"{action}.json"
        write_text(path, json.dumps(job))
        home = folder / "home"
        make_folder(home / "Ultralytics")
        # Ultralytics asks the network for a font that it lacks, even where it draws nothing; it
        # takes one of this name for granted without opening it.
        for font in ("Arial.ttf", "Arial.Unicode.ttf"):
            (home / "Ultralytics" / font).touch()
        environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "XDG_CACHE_HOME": str(home),
            "YOLO_CONFIG_DIR": str(home),
            "MPLCONFIGDIR": str(home),
            "YOLO_VERBOSE": "false",
            # Sums are taken in an order that depends on the number of threads.
            "OMP_NUM_THREADS": "1" if device == "cpu" else os.environ.get("OMP_NUM_THREADS", "8"),
        }
        if self.model.endswith(".yaml") or Path(self.model).is_file():
            environment["YOLO_OFFLINE"] = "true"  # only weights asked for by name are downloaded
        worker = Path(__file__).with_name("yolo.py")
        done = subprocess.run(
            # Safe path: or the modules of this folder would hide others of their names.
            [sys.executable, "-P", str(worker), str(path)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            hint = (
                f" (is {self.model} a file, or can it be downloaded?)"
                if self.model.endswith(".pt") and not Path(self.model).is_file()
                else ""
            )
            raise FusionkitError(
                f"ultralytics could not {action} with {self.model}{hint}: " + " | ".join(lines[-3:])
            )


def _check_model(model: str) -> None:
    """Raise FusionkitError for a model that can't exist, without importing ultralytics."""
    found = importlib.util.find_spec("ultralytics")
    if found is None or found.origin is None:
        raise FusionkitError(
            "the task `detection` needs ultralytics, which is not installed; "
            'run: pip install "fusionkit-mmif[detection]" (ultralytics is AGPL-3)'
        )
    if Path(model).is_file():
        return
    if Path(model).name != model:
        raise FusionkitError(f"model: there is no file {model}")
    if model.endswith(".yaml"):
        folder = Path(found.origin).parent / "cfg" / "models"
        there = {path.name for path in folder.rglob("*.yaml")}
        # The letter of the size, as in yolo11n.yaml, is not part of the file's name.
        unsized = re.sub(r"(\d+)[nslmx](6?)", r"\1\2", model, count=1)
        if not there & {model, unsized, re.sub(r"^(yolov\d)6", r"\1-p6", unsized)}:
            sized = there | {re.sub(r"^(yolo\D*\d+)", r"\1n", name) for name in there}
            raise FusionkitError(
                f"model: ultralytics has no configuration {model!r}" + nearest(model, sized)
            )


def _labelled(sample: Sample) -> Tensor:
    assert sample.boxes is not None
    return sample.boxes


def right_and_all(found: Tensor, labelled: Tensor) -> tuple[int, int]:
    """Return how many of the found boxes are right, and how many boxes both have together.

    From the most to the least confident, each takes the labelled box of its class that it overlaps
    most of those that are left.

    Args:
        found: (n, 6) rows class, cx, cy, width, height, confidence.
        labelled: (m, 5) rows class, cx, cy, width, height.
    """
    from torchvision.ops import box_convert, box_iou

    found = found[found[:, 5] >= _CONFIDENCE]
    found = found[found[:, 5].argsort(descending=True, stable=True)]
    sides, others = (box_convert(x[:, 1:5], "cxcywh", "xyxy") for x in (found, labelled))
    overlaps = box_iou(sides, others) * (found[:, :1] == labelled[:, 0])
    right = 0
    for row in overlaps if len(labelled) else ():
        best = int(row.argmax())
        if row[best] >= _OVERLAP:
            right += 1
            overlaps[:, best] = 0
    return right, len(found) + len(labelled)


def yolo_lines(boxes: Tensor) -> str:
    """Return labels in YOLO's format: ``class cx cy w h`` a line, relative, cut at the borders.

    Args:
        boxes: (n, 5) rows class, cx, cy, width, height.
    """
    lines = []
    for kind, cx, cy, w, h in boxes.tolist():
        left, right = max(0.0, cx - w / 2), min(1.0, cx + w / 2)
        top, bottom = max(0.0, cy - h / 2), min(1.0, cy + h / 2)
        lines.append(
            f"{int(kind)} {(left + right) / 2:.6f} {(top + bottom) / 2:.6f} "
            f"{right - left:.6f} {bottom - top:.6f}\n"
        )
    return "".join(lines)
