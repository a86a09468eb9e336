"""Task ``segmentation``: a segmentation network trained on fused images, scored by IoU."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional.padding import crop, pad_to_multiple
from fusionkit.interfaces import IGNORED, Sample, Task, TaskContext, TaskResult
from fusionkit.progress import ProgressBar
from fusionkit_tasks.pictures import rgb

_STRIDE = 32
"""What all encoders of segmentation-models-pytorch divide images by."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which pretrained encoders expect; used from scratch too, so that both see alike."""


class Segmentation(Task):
    """Train a network of segmentation-models-pytorch on the fused images, and score its masks.

    AdamW, a rate that falls to zero along half a cosine, cross-entropy over the pixels that have a
    class, random crops and horizontal flips. Images in colour if the suite gives colour, else grey
    in three channels.

    Args:
        architecture: Its name in segmentation-models-pytorch.
        encoder: Name of the encoder; of one of timm ``tu-`` and its name.
        weights: Pretrained weights of the encoder, downloaded when first used; None for random
            ones. Any name means those of timm for an encoder of timm.
        epochs: Passes over the training scenes.
        batch_size: Scenes per step.
        lr: Rate at the start.
        weight_decay: Of AdamW.
        crop: Side of the random crops in pixels; whole images if None, which then must be of one
            size.
        flip: Flip half of the images from left to right.
    """

    name = "segmentation"
    labels = "masks"
    example: ClassVar = {"encoder": "resnet18", "weights": None, "epochs": 1, "batch_size": 4}

    def __init__(
        self,
        architecture: str = "DeepLabV3Plus",
        encoder: str = "resnet50",
        weights: str | None = "imagenet",
        epochs: Annotated[int, Field(ge=1)] = 50,
        batch_size: Annotated[int, Field(ge=1)] = 8,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        weight_decay: Annotated[float, Field(ge=0)] = 1e-4,
        crop: Annotated[int, Field(ge=32, multiple_of=32)] | None = None,
        flip: bool = True,
    ):
        self.architecture, self.encoder, self.weights = architecture, encoder, weights
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.weight_decay, self.crop, self.flip = weight_decay, crop, flip
        smp = _library()
        # Every architecture is a class of the package; the mapping from names is private.
        there = [n for n in dir(smp) if isinstance(getattr(smp, n), type) and n[0].isupper()]
        if architecture not in there:
            raise FusionkitError(
                f"architecture: segmentation-models-pytorch has no {architecture!r} "
                f"(it has: {', '.join(there)})" + nearest(architecture, there)
            )
        _check_encoder(smp, encoder, weights)
        self._network: nn.Module | None = None
        self._context = TaskContext()

    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Train from weights and in an order that follow from the seed alone.

        Raises:
            FusionkitError: if the encoder's weights can't be had, or whole images differ in size.
        """
        self._context = context
        # Dropout draws from the global generator; it is seeded for the time of the training.
        with torch.random.fork_rng():
            torch.random.manual_seed(self._context.seed)
            self._network = self._trained(train)

    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Return ``mIoU`` and ``IoU/CLASS`` over all pixels of the set.

        A class that neither the labels nor the predictions have is left out; mIoU is the mean of
        the others.

        Raises:
            FusionkitError: if no pixel of the set has a class, so that there is nothing to score.
        """
        assert self._network is not None
        classes = self._context.mask_classes
        confusions: dict[str, Int[Tensor, "k k"]] = {}
        masks: dict[str, Tensor] = {}
        for sample in test:
            predicted = self._predict(sample)
            masks[sample.id] = predicted
            confusions[sample.id] = _confusion(predicted, _mask(sample), len(classes))
        total = sum(confusions.values(), torch.zeros(len(classes), len(classes)).long())
        if not total.any():
            raise FusionkitError("no pixel of the test masks has a class")
        values = _ious(total)
        scores = {
            f"IoU/{name}": value
            for name, value in zip(classes, values, strict=True)
            if value is not None
        }
        found: dict[str, float] = {}
        for name, confusion in confusions.items():
            # Without labels there is no value, which is not the same as a value of 0.
            if values := [value for value in _ious(confusion) if value is not None]:
                found[name] = sum(values) / len(values)
        return TaskResult(
            {"mIoU": sum(scores.values()) / len(scores), **scores}, {"mIoU": found}, masks
        )

    def _trained(self, train: Sequence[Sample]) -> nn.Module:
        generator = torch.Generator().manual_seed(self._context.seed)
        device = torch.device(self._context.accelerator)
        network = self._build().to(device).train()
        images = [rgb(sample).contiguous() for sample in train]
        masks = [_mask(sample) for sample in train]
        if self.crop is None and len({image.shape for image in images}) > 1:
            raise FusionkitError("the training images differ in size; set `crop` to train on them")
        if not any((mask != IGNORED).any() for mask in masks):
            raise FusionkitError("no pixel of the training masks has a class")
        decayed = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others}],
            lr=self.lr,
            weight_decay=0.0,
        )
        batches = max(1, len(images) // self.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * batches)
        with ProgressBar("  training", self.epochs * batches) as bar:
            for _ in range(self.epochs):
                order = torch.randperm(len(images), generator=generator).tolist()
                for step in range(batches):
                    # Scenes that don't fill a batch are left out of this epoch: a batch of one
                    # would have no statistics to normalize by.
                    chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
                    views = [self._view(images[i], masks[i], generator) for i in chosen]
                    batch = torch.stack([view[0] for view in views])
                    target = torch.stack([view[1] for view in views]).to(device)
                    optimizer.zero_grad(set_to_none=True)
                    # Crops may hold unlabelled pixels alone, whose mean loss would be 0 / 0.
                    if (target != IGNORED).any():
                        logits = self._forward(network, _normalized(batch).to(device))
                        loss = F.cross_entropy(logits, target, ignore_index=IGNORED)
                        if not torch.isfinite(loss):
                            raise FusionkitError("the segmentation network diverged; lower `lr`")
                        loss.backward()
                    # Without gradients this changes nothing, but counts as the schedule's step.
                    optimizer.step()
                    schedule.step()
                    bar.step()
        return network.eval()

    def _build(self) -> nn.Module:
        # The library warns of any name of weights for an encoder of timm, which has its own in it.
        named = self.weights is None or not self.encoder.startswith("tu-")
        try:
            return getattr(_library(), self.architecture)(
                encoder_name=self.encoder,
                encoder_weights=self.weights if named else True,
                in_channels=3,
                classes=len(self._context.mask_classes),
            )
        except OSError as error:
            raise FusionkitError(
                f"the weights {self.weights!r} of encoder {self.encoder} can't be had: "
                f"{_brief(error)}; set weights: null to train from scratch, or put the file in the "
                f"cache of the Hugging Face hub (HF_HOME)"
            ) from None
        except (RuntimeError, KeyError, ValueError, NotImplementedError) as error:
            raise FusionkitError(
                f"the network {self.architecture} with encoder {self.encoder} and weights "
                f"{self.weights} can't be built: {_brief(error)}"
            ) from None

    def _forward(self, network: nn.Module, batch: Float[Tensor, "b 3 h w"]) -> Tensor:
        try:
            return network(batch)
        except (AssertionError, ValueError) as error:
            # Batch normalization of one value, or an encoder that takes one size of image alone.
            raise FusionkitError(
                f"{self.architecture} with encoder {self.encoder} takes no batch of shape "
                f"{tuple(batch.shape)}: {_brief(error)}; change batch_size, crop, or the network"
            ) from None

    def _view(
        self, image: Float[Tensor, "3 h w"], mask: Int[Tensor, "h w"], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a random crop, perhaps flipped, padded to the network's stride."""
        top, left, flip = torch.rand(3, generator=generator).tolist()
        if self.crop is not None:
            h, w = image.shape[-2:]
            y, x = int(top * max(1, h - self.crop + 1)), int(left * max(1, w - self.crop + 1))
            image = image[:, y : y + self.crop, x : x + self.crop]
            mask = mask[y : y + self.crop, x : x + self.crop]
        if self.flip and flip < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        side = (self.crop, self.crop) if self.crop is not None else _padded(image.shape[-2:])
        below, right = side[0] - image.shape[-2], side[1] - image.shape[-1]
        image = F.pad(image[None], (0, right, 0, below), mode="replicate")[0]
        return image, F.pad(mask, (0, right, 0, below), value=IGNORED)

    @torch.no_grad()
    def _predict(self, sample: Sample) -> Int[Tensor, "h w"]:
        assert self._network is not None
        image = rgb(sample)[None]
        padded = pad_to_multiple(_normalized(image), _STRIDE)
        logits = self._forward(self._network, padded.to(self._context.accelerator))
        return crop(logits, (image.shape[-2], image.shape[-1]))[0].argmax(dim=0).cpu()


def _library() -> ModuleType:
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except ModuleNotFoundError as error:
        if error.name != "segmentation_models_pytorch":
            raise
        raise FusionkitError(
            "the task `segmentation` needs segmentation-models-pytorch, which is not installed; "
            'run: pip install "fusionkit-mmif[segmentation]"'
        ) from None


def _check_encoder(smp: Any, encoder: str, weights: str | None) -> None:
    """Raise FusionkitError for an encoder, or weights of it, that there are not."""
    if encoder.startswith("tu-"):
        import timm

        models = [f"tu-{name}" for name in timm.list_models()]
        if encoder.partition(".")[0] not in models:
            raise FusionkitError(f"encoder: timm has no {encoder!r}" + nearest(encoder, models))
        return
    encoders = smp.encoders.encoders
    if encoder not in encoders:
        raise FusionkitError(
            f"encoder: segmentation-models-pytorch has no {encoder!r}" + nearest(encoder, encoders)
        )
    there = list(encoders[encoder]["pretrained_settings"])
    if weights is not None and weights not in there:
        raise FusionkitError(
            f"weights: encoder {encoder} has no {weights!r} (it has: {', '.join(there)}, or null)"
            + nearest(weights, there)
        )


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _normalized(batch: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    mean, std = (torch.tensor(v)[:, None, None] for v in (_MEAN, _STD))
    return (batch - mean) / std


def _padded(size: Any) -> tuple[int, int]:
    h, w = size
    return -(-h // _STRIDE) * _STRIDE, -(-w // _STRIDE) * _STRIDE


def _mask(sample: Sample) -> Int[Tensor, "h w"]:
    assert sample.mask is not None
    return sample.mask.long()


def _confusion(
    predicted: Int[Tensor, "h w"], labelled: Int[Tensor, "h w"], classes: int
) -> Int[Tensor, "k k"]:
    """Count pixels by labelled class (rows) and predicted class (columns)."""
    counted = labelled != IGNORED
    pairs = labelled[counted] * classes + predicted[counted]
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def _ious(confusion: Int[Tensor, "k k"]) -> list[float | None]:
    """Return intersection over union by class, None for one that is nowhere."""
    both = confusion.diagonal().double()
    either = confusion.sum(dim=0) + confusion.sum(dim=1) - confusion.diagonal()
    return [float(b / e) if e > 0 else None for b, e in zip(both, either.double(), strict=True)]
