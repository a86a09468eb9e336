"""The configuration of a run: what a recipe may contain, and how it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusionkit.config.overrides import apply_overrides
from fusionkit.config.terms import LossTerm, TransformTerm
from fusionkit.config.validation import validate_document
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import ComponentSpec
from fusionkit.io.yaml_document import Document, read_yaml
from fusionkit.io.yaml_loading import dump_yaml
from fusionkit.registry.arguments import SpecOf
from fusionkit.registry.plugins import Plugins

__all__ = ["LoadedConfig", "RunConfig", "load_config"]

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class RunConfig(BaseModel):
    """What ``fusionkit run`` does, in the terms of the paper.

    Attributes:
        name: Name of the run; its folder is ``runs/NAME``.
        seed: Random seed; everything random depends on it alone.
        modalities: Names of the sources, two or more.
        data: Data set to train and to validate on.
        test: Data set to fuse and to evaluate; by default the ``val`` split of ``data``.
        teacher: Backbones whose results the sensors learn from, or ``self``: the moving average
            of the run's own backbone.
        sensors: A pseudo-sensor for each modality.
        backbone: The fusion network.
        transforms: Groups that fusing must commute with, each with its elements per step.
        losses: Terms of the objective with their weights.
        stages: What the run does, in order.
        accelerator: Kind of device; ``auto`` takes a GPU if there is one.
        devices: Number of processes on this machine, one per device.
        num_nodes: Number of machines; start the same command on each of them with ``torchrun``.
        precision: Precision of the training arithmetic.
        activation_checkpointing: Whether sensors compute what their gradients need a second time
            instead of keeping it, for sensors that do not fit into the memory. Changes no result.
        compile: Whether networks are compiled for training by ``torch.compile``, for minutes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: _Name
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    modalities: Annotated[tuple[_Name, ...], Field(min_length=2)] = ("infrared", "visible")
    data: Annotated[ComponentSpec, SpecOf("dataset")]
    test: Annotated[ComponentSpec, SpecOf("dataset")] | None = None
    teacher: Literal["self"] | tuple[Annotated[ComponentSpec, SpecOf("backbone")], ...] = ()
    sensors: dict[str, Annotated[ComponentSpec, SpecOf("sensor")]] = Field(default_factory=dict)
    backbone: Annotated[ComponentSpec, SpecOf("backbone")]
    transforms: tuple[TransformTerm, ...] = ()
    losses: tuple[LossTerm, ...] = ()
    stages: Annotated[tuple[Annotated[ComponentSpec, SpecOf("stage")], ...], Field(min_length=1)]
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: Annotated[int, Field(ge=1)] = 1
    num_nodes: Annotated[int, Field(ge=1)] = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    activation_checkpointing: bool = False
    compile: bool = False

    @model_validator(mode="after")
    def _modalities_and_sensors_match(self) -> Self:
        if repeated := [m for m in self.modalities if self.modalities.count(m) > 1]:
            raise ValueError(f"modalities: {repeated[0]!r} occurs twice")
        if self.sensors and set(self.sensors) != set(self.modalities):
            raise ValueError(
                f"expected one sensor for each of the modalities {', '.join(self.modalities)}, "
                f"found sensors for {', '.join(self.sensors)}"
            )
        return self

    @model_validator(mode="after")
    def _compiled_networks_choose_themselves(self) -> Self:
        if self.compile and self.activation_checkpointing:
            raise ValueError(
                "activation_checkpointing: torch.compile chooses itself what to compute again; "
                "expected false with `compile: true`"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the complete configuration, defaults included, as plain values."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the complete configuration as YAML that can be run again."""
        return dump_yaml(self.to_dict(), width=100)


class LoadedConfig:
    """A validated configuration that knows where each of its keys was written.

    Attributes:
        config: The configuration.
        document: The YAML document that it came from, overrides applied.
    """

    def __init__(self, config: RunConfig, document: Document):
        self.config = config
        self.document = document

    def error(self, location: Iterable[str | int], problem: Exception | str) -> FusionkitError:
        """Return an error that names the place of a key: ``file:line: path.of.key: problem``."""
        return self.document.error(location, problem)


def load_config(source: str | Path, overrides: Sequence[str], plugins: Plugins) -> LoadedConfig:
    """Load and validate a configuration file, or a recipe by its file name.

    ``${VARIABLE}`` in a text is replaced by the environment variable.

    Args:
        source: Path of a YAML file, or file name of a recipe that a plugin ships.
        overrides: ``key=value`` each; later ones win.
        plugins: The installed plugins.

    Raises:
        FusionkitError: with a line ``file:line: path.of.key: ...`` for each problem.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> loaded = load_config("emma.yaml", ["seed=1"], load_installed_plugins())
        >>> loaded.config.seed, loaded.config.backbone.name
        (1, 'ufuser')
    """
    path = Path(source)
    if not path.is_file():
        if len(path.parts) > 1:
            raise FusionkitError(f"the configuration file {path} does not exist")
        path = plugins.recipe(path.name)
    document = read_yaml(path)
    components = {entry.cls.name for entry in plugins.registry}
    apply_overrides(document, overrides, components)
    return LoadedConfig(validate_document(RunConfig, document, plugins.registry), document)
