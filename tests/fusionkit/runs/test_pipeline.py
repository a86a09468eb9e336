"""Runs from end to end at the smallest size: what they write, how they go on, what they refuse."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fusionkit as fk
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import locked
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.checkpoints import weights_file
from fusionkit.runs.pipeline import run_pipeline
from fusionkit.runs.run import Run

TINY = """\
name: tiny
data: {name: scenes, size: 48, train: 6, val: 2}
teacher: [{name: saliency}, {name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: shift, count: 2}, {name: rotate, count: 1}, {name: reflect, count: 1}]
losses:
  - {name: sensing, noise: 0.02}
  - {name: equivariance, weight: 0.1, elements: 1, identity: false, masked: true}
stages:
  - {name: train-sensors, epochs: 2, batch_size: 3, crop: 32, noise: 0.1, augment: true}
  - {name: train-backbone, distill: {epochs: 1, weight: 1.0}, epochs: 2, batch_size: 3, crop: 32,
     clip: 1.0, average: {decay: 0.9}}
  - {name: fuse}
  - {name: evaluate, metrics: [EN, SD, SCD, VIF]}
  - {name: report, pairs: 2}
"""


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture
def run(tmp_path: Path, plugins, caplog):
    (tmp_path / "tiny.yaml").write_text(TINY)
    caplog.set_level(logging.INFO, "fusionkit")

    def run(*overrides, folder="run", restart=False):
        caplog.clear()
        loaded = load_config(tmp_path / "tiny.yaml", overrides, plugins)
        return run_pipeline(loaded, plugins, tmp_path / folder, restart=restart)

    return run


def lines(folder: Path):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_writes_all_it_promises(run, tmp_path):
    folder = run().folder
    for name in ("config.yaml", "environment.json", "log.jsonl", "metrics.json", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    assert len(list((folder / "fused").glob("*.png"))) == 2
    assert len(list((folder / "samples").glob("*.png"))) == 3
    assert not list(folder.rglob(".*"))
    assert not list((folder / "checkpoints").glob("*.progress.pt"))
    logged = lines(folder)
    assert {"loss/sensing", "loss/equivariance", "loss/teacher"} <= set().union(*logged)
    # the weight of the distance to the teacher falls to zero over the training
    assert len([line for line in logged if "loss/sensing" in line]) == 4
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["methods"]) == {"ufuser", "average", "max", "laplacian-pyramid"}
    assert set(metrics["methods"]["ufuser"]) == {"EN", "SD", "SCD", "VIF"}
    assert metrics["carries"]["average"]["gradients"]["infrared"] == pytest.approx(0.5, abs=0.15)
    page = (folder / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('class="pair"') == 2
    model = fk.load(folder)
    assert model.spec is not None
    assert model.spec.name == "ufuser"


def test_the_weight_of_the_teacher_changes_linearly(run):
    logged = lines(run("stages.1.distill.weight=2.0", "stages.1.distill.weight_end=1.0").folder)
    weights = [
        (line["loss"] - line["loss/sensing"] - 0.1 * line["loss/equivariance"])
        / line["loss/teacher"]
        for line in logged
        if "loss/sensing" in line
    ]
    assert weights == pytest.approx([2.0, 1.75, 1.5, 1.25], abs=1e-3)


def test_the_same_seed_gives_the_same_weights_another_seed_others(run):
    first = load_file(weights_file(run(folder="a").folder, "backbone"))
    again = load_file(weights_file(run(folder="b").folder, "backbone"))
    other = load_file(weights_file(run("seed=1", folder="c").folder, "backbone"))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_an_interrupted_run_goes_on_to_the_same_weights(run, plugins, monkeypatch, caplog):
    whole = load_file(weights_file(run(folder="whole").folder, "backbone"))
    from fusionkit_emma.train_backbone import TrainBackbone

    validate = TrainBackbone._validate
    calls = []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(self, *arguments)

    monkeypatch.setattr(TrainBackbone, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder="broken")
    monkeypatch.undo()
    result = run(folder="broken")
    assert caplog.messages[:2] == ["0-train-sensors: already done", "1-train-backbone"]
    resumed = load_file(weights_file(result.folder, "backbone"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    teacher = load_file(weights_file(result.folder, "teacher"))
    assert not all(torch.equal(teacher[key], resumed[key]) for key in teacher)


def test_a_finished_run_does_nothing_again(run, caplog):
    folder = run().folder
    before = (folder / "report.html").stat().st_mtime_ns
    run()
    assert all(line.endswith("already done") for line in caplog.messages)
    assert (folder / "report.html").stat().st_mtime_ns == before


def test_another_configuration_does_not_overwrite_a_run(run, caplog):
    folder = run().folder
    config = (folder / "config.yaml").read_text()
    with pytest.raises(FusionkitError, match=r"the stage 1-train-backbone on.*--restart"):
        run("stages.train-backbone.optimizer.lr=0.01")
    assert (folder / "config.yaml").read_text() == config
    with pytest.raises(FusionkitError, match="differs from the stage 3-evaluate on"):
        run("stages.evaluate.metrics=[EN]")
    run("stages.evaluate.metrics=[EN]", restart=True)
    assert caplog.messages[:4] == [
        "0-train-sensors: already done",
        "1-train-backbone: already done",
        "2-fuse: already done",
        "3-evaluate",
    ]
    assert set(json.loads((folder / "metrics.json").read_text())["methods"]["ufuser"]) == {"EN"}


def test_a_distillation_alone_is_kept_when_the_losses_change(run, tmp_path, caplog):
    stages = (
        "stages=[{name: train-backbone, distill: {epochs: 1}, epochs: 0, batch_size: 3, crop: 32},"
        " {name: train-sensors, epochs: 1, batch_size: 3, crop: 32},"
        " {name: train-backbone, epochs: 1, batch_size: 3, crop: 32}]"
    )
    run(stages)
    run(stages, "losses.equivariance.weight=0.5", restart=True)
    assert caplog.messages == [
        "0-train-backbone: already done",
        "1-train-sensors: already done",
        "2-train-backbone",
    ]


def test_the_average_of_the_weights_can_be_kept(run):
    stages = (
        "stages=[{{name: train-sensors, epochs: 1, batch_size: 3, crop: 32}},"
        " {{name: train-backbone, epochs: 2, batch_size: 3, crop: 32,"
        " average: {{decay: 0.5{0}}}}}]"
    )
    last = run(stages.format(""), folder="last")
    kept = run(stages.format(", keep: true"), folder="average")
    names = ("backbone", "teacher")
    (end, mean), (backbone, teacher) = (
        [load_file(weights_file(result.folder, name, "1-train-backbone")) for name in names]
        for result in (last, kept)
    )
    assert all(torch.equal(backbone[key], teacher[key]) for key in backbone)
    assert all(torch.equal(mean[key], teacher[key]) for key in mean)
    assert not all(torch.equal(backbone[key], end[key]) for key in end)


def test_a_foreign_folder_is_left_alone(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(FusionkitError, match="exists and is no run folder"):
        run()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_run_that_another_command_works_on_is_left_alone(run, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("as it was")
    with (
        locked(folder / "checkpoints" / "lock"),
        pytest.raises(FusionkitError, match=r"another fusionkit command works in"),
    ):
        run()
    assert (folder / "config.yaml").read_text() == "as it was"


def test_a_run_that_teaches_itself_uses_no_other_method(run):
    result = run(
        "teacher=self",
        "stages=[{name: train-sensors, epochs: 1, batch_size: 3, crop: 32},"
        " {name: train-backbone, epochs: 1, batch_size: 3, crop: 32, distill: {epochs: 1},"
        "  average: {decay: 0.5}},"
        " {name: train-sensors, epochs: 1, batch_size: 3, crop: 32},"
        " {name: train-backbone, epochs: 1, batch_size: 3, crop: 32, distill: {weight: 0.5},"
        "  average: {decay: 0.5}}]",
    )
    stages = {line["stage"] for line in lines(result.folder)}
    assert stages == {
        "0-train-sensors",
        "1-train-backbone",
        "2-train-sensors",
        "3-train-backbone",
    }
    first = load_file(weights_file(result.folder, "backbone", "1-train-backbone"))
    second = load_file(weights_file(result.folder, "backbone", "3-train-backbone"))
    assert not all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher=[]"], r"tiny.yaml:13: stages\[0\]: needs a `teacher`"),
        (["sensors={}"], r"stages\[0\]: needs `sensors`"),
        (["losses=[]"], r"stages\[1\]: needs `losses`"),
        (["stages.train-sensors.crop=64"], r"crop=64 is larger than the patches of 48x48"),
        (["stages.train-sensors.crop=40"], r"needs sides that are multiples of 16"),
        (
            ["stages.train-backbone.average={keep: true}"],
            r"average.keep needs average.decay",
        ),
        (["stages.train-sensors.optimizer=adm"], r"no optimizer 'adm'; did you mean"),
        (["backbone.name=average"], r"the backbone 'average' has no weights"),
        (["stages.evaluate.metrics=[ENN]"], r"stages\[3\]: .*no metric 'ENN'"),
        (["stages.evaluate.profile=cdd"], r"no metric profile is called 'cdd'"),
        (["data.val=0"], r"stages\[2\]: no pairs to fuse"),
        (["modalities=[mri, pet]", "sensors={}"], r"data: the data set 'scenes' has no modality"),
        (["backbone.channels=[4, 7]"], r"backbone: ufuser: each of channels must be a multiple"),
        (["data.name=paired-folders", "data.root=nowhere"], r"data: .*nowhere"),
    ],
)
def test_everything_is_checked_before_anything_is_written(run, tmp_path, overrides, message):
    with pytest.raises(FusionkitError, match=message):
        run(*overrides)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, plugins):
    """A finished run, which tests copy before they damage it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY)
    loaded = load_config(folder / "tiny.yaml", [], plugins)
    return run_pipeline(loaded, plugins, folder / "run").folder


ARTIFACTS = [
    "checkpoints/0-train-sensors.sensor-infrared.safetensors",
    "checkpoints/0-train-sensors.sensor-visible.safetensors",
    "checkpoints/1-train-backbone.backbone.safetensors",
    "checkpoints/1-train-backbone.teacher.safetensors",
    "fused/",
    "grey/ufuser",
    "metrics.json",
    "scores/ufuser.csv",
    "report.html",
]


def test_a_finished_run_knows_the_files_of_its_artifacts(finished):
    state = json.loads((finished / "state.json").read_text())
    files = [f for stage in state.values() for found in stage["artifacts"].values() for f in found]
    assert all((finished / file).is_file() for file in files)
    for artifact in ARTIFACTS:
        assert any(file.startswith(artifact) for file in files), artifact


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_a_missing_artifact_is_named_and_made_again(finished, run, tmp_path, artifact):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    file = next(path for path in files if str(path.relative_to(folder)).startswith(artifact))
    size = file.stat().st_size
    file.unlink()
    with pytest.raises(FusionkitError) as error:
        run()
    assert str(file) in str(error.value)
    assert not file.exists()
    run(restart=True)
    assert file.exists()
    if file.suffix != ".html":  # the report holds times and the environment
        assert file.stat().st_size == size


def test_a_deleted_checkpoint_never_means_an_untrained_network(finished, plugins, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    loaded = load_config(folder / "config.yaml", [], plugins)
    context = Run(folder, loaded, plugins).context("2-fuse")
    file = weights_file(folder, "backbone", "1-train-backbone")
    file.unlink()
    with pytest.raises(FusionkitError) as error:
        context.current_backbone()
    assert str(file) in str(error.value)


def test_a_stage_whose_artifacts_nothing_produces_is_refused(run, tmp_path):
    with pytest.raises(FusionkitError, match=r"stages\[0\].*'backbone'"):
        run("stages=[{name: fuse}]")
    with pytest.raises(FusionkitError, match=r"stages\[0\].*'grey'"):
        run("stages=[{name: evaluate}, {name: train-sensors, epochs: 1}]")
    assert not (tmp_path / "run").exists()


def test_an_output_that_can_not_be_written(run, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FusionkitError, match="a file stands there"):
        run(folder="file/run")


def test_a_collapsed_run_says_so(run, caplog):
    result = run(
        "teacher=[]",
        "sensors={}",
        "losses=[{name: sensing, direct: true}]",
        "stages=[{name: train-backbone, epochs: 1, optimizer: {lr: 1e-9}, crop: 32}, {name: fuse}, "
        "{name: evaluate}]",
        folder="copy",
    )
    carries = json.loads((result.folder / "metrics.json").read_text())["carries"]
    # U-Fuser with random weights is flat: it carries nothing.
    assert "have lost all sources" in carries["ufuser"]["problem"]
    assert "have lost all sources" in caplog.text
    assert carries["laplacian-pyramid"]["problem"] is None


def test_plugins_see_what_is_logged(run, plugins):
    from fusionkit import hookimpl

    class Tracker:
        def __init__(self):
            self.seen: list[tuple[str, int]] = []

        @hookimpl
        def fusionkit_log(self, run, stage, step, values):
            assert run.config.name == "tiny"
            assert all(isinstance(v, float) for v in values.values())
            self.seen.append((stage, step))

    tracker = Tracker()
    plugins.manager.register(tracker)
    try:
        run("stages=[{name: train-sensors, epochs: 1, batch_size: 3, crop: 32}]")
    finally:
        plugins.manager.unregister(tracker)
    assert ("0-train-sensors", 2) in tracker.seen


def test_mixed_precision_trains(run):
    result = run("precision=bf16-mixed", "accelerator=cpu")
    weights = load_file(weights_file(result.folder, "backbone"))
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


def test_a_training_on_many_scenes_starts_at_once_and_makes_each_once(run, plugins, monkeypatch):
    made: Counter[int] = Counter()
    scenes = type(fk.build("dataset", name="scenes", size=48, train=1, val=0))
    render = scenes._render

    def counted(self, index: int):
        made[index] += 1
        return render(self, index)

    monkeypatch.setattr(scenes, "_render", counted)
    result = run("stages=[{name: train-sensors, epochs: 3}, {name: train-backbone, epochs: 1}]")
    assert [made[index] for index in range(1, 6)] == [1] * 5
    many = load_config(result.folder / "config.yaml", ["data.train=1000000"], plugins)
    made.clear()
    Run(result.folder, many, plugins).check_components()
    assert Run(result.folder, many, plugins).datasets.patches[999_999].id.endswith("-999999")
    assert made.total() < 5
