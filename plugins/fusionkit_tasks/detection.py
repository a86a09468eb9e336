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
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Sample, Task, TaskContext, TaskResult
from fusionkit.io.atomic_write import make_folder, write_text
from fusionkit.io.images import from_float, write_image
from fusionkit_tasks.fused_rgb import fused_rgb

TRUST = "FUSIONKIT_TRUST_MODEL_FILES"
"""Environment variable that is ``1`` if models that can run code may be loaded."""

_MIN_CONFIDENCE = 0.25
"""Confidence from which a box counts for F1; the default of ultralytics."""

_MIN_OVERLAP = 0.5
"""Intersection over union from which a box counts as correct for F1, as in PASCAL VOC."""


class Detection(Task):
    """Trains a YOLO detector of ultralytics on the fused images and scores its boxes.

    Training and validation run in processes of their own. Their settings, working folder and home
    are inside the task's folder, so nothing is sent anywhere or written elsewhere. The weights of
    the last epoch are scored. Choosing the best epoch by the test set would make the scores too
    optimistic.

    Args:
        model: Name of a configuration of ultralytics such as ``yolo11n.yaml``, which is trained
            from random weights; or a ``.safetensors`` file of weights to start from, whose metadata
            names its configuration under ``ultralytics``. Weights in ``.pt`` (a file, or a name
            such as ``yolov5nu.pt`` that ultralytics can download) and configurations in files can
            run any code, so they need ``fusionkit bench --trust-model-files``.
        epochs: Number of passes over the training scenes.
        batch_size: Number of scenes per step.
        image_size: Side in pixels that the longer side of the images is resized to.
        lr: Initial learning rate of AdamW.
        mosaic: Probability of ultralytics' mosaic augmentation.

    Raises:
        FusionkitError: if ultralytics is not installed, or the model can't exist or can run code.
    """

    name = "detection"
    labels = "boxes"
    refuses: ClassVar = {"build": "it needs the extra fusionkit-mmif[detection]"}
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
        if not model.endswith((".yaml", ".pt", ".safetensors")):
            raise FusionkitError(
                f"model: expected a configuration (yolo11n.yaml) or weights (.safetensors, .pt), "
                f"found {model!r}"
            )
        _check_model(model)
        # Resolved now, because the training runs in another working folder.
        self.model = str(Path(model).resolve()) if Path(model).is_file() else model
        self.epochs, self.batch_size, self.image_size = epochs, batch_size, image_size
        self.lr, self.mosaic = lr, mosaic
        self._context = TaskContext()

    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Write the data in the layout of YOLO and train.

        Raises:
            FusionkitError: if ultralytics fails, with the last lines of its output.
        """
        self._context = context
        self._write("train", train)
        # Ultralytics requires a validation set even if validation is off.
        names = json.dumps(dict(enumerate(self._context.box_classes)))
        write_text(
            self._context.folder / "data.yaml",
            f"path: {json.dumps(str(self._context.folder))}\n"
            f"train: images/train\nval: images/train\ntest: images/test\nnames: {names}\n",
        )
        self._run("train")

    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Return ``mAP50``, ``mAP50-95``, ``F1``, and the average precisions of each class.

        F1 = 2 TP / (2 TP + FP + FN) has a value for each image, which paired tests need. It counts
        boxes with a confidence of at least 0.25; a box is correct if its overlap with a labelled
        box of its class is at least 0.5.

        Raises:
            FusionkitError: if ultralytics fails, with the last lines of its output.
        """
        ids = self._write("test", test)
        self._run("validate")
        result = json.loads((self._context.folder / "result.json").read_text(encoding="utf-8"))
        boxes = {
            ids[name]: torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
            for name, rows in result["boxes"].items()
        }
        counts = {s.id: count_matches(boxes[s.id], _labelled(s)) for s in test}
        # An image without labelled and without predicted boxes has no F1.
        f1 = {name: 2 * matches / total for name, (matches, total) in counts.items() if total}
        matches, total = (sum(values) for values in zip(*counts.values(), strict=True))
        scores = {**result["scores"], "F1": 2 * matches / total if total else 0.0}
        return TaskResult(scores, {"F1": f1}, boxes)

    def _write(self, split: str, samples: Sequence[Sample]) -> dict[str, str]:
        """Write images and labels in the layout of YOLO; return file stem -> scene id."""
        images = self._context.folder / "images" / split
        labels = self._context.folder / "labels" / split
        make_folder(images)
        make_folder(labels)
        ids = {}
        for place, sample in enumerate(samples):
            # Numbers, because ids may hold characters that file names can't, and ultralytics
            # sorts the files by name to make batches.
            stem = f"{place:06d}"
            ids[stem] = sample.id
            write_image(
                images / f"{stem}.png",
                from_float(fused_rgb(sample).movedim(0, -1).numpy(), "uint8"),
            )
            write_text(labels / f"{stem}.txt", yolo_lines(_labelled(sample)))
        return ids

    def _run(self, action: Literal["train", "validate"]) -> None:
        """Run the script ``yolo.py`` in a process of its own.

        Raises:
            FusionkitError: if it fails, with the last lines of its output.
        """
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
        is_download = self.model.endswith(".pt") and not Path(self.model).is_file()
        done = subprocess.run(
            # -P keeps this folder out of the import path, where its modules would hide others.
            [sys.executable, "-P", str(Path(__file__).with_name("yolo.py")), str(path)],
            cwd=folder,
            env=_environment(folder / "home", device, is_offline=not is_download),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            hint = (
                f"; the file {self.model} does not exist and could not be downloaded"
                if is_download
                else ""
            )
            raise FusionkitError(
                f"ultralytics could not {action} with {self.model}{hint}: " + " | ".join(lines[-3:])
            )


def _environment(home: Path, device: str, is_offline: bool) -> dict[str, str]:
    """Return environment variables that keep ultralytics inside one folder.

    Args:
        home: Home folder of the process; created here.
        device: ``cpu``, ``mps`` or the number of a GPU.
        is_offline: Whether ultralytics must not use the network.
    """
    make_folder(home / "Ultralytics")
    # Ultralytics downloads these fonts if they are missing, even if it draws nothing. It does not
    # open them, so empty files are enough.
    for font in ("Arial.ttf", "Arial.Unicode.ttf"):
        (home / "Ultralytics" / font).touch()
    places = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "YOLO_CONFIG_DIR", "MPLCONFIGDIR")
    return {
        **os.environ,
        **dict.fromkeys(places, str(home)),
        **({"YOLO_OFFLINE": "true"} if is_offline else {}),
        "YOLO_VERBOSE": "false",
        # The order of sums, and so the scores, would depend on the number of threads.
        "OMP_NUM_THREADS": "1" if device == "cpu" else os.environ.get("OMP_NUM_THREADS", "8"),
    }


def _check_model(model: str) -> None:
    """Check that a model can exist, without importing ultralytics, which takes seconds.

    Raises:
        FusionkitError: if ultralytics is not installed, or it has no such model.
    """
    found = importlib.util.find_spec("ultralytics")
    if found is None or found.origin is None:
        raise FusionkitError(
            "the task `detection` needs ultralytics, which is not installed; "
            'run: pip install "fusionkit-mmif[detection]" (ultralytics is AGPL-3)'
        )
    is_file = Path(model).is_file()
    if model.endswith(".safetensors") and is_file:
        configuration = _metadata(Path(model)).get("ultralytics", "")
        if not configuration.endswith(".yaml"):
            raise FusionkitError(
                f"model: {model}: expected metadata `ultralytics` that names a configuration such "
                f"as yolo11n.yaml, found {configuration or 'none'}"
            )
        # A file of that name in this folder would not be used: training runs in another one.
        _check_configuration(configuration, Path(found.origin).parent)
    elif not is_file and (Path(model).name != model or model.endswith(".safetensors")):
        raise FusionkitError(f"model: the file {model} does not exist")
    elif not is_file and model.endswith(".yaml"):
        _check_configuration(model, Path(found.origin).parent)
    elif os.environ.get(TRUST) != "1":
        raise FusionkitError(
            f"model: {model} can run any code when it is loaded; if you trust it, add "
            f"--trust-model-files. Configurations of ultralytics such as yolo11n.yaml and weights "
            f"in .safetensors need no trust"
        )


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise FusionkitError(f"model: {path} can't be read: {error}") from None


def _check_configuration(model: str, ultralytics: Path) -> None:
    """Check that ultralytics has a configuration of this name."""
    folder = ultralytics / "cfg" / "models"
    names = {path.name for path in folder.rglob("*.yaml")}
    # File names lack the letter of the size: yolo11n.yaml is the file yolo11.yaml.
    unsized = re.sub(r"(\d+)[nslmx](6?)", r"\1\2", model, count=1)
    if not names & {model, unsized, re.sub(r"^(yolov\d)6", r"\1-p6", unsized)}:
        sized = names | {re.sub(r"^(yolo\D*\d+)", r"\1n", name) for name in names}
        raise FusionkitError(
            f"model: ultralytics has no configuration {model!r}" + nearest(model, sized)
        )


def _labelled(sample: Sample) -> Tensor:
    assert sample.boxes is not None
    return sample.boxes


def count_matches(found: Tensor, labelled: Tensor) -> tuple[int, int]:
    """Return the number of correct boxes, and the total number of predicted and labelled boxes.

    The predicted boxes choose in the order of their confidence. Each takes the remaining labelled
    box of its class that it overlaps most, and is correct if they overlap enough.

    Args:
        found: (n, 6) rows class, cx, cy, width, height, confidence, relative to the image.
        labelled: (m, 5) rows class, cx, cy, width, height, relative to the image.

    Example:
        >>> found = torch.tensor([[1, 0.5, 0.5, 0.2, 0.2, 0.9]])
        >>> count_matches(found, torch.tensor([[1, 0.5, 0.5, 0.2, 0.2]]))
        (1, 2)
    """
    from torchvision.ops import box_convert, box_iou

    found = found[found[:, 5] >= _MIN_CONFIDENCE]
    found = found[found[:, 5].argsort(descending=True, stable=True)]
    found_corners, labelled_corners = (
        box_convert(x[:, 1:5], "cxcywh", "xyxy") for x in (found, labelled)
    )
    overlaps = box_iou(found_corners, labelled_corners) * (found[:, :1] == labelled[:, 0])
    matches = 0
    for row in overlaps if len(labelled) else ():
        best = int(row.argmax())
        if row[best] >= _MIN_OVERLAP:
            matches += 1
            overlaps[:, best] = 0
    return matches, len(found) + len(labelled)


def yolo_lines(boxes: Tensor) -> str:
    """Return labels in YOLO's format: one line ``class cx cy width height`` per box.

    Args:
        boxes: (n, 5) rows class, cx, cy, width, height, relative to the image. They are cut at its
            borders.

    Example:
        >>> print(yolo_lines(torch.tensor([[1, 0.5, 0.5, 0.25, 0.5]])), end="")
        1 0.500000 0.500000 0.250000 0.500000
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
