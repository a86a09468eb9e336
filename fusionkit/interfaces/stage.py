"""Stages, the steps of a run, and what a stage sees of its run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Generator, Tensor

from fusionkit.interfaces.component import Component, ComponentSpec
from fusionkit.interfaces.dataset import Dataset
from fusionkit.interfaces.metric import Metric
from fusionkit.interfaces.networks import Backbone, Sensor
from fusionkit.interfaces.objective import Loss
from fusionkit.interfaces.sample import Sample
from fusionkit.interfaces.transform import TransformGroup

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # importing it takes seconds; only training needs it

__all__ = [
    "Checkpoints",
    "Components",
    "RunConfiguration",
    "RunContext",
    "RunLog",
    "Seeds",
    "Stage",
]


class RunConfiguration(Protocol):
    """The validated configuration of a run; its keys are those of the recipe."""

    @property
    def name(self) -> str:
        """Name of the run."""
        ...

    @property
    def seed(self) -> int:
        """Random seed of the run."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the sources, two or more."""
        ...

    @property
    def data(self) -> ComponentSpec:
        """The data set to train and to validate on."""
        ...

    @property
    def test(self) -> ComponentSpec | None:
        """Another data set to fuse and to evaluate, if any."""
        ...

    @property
    def teacher(self) -> Literal["self"] | tuple[ComponentSpec, ...]:
        """Backbones to distil from; ``self`` is the moving average of the run's own backbone."""
        ...

    @property
    def sensors(self) -> Mapping[str, ComponentSpec]:
        """Modality -> pseudo-sensor."""
        ...

    @property
    def backbone(self) -> ComponentSpec:
        """The fusion network."""
        ...

    @property
    def losses(self) -> Sequence[Any]:
        """The terms of the objective."""
        ...

    @property
    def stages(self) -> Sequence[ComponentSpec]:
        """The stages, in order."""
        ...

    @property
    def precision(self) -> str:
        """Precision of the training arithmetic, such as ``32-true`` or ``16-mixed``."""
        ...

    @property
    def activation_checkpointing(self) -> bool:
        """Whether sensors compute what their gradients need a second time instead of keeping it."""
        ...

    @property
    def compile(self) -> bool:
        """Whether networks are compiled for training."""
        ...

    def to_yaml(self) -> str:
        """Return the complete configuration as YAML that can be run again."""
        ...


class Components(Protocol):
    """Builds the components of the configuration; equal seeds give equal initial weights."""

    @property
    def data(self) -> Dataset:
        """The data set to train and to validate on."""
        ...

    @property
    def test(self) -> Dataset | None:
        """The data set of the key ``test``, or None."""
        ...

    @property
    def patches(self) -> Sequence[Sample]:
        """The training patches of the split ``train``; at least one."""
        ...

    def prefetch(self, indices: Sequence[int]) -> None:
        """Let other processes make training patches, in the order in which they will be used."""
        ...

    def build_backbone(self) -> Backbone:
        """Build the fusion network with its initial weights."""
        ...

    def build_sensors(self) -> dict[str, Sensor]:
        """Build the pseudo-sensors with their initial weights, by modality."""
        ...

    def build_teachers(self) -> list[Backbone]:
        """Build the backbones of ``teacher``; an empty list for ``self``."""
        ...

    def build_transforms(self) -> list[tuple[TransformGroup, int]]:
        """Build the groups, each with the number of elements to draw per step."""
        ...

    def build_losses(self) -> list[tuple[Loss, float]]:
        """Build the terms of the objective with their weights."""
        ...

    def build_metrics(self, profile: str, names: Sequence[str] | None = None) -> list[Metric]:
        """Build the metrics of a profile: those named, or all of them."""
        ...

    def build(self, kind: str, name: str, **arguments: Any) -> Any:
        """Build any installed component by kind and name."""
        ...

    def names(self, kind: str) -> list[str]:
        """Return the sorted names of the installed components of a kind."""
        ...


class Checkpoints(Protocol):
    """The weights that stages leave to later ones, and what an interrupted stage resumes from."""

    def save(
        self, name: str, component: Component, state: Mapping[str, Tensor] | None = None
    ) -> None:
        """Save the weights ``name`` that this stage trained; call it on the first process only.

        Args:
            name: Such as ``backbone``; later stages load it by this name.
            component: A module that the run built.
            state: State dict to save instead of the component's own, a moving average for example.

        Raises:
            FusionkitError: if a weight is NaN or infinite; nothing is written then.
        """
        ...

    def exists(self, name: str) -> bool:
        """Return whether a finished stage before this one produced the weights ``name``."""
        ...

    def load(self, name: str) -> Any:
        """Rebuild what the last stage before this one saved as ``name``: on the CPU, in eval mode.

        Raises:
            FusionkitError: if no earlier stage produced it, or its file is missing or damaged.
        """
        ...

    @property
    def progress_file(self) -> Path:
        """The file that ``save_progress`` writes."""
        ...

    def save_progress(self, state: Mapping[str, Any]) -> None:
        """Save what this stage needs to resume: tensors and plain values.

        Raises:
            FusionkitError: if a tensor holds NaN or infinity; what was saved before stays.
        """
        ...

    def load_progress(self) -> dict[str, Any] | None:
        """Return what this stage saved before it was interrupted, or None.

        Raises:
            FusionkitError: if a tensor holds NaN or infinity.
        """
        ...


class RunLog(Protocol):
    """The numbers of a run, ``log.jsonl``."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the numbers of a step and pass them to the plugins; the first process writes."""
        ...

    def read(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first, each with ``stage``, ``step``, ``time`` and values."""
        ...


class Seeds(Protocol):
    """The only source of randomness of a stage."""

    def seed_for(self, *purpose: str) -> int:
        """Return a seed that depends on the run's seed, the stage and the purpose."""
        ...

    def generator(self, *purpose: str) -> Generator:
        """Return a new CPU generator for a purpose; each process gets a different one."""
        ...


class RunContext(Protocol):
    """What a stage sees of its run."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        ...

    @property
    def stage(self) -> str:
        """Key of the stage that is running: its position and name, such as ``1-train-backbone``."""
        ...

    @property
    def config(self) -> RunConfiguration:
        """The validated configuration."""
        ...

    @property
    def components(self) -> Components:
        """Builds the components of the configuration."""
        ...

    @property
    def checkpoints(self) -> Checkpoints:
        """Weights and progress."""
        ...

    @property
    def log(self) -> RunLog:
        """The numbers of the run."""
        ...

    @property
    def seeds(self) -> Seeds:
        """Seeds and generators."""
        ...

    @property
    def fabric(self) -> Fabric:
        """Devices, precision and processes (Lightning Fabric)."""
        ...

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        ...

    def current_backbone(self) -> Backbone:
        """Return the fusion network as the stages before this one left it.

        Trained if one of them trained it, else with its initial weights.

        Raises:
            FusionkitError: if it was trained and its file is missing or damaged.
        """
        ...

    def current_sensors(self) -> dict[str, Sensor]:
        """Return the pseudo-sensors as the stages before this one left them, by modality.

        Raises:
            FusionkitError: if they were trained and a file is missing or damaged.
        """
        ...


class Stage(Component, ABC):
    """One step of a run.

    A stage reads and writes the run folder only, so that it can be repeated. Stages depend on each
    other through artifacts only: the name of weights (``backbone``), or the path of a file or
    folder in the run folder (``fused``, ``metrics.json``). So a stage can be replaced by any other
    one that produces the same artifacts.
    """

    kind = "stage"
    ignores: tuple[str, ...] = ()
    """Keys of the configuration that do not affect the result of this stage. Changing them does not
    run it again: a training stage ignores ``test``."""

    @abstractmethod
    def run(self, run: RunContext) -> None:
        """Do the work; resume if an earlier call was interrupted."""

    def requires(self, run: RunContext) -> Sequence[str]:
        """Return the artifacts that stages before this one must produce."""
        return ()

    def produces(self, run: RunContext) -> Sequence[str]:
        """Return the artifacts that exist when this stage has finished."""
        return ()

    def check(self, run: RunContext) -> None:
        """Raise FusionkitError for problems that can be found before the first stage starts."""
