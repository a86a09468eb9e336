"""Checks of stages, made in the context of a tiny run that is about to start."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.config.run_config import LoadedConfig, RunConfig
from fusionkit.config.validation import validate_document
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, Dataset, Images, Modalities, RunContext, Sample, Stage
from fusionkit.io.yaml_document import Document
from fusionkit.registry.components import Registry
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.run import Run
from fusionkit.testing.subject import Subject, expect

__all__ = ["CHECKS"]


class _Noise(Dataset):
    """Three scenes of noise."""

    name = "conformance-noise"

    def __init__(self, modalities: Modalities):
        self.modalities = modalities

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(range(len(self))[index])
        images = {name: torch.rand(1, 64, 64, generator=generator) for name in self.modalities}
        return Sample(f"scene-{index}", images)

    def splits(self) -> Mapping[str, Sequence[int]]:
        return {"train": [0, 1], "val": [2]}


class _Gain(Backbone):
    """The mean of the sources times a weight."""

    name = "conformance-gain"

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, sources: Images) -> Tensor:
        return self.gain * torch.stack(list(sources.values())).mean(dim=0)


def stage(subject: Subject) -> None:
    """``ignores`` names keys of the configuration, and ``run`` takes the run alone."""
    cls = subject.cls
    assert issubclass(cls, Stage)
    for key in cls.ignores:
        expect(
            key in RunConfig.model_fields,
            f"ignores names {key!r}, which is no key of the configuration",
        )
    expect(
        len(inspect.signature(cls.run).parameters) == 2,
        "run must take the run and nothing else",
    )


def artifacts(subject: Subject) -> None:
    """``requires`` and ``produces`` name weights, or paths in the run folder."""
    with _context(subject) as (stage, run):
        for method in (stage.requires, stage.produces):
            name, found = method.__name__, method(run)
            expect(
                not isinstance(found, str) and isinstance(found, Sequence),
                f"{name} must return a list or tuple of names, found {found!r}",
            )
            for artifact in found:
                expect(
                    isinstance(artifact, str) and bool(artifact) and _is_inside(artifact),
                    f"{name} must return names of weights or paths in the run folder, such as "
                    f"'backbone' or 'fused', found {artifact!r}",
                )
            again = method(run)
            expect(list(found) == list(again), f"{name} returns {found!r} and then {again!r}")


def early(subject: Subject) -> None:
    """What is asked before the run starts writes nothing; ``check`` raises FusionkitError only."""
    with _context(subject) as (stage, run):
        stage.requires(run)
        stage.produces(run)
        try:
            stage.check(run)
        except FusionkitError:
            pass  # this run may well lack what the stage works on
        except Exception as error:
            raise AssertionError(
                f"check must raise FusionkitError with a sentence for the user, found "
                f"{type(error).__name__}: {error}"
            ) from error
        written = sorted(str(path.relative_to(run.folder)) for path in run.folder.rglob("*"))
        expect(
            not written,
            f"before the run starts it writes {', '.join(written[:3])}; write in run() only",
        )


def _is_inside(artifact: str) -> bool:
    path = PurePosixPath(artifact)
    return not path.is_absolute() and ".." not in path.parts


@contextmanager
def _context(subject: Subject) -> Iterator[tuple[Any, RunContext]]:
    """Yield the stage and the context of a run that consists of it, in an empty folder."""
    stage = subject.build()
    plugins = load_plugins(entry_points=[])
    plugins.registry = _with_ours(subject.registry)
    values = {
        "name": "conformance",
        "modalities": list(subject.modalities),
        "data": {"name": _Noise.name},
        "backbone": {"name": _Gain.name},
        "stages": [{"name": subject.cls.name, **subject.arguments}],
    }
    document = Document(Path("conformance.yaml"), values, {})
    config = validate_document(RunConfig, document, plugins.registry)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), LoadedConfig(config, document), plugins)
        yield stage, run.context(next(iter(run.stages)))


def _with_ours(registry: Registry) -> Registry:
    """Return a registry with the components of another one and those of this module."""
    result = Registry()
    for entry in registry:
        result.add(entry.cls, entry.plugin)
    for cls in (_Noise, _Gain):
        result.add(cls, "fusionkit.testing")
    return result


CHECKS: tuple[Callable[[Subject], None], ...] = (stage, artifacts, early)
"""The checks of stages."""
