"""Stage ``fuse``: the trained backbone, and baselines to compare with, fuse the test pairs."""

from __future__ import annotations

import shutil
from typing import Annotated

import torch
from pydantic import Field

from fusionkit.errors import FusionkitError
from fusionkit.files import make_folder
from fusionkit.functional.colour import join_chroma
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.images import from_float, write_image
from fusionkit.interfaces import Backbone, ComponentSpec, Sample, Stage
from fusionkit.progress import ProgressBar
from fusionkit.run import Run
from fusionkit.symmetry import Symmetry, symmetrized
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

    def check(self, run: Run) -> None:
        """There must be pairs to fuse."""
        if not pairs_to_judge(run, self.limit)[1]:
            raise FusionkitError("no pairs to fuse: `data` holds none out (val), and no `test`")

    def run(self, run: Run) -> None:
        """Fuse pair by pair, on the first process."""
        if not run.is_first:
            return
        backbone: Backbone = run.load("backbone") or run.backbone()
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

    def _baselines(self, run: Run) -> list[Backbone]:
        if self.baselines is not None:
            return list(self.baselines)
        there = run.plugins.registry.names("backbone")
        usual = ("average", "max", "laplacian-pyramid")
        return [
            run.plugins.registry.build(ComponentSpec("backbone", name))
            for name in usual
            if name in there
        ]

    def _write(self, run: Run, sample: Sample, method: str, fused: torch.Tensor) -> None:
        path = run.folder / "grey" / method / f"{sample.id}.png"
        write_image(path, from_float(fused[0].numpy(), _dtype(sample)))

    def _write_colour(self, run: Run, sample: Sample, fused: torch.Tensor) -> None:
        pixels = fused[0]
        if sample.chroma is not None:
            pixels = join_chroma(fused, sample.chroma).movedim(0, -1)
        path = run.folder / "fused" / f"{sample.id}.png"
        write_image(path, from_float(pixels.numpy(), _dtype(sample)))


def _dtype(sample: Sample) -> str:
    return "uint16" if sample.bits > 8 else "uint8"
