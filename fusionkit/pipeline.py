"""Walks the stages of a run: check everything, then do what is not done yet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from lightning_fabric import Fabric

from fusionkit.config import LoadedConfig
from fusionkit.errors import FusionkitError
from fusionkit.files import locked, make_folder, write_json
from fusionkit.interfaces import Stage
from fusionkit.plugins import Plugins
from fusionkit.run import Run

__all__ = ["run_pipeline"]


def run_pipeline(
    loaded: LoadedConfig,
    plugins: Plugins,
    folder: Path,
    *,
    restart: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Run:
    """Run the stages in order, going on where an earlier call stopped.

    Args:
        loaded: The validated configuration.
        plugins: What its names refer to.
        folder: The run folder; made if it is not there.
        restart: Run again from the first stage whose configuration differs from that of the
            folder, or from the first stage if none does.
        say: Told in a line what happens.

    Raises:
        FusionkitError: for what is wrong with the data or a component, before any stage runs; if
            the folder holds a run with another configuration and ``restart`` is not set; or if
            another command works in it.
    """
    run = Run(folder, loaded, plugins)
    stages = run.stages()
    changed = _first_change(run, restart)
    # Data first: reading it finds the most frequent mistakes.
    _ = run.data, run.test
    for build in (run.backbone, run.sensors, run.teachers, run.transforms, run.losses):
        build()
    for index, (_, stage) in enumerate(stages):
        try:
            stage.check(run)
        except FusionkitError as error:
            raise run.error(("stages", index), error) from error

    fabric = _fabric(run)
    with _alone(run, fabric):
        _walk(run, fabric, stages, changed, say)
    return run


def _alone(run: Run, fabric: Fabric) -> AbstractContextManager[None]:
    """Refuse a folder in which another command works; held by the first process only."""
    # Before the launch every process is the global first; then it is known by its other ranks.
    if fabric.global_rank or fabric.local_rank or fabric.node_rank:
        return nullcontext()
    make_folder(_lock_of(run).parent)
    return locked(
        _lock_of(run),
        f"another fusionkit is at work in {run.folder}; wait until it has finished, or give this "
        f"run another name: name=...",
    )


def _lock_of(run: Run) -> Path:
    return run.folder / "checkpoints" / "lock"


def _walk(
    run: Run,
    fabric: Fabric,
    stages: Sequence[tuple[str, Stage]],
    changed: str | None,
    say: Callable[[str], None],
) -> None:
    fabric.launch()
    run.open(fabric)
    if fabric.is_global_zero:
        if changed is not None:
            run.forget_from(changed)
        write_json(run.folder / "checkpoints" / "digests.json", run.digests())
    fabric.barrier()
    for key, stage in stages:
        if key in run.done():
            if fabric.is_global_zero:
                say(f"{key}: done already")
            continue
        if fabric.is_global_zero:
            say(key)
        run.stage = key
        stage.run(run)
        fabric.barrier()
        if fabric.is_global_zero:
            run.mark_done(key)
        fabric.barrier()
    run.stage = ""


def _first_change(run: Run, restart: bool) -> str | None:
    """Return the stage to run again from, None to go on; refuse to overwrite another run."""
    folder, digests = run.folder, run.digests()
    ours = (folder / "config.yaml").is_file() or _lock_of(run).is_file()
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise FusionkitError(
            f"{folder} exists and is no run folder (it has no config.yaml); "
            f"give the run another name: name=..."
        )
    begun, done = run.begun(), run.done()
    worked_on = set(done) | {
        path.name.removesuffix(".progress.pt")
        for path in (folder / "checkpoints").glob("*.progress.pt")
    }
    differing = [key for key in worked_on if digests.get(key) != begun.get(key)]
    if not differing:
        return next(iter(digests)) if restart and begun else None
    order = list(digests)
    first = min(
        (order.index(key) for key in differing if key in order),
        default=0,
    )
    if not restart:
        raise FusionkitError(
            f"{folder} holds a run with another configuration: it differs from stage "
            f"{order[first]} on (see {folder / 'config.yaml'}); give this run another name "
            f"(name=...), or add --restart to run again from that stage"
        )
    return order[first]


def _fabric(run: Run) -> Fabric:
    """Devices and processes as configured; silent about itself."""
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
            raise run.error(("accelerator",), " ".join(str(error).split())) from None
        except Exception as error:  # lightning's MisconfigurationException has no public home
            if type(error).__name__ != "MisconfigurationException":
                raise
            raise run.error(("accelerator",), " ".join(str(error).split())) from None
