"""Trains or validates a YOLO detector in a process of its own: python yolo.py JOB.json.

Ultralytics keeps settings in the user's home, sets global seeds and thread counts, and reports
usage to its makers. In a process with its own environment, working folder and settings, this
affects nothing else. This file needs ultralytics alone and imports nothing of fusionkit.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(path: Path) -> None:
    """Train; or validate and predict, and write ``result.json`` beside the job."""
    job = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent
    import torch

    torch.set_num_threads(1 if job["device"] == "cpu" else torch.get_num_threads())
    from ultralytics.utils import SETTINGS, events

    events.events.enabled = False
    off = {key: False for key, value in SETTINGS.items() if value is True}
    places = {key: str(folder / key) for key in ("datasets_dir", "weights_dir", "runs_dir")}
    SETTINGS.update({**off, "sync": False, **places})
    if job["action"] == "train":
        _train(job, folder)
    else:
        _validate(job, folder)


def _train(job: dict[str, Any], folder: Path) -> None:
    model = _load(job["model"])
    model.train(
        data=str(folder / "data.yaml"),
        epochs=job["epochs"],
        batch=job["batch_size"],
        # One step per batch; by default ultralytics accumulates gradients over 64 images.
        nbs=job["batch_size"],
        imgsz=job["image_size"],
        optimizer="AdamW",
        lr0=job["lr"],
        seed=job["seed"],
        deterministic=True,
        device=job["device"],
        project=str(folder),
        name="train",
        exist_ok=True,
        workers=0,
        amp=False,
        plots=False,
        val=False,
        save=True,
        patience=0,
        pretrained=not str(job["model"]).endswith(".yaml"),
        mosaic=job["mosaic"],
        verbose=False,
    )


def _load(name: str) -> Any:
    """Build a model from a configuration, or with weights in .pt or .safetensors."""
    from ultralytics import YOLO

    if not name.endswith(".safetensors"):
        return YOLO(name)
    from safetensors import safe_open

    with safe_open(name, "pt") as file:
        model = YOLO(file.metadata()["ultralytics"])
        own: Any = model.model
        shapes = {key: list(tensor.shape) for key, tensor in own.state_dict().items()}
        # The last layers differ where the numbers of classes do.
        keys = [key for key in file.keys() if file.get_slice(key).get_shape() == shapes.get(key)]  # noqa: SIM118
        own.load_state_dict({key: file.get_tensor(key) for key in keys}, strict=False)
    model.ckpt = {"model": own}  # or training starts from random weights
    return model


def _validate(job: dict[str, Any], folder: Path) -> None:
    from ultralytics import YOLO

    model = YOLO(str(folder / "train" / "weights" / "last.pt"))
    measured = model.val(
        data=str(folder / "data.yaml"),
        split="test",
        imgsz=job["image_size"],
        batch=job["batch_size"],
        device=job["device"],
        project=str(folder),
        name="val",
        exist_ok=True,
        workers=0,
        plots=False,
        verbose=False,
    )
    box = measured.box
    scores: dict[str, float] = {"mAP50": float(box.map50), "mAP50-95": float(box.map)}
    for place, index in enumerate(box.ap_class_index):
        name = job["classes"][int(index)]
        scores[f"AP50/{name}"] = float(box.ap50[place])
        scores[f"AP50-95/{name}"] = float(box.ap[place])
    boxes: dict[str, list[list[float]]] = {}
    for image in sorted((folder / "images" / "test").glob("*.png")):
        # Any, because the declared types allow streams and results without boxes.
        results: Any = model.predict(
            str(image), imgsz=job["image_size"], device=job["device"], verbose=False, save=False
        )
        found = results[0].boxes
        rows = zip(found.cls.tolist(), found.xywhn.tolist(), found.conf.tolist(), strict=True)
        boxes[image.stem] = [[kind, *xywh, conf] for kind, xywh, conf in rows]
    temporary = folder / "result.json.part"
    temporary.write_text(json.dumps({"scores": scores, "boxes": boxes}), encoding="utf-8")
    os.replace(temporary, folder / "result.json")  # noqa: PTH105


if __name__ == "__main__":
    main(Path(sys.argv[1]))
