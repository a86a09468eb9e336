"""Runs the stages of a run: check everything first, then do what is not done yet."""

from __future__ import annotations

import logging
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from fusionkit.config.run_config import LoadedConfig
from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import locked, make_folder
from fusionkit.registry.plugins import Plugins
from fusionkit.runs.fabric import Fabric
from fusionkit.runs.run import Run

__all__ = ["run_pipeline"]

logger = logging.getLogger("fusionkit")


def run_pipeline(
    loaded: LoadedConfig, plugins: Plugins, folder: Path, *, restart: bool = False
) -> Run:
    """Run the stages in order; resume where an earlier call stopped.

    Args:
        loaded: The validated configuration.
        plugins: The installed plugins.
        folder: The run folder; created if it does not exist.
        restart: Run again from the first stage whose configuration has changed or whose files are
            missing, or from the first stage if there is none.

    Raises:
        FusionkitError: for problems with the data or a component, before any stage starts; if the
            folder holds a run with another configuration, or files of a finished stage are
            missing, and ``restart`` is not set; if another command works in the folder; or if
            another process of this run has ended.
    """
    run = Run(folder, loaded, plugins)
    restart_from = _stage_to_restart(run, restart)
    _check(run)
    fabric = _fabric(run)
    with _only_command(run, fabric):
        try:
            _run_stages(run, fabric, restart_from)
        except RuntimeError as error:
            if fabric.world_size == 1 or not _is_of_connection(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise FusionkitError(
                f"process {fabric.global_rank} of this run lost its connection to another, which "
                f"failed (see its message) or was killed, for want of memory perhaps: {reason}; "
                f"the same command goes on"
            ) from error
    return run


def _is_of_connection(error: RuntimeError) -> bool:
    # Errors of gloo, which connects processes on CPUs, have no class of their own.
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _check(run: Run) -> None:
    """Build every component once and let every stage check its part."""
    _ = run.datasets.data, run.datasets.test  # reading data finds the most frequent mistakes
    run.check_components()
    for index, (key, stage) in enumerate(run.stages.items()):
        try:
            stage.check(run.context(key))
        except FusionkitError as error:
            raise run.loaded.error(("stages", index), error) from error
    run.check_artifacts()


def _only_command(run: Run, fabric: Fabric) -> AbstractContextManager[None]:
    """Refuse a folder that another command works in; the first process holds the lock."""
    # Before the launch every process is the global first; its other ranks tell them apart.
    if fabric.global_rank or fabric.local_rank or fabric.node_rank:
        return nullcontext()
    make_folder(_lock_of(run).parent)
    return locked(
        _lock_of(run),
        f"another fusionkit command works in {run.folder}; wait until it has finished, or give "
        f"this run another name: name=...",
    )


def _lock_of(run: Run) -> Path:
    return run.folder / "checkpoints" / "lock"


def _run_stages(run: Run, fabric: Fabric, restart_from: str | None) -> None:
    fabric.launch()
    run.open(fabric)
    if fabric.is_global_zero:
        run.repair()
        if restart_from is not None:
            run.forget_from(restart_from)
        run.ledger.write_started(run.digests)
    fabric.barrier()
    for key, stage in run.stages.items():
        if key in run.ledger.finished():
            if fabric.is_global_zero:
                run.context(key).checkpoints.clear_progress()  # a kill may have left it
                logger.info("%s: already done", key)
            continue
        if fabric.is_global_zero:
            logger.info("%s", key)
        context = run.context(key)
        stage.run(context)
        fabric.barrier()
        if fabric.is_global_zero:
            run.finish(key, context)
        fabric.barrier()


def _stage_to_restart(run: Run, restart: bool) -> str | None:
    """Return the stage to run again from, None to resume; refuse to overwrite another run."""
    folder, digests, ledger = run.folder, run.digests, run.ledger
    is_run = (folder / "config.yaml").is_file() or _lock_of(run).is_file()
    # A start that could not write leaves empty folders.
    if not is_run and any(path.is_file() for path in folder.rglob("*")):
        raise FusionkitError(
            f"{folder} exists and is no run folder (it has no config.yaml); "
            f"give the run another name: name=..."
        )
    started, finished = ledger.started(), ledger.finished()
    order = list(digests)
    changed = [key for key in ledger.worked_on() if digests.get(key) != started.get(key)]
    incomplete = {key: found for key in finished if (found := ledger.problem(key)) is not None}
    if not changed and not incomplete:
        return order[0] if restart and started else None
    first = min((order.index(k) for k in (*changed, *incomplete) if k in order), default=0)
    if restart:
        return order[first]
    if changed:
        raise FusionkitError(
            f"{folder} holds a run with another configuration: it differs from the stage "
            f"{order[first]} on (see {folder / 'config.yaml'}); give this run another name "
            f"(name=...), or add --restart to run again from that stage"
        )
    key, problem = next(iter(incomplete.items()))
    raise FusionkitError(
        f"the stage {key} is finished, but {problem}; restore it, or add --restart to run again "
        f"from that stage"
    )


def _fabric(run: Run) -> Fabric:
    """Return devices and processes as configured, without their log messages."""
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    config = run.config
    with warnings.catch_warnings():
        # Advice to the authors of training scripts; the user asked for these very devices.
        warnings.filterwarnings("ignore", module="lightning_fabric")
        try:
            return Fabric(
                accelerator=config.accelerator,
                devices=config.devices,
                num_nodes=config.num_nodes,
                precision=config.precision,
            )
        except (RuntimeError, ValueError) as error:
            raise run.loaded.error(("accelerator",), " ".join(str(error).split())) from None
        except Exception as error:  # lightning's MisconfigurationException has no public home
            if type(error).__name__ != "MisconfigurationException":
                raise
            raise run.loaded.error(("accelerator",), " ".join(str(error).split())) from None
