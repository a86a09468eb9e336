"""Stage ``fuse``: the trained backbone and baselines fuse the test pairs."""

from __future__ import annotations

import shutil
from typing import Annotated

import torch
from pydantic import Field

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour_rules import ColourRule
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.inference.colour import restore_sample_colour
from fusionkit.inference.inference_form import inference_form
from fusionkit.inference.parallel import cores, in_parallel
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.symmetrize import Symmetry, symmetrized
from fusionkit.interfaces import Backbone, RunContext, Sample, Stage
from fusionkit.io.atomic_write import make_folder
from fusionkit.io.images import from_float, write_image
from fusionkit.progress import ProgressBar
from fusionkit_standard.evaluation_pairs import select_evaluation_pairs

_BASELINES = ("average", "max", "laplacian-pyramid")
"""Backbones to compare with by default, as far as they are installed."""


class Fuse(Stage):
    """Fuse the pairs of ``test``, or the held-out pairs of ``data``.

    Writes PNG files with 8 or 16 bits per channel, as the sources have: ``fused/ID.png`` in the
    colour of the colour source, and ``grey/METHOD/ID.png``, which ``evaluate`` scores, for the
    backbone and each baseline.

    Args:
        baselines: Backbones to compare with; they must not need training.
        stretch: ``minmax`` stretches each luminance that the trained backbone fuses to the full
            range, as EMMA's official script does. This changes EN, SD, SF and AG.
        limit: Largest number of pairs.
        colour_rule: How the colour is put back into ``fused/ID.png``: ``oklab``, ``scaled`` or
            ``ycbcr``. It does not change the images that are scored.
        symmetrize: Average the trained backbone over a group, so that fusing commutes with it
            exactly: ``reflect`` (4 passes) or ``d4`` (8 passes).

    Example:
        >>> import fusionkit as fk
        >>> fk.build("stage", name="fuse", stretch="minmax").stretch
        'minmax'
    """

    name = "fuse"

    def __init__(
        self,
        baselines: tuple[Backbone, ...] | None = None,
        stretch: Stretch = "none",
        limit: Annotated[int, Field(ge=1)] | None = None,
        symmetrize: Symmetry = "none",
        colour_rule: ColourRule = "oklab",
    ):
        self.baselines = baselines
        self.stretch: Stretch = stretch
        self.limit = limit
        self.symmetrize: Symmetry = symmetrize
        self.colour_rule: ColourRule = colour_rule

    def requires(self, run: RunContext) -> tuple[str, ...]:
        """Require a trained backbone, unless the backbone has no weights."""
        has_weights = any(True for _ in run.components.build_backbone().parameters())
        return ("backbone",) if has_weights else ()

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """Produce the fused images in colour, and those that are scored."""
        return ("fused", "grey")

    def check(self, run: RunContext) -> None:
        """Raise FusionkitError if there are no pairs to fuse."""
        if not select_evaluation_pairs(run, self.limit)[1]:
            raise FusionkitError("no pairs to fuse: `data` holds none out (val), and no `test`")

    def run(self, run: RunContext) -> None:
        """Fuse all pairs, on the first process."""
        if not run.is_first:
            return
        workers = max(2, cores())
        own = symmetrized(inference_form(run.current_backbone()), self.symmetrize)
        backbone = NetworkRunner(own, run.fabric.device, callers=workers)
        methods = {run.config.backbone.name: backbone}
        for baseline in self._build_baselines(run):
            methods.setdefault(baseline.name, NetworkRunner(baseline, callers=workers))
        _make_empty_folders(run, list(methods))
        dataset, indices = select_evaluation_pairs(run, self.limit)

        def fuse(sample: Sample) -> None:
            for method, runner in methods.items():
                fused = runner.fuse(sample)
                if runner is backbone:
                    fused = stretched(fused, self.stretch)
                    self._write_colour(run, sample, fused)
                _write_grey(run, sample, method, fused)

        with ProgressBar("fuse", len(indices)) as bar:
            # Samples are read by this thread, because a data set need not be safe for several.
            for _ in in_parallel(fuse, (dataset[index] for index in indices), workers):
                bar.step()

    def _write_colour(self, run: RunContext, sample: Sample, fused: torch.Tensor) -> None:
        image = restore_sample_colour(sample, fused, self.colour_rule)
        pixels = image[0] if len(image) == 1 else image.movedim(0, -1)
        write_image(
            run.folder / "fused" / f"{sample.id}.png", from_float(pixels.numpy(), _dtype(sample))
        )

    def _build_baselines(self, run: RunContext) -> list[Backbone]:
        if self.baselines is not None:
            return list(self.baselines)
        installed = run.components.names("backbone")
        return [run.components.build("backbone", name) for name in _BASELINES if name in installed]


def _make_empty_folders(run: RunContext, methods: list[str]) -> None:
    for folder in ("fused", "grey"):
        shutil.rmtree(run.folder / folder, ignore_errors=True)
    make_folder(run.folder / "fused")
    for method in methods:
        make_folder(run.folder / "grey" / method)


def _write_grey(run: RunContext, sample: Sample, method: str, fused: torch.Tensor) -> None:
    path = run.folder / "grey" / method / f"{sample.id}.png"
    write_image(path, from_float(fused[0].numpy(), _dtype(sample)))


def _dtype(sample: Sample) -> str:
    return "uint16" if sample.bits > 8 else "uint8"
