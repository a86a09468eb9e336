"""Batches for training: patches of the sources, and what the teachers made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torch.utils.data.distributed import DistributedSampler

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, RunContext, Sample


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        sources: Modality name -> (b, 1, h, w).
        teacher: (b, 1, h, w), a fused image for each pair to learn from; None without teachers.
    """

    sources: Mapping[str, Tensor]
    teacher: Float[Tensor, "b 1 h w"] | None


class TaughtPatches(Dataset[Tensor]):
    """Patches as (modalities + teachers, h, w) tensors, kept in memory once made."""

    def __init__(
        self, patches: Sequence[Sample], modalities: Sequence[str], teachers: Sequence[Backbone]
    ):
        self.patches = patches
        self.modalities = tuple(modalities)
        self.teachers = list(teachers)
        self._made: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> Tensor:
        if index not in self._made:
            sample = self.patches[index]
            images = [sample.images[name] for name in self.modalities]
            images += [teacher.fuse(sample) for teacher in self.teachers]
            self._made[index] = torch.cat(images)
        return self._made[index]


def moving_average(run: RunContext) -> Backbone | None:
    """Return the moving average that ``teacher: self`` learns from; None before its first round."""
    if run.config.teacher == "self" and run.checkpoints.exists("teacher"):
        return run.checkpoints.load("teacher")
    return None


class Batches:
    """The training batches of a run, epoch by epoch.

    Args:
        run: The run; its data, modalities, teachers and devices.
        batch_size: Over all processes together.
        crop: Side of a window drawn anew from each patch each time; the whole patch if None.
        augment: Draw one of the eight reflections and quarter turns for each pair each time.
        blend: Draw convex combinations of the teachers instead of one of them.
        teachers: Instead of those of the configuration.
    """

    def __init__(
        self,
        run: RunContext,
        batch_size: int,
        crop: int | None,
        augment: bool,
        blend: bool = False,
        teachers: Sequence[Backbone] | None = None,
    ):
        patches = run.components.patches
        teachers = run.components.build_teachers() if teachers is None else teachers
        self.modalities = run.config.modalities
        self.crop, self.augment, self.blend = crop, augment, blend
        self.mixing = run.config.teacher == "self" and not teachers
        self._generator = run.seeds.generator("batches")
        processes = run.fabric.world_size
        loader = DataLoader(
            TaughtPatches(patches, self.modalities, teachers),
            batch_size=max(1, batch_size // processes),
            shuffle=True,
            # One left-over pair would make a noisy step of its own.
            drop_last=len(patches) >= batch_size,
            generator=torch.Generator().manual_seed(run.seeds.seed_for("order")),
        )
        # With several processes Fabric puts a sampler in that deals the patches out.
        self._loader: Any = run.fabric.setup_dataloaders(loader, move_to_device=False)
        self._device = run.fabric.device
        self._epoch_seed = run.seeds.seed_for(str(run.fabric.global_rank), "epoch")

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; which ones follows from the seed and the number alone."""
        self._generator.manual_seed(self._epoch_seed + number)
        sampler = self._loader.sampler
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(number)
        elif isinstance(sampler, RandomSampler):
            assert sampler.generator is not None
            sampler.generator.manual_seed(self._epoch_seed + number)
        for stacked in self._loader:
            yield self._batch(stacked)

    def _batch(self, stacked: Float[Tensor, "b c h w"]) -> Batch:
        generator = self._generator
        if self.crop is not None:
            stacked = random_crops(stacked, self.crop, generator)
        if self.augment:
            stacked = random_dihedral(stacked, generator)
        count = len(self.modalities)
        sources, taught = stacked[:, :count], stacked[:, count:]
        if self.mixing:
            teacher = random_mixtures(sources, generator)
        elif taught.shape[1] == 0:
            teacher = None
        else:
            teacher = _choose(taught, self.blend, generator)
        return Batch(
            {
                name: sources[:, k : k + 1].contiguous().to(self._device)
                for k, name in enumerate(self.modalities)
            },
            None if teacher is None else teacher.to(self._device),
        )


def _choose(taught: Tensor, blend: bool, generator: Generator) -> Tensor:
    """Pick a teacher for each pair, or a random convex combination of all of them."""
    b, k = taught.shape[:2]
    if blend:
        # Exponential draws, normalised, are uniform on the simplex.
        weights = -torch.rand(b, k, 1, 1, generator=generator).clamp_min(1e-7).log()
        weights = weights / weights.sum(dim=1, keepdim=True)
        return (taught * weights).sum(dim=1, keepdim=True)
    picked = torch.randint(k, (b,), generator=generator)
    return taught[torch.arange(b), picked][:, None]


def random_crops(x: Float[Tensor, "b c h w"], side: int, generator: Generator) -> Tensor:
    """Cut a window of side x side out of each image at a place of its own.

    Raises:
        FusionkitError: if the images are smaller.
    """
    b, _, h, w = x.shape
    if min(h, w) < side:
        raise FusionkitError(f"crop: the patches have {h}x{w} pixels, fewer than crop={side}")
    tops = torch.randint(h - side + 1, (b,), generator=generator).tolist()
    lefts = torch.randint(w - side + 1, (b,), generator=generator).tolist()
    return torch.stack(
        [
            image[:, top : top + side, left : left + side]
            for image, top, left in zip(x, tops, lefts, strict=True)
        ]
    )


def random_dihedral(x: Float[Tensor, "b c h w"], generator: Generator) -> Tensor:
    """Give each square image one of the eight reflections and quarter turns."""
    b, _, h, w = x.shape
    quarter = 1 if h == w else 2  # an oblong keeps its shape under half turns only
    turns = torch.randint(4, (b,), generator=generator).tolist()
    flips = torch.randint(2, (b,), generator=generator).tolist()
    turned = [
        torch.rot90(image, turn * quarter, (-2, -1)) for image, turn in zip(x, turns, strict=True)
    ]
    return torch.stack(
        [image.flip(-1) if flip else image for image, flip in zip(turned, flips, strict=True)]
    )


def random_mixtures(sources: Float[Tensor, "b m h w"], generator: Generator) -> Tensor:
    """Mix the sources with smooth random weights that sum to one at each pixel.

    What a self-taught run starts from: images in which every modality shows somewhere, made by no
    fusion method.
    """
    b, m, h, w = sources.shape
    fields = 3 * torch.randn(b, m, 3, 3, generator=generator)
    fields = F.interpolate(fields, size=(h, w), mode="bicubic", align_corners=True)
    return (sources * fields.softmax(dim=1)).sum(dim=1, keepdim=True)
