"""A suite from end to end: complete, cached by content, resumed, refused before anything trains."""

from __future__ import annotations

import csv
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.exposure import rescale_intensity

import fusionkit as fk
from fusionkit.benchmark import cell_store
from fusionkit.benchmark.bench import run_suite
from fusionkit.benchmark.suite import load_suite
from fusionkit.errors import FusionkitError
from fusionkit.inference import ray_worker
from fusionkit.inference.engines import LocalEngine
from fusionkit.inference.onnx_export import export_onnx
from fusionkit.inference.ray_worker import Origin
from fusionkit.interfaces import Dataset, Sample, Task, TaskResult
from fusionkit.io.atomic_write import TEMPORARY
from fusionkit.io.images import write_image
from fusionkit.registry.model_cards import read_model
from fusionkit.registry.plugins import load_installed_plugins

SUITE = """\
name: small
reference: average
data:
  scenes: {name: scenes, size: 64, train: 4, val: 8}
methods:
  infrared only: {source: infrared}
  visible only: {source: visible}
  average: {backbone: {name: average}}
tasks:
  fusion: {name: fusion-metrics, metrics: [EN, MSE]}
"""


def bench(tmp_path, text=SUITE, out="out", plugins=None, **options):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    plugins = plugins or load_installed_plugins()
    logger, recorder = logging.getLogger("fusionkit"), Recorder()
    logger.addHandler(recorder)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        results = run_suite(load_suite(path, [], plugins), plugins, tmp_path / out, **options)
    finally:
        logger.removeHandler(recorder)
        logger.setLevel(level)
    return results, recorder.messages


class Recorder(logging.Handler):
    """Records the log messages of one thread; other threads may run a suite at the same time."""

    def __init__(self):
        super().__init__()
        self.messages: list[str] = []
        self.thread = threading.get_ident()

    def emit(self, record):
        if record.thread == self.thread:
            self.messages.append(record.getMessage())


def table(tmp_path, out="out"):
    with (tmp_path / out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_is_complete_and_says_what_is_best(tmp_path):
    results, _ = bench(tmp_path)
    lines = table(tmp_path)
    assert {(line["method"], line["score"]) for line in lines} == {
        (m, s) for m in ("infrared only", "visible only", "average") for s in ("EN", "MSE")
    }
    assert all(line["n"] == "8" and line["over"] == "images" for line in lines)
    assert {line["better"] for line in lines if line["score"] == "MSE"} == {"lower"}
    best = min((x for x in lines if x["score"] == "MSE"), key=lambda x: float(x["mean"]))
    # the mean of the sources is what minimizes the mean squared error to both
    assert (best["method"], best["place"]) == ("average", "1")
    other = next(x for x in lines if (x["method"], x["score"]) == ("infrared only", "MSE"))
    assert float(other["p"]) < 0.05
    assert float(other["low"]) < float(other["mean"]) < float(other["high"])
    assert results.ranks[0].images == 8
    page = (tmp_path / "out" / "report.html").read_text()
    assert "infrared only" in page
    assert "critical difference" in page.lower()
    assert page.count("<img") == 3 * 3
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved["data"]["scenes"]["scored"] == 8
    assert "torch" in saved["versions"]


def test_a_single_source_is_scored_as_it_is(tmp_path):
    results, _ = bench(tmp_path)
    scenes = load_installed_plugins().registry.get("dataset", "scenes").cls(size=64, train=4, val=8)
    metric = load_installed_plugins().registry.get("metric", "EN").cls()
    expected = [
        float(metric(scenes[k].images["infrared"][None], {})[0])  # type: ignore[operator]
        for k in range(4, 12)
    ]
    found = next(c for c in results.cells if c.method == "infrared only")
    assert list(found.result.per_image["EN"].values()) == pytest.approx(expected)


def test_a_method_can_be_stretched_and_is_a_cell_of_its_own(tmp_path):
    text = SUITE.replace(
        "tasks:", "  average (min-max): {backbone: {name: average}, stretch: minmax}\ntasks:"
    )
    results, said = bench(tmp_path, text)
    assert said[-1] == "4 cells computed, 0 found finished"
    scores = {c.method: c.result.per_image["EN"] for c in results.cells}
    assert scores["average (min-max)"] != scores["average"]
    scenes = load_installed_plugins().registry.get("dataset", "scenes").cls(size=64, train=4, val=8)
    mean = torch.stack(list(scenes[4].images.values())).mean(dim=0)[0].numpy()
    fused = (255 * rescale_intensity(mean, out_range=(0.0, 1.0))).round().astype("uint8")
    images = {"infrared": fused, "visible": fused}  # EN looks at the fused image alone
    expected = fk.evaluate(fused, images, metrics=["EN"])["EN"]
    assert scores["average (min-max)"][scenes[4].id] == pytest.approx(expected, abs=1e-6)


def test_weights_may_be_the_name_of_an_installed_model(tmp_path, monkeypatch, write_model):
    monkeypatch.setattr(
        load_installed_plugins(), "models", {"small": read_model(write_model(tmp_path))}
    )
    results, _ = bench(tmp_path, SUITE.replace("tasks:", "  ours: {weights: small}\ntasks:"))
    assert "ours" in {c.method for c in results.cells}
    with pytest.raises(FusionkitError, match=r"methods\.ours\.weights: .*did you mean 'small'"):
        bench(tmp_path, SUITE.replace("tasks:", "  ours: {weights: smal}\ntasks:"))


@pytest.fixture
def exported(tmp_path):
    """A suite with the fuser of the method `average` as an exported file."""
    path = tmp_path / "average.onnx"
    export_onnx(fk.build("backbone", name="average"), path, ["infrared", "visible"])
    return SUITE.replace("tasks:", f"  exported: {{weights: {path}}}\ntasks:")


def test_an_exported_file_is_a_method(tmp_path, exported):
    results, _ = bench(tmp_path, exported)
    scores = {cell.method: cell.result.per_image["MSE"] for cell in results.cells}
    assert scores["exported"] == pytest.approx(scores["average"], abs=1e-6)
    # Another file of the same name is another method.
    export_onnx(
        fk.build("backbone", name="max"), tmp_path / "average.onnx", ["infrared", "visible"]
    )
    results, _ = bench(tmp_path, exported)
    again = {cell.method: cell.result.per_image["MSE"] for cell in results.cells}
    assert again["exported"] != scores["exported"]


def test_an_exported_file_has_one_precision(tmp_path, exported):
    with pytest.raises(FusionkitError, match=r"methods\.exported\.weights: .*bf16"):
        bench(tmp_path, exported, precision="bf16")


def test_finished_cells_are_not_computed_again(tmp_path):
    _, said = bench(tmp_path)
    assert said[-1] == "3 cells computed, 0 found finished"
    before = (tmp_path / "out" / "results.csv").read_bytes()
    _, said = bench(tmp_path)
    assert said[-1] == "0 cells computed, 3 found finished"
    assert (tmp_path / "out" / "results.csv").read_bytes() == before
    more = SUITE.replace("tasks:", "  max: {backbone: {name: max}}\ntasks:")
    _, said = bench(tmp_path, more)
    assert said[-1] == "1 cells computed, 3 found finished"
    fresh, _ = bench(tmp_path, more, out="fresh")
    assert (tmp_path / "out" / "results.csv").read_bytes() == (
        tmp_path / "fresh" / "results.csv"
    ).read_bytes()
    assert fresh.table


def test_a_killed_suite_goes_on_and_gives_the_same_table(tmp_path, monkeypatch):
    bench(tmp_path, out="whole")
    entry = load_installed_plugins().registry.get("task", "fusion-metrics").cls
    score, calls = entry.score_image, []  # type: ignore[attr-defined]

    def killed(self, sample):
        calls.append(1)
        if len(calls) == 12:  # each cell has 8 images
            raise KeyboardInterrupt
        return score(self, sample)

    monkeypatch.setattr(entry, "score_image", killed)
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path)
    _, said = bench(tmp_path)
    assert said[-1] == "2 cells computed, 1 found finished"
    assert (tmp_path / "out" / "results.csv").read_bytes() == (
        tmp_path / "whole" / "results.csv"
    ).read_bytes()


class Elsewhere(LocalEngine):
    """An engine whose workers see other files in folders of the same names."""

    def __init__(self, folder: str):
        super().__init__()
        self.folder = folder

    def run(self, job, items, *, shared=(), lost=None):
        origin = Origin.here(shared)
        assert {path for path, _ in origin.shared} == set(shared)  # all of them exist
        for path in shared:
            if self.folder in path.parts:
                path.write_text("another file")
        origin.settle()  # as a worker does
        yield from super().run(job, items, shared=shared, lost=lost)


@pytest.mark.parametrize("folder", ["fused", "work", "infrared"])
def test_workers_that_see_other_folders_are_refused(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(ray_worker, "_PATIENCE", 0.0)
    data = tmp_path / "data"
    for modality in ("infrared", "visible"):
        (data / modality).mkdir(parents=True)
        for number in range(2):
            image = np.full((16, 16), 50 * number, np.uint8)
            write_image(data / modality / f"{number}.png", image)
    suite = f"{{name: paired-folders, root: {data}, score_on: all}}"
    text = SUITE.replace("{name: scenes, size: 64, train: 4, val: 8}", suite)
    with pytest.raises(FusionkitError, match=f"does not see .*{folder}"):
        bench(tmp_path, text, engine=Elsewhere(folder))
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


class Toy(Dataset):
    """Scenes with labels that tests spoil."""

    name = "toy"
    mask_classes = ("ground", "thing")
    box_classes = ("thing",)

    def __init__(self, fault: str = "none"):
        self.fault = fault

    def __len__(self):
        return 4

    def splits(self):
        return {"train": [0, 1], "test": [2, 3]}

    def __getitem__(self, index):
        if index >= 4:
            raise IndexError
        generator = torch.Generator().manual_seed(
            0 if self.fault == "duplicate" and index == 3 else index
        )
        images = {m: torch.rand(1, 48, 48, generator=generator) for m in ("infrared", "visible")}
        bad = index == 3
        mask: torch.Tensor | None = torch.zeros(48, 48, dtype=torch.int64)
        boxes: torch.Tensor | None = torch.tensor([[0, 0.5, 0.5, 0.2, 0.2]])
        if bad and self.fault == "mask size":
            mask = torch.zeros(48, 40, dtype=torch.int64)
        if bad and self.fault == "mask value":
            mask[0, 0] = 7
        if bad and self.fault == "no mask":
            mask = None
        if bad and self.fault == "no boxes":
            boxes = None
        if bad and self.fault == "box outside":
            boxes = torch.tensor([[0, 0.95, 0.5, 0.2, 0.2]])
        if bad and self.fault == "box class":
            boxes = torch.tensor([[3, 0.5, 0.5, 0.2, 0.2]])
        return Sample(f"s{index}", images, mask=mask, boxes=boxes)


class Sequences(Toy):
    """Scenes whose names have folders."""

    name = "sequences"

    def __getitem__(self, index):
        return replace(super().__getitem__(index), id=f"sequence {index}/frame")


class Trained(Task):
    """Counts what it is trained on; its score follows from seed and pixels."""

    name = "trained"
    started = 0

    def __init__(self, labels: str = "masks"):
        self.labels = labels  # type: ignore[misc,assignment]

    def fit(self, train, context):
        type(self).started += 1
        assert context.folder.is_dir()
        self._seed = context.seed
        self._mean = float(train[0].images["fused"].mean())

    def score(self, test):
        values = [float(s.images["fused"].mean()) for s in test]
        return TaskResult({"score": sum(values) + 0.01 * self._seed + self._mean})


TOY = """\
name: toy
seeds: [0, 1, 2]
data: {toy: {name: toy, fault: FAULT}}
methods: {one: {source: infrared}, two: {backbone: {name: average}}}
tasks: {t: {name: trained, labels: LABELS}}
"""


@pytest.fixture
def plugins():
    from fusionkit.registry.plugins import load_plugins

    found = load_plugins()
    found.registry.add(Toy, "test")
    found.registry.add(Sequences, "test")
    found.registry.add(Trained, "test")
    Trained.started = 0
    return found


def test_names_of_scenes_may_have_folders(tmp_path, plugins):
    text = SUITE.replace("{name: scenes, size: 64, train: 4, val: 8}", "{name: sequences}")
    results, _ = bench(tmp_path, text, plugins=plugins)
    assert set(results.cells[0].result.per_image["EN"]) == {"sequence 2/frame", "sequence 3/frame"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<img") == 2 * 3


def test_a_task_that_trains_runs_once_per_seed(tmp_path, plugins):
    text = TOY.replace("FAULT", "none").replace("LABELS", "masks")
    results, said = bench(tmp_path, text, plugins=plugins)
    assert Trained.started == 6
    assert said[-1] == "6 cells computed, 0 found finished"
    line = next(x for x in results.table if x.method == "one")
    assert (line.n, line.over) == (3, "seeds")
    assert line.std == pytest.approx(0.01)
    # Student's t with two degrees of freedom
    assert line.high - line.mean == pytest.approx(4.302653 * 0.01 / 3**0.5)
    assert not (tmp_path / "out" / "work").exists()


def test_commands_that_share_a_folder_do_not_disturb_each_other(tmp_path, plugins, monkeypatch):
    text = TOY.replace("FAULT", "none").replace("LABELS", "masks")
    of_seed = [text.replace("[0, 1, 2]", f"[{seed}]") for seed in (0, 1)]
    seen = []

    def fit(self, train, context):
        marker = context.folder / "weights"
        marker.write_text(str(context.seed))
        if context.seed == 0 and not seen:
            seen.append("other command")
            bench(tmp_path, of_seed[1], plugins=plugins)
        assert marker.read_text() == str(context.seed)
        self._seed, self._mean = context.seed, 0.0

    monkeypatch.setattr(Trained, "fit", fit)
    _, said = bench(tmp_path, of_seed[0], plugins=plugins)
    assert said[-1] == "2 cells computed, 0 found finished"
    _, said = bench(tmp_path, of_seed[1], plugins=plugins)
    assert said[-1] == "0 cells computed, 2 found finished"
    assert not (tmp_path / "out" / "work").exists()


def test_a_cell_that_another_command_computes_is_waited_for(tmp_path, plugins, monkeypatch):
    text = TOY.replace("FAULT", "none").replace("LABELS", "masks").replace("[0, 1, 2]", "[0]")
    begun, waiting, go_on = threading.Event(), threading.Event(), threading.Event()
    fit, locked, claimed = Trained.fit, cell_store.locked, []

    def slow(self, train, context):
        begun.set()
        go_on.wait()
        fit(self, train, context)

    def counted(path):
        claimed.append(path)
        if claimed.count(path) == 2:
            waiting.set()
        return locked(path)

    monkeypatch.setattr(Trained, "fit", slow)
    monkeypatch.setattr(cell_store, "locked", counted)
    with ThreadPoolExecutor() as pool:
        try:
            first = pool.submit(bench, tmp_path, text, plugins=plugins)
            until(begun, first)
            second = pool.submit(bench, tmp_path, text, plugins=plugins)
            until(waiting, second)
            assert not second.done()
        finally:
            go_on.set()
        assert first.result()[0].table == second.result()[0].table
    assert Trained.started == 2


def until(event, future):
    """Wait for an event that a thread sets, however slow the machine, unless the thread ends."""
    while not event.wait(0.1):
        assert not future.done(), future.exception()


@pytest.mark.parametrize(
    ("fault", "labels", "message"),
    [
        ("mask size", "masks", "scene s3: the mask has 48x40 pixels, its images have 48x48"),
        ("mask value", "masks", "scene s3: the mask has the value 7, expected a class from 0 to 1"),
        ("no mask", "masks", "scene s3: the label mask is missing"),
        ("no boxes", "boxes", "scene s3: the label boxes are missing"),
        ("box outside", "boxes", r"scene s3: the box 0.95 0.5 0.2 0.2 "),
        ("box class", "boxes", "scene s3: a box has the class id 3, expected one from 0 to 0"),
        ("duplicate", "masks", "image of s3 is also in the training set, as s0"),
    ],
)
def test_faults_of_data_are_one_sentence_before_anything_trains(
    tmp_path, plugins, fault, labels, message
):
    text = TOY.replace("FAULT", fault).replace("LABELS", labels)
    with pytest.raises(FusionkitError, match=r"suite\.yaml:3: data.toy: .*" + message):
        bench(tmp_path, text, plugins=plugins)
    assert Trained.started == 0
    assert not (tmp_path / "out" / "fused").exists()


def test_recipes_are_trained_once_and_share_their_sensors(tmp_path):
    recipe = """\
name: tiny
data: {name: scenes, size: 32, train: 2, val: 1}
teacher: [{name: average}]
sensors: {infrared: {name: unet, width: 2}, visible: {name: unet, width: 2}}
backbone: {name: ufuser, channels: [8, 8]}
losses: [{name: sensing, weight: 1.0}]
stages:
  - {name: train-sensors, epochs: 1, batch_size: 2, crop: 32}
  - {name: train-backbone, epochs: 1, batch_size: 2, crop: 32}
"""
    (tmp_path / "tiny.yaml").write_text(recipe)
    methods = """\
  emma: {recipe: tiny.yaml}
  weighted: {recipe: tiny.yaml, change: ["backbone.branches=[local]"]}
tasks:"""
    text = SUITE.replace("tasks:", methods)
    results, said = bench(tmp_path, text)
    assert any("train-sensors reused from emma-" in line for line in said)
    assert len({line.mean for line in results.table if line.score == "MSE"}) == 5
    _, said = bench(tmp_path, text)
    assert said[-1] == "0 cells computed, 5 found finished"
    assert not any("train-" in line for line in said)


def test_a_recipe_trained_with_several_seeds_has_their_mean_and_spread(tmp_path):
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\n"
        "data: {name: scenes, size: 32, train: 2, val: 1}\n"
        "teacher: [{name: average}]\n"
        "backbone: {name: ufuser, channels: [8, 8]}\n"
        "stages: [{name: train-backbone, epochs: 0, distill: {epochs: 1}, batch_size: 2,"
        " crop: 32}]\n"
    )
    trained = "  trained: {recipe: tiny.yaml, seeds: [3, 5]}\n"
    results, said = bench(tmp_path, SUITE.replace("tasks:", trained + "tasks:"))
    assert "fusing scenes by trained (trained with seed 5)" in said
    cells = [cell for cell in results.cells if cell.method == "trained"]
    assert [cell.training_seed for cell in cells] == [3, 5]
    means = [cell.result.scores["MSE"] for cell in cells]
    assert means[0] != means[1]
    line = next(x for x in table(tmp_path) if (x["method"], x["score"]) == ("trained", "MSE"))
    assert (line["n"], line["over"]) == ("2", "seeds")
    assert float(line["mean"]) == pytest.approx(sum(means) / 2)
    assert float(line["std"]) == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    alone, _ = bench(
        tmp_path, SUITE.replace("tasks:", "  alone: {recipe: tiny.yaml, change: [seed=5]}\ntasks:")
    )
    (cell,) = [cell for cell in alone.cells if cell.method == "alone"]
    assert cell.result.scores == cells[1].result.scores


def test_a_method_without_a_result_is_named(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    from PIL import Image

    Image.new("L", (64, 64)).save(folder / "day-99999.png")
    text = SUITE.replace(
        "tasks:", f"  theirs: {{backbone: {{name: folder, root: {folder}}}}}\ntasks:"
    )
    with pytest.raises(
        FusionkitError, match=r"methods.theirs: the folder .* has no fused image for"
    ):
        bench(tmp_path, text)


def test_a_folder_called_like_a_component_is_no_argument_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fusion-metrics").mkdir()
    (tmp_path / "fusion-metrics" / "readme.txt").write_text("no image")
    _, said = bench(tmp_path)
    assert said[-1] == "3 cells computed, 0 found finished"
