"""The hook writes events that TensorBoard can read, and does nothing unless it is enabled."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fusionkit.registry.plugins import load_plugins
from fusionkit_tracking.tensorboard import VARIABLE, build_writer


@pytest.fixture
def log():
    """Return the hook of the plugin manager, which runs call."""
    entry = importlib.metadata.EntryPoint("fusionkit-tracking", "fusionkit_tracking", "fusionkit")
    plugins = load_plugins([entry])
    assert not plugins.broken
    return plugins.manager.hook.fusionkit_log


def test_tensorboard_reads_values_by_stage_and_step(log, tmp_path, monkeypatch):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed",
    )
    monkeypatch.setenv(VARIABLE, "1")
    runs = [SimpleNamespace(folder=tmp_path / name) for name in ("one", "other")]
    for step in (1, 2, 3):
        log(run=runs[0], stage="0-train-sensors", step=step, values={"loss": 1 / step})
    log(run=runs[1], stage="0-train-sensors", step=1, values={"loss": 7.0})
    log(run=runs[0], stage="1-train-backbone", step=1, values={"loss/sensing": 0.5, "lr": 1e-4})
    # Read while the writers are open: the events of a killed run must be complete.
    found = {}
    for run in runs:
        events = accumulators.EventAccumulator(str(run.folder / "tensorboard")).Reload()
        found[run.folder.name] = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        assert len(list((run.folder / "tensorboard").iterdir())) == 1
    assert found["one"] == {
        "0-train-sensors/loss": [(k, pytest.approx(1 / k)) for k in (1, 2, 3)],
        "1-train-backbone/loss/sensing": [(1, 0.5)],
        "1-train-backbone/lr": [(1, pytest.approx(1e-4))],
    }
    assert found["other"] == {"0-train-sensors/loss": [(1, 7.0)]}


@pytest.mark.parametrize("value", [None, "0", ""])
def test_nothing_is_written_or_imported_unless_enabled(value, tmp_path):
    """Runs in a new process, because other tests may have imported tensorboard."""
    program = (
        "import sys, types, pathlib, fusionkit_tracking as plugin\n"
        f"run = types.SimpleNamespace(folder=pathlib.Path({str(tmp_path)!r}))\n"
        "plugin.fusionkit_log(run=run, stage='0-x', step=1, values={'loss': 1.0})\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'tensorboard'])\n"
    )
    environment = {key: text for key, text in os.environ.items() if key != VARIABLE}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if value is not None:
        environment[VARIABLE] = value
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_missing_tensorboard_warns_once(log, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    for name in [
        n for n in sys.modules if n.startswith(("tensorboard", "torch.utils.tensorboard"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    run = SimpleNamespace(folder=tmp_path)
    with pytest.warns(UserWarning, match="pip install tensorboard"):
        log(run=run, stage="0-x", step=1, values={"loss": 1.0})
    log(run=run, stage="0-x", step=2, values={"loss": 1.0})  # a second warning would be an error
    assert list(tmp_path.iterdir()) == []
    build_writer.cache_clear()
