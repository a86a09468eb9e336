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
from fusionkit_tasks.fused_rgb import fused_rgb

_STRIDE = 32
"""Factor by which all encoders of segmentation-models-pytorch reduce the size of images."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet. Pretrained encoders expect this normalization, and
networks from random weights use it as well, so that both see the same images."""


class Segmentation(Task):
    """Trains a network of segmentation-models-pytorch on the fused images and scores its masks.

    The network is trained by AdamW with a cosine schedule and cross-entropy over the pixels that
    have a class, on random crops and horizontal flips. The images are in colour if the suite gives
    colour, else grey in three channels.

    Args:
        architecture: Name of the architecture in segmentation-models-pytorch.
        encoder: Name of the encoder; ``tu-NAME`` for an encoder of timm.
        weights: Name of the encoder's pretrained weights, downloaded at first use; None for random
            weights. For an encoder of timm any name means the weights of timm.
        epochs: Number of passes over the training scenes.
        batch_size: Number of scenes per step.
        lr: Initial learning rate.
        weight_decay: Weight decay of AdamW.
        crop: Side of the random crops in pixels; None for whole images, which must have one size.
        flip: Whether half of the images are flipped from left to right.

    Raises:
        FusionkitError: if segmentation-models-pytorch is not installed or lacks the architecture,
            the encoder or its weights.
    """

    name = "segmentation"
    labels = "masks"
    refuses: ClassVar = {"build": "it needs the extra fusionkit-mmif[segmentation]"}
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
        # The architectures are the classes of the package; it has no public list of them.
        names = [n for n in dir(smp) if isinstance(getattr(smp, n), type) and n[0].isupper()]
        if architecture not in names:
            raise FusionkitError(
                f"architecture: segmentation-models-pytorch has no {architecture!r} "
                f"(it has: {', '.join(names)})" + nearest(architecture, names)
            )
        _check_encoder(smp, encoder, weights)
        self._network: nn.Module | None = None
        self._context = TaskContext()

    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Train; initial weights and the order of scenes depend on the seed alone.

        Raises:
            FusionkitError: if the encoder's weights can't be downloaded, the network can't be built
                or take the images, no pixel has a class, or the training diverges.
        """
        self._context = context
        # Initial weights and dropout use the global generator, so it is seeded for the training
        # and restored afterwards.
        with torch.random.fork_rng():
            torch.random.manual_seed(self._context.seed)
            self._network = self._trained(train)

    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Return ``mIoU`` and ``IoU/CLASS`` over all pixels of the set.

        Classes that occur neither in the labels nor in the predictions have no score; mIoU is the
        mean of the others.

        Raises:
            FusionkitError: if no pixel of the set has a class.
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
        per_image: dict[str, float] = {}
        for name, confusion in confusions.items():
            # An image without labels has no value, rather than 0.
            if values := [value for value in _ious(confusion) if value is not None]:
                per_image[name] = sum(values) / len(values)
        return TaskResult(
            {"mIoU": sum(scores.values()) / len(scores), **scores}, {"mIoU": per_image}, masks
        )

    def _trained(self, train: Sequence[Sample]) -> nn.Module:
        generator = torch.Generator().manual_seed(self._context.seed)
        device = torch.device(self._context.accelerator)
        network = self._build().to(device).train()
        images = [fused_rgb(sample).contiguous() for sample in train]
        masks = [_mask(sample) for sample in train]
        if self.crop is None and len({image.shape for image in images}) > 1:
            raise FusionkitError(
                "the training images differ in size; set `crop` to train on crops of one size"
            )
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
                    # The last scenes of an epoch are left out if they don't fill a batch: batch
                    # normalization needs more than one value.
                    chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
                    views = [self._view(images[i], masks[i], generator) for i in chosen]
                    batch = torch.stack([view[0] for view in views])
                    target = torch.stack([view[1] for view in views]).to(device)
                    optimizer.zero_grad(set_to_none=True)
                    # Without any labelled pixel the mean loss would be 0 / 0.
                    if (target != IGNORED).any():
                        logits = self._forward(network, _normalized(batch).to(device))
                        loss = F.cross_entropy(logits, target, ignore_index=IGNORED)
                        if not torch.isfinite(loss):
                            raise FusionkitError("the segmentation network diverged; lower `lr`")
                        loss.backward()
                    # Without gradients this changes nothing, but the schedule expects it.
                    optimizer.step()
                    schedule.step()
                    bar.step()
        return network.eval()

    def _build(self) -> nn.Module:
        # The library warns if weights are named for an encoder of timm, which brings its own.
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
                f"the weights {self.weights!r} of encoder {self.encoder} can't be downloaded: "
                f"{_brief(error)}; set weights: null to train from random weights, or put the file "
                f"into the cache of the Hugging Face hub (HF_HOME)"
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
            # Batch normalization of a single value, or an encoder with a fixed image size.
            raise FusionkitError(
                f"{self.architecture} with encoder {self.encoder} can't process a batch of shape "
                f"{tuple(batch.shape)}: {_brief(error)}; change batch_size, crop, or the network"
            ) from None

    def _view(
        self, image: Float[Tensor, "3 h w"], mask: Int[Tensor, "h w"], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a random crop or the whole image, flipped at random and padded to the stride."""
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
        image = fused_rgb(sample)[None]
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
    """Raise FusionkitError if the encoder or its weights do not exist."""
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
    names = list(encoders[encoder]["pretrained_settings"])
    if weights is not None and weights not in names:
        raise FusionkitError(
            f"weights: encoder {encoder} has no {weights!r} (it has: {', '.join(names)}, or null)"
            + nearest(weights, names)
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
    """Return intersection over union by class; None for a class that does not occur."""
    both = confusion.diagonal().double()
    either = confusion.sum(dim=0) + confusion.sum(dim=1) - confusion.diagonal()
    return [float(b / e) if e > 0 else None for b, e in zip(both, either.double(), strict=True)]
