"""The fused images of a benchmark: written once for each method and scene."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fusionkit.benchmark.identity import digest_of
from fusionkit.benchmark.methods import Method
from fusionkit.benchmark.scenes import Scenes
from fusionkit.errors import FusionkitError
from fusionkit.inference.engines import TOKEN, Engine, Job, write_token
from fusionkit.interfaces import Dataset, Sample
from fusionkit.io.atomic_write import locked, make_folder, remove_leftovers
from fusionkit.io.images import from_float, write_image
from fusionkit.progress import ProgressBar

__all__ = ["FusedImages", "fuse_scenes"]


@dataclass(frozen=True)
class FusedImages:
    """The fused images of one method for one data set.

    Attributes:
        scenes: The data set.
        method: The method.
        paths: Scene id -> path of the fused image.
    """

    scenes: Scenes
    method: Method
    paths: Mapping[str, Path]


def fuse_scenes(
    method: Method, scenes: Scenes, indices: Sequence[int], folder: Path, engine: Engine
) -> FusedImages:
    """Write the fused luminance of scenes as PNG files, unless an earlier command has done so.

    Args:
        method: The method.
        scenes: The data set.
        indices: Indices of the scenes to fuse.
        folder: Folder of all fused images of the benchmark.
        engine: What fuses them.

    Raises:
        FusionkitError: if the method has no result for a scene, or gives NaN or infinite values.
    """
    own = folder / digest_of(method.identity)
    paths: dict[str, Path] = {}
    found: dict[Path, _Scene] = {}
    for index in indices:
        name = scenes.dataset.id(index)
        # Names contain the scene's content, so the same scene in two splits is fused once.
        path = own / f"{name}-{digest_of(scenes.content_hash(index))[:10]}.png"
        paths[name] = path
        found[path] = _Scene(name, index, path)
    # A command that was killed may have left its token beside finished images.
    if all(path.is_file() for path in found) and not (own / TOKEN).exists():
        return FusedImages(scenes, method, paths)
    folders = {own, *(path.parent for path in found)}  # names of scenes may have folders
    for each in folders:
        make_folder(each)
    with locked(own / ".lock"):  # another command may fuse the same scenes
        remove_leftovers(folders)
        missing = [scene for path, scene in found.items() if not path.is_file()]
        try:
            if missing:
                _fuse(method, scenes.dataset, missing, own, engine)
        finally:
            remove_leftovers(folders)  # the token, and what workers left that died on another node
    return FusedImages(scenes, method, paths)


def _fuse(
    method: Method, dataset: Dataset, missing: Sequence[_Scene], folder: Path, engine: Engine
) -> None:
    job = _SceneJob(method.name, method.prepare(), dataset)
    # Every worker must see the folder, and the files of the first scene.
    shared = [write_token(folder), *dataset.files(missing[0].index).values()]
    with (
        ProgressBar("  scenes", len(missing)) as bar,
        closing(engine.run(job, missing, shared=shared)) as done,
    ):
        for _ in done:
            bar.step()


@dataclass(frozen=True)
class _Scene:
    """A scene to fuse, and the file for the result."""

    id: str
    index: int
    path: Path

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class _SceneJob:
    """What fuses scenes in any process; see ``fuse_scenes``."""

    method: str
    fusion: Job[Sample, Tensor]
    dataset: Dataset

    def __call__(self, threads: int) -> Callable[[_Scene], None]:
        fuse, reading = self.fusion(threads), threading.Lock()

        def work(scene: _Scene) -> None:
            with reading:  # a data set need not be safe for several threads
                sample = self.dataset[scene.index]
            fused = fuse(sample)
            if not torch.isfinite(fused).all():
                raise FusionkitError(
                    f"{self.method} gave NaN or infinite values for {scene.id}; "
                    f"its training has diverged"
                )
            write_image(scene.path, from_float(fused[0].numpy(), "uint8"))

        return work
