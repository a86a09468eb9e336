"""The kinds of component: abstract classes whose docstrings are the contract.

A component is a concrete class of one of these kinds with a class attribute ``name`` and typed
keyword arguments in ``__init__``. Those arguments are its configuration: the core derives from
them what a YAML file may say. An argument annotated with a kind (``distance: Distance``) takes a
nested ``{name: ...}`` and receives the built component; one annotated :data:`Modalities` receives
the modality names of the run.

Images are float32 tensors in [0, 1]. Shapes are written b c h w.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from fusionkit.functional.padding import crop, pad_to_multiple

if TYPE_CHECKING:
    from fusionkit.run import Run

__all__ = [
    "IGNORED",
    "KINDS",
    "Backbone",
    "Component",
    "ComponentSpec",
    "Dataset",
    "Distance",
    "FusionStep",
    "Images",
    "Loss",
    "Metric",
    "Modalities",
    "Sample",
    "Sensor",
    "Stage",
    "Task",
    "TaskContext",
    "TransformElement",
    "TransformGroup",
]

Images = Mapping[str, Tensor]
"""Modality name -> (b, 1, h, w) float32 in [0, 1]. Names, so that sources can't be swapped."""


class FromRun:
    """Marks an argument that the run fills in when the configuration leaves it out."""


IGNORED = 255
"""Value of mask pixels that belong to no class: neither learned nor scored."""

Modalities = Annotated[tuple[str, ...], FromRun()]
"""Annotation of an ``__init__`` argument that receives the modality names of the run."""


@dataclass(frozen=True)
class ComponentSpec:
    """A validated component of a configuration: what it takes to build it.

    ``arguments`` holds plain YAML values, with nested components as specs.
    """

    kind: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the ``{name: ..., argument: ...}`` form that YAML, JSON and metadata hold."""
        return {"name": self.name, **{key: _plain(value) for key, value in self.arguments.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, ComponentSpec):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class Component:
    """What all kinds share: a ``name`` given by the class, a ``spec`` set by whoever built it."""

    kind: ClassVar[str]
    name: ClassVar[str]
    example: ClassVar[Mapping[str, Any]] = {}
    """Arguments for a trial of seconds, where the defaults are too big or there are none; the
    conformance kit builds it by them."""
    spec: ComponentSpec | None = None
    """What rebuilds this very component; ``None`` if it was constructed by hand."""


@dataclass(frozen=True)
class Sample:
    """One scene as its sensors saw it; whole, or a patch cut out of it.

    Attributes:
        id: Name of the scene; file stem for images from a folder.
        images: Modality name -> (1, h, w) float32 in [0, 1]; luminance for a colour source.
        chroma: (2, h, w) Cb and Cr in [0, 1] (0.5 is neutral) of the colour source, if any.
        mask: (h, w) int64 class per pixel, or IGNORED.
        boxes: (n, 5) float32 rows class, cx, cy, width, height, relative to the image in [0, 1].
        latent: Name -> (c, h, w) float32, what only a renderer knows (the true scene).
        crop: (top, left) of a patch in the image named ``id``; ``None`` for the whole image.
        bits: Bits per channel of the files it came from (8 or 16).
    """

    id: str
    images: Images
    chroma: Float[Tensor, "2 h w"] | None = None
    mask: Int[Tensor, "h w"] | None = None
    boxes: Float[Tensor, "n 5"] | None = None
    latent: Mapping[str, Tensor] = field(default_factory=dict)
    crop: tuple[int, int] | None = None
    bits: int = 8


class Backbone(Component, nn.Module, ABC):
    """Fuses the sources into one image."""

    kind = "backbone"
    stride: int = 1
    """The multiple that h and w must have in ``forward``; the host pads and crops."""
    modalities: tuple[str, ...] = ()
    """The sources that it was built for, in their order; empty if it takes any."""

    @abstractmethod
    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch: two or more modalities, each (b, 1, h, w) in [0, 1], to (b, 1, h, w)."""

    def fuse(self, sample: Sample) -> Float[Tensor, "1 h w"]:
        """Fuse one sample of any size, without gradients: pad by reflection, forward, crop, clamp.

        A backbone that needs more than the pixels (the file name, say) overrides this.
        """
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        with torch.no_grad():
            padded = {
                name: pad_to_multiple(image[None].to(device), self.stride)
                for name, image in sample.images.items()
            }
            size = next(iter(sample.images.values())).shape[-2:]
            fused = self(padded)
            return crop(fused, (size[0], size[1]))[0].float().clamp(0, 1).cpu()


class Sensor(Component, nn.Module, ABC):
    """A pseudo-sensor: what its modality would see of a fused image."""

    kind = "sensor"
    stride: int = 1
    """The multiple that h and w must have in ``forward``."""

    @abstractmethod
    def forward(self, fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Map fused images in [0, 1] to images of the modality in [0, 1]."""


class TransformElement(ABC):
    """One element of a transform group, its parameters drawn."""

    exact: bool
    """True if it moves pixels without resampling, so that its inverse restores them bit by bit."""

    @abstractmethod
    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform every image of the batch alike; differentiable; the size stays."""

    @abstractmethod
    def inverse(self) -> TransformElement:
        """Return the element that undoes this one."""

    @abstractmethod
    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark the pixels of ``apply(x)`` that show x alone, and nothing made up at its borders."""


class TransformGroup(Component, ABC):
    """A group of transforms under which imaging is equivariant."""

    kind = "transform"

    @abstractmethod
    def sample(
        self, count: int, size: tuple[int, int], generator: Generator
    ) -> Sequence[TransformElement]:
        """Draw ``count`` elements for images of ``size`` (h, w), none of them the identity.

        Args:
            count: How many, 0 or more.
            size: (h, w) in pixels.
            generator: The only source of randomness; a CPU generator.

        Raises:
            FusionkitError: if the group has not that many elements for this size.
        """


@dataclass(frozen=True)
class FusionStep:
    """Everything a loss may look at in one training step.

    Attributes:
        sources: Modality name -> (b, 1, h, w).
        fused: (b, 1, h, w), ``backbone(sources)`` with gradients.
        backbone: The network in training; call it again to fuse something else.
        sensors: Modality name -> frozen pseudo-sensor; gradients flow through, none into it.
        transforms: Groups, each with the number of elements to draw per step.
        generator: A CPU generator, the step's only source of randomness.
    """

    sources: Images
    fused: Float[Tensor, "b 1 h w"]
    backbone: Backbone
    sensors: Mapping[str, Sensor]
    transforms: Sequence[tuple[TransformGroup, int]]
    generator: Generator


class Loss(Component, nn.Module, ABC):
    """One term of the training objective; its ``weight`` stands beside it in the recipe."""

    kind = "loss"

    @abstractmethod
    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return a finite scalar to be made small."""


class Distance(Component, nn.Module, ABC):
    """How far two image batches are apart; what losses are made of."""

    kind = "distance"

    @abstractmethod
    def forward(
        self,
        a: Float[Tensor, "b 1 h w"],
        b: Float[Tensor, "b 1 h w"],
        mask: Bool[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean distance, 0 if a equals b; over the pixels of ``mask`` if given."""


class Metric(Component, ABC):
    """A number for a fused image, defined by name and profile (whose conventions it follows)."""

    kind = "metric"
    higher_is_better: ClassVar[bool]
    profiles: ClassVar[tuple[str, ...]]
    """The profiles that the metric is defined in."""
    by_default: ClassVar[bool] = True
    """Whether it is among "all metrics of the profile"; not if it refuses images of usual size."""
    profile: str
    grey: Literal["opencv", "matlab"] = "opencv"
    """How the profile makes 8-bit colour grey before it scores."""

    @abstractmethod
    def __call__(self, fused: Float[Tensor, "b 1 h w"], sources: Images) -> Float[Tensor, " b"]:
        """Score each image of a batch in [0, 1], taken as the 8-bit image that would be saved."""


class Dataset(Component, ABC):
    """Scenes by index, each whole; and how they are split and cut for training."""

    kind = "dataset"
    mask_classes: tuple[str, ...] = ()
    """Names of the classes in ``Sample.mask`` by index; none if the scenes have no masks. Pixels
    of :data:`IGNORED` belong to no class."""
    box_classes: tuple[str, ...] = ()
    """Names of the classes in ``Sample.boxes`` by index; none if the scenes have no boxes."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of scenes, of all splits together."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Return scene ``index``, whole; IndexError past the end."""

    @abstractmethod
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the indices of ``train`` and ``val``, disjoint; other splits by their names."""

    def id(self, index: int) -> str:
        """Return the name of scene ``index``; override it where that needs no reading."""
        return self[index].id

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the files of scene ``index`` by modality, and ``mask`` or ``boxes`` for labels.

        None for scenes that come from no file. Whoever checks a split hashes them.
        """
        return {}

    def group(self, index: int) -> str | None:
        """Return the sequence that scene ``index`` was taken from, None if that is not known."""
        return None

    def patches(self, indices: Sequence[int]) -> Sequence[Sample]:
        """Return what training draws from these scenes, all of one size; the scenes by default."""
        return [self[index] for index in indices]


class Stage(Component, ABC):
    """One step of a run; reads and writes the run folder only, so that it can be repeated."""

    kind = "stage"
    blind_to: tuple[str, ...] = ()
    """Keys of the configuration that don't affect its result, so that a change of them does not
    ask for running it again; a training stage is blind to ``test``. May depend on its arguments:
    a warm start alone is blind to the losses."""

    @abstractmethod
    def run(self, run: Run) -> None:
        """Do the work; a stage that was interrupted goes on where it stopped."""

    def check(self, run: Run) -> None:
        """Raise FusionkitError for what can be known to be wrong before the first stage starts."""


@dataclass(frozen=True)
class TaskContext:
    """What a task may know besides the samples; the host sets it before ``fit``.

    Attributes:
        seed: Everything random follows from it.
        folder: An empty folder of its own, that the host removes afterwards.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        mask_classes: Of the data set, by index.
        box_classes: Of the data set, by index.
        modalities: Names of the sources; the samples also hold the image ``fused``.
    """

    seed: int = 0
    folder: Path = Path()
    accelerator: str = "cpu"
    mask_classes: tuple[str, ...] = ()
    box_classes: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()


class Task(Component, ABC):
    """A downstream task that fused images are judged by.

    Its samples hold under ``fused`` the fused luminance, beside the sources by modality, and under
    ``chroma`` what colour the comparison gives every method alike, if any.
    """

    kind = "task"
    trains: ClassVar[bool] = True
    """Whether ``fit`` trains, so that the scores vary with the seed."""
    labels: ClassVar[Literal["masks", "boxes"] | None] = None
    """What of the samples' labels it needs."""
    lower_is_better: tuple[str, ...] = ()
    """Those of its scores that are better when lower."""
    context: TaskContext = TaskContext()

    @abstractmethod
    def fit(self, train: Sequence[Sample]) -> None:
        """Train from the same start whatever the fusion method was."""

    @abstractmethod
    def score(self, test: Sequence[Sample]) -> Mapping[str, float]:
        """Return score name -> value; the score of a class as ``IoU/person``."""

    def per_image(self) -> Mapping[str, Mapping[str, float]]:
        """Return score name -> sample id -> value of what was scored last, as far as it has any.

        Paired tests over images need it.
        """
        return {}

    def predictions(self) -> Mapping[str, Tensor]:
        """Return sample id -> predicted mask (h, w) or boxes (n, 6) of what was scored last.

        Boxes are rows class, cx, cy, width, height, confidence, relative to the image.
        """
        return {}


KINDS: Mapping[str, type[Component]] = {
    cls.kind: cls
    for cls in (
        Backbone,
        Sensor,
        TransformGroup,
        Loss,
        Distance,
        Metric,
        Dataset,
        Stage,
        Task,
    )
}
"""Every kind of component by its name in configurations."""
