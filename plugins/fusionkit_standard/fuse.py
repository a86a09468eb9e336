"""Stage ``fuse``: the trained backbone, and baselines to compare with, fuse the test pairs."""

from __future__ import annotations

import shutil
from typing import Annotated

import torch
from pydantic import Field

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import join_chroma
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.inference.symmetrize import Symmetry, symmetrized
from fusionkit.interfaces import Backbone, RunContext, Sample, Stage
from fusionkit.io.atomic_write import make_folder
from fusionkit.io.images import from_float, write_image
from fusionkit.progress import ProgressBar
from fusionkit_standard.pairs import pairs_to_judge


class Fuse(Stage):
    """Fuse the pairs of ``test``, or the held-out pairs of ``data``.

    Writes PNG files of 8 or 16 bits, as the sources have: ``fused/NAME.png`` in the colour of the
    colour source, and under ``grey/METHOD/`` what is scored, for the backbone and each baseline.

    Args:
        baselines: Backbones without training to fuse by as well.
        stretch: ``minmax`` stretches each fused luminance of the trained backbone to the whole
            range, as EMMA's official script does; this moves EN, SD, SF and AG.
        limit: At most that many pairs.
        symmetrize: Average the trained backbone over a group: ``reflect`` (4 passes) or ``d4``
            (8), with which fusing then commutes exactly.
    """

    name = "fuse"

    def __init__(
        self,
        baselines: tuple[Backbone, ...] | None = None,
        stretch: Stretch = "none",
        limit: Annotated[int, Field(ge=1)] | None = None,
        symmetrize: Symmetry = "none",
    ):
        self.baselines = baselines
        self.stretch: Stretch = stretch
        self.limit = limit
        self.symmetrize: Symmetry = symmetrize

    def requires(self, run: RunContext) -> tuple[str, ...]:
        """A backbone with weights must have been trained."""
        trainable = any(True for _ in run.components.build_backbone().parameters())
        return ("backbone",) if trainable else ()

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """The fused images, in colour and as scored."""
        return ("fused", "grey")

    def check(self, run: RunContext) -> None:
        """There must be pairs to fuse."""
        if not pairs_to_judge(run, self.limit)[1]:
            raise FusionkitError("no pairs to fuse: `data` holds none out (val), and no `test`")

    def run(self, run: RunContext) -> None:
        """Fuse pair by pair, on the first process."""
        if not run.is_first:
            return
        backbone: Backbone = run.current_backbone()
        backbone = symmetrized(backbone.to(run.fabric.device), self.symmetrize)
        methods = {run.config.backbone.name: backbone}
        for baseline in self._baselines(run):
            methods.setdefault(baseline.name, baseline)
        dataset, indices = pairs_to_judge(run, self.limit)
        for folder in ("fused", "grey"):
            shutil.rmtree(run.folder / folder, ignore_errors=True)
        make_folder(run.folder / "fused")
        for method in methods:
            make_folder(run.folder / "grey" / method)
        with ProgressBar("fuse", len(indices)) as bar:
            for index in indices:
                sample = dataset[index]
                for method, network in methods.items():
                    fused = network.eval().fuse(sample)
                    if network is backbone:
                        fused = stretched(fused, self.stretch)
                    self._write(run, sample, method, fused)
                    if network is backbone:
                        self._write_colour(run, sample, fused)
                bar.step()

    def _baselines(self, run: RunContext) -> list[Backbone]:
        if self.baselines is not None:
            return list(self.baselines)
        installed = run.components.names("backbone")
        usual = ("average", "max", "laplacian-pyramid")
        return [run.components.build("backbone", name) for name in usual if name in installed]

    def _write(self, run: RunContext, sample: Sample, method: str, fused: torch.Tensor) -> None:
        path = run.folder / "grey" / method / f"{sample.id}.png"
        write_image(path, from_float(fused[0].numpy(), _dtype(sample)))

    def _write_colour(self, run: RunContext, sample: Sample, fused: torch.Tensor) -> None:
        pixels = fused[0]
        if sample.chroma is not None:
            pixels = join_chroma(fused, sample.chroma).movedim(0, -1)
        path = run.folder / "fused" / f"{sample.id}.png"
        write_image(path, from_float(pixels.numpy(), _dtype(sample)))


def _dtype(sample: Sample) -> str:
    return "uint16" if sample.bits > 8 else "uint8"
