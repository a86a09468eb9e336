"""The methods of a suite: where their fused images come from, and writing them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fusionkit.api import load, weights_of
from fusionkit.benchmark.cells import digest_of, identity, versions
from fusionkit.benchmark.splits import content_of
from fusionkit.benchmark.suite import LoadedSuite, MethodTerm
from fusionkit.config.run_config import LoadedConfig, load_config
from fusionkit.errors import FusionkitError
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.interfaces import Backbone, Dataset, Sample
from fusionkit.io.atomic_write import make_folder
from fusionkit.io.hashes import file_hash
from fusionkit.io.images import from_float, write_image
from fusionkit.registry.plugins import Plugins
from fusionkit.runs.ledger import Ledger
from fusionkit.runs.pipeline import run_pipeline
from fusionkit.runs.run import Run

__all__ = ["Method", "fuse_scenes", "make_methods"]


@dataclass(frozen=True)
class Method:
    """A method that is ready to be asked for its images.

    Attributes:
        name: In the suite.
        source: The modality it shows alone, if it fuses nothing.
        key: What its images follow from, apart from the scenes.
        backbone: Builds its network, trained first if it must be.
        stretch: Applied to each fused image.
        seed: What it was trained with, if the suite names seeds for its training.
    """

    name: str
    source: str | None
    key: dict[str, Any]
    backbone: Callable[[], Backbone]
    stretch: Stretch = "none"
    seed: int | None = None

    @property
    def label(self) -> str:
        """Its name, and the seed of its training if it has several."""
        return self.name if self.seed is None else f"{self.name} (trained with seed {self.seed})"

    def fuse(self, network: Backbone | None, sample: Sample) -> torch.Tensor:
        """Return the fused luminance (1, h, w)."""
        if network is None:
            assert self.source is not None
            return stretched(sample.images[self.source], self.stretch)
        return stretched(network.fuse(sample), self.stretch)


def make_methods(
    name: str,
    term: MethodTerm,
    suite: LoadedSuite,
    plugins: Plugins,
    folder: Path,
    say: Callable[[str], None],
) -> list[Method]:
    """Check a method and say what its results follow from; nothing is trained or written yet.

    One method, or one for each seed that it is to be trained with.

    Args:
        name: In the suite.
        term: Its configuration.
        suite: For places in error messages.
        plugins: What the names in it refer to.
        folder: Where recipes are trained, one run folder each.
        say: Told in a line what happens.

    Raises:
        FusionkitError: with file and line, for what can't be built, loaded or trained.
    """
    methods = [
        _unstretched(name, term, seed, suite, plugins, folder, say)
        for seed in (term.seeds or (None,))
    ]
    if term.stretch == "none":
        return methods
    return [
        replace(method, stretch=term.stretch, key={**method.key, "stretch": term.stretch})
        for method in methods
    ]


def _unstretched(
    name: str,
    term: MethodTerm,
    seed: int | None,
    suite: LoadedSuite,
    plugins: Plugins,
    folder: Path,
    say: Callable[[str], None],
) -> Method:
    config = suite.config
    registry = plugins.registry

    def located(problem: Exception, *keys: str) -> FusionkitError:
        return suite.error(("methods", name, *keys), problem)

    if term.source is not None:
        return Method(name, term.source, {"source": term.source}, _no_network)
    if term.backbone is not None:
        spec = term.backbone
        try:
            network = registry.build(spec, config.modalities)
        except FusionkitError as error:
            raise located(error, "backbone") from None
        if any(True for _ in network.parameters()):
            raise located(
                FusionkitError(
                    f"the backbone {spec.name!r} has weights that must be trained first; "
                    f"give `weights:` or `recipe:` instead"
                ),
                "backbone",
            )
        return Method(name, None, identity(registry, spec), lambda: network.eval())
    if term.weights is not None:
        try:
            network, file = load(term.weights), weights_of(term.weights)
        except FusionkitError as error:
            raise located(error, "weights") from None
        assert network.spec is not None
        key = {"weights": file_hash(file), **identity(registry, network.spec)}
        return Method(name, None, key, lambda: network)
    named = term.recipe or config.recipe
    assert named is not None
    beside = suite.folder / named
    recipe = str(beside) if beside.is_file() else named
    try:
        changes = (
            *config.change,
            *(term.change or ()),
            *(() if seed is None else (f"seed={seed}",)),
            f"name={_plain(name)}",
            f"accelerator={config.accelerator}",
        )
        loaded = load_config(recipe, changes, plugins)
    except FusionkitError as error:
        raise located(error, "recipe") from None
    run = Run(folder, loaded, plugins)
    try:
        run.check_components()
    except FusionkitError as error:
        raise located(error, "recipe") from None
    digest = list(run.digests.values())[-1]
    key = {"recipe": digest, "versions": versions()}
    # Another configuration is trained in another folder, so that none is ever half one, half other.
    target = folder / f"{_plain(name)}-{digest[:8]}"
    return Method(name, None, key, lambda: _trained(loaded, plugins, target, say), seed=seed)


def _no_network() -> Backbone:
    raise RuntimeError("a single source has no network")


def _trained(
    loaded: LoadedConfig, plugins: Plugins, target: Path, say: Callable[[str], None]
) -> Backbone:
    _share_stages(Run(target, loaded, plugins), say)
    run_pipeline(loaded, plugins, target)
    return load(target)


def _share_stages(run: Run, say: Callable[[str], None]) -> None:
    """Take over the stages that a run beside this one has finished with the same digest.

    An ablation of the fusion network's losses need not train the same pseudo-sensors again.
    """
    if run.ledger.finished() or run.ledger.started():
        return
    wanted = run.digests
    best: tuple[list[str], Path] = ([], run.folder)
    for other in sorted(run.folder.parent.glob("*/state.json")):
        done = {key: stage.digest for key, stage in Ledger(other.parent).finished().items()}
        common: list[str] = []
        for key, digest in wanted.items():
            if done.get(key) != digest:
                break
            common.append(key)
        if len(common) > len(best[0]):
            best = (common, other.parent)
    stages, origin = best
    if not stages:
        return
    make_folder(run.folder / "checkpoints")
    for stage in stages:
        for path in (origin / "checkpoints").glob(f"{stage}.*.safetensors"):
            shutil.copy2(path, run.folder / "checkpoints" / path.name)
            kind = path.name.removeprefix(f"{stage}.")
            shutil.copy2(path, run.folder / "checkpoints" / kind)
    (run.folder / "config.yaml").write_text(run.config.to_yaml(), encoding="utf-8")
    run.ledger.write_started(wanted)
    finished = Ledger(origin).finished()
    for stage in stages:
        run.ledger.add(stage, finished[stage])
    say(f"  {', '.join(stages)} taken over from {origin.name}")


def fuse_scenes(
    method: Method,
    dataset: Dataset,
    indices: Sequence[int],
    folder: Path,
    step: Callable[[], None],
) -> dict[str, str]:
    """Write the fused luminance of scenes as PNG, unless that has been done.

    Args:
        method: Whose.
        dataset: Scenes.
        indices: Which of them.
        folder: Of all fused images of the benchmark; each method and set of scenes has its own.
        step: Called after each scene.

    Returns:
        Scene id -> path of its image, relative to ``folder``.

    Raises:
        FusionkitError: if the method has no image for a scene.
    """
    paths: dict[str, str] = {}
    network: Backbone | None = None
    own = digest_of(method.key)
    for index in indices:
        sample = dataset[index]
        # Named by the scene's content: the same scene in two splits or suites is fused once.
        content = digest_of(content_of(sample))
        relative = Path(own, f"{sample.id}-{content[:10]}.png")
        path = folder / relative
        if not path.is_file():
            if network is None and method.source is None:
                network = method.backbone()
            make_folder(path.parent)
            fused = method.fuse(network, sample)
            if not torch.isfinite(fused).all():
                raise FusionkitError(
                    f"{method.name} gave NaN or infinite values for {sample.id}; "
                    f"its training has diverged"
                )
            write_image(path, from_float(fused[0].numpy(), "uint8"))
        paths[sample.id] = str(relative)
        step()
    return paths


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
