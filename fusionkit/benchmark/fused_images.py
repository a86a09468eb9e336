"""The fused images of a benchmark: written once for each method and scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fusionkit.benchmark.content import content_hash
from fusionkit.benchmark.identity import digest_of
from fusionkit.benchmark.methods import Method
from fusionkit.benchmark.scenes import Scenes
from fusionkit.errors import FusionkitError
from fusionkit.inference.parallel import cores, in_parallel
from fusionkit.interfaces import Sample
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
    method: Method, scenes: Scenes, indices: Sequence[int], folder: Path
) -> FusedImages:
    """Write the fused luminance of scenes as PNG files, unless an earlier command has done so.

    Args:
        method: The method.
        scenes: The data set.
        indices: Indices of the scenes to fuse.
        folder: Folder of all fused images of the benchmark.

    Raises:
        FusionkitError: if the method has no result for a scene, or gives NaN or infinite values.
    """
    own = folder / digest_of(method.identity)
    paths: dict[str, Path] = {}
    index_of: dict[Path, int] = {}
    for index in indices:
        sample = scenes.dataset[index]
        # Names contain the scene's content, so the same scene in two splits is fused once.
        path = own / f"{sample.id}-{digest_of(content_hash(sample))[:10]}.png"
        paths[sample.id] = path
        index_of[path] = index
    if all(path.is_file() for path in index_of):
        return FusedImages(scenes, method, paths)
    make_folder(own)
    with locked(own / ".lock"):  # another command may fuse the same scenes
        remove_leftovers([own])
        missing = {path: index for path, index in index_of.items() if not path.is_file()}
        if missing:
            _fuse(method, scenes, missing)
    return FusedImages(scenes, method, paths)


def _fuse(method: Method, scenes: Scenes, missing: Mapping[Path, int]) -> None:
    method.prepare()

    def fuse(scene: tuple[Sample, Path]) -> None:
        sample, path = scene
        fused = method.fuse(sample)
        if not torch.isfinite(fused).all():
            raise FusionkitError(
                f"{method.name} gave NaN or infinite values for {sample.id}; "
                f"its training has diverged"
            )
        write_image(path, from_float(fused[0].numpy(), "uint8"))

    with ProgressBar("  scenes", len(missing)) as bar:
        # Scenes are read by this thread, because a data set need not be safe for several.
        waiting = ((scenes.dataset[index], path) for path, index in missing.items())
        for _ in in_parallel(fuse, waiting, workers=max(2, cores())):
            bar.step()
