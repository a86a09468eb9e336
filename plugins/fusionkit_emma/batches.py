"""Training batches: patches of the sources, and the teachers' images of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, BatchShare, RunContext, Sample
from fusionkit.io.tensor_store import TensorStore
from fusionkit_emma.transfer import one_ahead, send


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        sources: Modality name -> (b, 1, h, w).
        teacher: Fused image of each pair to learn from, (b, 1, h, w); None without teachers.
        ids: Identifier of each pair's sample, with the corner of the patch.
    """

    sources: Mapping[str, Tensor]
    teacher: Float[Tensor, "b 1 h w"] | None
    ids: tuple[str, ...] = ()

    def parts(self, count: int, share: BatchShare) -> list[tuple[Batch, BatchShare]]:
        """Return equal parts of this batch, with the share of the whole batch that each is.

        Args:
            count: Number of parts; the number of pairs is a multiple of it.
            share: Which pairs of the whole batch these are.

        Example:
            >>> batch = Batch({"visible": torch.zeros(4, 1, 16, 16)}, None, ("a", "b", "c", "d"))
            >>> [(part.ids, share.rank) for part, share in batch.parts(2, BatchShare())]
            [(('a', 'c'), 0), (('b', 'd'), 1)]
        """
        if count == 1:
            return [(self, share)]
        return [
            (
                Batch(
                    {name: images[k::count] for name, images in self.sources.items()},
                    None if self.teacher is None else self.teacher[k::count],
                    self.ids[k::count],
                ),
                BatchShare(share.rank + k * share.processes, share.processes * count),
            )
            for k in range(count)
        ]


class TaughtPatches(Dataset[tuple[Tensor, str]]):
    """Patches as (modalities + teachers, h, w) tensors; what the teachers made of one is kept.

    An item is the tensor and the identifier of its sample.
    """

    def __init__(
        self, patches: Sequence[Sample], modalities: Sequence[str], teachers: Sequence[Backbone]
    ):
        self.patches = patches
        self.modalities = tuple(modalities)
        self.teachers = list(teachers)
        self._taught = TensorStore(len(patches))

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        sample = self.patches[index]
        images = [sample.images[name] for name in self.modalities]
        if self.teachers:
            if index not in self._taught:
                made = [teacher.fuse(sample).cpu() for teacher in self.teachers]
                self._taught.put(index, torch.cat(made))
            images.append(self._taught.get(index))
        name = sample.id if sample.crop is None else f"{sample.id} at {sample.crop}"
        return torch.cat(images), name


class RandomOrder(Sampler[int]):
    """The patches of one process in random order: its share of each batch.

    All processes draw the same order of all patches. If they can't share the last batch equally, it
    is a few patches shorter.

    Args:
        count: Number of patches.
        generator: Source of the order, equal in all processes.
        share: Which patches of each batch this process gets.
        announce: Called with what will follow, before the first of it.
        parts: Parts that each process divides its share into equally.

    Example:
        >>> generators = [torch.Generator().manual_seed(0) for _ in range(3)]
        >>> shares = [BatchShare(), BatchShare(0, 2), BatchShare(1, 2)]
        >>> all, even, odd = (
        ...     list(RandomOrder(6, g, share)) for g, share in zip(generators, shares)
        ... )
        >>> sorted(all), all[::2] == even, all[1::2] == odd
        ([0, 1, 2, 3, 4, 5], True, True)
    """

    def __init__(
        self,
        count: int,
        generator: torch.Generator,
        share: BatchShare,
        announce: Callable[[list[int]], None] | None = None,
        parts: int = 1,
    ):
        self._count, self._generator, self._share = count, generator, share
        self._announce, self._parts = announce, parts

    def __len__(self) -> int:
        return self._count // (self._share.processes * self._parts) * self._parts

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self._count, generator=self._generator)
        own: list[int] = self._share.of(order[: len(self) * self._share.processes]).tolist()
        if self._announce is not None:
            self._announce(own)
        return iter(own)


def build_teachers(run: RunContext) -> list[Backbone]:
    """Return the backbones to distil from.

    With ``teacher: self`` that is the moving average of the last training of the backbone; an empty
    list before its first training.
    """
    if run.config.teacher != "self":
        return run.components.build_teachers()
    return [run.checkpoints.load("teacher")] if run.checkpoints.exists("teacher") else []


class Batches:
    """The training batches of a run, epoch by epoch.

    Args:
        run: The run; data, modalities, devices and seeds come from it.
        batch_size: Pairs per batch, of all processes together.
        teachers: Backbones whose images the batches contain. Without any, ``teacher: self`` gives
            random mixtures of the sources.
        crop: Side in pixels of a window drawn from each patch each time; None for whole patches.
        augment: Whether to draw one of the eight reflections and quarter turns for each pair.
        blend: Whether to draw convex combinations of the teachers instead of one of them.
        parts: Parts that each process will divide a batch into equally (``Batch.parts``).
    """

    def __init__(
        self,
        run: RunContext,
        batch_size: int,
        teachers: Sequence[Backbone],
        *,
        crop: int | None = None,
        augment: bool = False,
        blend: bool = False,
        parts: int = 1,
    ):
        patches = run.components.patches
        self.modalities = run.config.modalities
        self.crop, self.augment, self.blend = crop, augment, blend
        self.mixing = run.config.teacher == "self" and not teachers
        self.share = BatchShare(run.fabric.global_rank, run.fabric.world_size)
        processes = self.share.processes
        shares = processes * parts
        if batch_size % shares or len(patches) < shares:
            in_parts = f" in {parts} equal parts each (`accumulate`)" if parts > 1 else ""
            raise FusionkitError(
                f"batch_size: {processes} processes share each batch equally{in_parts}; expected a "
                f"multiple of {shares} and as many patches, found {batch_size} and {len(patches)} "
                f"patches"
            )
        taught = TaughtPatches(patches, self.modalities, teachers)
        self._generator, self._order = torch.Generator(), torch.Generator()
        # Fabric's own loader counts epochs from the start of the process: a run that goes on would
        # see the first one again.
        self._loader = DataLoader(
            taught,
            batch_size=batch_size // processes,
            sampler=RandomOrder(
                len(taught), self._order, self.share, run.components.prefetch, parts
            ),
            # A last batch of one pair would be a noisy step.
            drop_last=len(patches) >= batch_size,
            generator=self._order,
        )
        self._device = run.fabric.device
        self._epoch_seed = run.seeds.seed_for("0", "epoch")

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; they depend on the seed and the number only.

        While a GPU works on one, the next is made and sent.
        """
        batches = self._make(number)
        return batches if self._device.type == "cpu" else one_ahead(batches)

    def _make(self, number: int) -> Iterator[Batch]:
        self._generator.manual_seed(self._epoch_seed + number)
        self._order.manual_seed(self._epoch_seed + number)
        for stacked, ids in self._loader:
            yield self._batch(stacked, tuple(ids))

    def _batch(self, stacked: Float[Tensor, "b c h w"], ids: tuple[str, ...]) -> Batch:
        generator = self._generator
        if self.crop is not None:
            stacked = random_crops(stacked, self.crop, generator, self.share)
        if self.augment:
            stacked = random_dihedral(stacked, generator, self.share)
        count = len(self.modalities)
        sources, taught = stacked[:, :count], stacked[:, count:]
        if self.mixing:
            teacher = random_mixtures(sources, generator, self.share)
        elif taught.shape[1] == 0:
            teacher = None
        else:
            teacher = _choose(taught, self.blend, generator, self.share)
        return Batch(
            {
                name: send(sources[:, k : k + 1].contiguous(), self._device)
                for k, name in enumerate(self.modalities)
            },
            None if teacher is None else send(teacher, self._device),
            ids,
        )


def _choose(taught: Tensor, blend: bool, generator: Generator, share: BatchShare) -> Tensor:
    """Pick a teacher for each pair, or a random convex combination of all of them."""
    b, k = taught.shape[:2]
    images = b * share.processes
    if blend:
        # Normalised exponential draws are uniform on the simplex.
        weights = -torch.rand(images, k, 1, 1, generator=generator).clamp_min(1e-7).log()
        weights = share.of(weights / weights.sum(dim=1, keepdim=True))
        return (taught * weights).sum(dim=1, keepdim=True)
    picked = share.of(torch.randint(k, (images,), generator=generator))
    return taught[torch.arange(b), picked][:, None]


def random_crops(
    x: Float[Tensor, "b c h w"], side: int, generator: Generator, share: BatchShare = BatchShare()
) -> Float[Tensor, "b c side side"]:
    """Cut a window of side x side pixels out of each image, each at a different random place.

    Raises:
        FusionkitError: if the images are smaller.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> random_crops(torch.zeros(4, 3, 64, 80), side=48, generator=generator).shape
        torch.Size([4, 3, 48, 48])
    """
    b, _, h, w = x.shape
    if min(h, w) < side:
        raise FusionkitError(f"crop: the patches have {h}x{w} pixels, fewer than crop={side}")
    images = (b * share.processes,)
    tops = share.of(torch.randint(h - side + 1, images, generator=generator)).tolist()
    lefts = share.of(torch.randint(w - side + 1, images, generator=generator)).tolist()
    return torch.stack(
        [
            image[:, top : top + side, left : left + side]
            for image, top, left in zip(x, tops, lefts, strict=True)
        ]
    )


def random_dihedral(
    x: Float[Tensor, "b c h w"], generator: Generator, share: BatchShare = BatchShare()
) -> Float[Tensor, "b c h w"]:
    """Apply one of the eight reflections and quarter turns to each image, drawn for each.

    Images that are not square keep their shape: they are turned by half turns only.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> random_dihedral(torch.zeros(2, 1, 32, 48), generator).shape
        torch.Size([2, 1, 32, 48])
    """
    b, _, h, w = x.shape
    quarter = 1 if h == w else 2
    images = (b * share.processes,)
    turns = share.of(torch.randint(4, images, generator=generator)).tolist()
    flips = share.of(torch.randint(2, images, generator=generator)).tolist()
    turned = [
        torch.rot90(image, turn * quarter, (-2, -1)) for image, turn in zip(x, turns, strict=True)
    ]
    return torch.stack(
        [image.flip(-1) if flip else image for image, flip in zip(turned, flips, strict=True)]
    )


def random_mixtures(
    sources: Float[Tensor, "b m h w"], generator: Generator, share: BatchShare = BatchShare()
) -> Float[Tensor, "b 1 h w"]:
    """Mix the sources with smooth random weights that sum to one at each pixel.

    A run with ``teacher: self`` starts from such images: every modality shows somewhere in them,
    and no fusion method is needed.

    Example:
        >>> sources = torch.stack([torch.zeros(32, 32), torch.ones(32, 32)])[None]
        >>> random_mixtures(sources, torch.Generator().manual_seed(0)).shape
        torch.Size([1, 1, 32, 32])
    """
    b, m, h, w = sources.shape
    fields = 3 * share.of(torch.randn(b * share.processes, m, 3, 3, generator=generator))
    fields = F.interpolate(fields, size=(h, w), mode="bicubic", align_corners=True)
    return (sources * fields.softmax(dim=1)).sum(dim=1, keepdim=True)
