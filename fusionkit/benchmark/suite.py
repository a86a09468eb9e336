"""The configuration of a benchmark: its model, and how a suite file is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fusionkit.config.json_schema import json_schema
from fusionkit.config.overrides import apply_overrides
from fusionkit.config.terms import COMPONENT, Term
from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional.stretching import Stretch
from fusionkit.interfaces import ComponentSpec
from fusionkit.io.yaml_document import Document, key_path, read_yaml
from fusionkit.registry.arguments import SpecOf, not_loaded
from fusionkit.registry.components import Registry
from fusionkit.registry.plugins import Plugins
from fusionkit.registry.validation_errors import explain_located

__all__ = [
    "DataTerm",
    "LoadedSuite",
    "MethodTerm",
    "SuiteConfig",
    "TaskTerm",
    "load_suite",
    "suite_schema",
]

_Seed = Annotated[int, Field(ge=0, lt=2**31)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ()._+-]*$")]


class DataTerm(Term):
    """A data set, and which of its scenes are for what.

    Attributes:
        manifest: A split manifest that says which scenes, and whose hashes the files must have.
        fit_on: Split that tasks train on.
        score_on: Split that is scored, or ``all``; by default ``test``, or ``val`` without one.
    """

    component: Annotated[ComponentSpec, SpecOf("dataset")] = Field(alias=COMPONENT)
    manifest: Path | None = None
    fit_on: str = "train"
    score_on: str | None = None


class TaskTerm(Term):
    """A task, on which data sets, with which seeds.

    Attributes:
        data: Names of data sets of the suite; all of them if left out.
        seeds: Instead of the suite's.
    """

    component: Annotated[ComponentSpec, SpecOf("task")] = Field(alias=COMPONENT)
    data: tuple[str, ...] | None = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] | None = None


class MethodTerm(BaseModel):
    """Where the fused images of a method come from: one of the first four, or the suite's recipe.

    Attributes:
        source: A modality alone, not fused at all.
        backbone: A backbone that needs no training, or ``folder`` for results made elsewhere.
        weights: A run folder, a ``.safetensors`` file, or the name of an installed model.
        recipe: A recipe or run configuration that is trained for the benchmark; a path beside the
            suite, or the name of a recipe that a plugin ships.
        change: ``key=value`` overrides of the recipe; alone, of the suite's recipe.
        seeds: Train the recipe once with each, instead of with its own; the table then has the mean
            and the spread over these trainings.
        data: Names of the data sets it has results for; all of them if left out.
        stretch: ``minmax`` stretches each fused image to the whole range, as EMMA's official
            script does; say so in the method's name, as it moves EN, SD, SF and AG.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str | None = None
    backbone: Annotated[ComponentSpec, SpecOf("backbone")] | None = None
    weights: Path | None = None
    recipe: str | None = None
    change: tuple[str, ...] | None = None
    seeds: Annotated[tuple[_Seed, ...], Field(min_length=1)] | None = None
    data: tuple[str, ...] | None = None
    stretch: Stretch = "none"

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = ("source", "backbone", "weights", "recipe")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) > 1 or (not given and self.change is None):
            raise ValueError(
                f"expected exactly one of {', '.join(ways)}, found {', '.join(given) or 'none'}"
            )
        if self.change is not None and given not in ([], ["recipe"]):
            raise ValueError("change: only a recipe can be changed")
        if self.seeds is not None:
            if given not in ([], ["recipe"]):
                raise ValueError("seeds: only a recipe is trained; a task that trains has its own")
            if len(set(self.seeds)) < len(self.seeds):
                raise ValueError("seeds: expected different ones")
        return self


class SuiteConfig(BaseModel):
    """What ``fusionkit bench`` compares.

    Attributes:
        name: Of the suite; its folder is ``bench/NAME``.
        modalities: Names of the sources.
        colour: Modality whose chroma every method's images get, or ``none``: all stay grey.
            A single source of another modality always stays grey, since its sensor sees none.
        seeds: Each task that trains is trained once with each.
        recipe: What methods train that only say what they ``change``.
        change: ``key=value`` overrides of every recipe, before its own.
        reference: Method that the paired tests compare the others with; the first if left out.
        data: Data sets by name.
        methods: Methods by name.
        tasks: Tasks by name.
        accelerator: Of recipes and tasks; ``auto`` takes a GPU where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: _Name
    modalities: Annotated[tuple[str, ...], Field(min_length=2)] = ("infrared", "visible")
    colour: str = "none"
    seeds: Annotated[tuple[_Seed, ...], Field(min_length=1)] = (0,)
    recipe: str | None = None
    change: tuple[str, ...] = ()
    reference: str | None = None
    data: Annotated[dict[_Name, DataTerm], Field(min_length=1)]
    methods: Annotated[dict[_Name, MethodTerm], Field(min_length=1)]
    tasks: Annotated[dict[_Name, TaskTerm], Field(min_length=1)]
    accelerator: str = "auto"

    @model_validator(mode="after")
    def _names(self) -> Self:
        for key, names in (
            *((f"tasks.{name}.data", term.data or ()) for name, term in self.tasks.items()),
            *((f"methods.{name}.data", term.data or ()) for name, term in self.methods.items()),
        ):
            for name in names:
                if name not in self.data:
                    raise ValueError(
                        f"{key}: there is no data set {name!r} (there are: {', '.join(self.data)})"
                        + nearest(name, self.data)
                    )
        for name, term in self.methods.items():
            if term.source is not None and term.source not in self.modalities:
                raise ValueError(
                    f"methods.{name}.source: {term.source!r} is no modality "
                    f"({', '.join(self.modalities)})" + nearest(term.source, self.modalities)
                )
            if term.change is not None and term.recipe is None and self.recipe is None:
                raise ValueError(f"methods.{name}: there is no recipe to change; name one")
        if self.colour not in ("none", *self.modalities):
            raise ValueError(
                f"colour: expected none or one of {', '.join(self.modalities)}, "
                f"found {self.colour!r}"
            )
        if self.reference is not None and self.reference not in self.methods:
            raise ValueError(
                f"reference: there is no method {self.reference!r} "
                f"(there are: {', '.join(self.methods)})" + nearest(self.reference, self.methods)
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: all of the configuration, defaults too."""
        return self.model_dump(mode="json")


class LoadedSuite:
    """A validated suite that knows where each of its keys was written."""

    def __init__(self, config: SuiteConfig, document: Document):
        self.config = config
        self.document = document

    @property
    def folder(self) -> Path:
        """The folder of the suite file, which recipes and manifests are relative to."""
        return self.document.path.parent

    def error(self, location: tuple[str | int, ...], problem: Exception | str) -> FusionkitError:
        """Return the error for a key: ``file:line: path.of.key: problem``."""
        return FusionkitError(f"{self.document.where(location)}: {key_path(location)}: {problem}")


def load_suite(path: Path, overrides: Sequence[str], plugins: Plugins) -> LoadedSuite:
    """Load and validate a suite.

    The key ``size`` names one of ``sizes``, whose ``key=value`` lines are applied before the
    overrides. ``${VARIABLE}`` in a text stands for an environment variable.

    Args:
        path: A YAML file.
        overrides: ``key=value``, later ones win.
        plugins: What the names in it refer to.

    Raises:
        FusionkitError: one line ``file:line: path.of.key: ...`` for each problem.
    """
    if not path.is_file():
        raise FusionkitError(f"there is no suite file {path}")
    document = read_yaml(path)
    sizes = document.values.pop("sizes", None) or {}
    if not isinstance(sizes, dict) or not all(isinstance(s, list) for s in sizes.values()):
        raise FusionkitError(
            f"{document.where(('sizes',))}: sizes: expected lists of key=value by name"
        )
    chosen = [o for o in overrides if o.startswith("size=")]
    size = chosen[-1].removeprefix("size=") if chosen else document.values.get("size")
    document.values.pop("size", None)
    if size is not None and size not in sizes:
        raise FusionkitError(
            f"{document.where(('sizes',))}: size: there is no size {size!r} "
            f"(there are: {', '.join(map(str, sizes)) or 'none'})" + nearest(str(size), sizes)
        )
    own = [str(line) for line in sizes.get(size, [])] if size is not None else []
    given = [o for o in overrides if not o.startswith("size=")]
    apply_overrides(document, own)
    apply_overrides(document, given)
    for key in ("data", "methods", "tasks"):
        section = document.values.get(key)
        if isinstance(section, dict):
            # A size leaves an entry out by `methods.NAME=null`.
            document.values[key] = {k: v for k, v in section.items() if v is not None}
    try:
        config = SuiteConfig.model_validate(
            document.expanded(), context={"registry": plugins.registry}
        )
    except ValidationError as error:
        problems = [
            f"{document.where(location)}: {key_path(location) + ': ' if location else ''}{sentence}"
            for location, sentence in explain_located(error, SuiteConfig.model_fields)
        ]
        problems += not_loaded(error, plugins.registry)
        raise FusionkitError("\n".join(problems)) from None
    return LoadedSuite(config, document)


def suite_schema(registry: Registry) -> dict[str, Any]:
    """Return the JSON schema of suite files with every installed component, for editors."""
    schema = json_schema(registry, SuiteConfig)
    lines = {"type": "array", "items": {"type": "string"}}
    schema["properties"] |= {
        "size": {"type": "string", "description": "The one of sizes that is taken by default."},
        "sizes": {
            "type": "object",
            "additionalProperties": lines,
            "description": "By name: key=value overrides, applied before those given by hand.",
        },
    }
    return schema
