"""Damaged and malicious run folders: what `run`, `fuse` and `audit` make of them."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fusionkit.cli import app
from fusionkit.cli.ending import run_to_the_end
from fusionkit.errors import FusionkitError
from fusionkit.io.images import write_image
from fusionkit.runs.checkpoints import StageCheckpoints

TRAINING = """\
name: training
data: {name: scenes, size: 32, train: 2, val: 1}
teacher: [{name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: average}
stages:
  - {name: train-sensors, epochs: 2, batch_size: 2, crop: 32}
"""

FINISHED = """\
name: finished
data: {name: scenes, size: 48, train: 1, val: 1}
backbone: {name: average}
stages:
  - {name: fuse}
  - {name: evaluate, metrics: [EN]}
  - {name: report}
"""
DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and a training of it that was stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "recipe.yaml").write_text(TRAINING)
    save = StageCheckpoints.save_progress

    def stop(self: StageCheckpoints, state: dict[str, Any]) -> None:
        save(self, state)
        raise FusionkitError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save_progress", stop)
        assert run_in(folder) == 2
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and a finished run of it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "recipe.yaml").write_text(FINISHED)
    assert run_in(folder) == 0
    return folder


def run_in(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as end:
            run_to_the_end(lambda: app(["run", "recipe.yaml"]))
    return int(end.value.code or 0)


class Stranger:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(path, weights_only=True)
    other = change(state)
    torch.save(state if other is None else other, path)


def each_tensor(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: each_tensor(part, change) for key, part in value.items()}
    return [each_tensor(part, change) for part in value] if isinstance(value, list) else value


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


PROGRESS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "without its end": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "zeros": lambda path: path.write_bytes(b"\0" * 1000),
    "text": lambda path: path.write_text("no checkpoint"),
    "code": lambda path: path.write_bytes(pickled({"epochs": Stranger()})),
    "old code": lambda path: path.write_bytes(pickle.dumps(Stranger())),
    "list": lambda path: path.write_bytes(pickled([1, 2])),
    "no keys": lambda path: path.write_bytes(pickled({})),
    "other keys": lambda path: path.write_bytes(pickled({1: 2, "epochs": 1})),
    "no epochs": lambda path: changed(path, lambda s: s.pop("epochs") and None),
    "negative": lambda path: changed(path, lambda s: s.update(epochs=-1)),
    "too many": lambda path: changed(path, lambda s: s.update(epochs=10**9)),
    "a text": lambda path: changed(path, lambda s: s.update(epochs="1")),
    "a half": lambda path: changed(path, lambda s: s.update(epochs=0.5)),
    "truth": lambda path: changed(path, lambda s: s.update(epochs=True)),
    "NaN": lambda path: changed(path, lambda s: each_tensor(s, lambda x: x * float("nan"))),
    "shapes": lambda path: changed(path, lambda s: each_tensor(s, lambda x: x.new_zeros(3, 5))),
    "whole numbers": lambda path: changed(path, lambda s: each_tensor(s, lambda x: x.int())),
    "complex": lambda path: changed(path, lambda s: each_tensor(s, lambda x: x + 1j)),
    "empty tensors": lambda path: changed(
        path, lambda s: each_tensor(s, lambda x: x.flatten()[:0])
    ),
    "parts of others": lambda path: changed(
        path, lambda s: {key: (1 if key == "epochs" else {"a": 1}) for key in s}
    ),
    "parts are None": lambda path: changed(
        path, lambda s: {key: (1 if key == "epochs" else None) for key in s}
    ),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("kind", PROGRESS)
def test_progress_of_a_training(kind, stopped, tmp_path, ends_well, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(stopped, folder)
    monkeypatch.chdir(folder)
    checkpoints = folder / "runs" / "training" / "checkpoints"
    PROGRESS[kind](checkpoints / "0-train-sensors.progress.pt")
    code = ends_well("run", "recipe.yaml")
    assert not (folder / "pwned").exists()
    if code == 0:  # a training that was not damaged, or began again, is a whole one
        assert len((folder / "runs" / "training" / "log.jsonl").read_text().splitlines()) >= 2
        assert list(checkpoints.glob("*.safetensors"))


def json_at(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text())
        other = change(value)
        path.write_text(json.dumps(value if other is None else other))

    return damage


def text_at(name: str, text: str | bytes) -> Callable[[Path], object]:
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(data)


def entry_at(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        make(path)

    return damage


def forget(stage: str) -> Callable[[Any], Any]:
    def change(state: dict[str, Any]) -> None:
        del state[stage]

    return change


def again(damage: Callable[[Path], object], stage: str = "2-report") -> Callable[[Path], object]:
    """Damage a folder whose last stage has to run again."""

    def both(folder: Path) -> None:
        json_at("state.json", forget(stage))(folder)
        damage(folder)

    return both


def artifacts(value: object) -> Callable[[Any], Any]:
    return lambda state: state["0-fuse"].update(artifacts={"fused": value})


def mean(value: object) -> Callable[[Any], Any]:
    def change(metrics: dict[str, Any]) -> None:
        for scores in metrics["methods"].values():
            scores["EN"]["mean"] = value

    return change


JSON_FILES = ("state.json", "checkpoints/digests.json", "metrics.json", "environment.json")
TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "half": '{"0-fuse": {"dig',
    "list": "[1]",
    "null": "null",
    "number": "1e999",
    "binary": b"\xff\xfe\0\1",
    "deep": DEEP,
    "numbers": '{"0-fuse": 1}',
    "long number": '{"0-fuse": ' + "9" * 5000 + "}",
}
DAMAGES: dict[str, Callable[[Path], object]] = {
    **{
        f"{name} {kind}": again(text_at(name, text))
        if name == "metrics.json"
        else text_at(name, text)
        for name in JSON_FILES
        for kind, text in TEXTS.items()
    },
    "artifacts outside": json_at("state.json", artifacts(["../../../etc/passwd"])),
    "artifacts absolute": json_at("state.json", artifacts(["/etc/passwd"])),
    "artifacts a text": json_at("state.json", artifacts("fused")),
    "artifacts of zeros": json_at("state.json", artifacts(["a\0b"])),
    "artifacts long": json_at("state.json", artifacts(["n" * 5000])),
    "artifacts of none": json_at("state.json", lambda s: s["0-fuse"].update(artifacts=None)),
    "digest a number": json_at("state.json", lambda s: s["0-fuse"].update(digest=1)),
    "unknown stage": json_at("state.json", lambda s: s.update({"9-x": s["0-fuse"]})),
    "score a text": again(json_at("metrics.json", mean("<script>"))),
    "score null": again(json_at("metrics.json", mean(None))),
    "score NaN": again(json_at("metrics.json", mean(float("nan")))),
    "no methods": again(json_at("metrics.json", lambda m: m.update(methods={}))),
    "no images": again(json_at("metrics.json", forget("images"))),
    "other methods": again(json_at("metrics.json", lambda m: m.update(methods={"a": {"b": {}}}))),
    "carries": again(json_at("metrics.json", lambda m: m.update(carries={"a": {}}))),
    "log of bytes": again(text_at("log.jsonl", b"\xff\0\n" * 50)),
    "log deep": again(text_at("log.jsonl", DEEP + "\n")),
    "log of others": again(text_at("log.jsonl", '{"stage": "a", "step": 1, "x": "y", "z": [1]}\n')),
    "log NaN": again(text_at("log.jsonl", '{"stage": "a", "step": 1, "x": NaN}\n' * 3)),
    "log infinite": again(
        text_at(
            "log.jsonl", "".join(f'{{"stage": "a", "step": {k}, "x": 1e999}}\n' for k in (1, 2))
        )
    ),
    "log of large steps": again(
        text_at(
            "log.jsonl",
            "".join(f'{{"stage": "a", "step": {k}, "x": {k}}}\n' for k in (1, 10**400)),
        )
    ),
    "log of markup": again(
        text_at("log.jsonl", '{"stage": "</script><script>", "step": 1, "<b>": 1}\n' * 2)
    ),
    "log a folder": entry_at("log.jsonl", Path.mkdir),
    "log a pipe": entry_at("log.jsonl", os.mkfifo),
    "log a loop": entry_at("log.jsonl", lambda path: path.symlink_to("log.jsonl")),
    "state a folder": entry_at("state.json", Path.mkdir),
    "state a pipe": entry_at("state.json", os.mkfifo),
    "state a loop": entry_at("state.json", lambda path: path.symlink_to("state.json")),
    "config a folder": entry_at("config.yaml", Path.mkdir),
    "checkpoints a file": entry_at("checkpoints", Path.touch),
    "checkpoints a loop": entry_at("checkpoints", lambda path: path.symlink_to("checkpoints")),
    "lock a folder": entry_at("checkpoints/lock", Path.mkdir),
    "lock a pipe": entry_at("checkpoints/lock", os.mkfifo),
    "samples a file": entry_at("samples", Path.touch),
    "fused a file": again(entry_at("fused", Path.touch)),
    "fused empty": again(entry_at("fused", Path.mkdir)),
    "fused a link": again(entry_at("fused", lambda path: path.symlink_to("/proc/self"))),
    "report a folder": again(entry_at("report.html", Path.mkdir)),
    "report a link": again(entry_at("report.html", lambda path: path.symlink_to("state.json"))),
    "fused other pictures": again(
        lambda folder: [
            path.rename(path.with_name("<script>alert(1)<.png"))
            for path in sorted((folder / "fused").glob("*.png"))
        ]
    ),
    "fused damaged": again(
        lambda folder: [path.write_bytes(b"x") for path in (folder / "fused").glob("*.png")]
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_finished_run(kind, finished, tmp_path, ends_well, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(finished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    DAMAGES[kind](folder / "runs" / "finished")
    before = Path("/etc/passwd").stat().st_mtime_ns
    code = ends_well("run", "recipe.yaml")
    if code == 0:
        page = (folder / "runs" / "finished" / "report.html").read_text()
        assert "<script>alert" not in page
    assert Path("/etc/passwd").stat().st_mtime_ns == before


FOLDERS: dict[str, Callable[[Path], object]] = {
    "a file": Path.touch,
    "a pipe": os.mkfifo,
    "a loop": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "weights a pipe": lambda path: (
        (path / "checkpoints").mkdir(parents=True),
        os.mkfifo(path / "checkpoints" / "backbone.safetensors"),
    ),
    "weights endless": lambda path: (
        (path / "checkpoints").mkdir(parents=True),
        (path / "checkpoints" / "backbone.safetensors").symlink_to("/dev/zero"),
    ),
    "weights a folder": lambda path: (path / "checkpoints" / "backbone.safetensors").mkdir(
        parents=True
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_run_folder_as_model(
    kind, finished, good, noise, tmp_path, ends_well, refused, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    FOLDERS[kind](tmp_path / "model")
    refused("fuse", "--model", "./model", "-o", "out.png", good, good)
    for modality in ("infrared", "visible"):
        (tmp_path / modality).mkdir()
        write_image(tmp_path / modality / "a.png", noise[..., 0])
    refused("audit", "--model", "./model", "--source", "infrared=infrared",
            "--source", "visible=visible")  # fmt: skip
    (tmp_path / "recipe.yaml").write_text((finished / "recipe.yaml").read_text())
    ends_well("run", "recipe.yaml", "--out", "model")
