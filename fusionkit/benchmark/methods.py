"""The methods of a suite: a single source, or a fusion network and where it comes from."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.api import load, weights_of
from fusionkit.benchmark.identity import component_identity, versions
from fusionkit.benchmark.suite import LoadedSuite, MethodTerm
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.inference.devices import Precision
from fusionkit.inference.engines import Job
from fusionkit.inference.exported_model import ExportedModel
from fusionkit.inference.runner import NetworkRunner
from fusionkit.interfaces import Backbone, Sample
from fusionkit.io.hashes import file_hash
from fusionkit.registry.plugins import Plugins
from fusionkit.runs.pipeline import run_pipeline
from fusionkit.runs.run import Run
from fusionkit.runs.stage_reuse import adopt_finished_stages

__all__ = [
    "Method",
    "SingleSource",
    "TrainedRecipe",
    "TrainedWeights",
    "UntrainedBackbone",
    "Workspace",
    "build_methods",
]

logger = logging.getLogger("fusionkit")


@dataclass(frozen=True)
class Workspace:
    """What all methods of a suite are built with.

    Attributes:
        suite: The validated suite.
        plugins: The installed plugins.
        runs: Folder of the run folders of recipes.
        device: Where networks fuse; the CPU by default.
        precision: Arithmetic of the networks.
    """

    suite: LoadedSuite
    plugins: Plugins
    runs: Path
    device: torch.device | None = None
    precision: Precision = "fp32"

    def job(self, network: Backbone, stretch: Stretch) -> Job[Sample, Tensor]:
        """Return what fuses scenes by a network, in any process.

        An exported file always runs on the CPU.

        Raises:
            FusionkitError: if an exported file is asked for another precision than it has.
        """
        device = self.device
        if isinstance(network, ExportedModel):
            network.check_place("cpu", self.precision)
            if device is not None and device.type != "cpu":
                logger.info("%s runs exported files on the CPU", network.runtime)
                device = None
        return _NetworkJob(network, stretch, device, self.precision)


@dataclass(frozen=True)
class _NetworkJob:
    """Fuses scenes by a network; see ``Method.prepare``."""

    network: Backbone
    stretch: Stretch
    device: torch.device | None
    precision: Precision

    def __call__(self, threads: int) -> Callable[[Sample], Tensor]:
        runner = NetworkRunner(self.network, self.device, self.precision, callers=threads)
        return lambda sample: stretched(runner.fuse(sample), self.stretch)


@dataclass(frozen=True)
class _SourceJob:
    """Shows one source; see ``Method.prepare``."""

    source: str
    stretch: Stretch

    def __call__(self, threads: int) -> Callable[[Sample], Tensor]:
        return lambda sample: stretched(sample.images[self.source], self.stretch)


class Method(ABC):
    """A method of a suite, checked when it is built; nothing is trained before the first image.

    Args:
        name: Name of the method in the suite.
        identity: Plain values that say everything its images depend on, besides the scenes.
        stretch: How each fused image is stretched before it is saved.
        training_seed: Random seed that the method is trained with, if the suite names several.
    """

    def __init__(
        self,
        name: str,
        identity: Mapping[str, Any],
        stretch: Stretch = "none",
        training_seed: int | None = None,
    ):
        self.name = name
        self.training_seed = training_seed
        self.identity = dict(identity) | ({} if stretch == "none" else {"stretch": stretch})
        self._stretch: Stretch = stretch

    @property
    def label(self) -> str:
        """The name, with the seed of the training if there are several."""
        if self.training_seed is None:
            return self.name
        return f"{self.name} (trained with seed {self.training_seed})"

    def colour(self, colour: str) -> str:
        """Return the modality whose chroma the fused images get, or ``none``.

        Args:
            colour: The modality that the suite names, or ``none``.
        """
        return colour

    @abstractmethod
    def prepare(self) -> Job[Sample, Tensor]:
        """Return what fuses scenes, in any process; train it first if that was not done.

        The fused luminance is (1, h, w) in [0, 1], on the CPU.
        """


class SingleSource(Method):
    """One source alone, not fused with any other."""

    def __init__(self, name: str, term: MethodTerm):
        assert term.source is not None
        self.source = term.source
        super().__init__(name, {"source": term.source}, term.stretch)

    def colour(self, colour: str) -> str:
        """Return ``none`` unless the source is the one with colour: other sensors see none."""
        return colour if colour == self.source else "none"

    def prepare(self) -> Job[Sample, Tensor]:
        """Return what shows the source."""
        return _SourceJob(self.source, self._stretch)


class UntrainedBackbone(Method):
    """A backbone without weights: a classic fuser, or a folder of finished results."""

    def __init__(self, name: str, term: MethodTerm, workspace: Workspace):
        spec, suite = term.backbone, workspace.suite
        assert spec is not None
        registry = workspace.plugins.registry
        try:
            network: Backbone = registry.build(spec, suite.config.modalities).eval()
            if any(True for _ in network.parameters()):
                raise FusionkitError(
                    f"the backbone {spec.name!r} has weights that must be trained first; "
                    f"give `weights:` or `recipe:` instead"
                )
        except FusionkitError as error:
            raise suite.error(("methods", name, "backbone"), error) from None
        self._job = workspace.job(network, term.stretch)
        super().__init__(name, component_identity(registry, spec), term.stretch)

    def prepare(self) -> Job[Sample, Tensor]:
        """Return what fuses scenes by the network."""
        return self._job


class TrainedWeights(Method):
    """A network with weights that were trained before."""

    def __init__(self, name: str, term: MethodTerm, workspace: Workspace):
        assert term.weights is not None
        try:
            # Offline: a suite may be a stranger's, and nobody asked for a connection.
            network = load(term.weights, offline=True)
            file = weights_of(term.weights, offline=True)
            self._job = workspace.job(network, term.stretch)
        except FusionkitError as error:
            raise workspace.suite.error(("methods", name, "weights"), error) from None
        identity: dict[str, Any]
        if isinstance(network, ExportedModel):
            identity = {"exported": network.extra_repr()}  # of all its files
        else:
            assert network.spec is not None
            code = component_identity(workspace.plugins.registry, network.spec)
            identity = {"weights": file_hash(file), **code}
        super().__init__(name, identity, term.stretch)

    def prepare(self) -> Job[Sample, Tensor]:
        """Return what fuses scenes by the network."""
        return self._job


class TrainedRecipe(Method):
    """A network that a recipe trains for the benchmark, when its first image is needed."""

    def __init__(
        self, name: str, term: MethodTerm, workspace: Workspace, training_seed: int | None = None
    ):
        suite, plugins = workspace.suite, workspace.plugins
        self._workspace = workspace
        folder_name = _file_name(name)
        changes = [*suite.config.change, *(term.change or ())]
        if training_seed is not None:
            changes.append(f"seed={training_seed}")
        changes += [f"name={folder_name}", f"accelerator={suite.config.accelerator}"]
        try:
            self._loaded = load_config(_recipe_of(term, suite), changes, plugins)
            run = Run(workspace.runs, self._loaded, plugins)
            run.check_components()
        except FusionkitError as error:
            raise suite.error(("methods", name, "recipe"), error) from None
        digest = list(run.digests.values())[-1]
        # The digest in the name gives every configuration a run folder of its own, so no folder
        # ever mixes two of them.
        self._folder = workspace.runs / f"{folder_name}-{digest[:8]}"
        identity = {"recipe": digest, "versions": versions()}
        super().__init__(name, identity, term.stretch, training_seed)

    def prepare(self) -> Job[Sample, Tensor]:
        """Train the network, or find it trained; return what fuses scenes by it."""
        return self._job

    @cached_property
    def _job(self) -> Job[Sample, Tensor]:
        plugins = self._workspace.plugins
        # Recipes that differ only in later stages share the earlier ones: an ablation of the fusion
        # network's losses does not train the same pseudo-sensors again.
        others = sorted(path.parent for path in self._folder.parent.glob("*/state.json"))
        adopted = adopt_finished_stages(Run(self._folder, self._loaded, plugins), others)
        if adopted is not None:
            origin, stages = adopted
            logger.info("  %s reused from %s", ", ".join(stages), origin.name)
        run_pipeline(self._loaded, plugins, self._folder)
        return self._workspace.job(load(self._folder), self._stretch)


def build_methods(name: str, term: MethodTerm, workspace: Workspace) -> list[Method]:
    """Build and check a method; a recipe with several seeds gives one method for each seed.

    Nothing is trained or written yet.

    Args:
        name: Name of the method in the suite.
        term: Its configuration.
        workspace: The suite, plugins and folder.

    Raises:
        FusionkitError: with file and line, if a component can't be built, weights can't be loaded
            or a recipe is wrong.
    """
    methods: list[Method]
    if term.source is not None:
        return [SingleSource(name, term)]
    if term.backbone is not None:
        methods = [UntrainedBackbone(name, term, workspace)]
    elif term.weights is not None:
        methods = [TrainedWeights(name, term, workspace)]
    else:
        methods = [TrainedRecipe(name, term, workspace, seed) for seed in term.seeds or (None,)]
    if workspace.precision != "fp32":
        for method in methods:
            method.identity["precision"] = workspace.precision
    return methods


def _recipe_of(term: MethodTerm, suite: LoadedSuite) -> str:
    """Return the recipe's path beside the suite if such a file exists, else its name."""
    recipe = term.recipe or suite.config.recipe
    assert recipe is not None
    beside = suite.folder / recipe
    return str(beside) if beside.is_file() else recipe


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
