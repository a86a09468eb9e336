"""Suite files: what a benchmark compares, and how such a file is loaded and validated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusionkit.config.json_schema import json_schema
from fusionkit.config.overrides import apply_overrides
from fusionkit.config.terms import COMPONENT, Term
from fusionkit.config.validation import validate_document
from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional.stretching import Stretch
from fusionkit.interfaces import ComponentSpec
from fusionkit.io.yaml_document import Document, read_yaml
from fusionkit.registry.arguments import SpecOf
from fusionkit.registry.components import Registry
from fusionkit.registry.plugins import Plugins

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
        component: The data set.
        manifest: File that names the scenes of each split, with the hashes that their files must
            have; relative to the suite. Without it the data set's own splits are used.
        fit_on: Split that tasks train on.
        score_on: Split that is scored, or ``all`` for all scenes; by default ``test``, or ``val``
            if there is no ``test``.
    """

    component: Annotated[ComponentSpec, SpecOf("dataset")] = Field(alias=COMPONENT)
    manifest: Path | None = None
    fit_on: str = "train"
    score_on: str | None = None


class TaskTerm(Term):
    """A task, and the data sets and seeds it is run with.

    Attributes:
        component: The task.
        data: Names of data sets of the suite; by default all of them.
        seeds: Random seeds of the task; by default those of the suite.
    """

    component: Annotated[ComponentSpec, SpecOf("task")] = Field(alias=COMPONENT)
    data: tuple[str, ...] | None = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] | None = None


class MethodTerm(BaseModel):
    """Where the fused images of a method come from.

    Exactly one of ``source``, ``backbone``, ``weights`` and ``recipe`` is given; with ``change``
    alone, the method trains the recipe of the suite.

    Attributes:
        source: A modality that is shown alone, without fusion.
        backbone: A backbone that needs no training, or ``folder`` for the results of another
            program.
        weights: A run folder, a ``.safetensors`` file, an exported ``.onnx`` or ``.xml`` file, the
            name of an installed model, or ``hf:owner/name@revision``, which must be in the cache
            (``fusionkit models hf:owner/name@revision`` puts it there).
        recipe: A recipe or run configuration that is trained for the benchmark: a path relative to
            the suite, or the name of a recipe that a plugin ships.
        change: ``key=value`` overrides of the recipe.
        seeds: Random seeds that the recipe is trained with, one training each, instead of its own
            seed; the table shows mean and standard deviation over these trainings.
        data: Names of the data sets that the method has results for; by default all of them.
        stretch: ``minmax`` stretches each fused image to the whole range, as EMMA's official
            script does. Say so in the method's name, because it changes EN, SD, SF and AG.
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
            raise ValueError("change: only a recipe can be changed; give `recipe` or drop `change`")
        if self.seeds is not None:
            if given not in ([], ["recipe"]):
                raise ValueError(
                    "seeds: only a recipe is trained with seeds; those of a task are its own key"
                )
            if len(set(self.seeds)) < len(self.seeds):
                raise ValueError(f"seeds: expected different seeds, found {list(self.seeds)}")
        return self


class SuiteConfig(BaseModel):
    """What ``fusionkit bench`` compares.

    Attributes:
        name: Name of the suite; results are written to ``bench/NAME``.
        modalities: Names of the sources.
        colour: Modality whose chroma the images of all methods get, or ``none`` for grey images.
            A single source of another modality always stays grey: its sensor sees no colour.
        seeds: Random seeds; each task that trains is trained once with each of them.
        recipe: Recipe of the methods that name none but give ``change``.
        change: ``key=value`` overrides of all recipes, applied before a method's own.
        reference: Method that the paired tests compare the others with; by default the first.
        data: Data sets by name.
        methods: Methods by name.
        tasks: Tasks by name.
        accelerator: Device of recipes and tasks; ``auto`` uses a GPU if there is one.
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
                    f"methods.{name}.source: expected a modality "
                    f"({', '.join(self.modalities)}), found {term.source!r}"
                    + nearest(term.source, self.modalities)
                )
            if term.change is not None and term.recipe is None and self.recipe is None:
                raise ValueError(f"methods.{name}: there is no recipe to change; give `recipe`")
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
        """Return the whole configuration as plain values, defaults included."""
        return self.model_dump(mode="json")


class LoadedSuite:
    """A validated suite that knows in which line of its file each key stands.

    Attributes:
        config: The configuration.
        document: The suite file.
    """

    def __init__(self, config: SuiteConfig, document: Document):
        self.config = config
        self.document = document

    @property
    def folder(self) -> Path:
        """The folder of the suite file; paths of recipes and manifests are relative to it."""
        return self.document.path.parent

    def error(self, location: tuple[str | int, ...], problem: Exception | str) -> FusionkitError:
        """Return the error for a key: ``file:line: path.of.key: problem``."""
        return self.document.error(location, problem)


def load_suite(path: Path, overrides: Sequence[str], plugins: Plugins) -> LoadedSuite:
    """Load and validate a suite.

    The key ``size`` chooses an entry of ``sizes``: a list of ``key=value`` overrides that are
    applied before those of the caller. ``${VARIABLE}`` in a text is replaced by the environment
    variable.

    Args:
        path: The YAML file.
        overrides: ``key=value`` lines; later ones win.
        plugins: The installed plugins.

    Raises:
        FusionkitError: if the file does not exist or is wrong, with one line
            ``file:line: path.of.key: ...`` for each problem.
    """
    if not path.is_file():
        raise FusionkitError(f"the suite file {path} does not exist")
    document = read_yaml(path)
    sizes = document.values.pop("sizes", None) or {}
    if not isinstance(sizes, dict) or not all(isinstance(s, list) for s in sizes.values()):
        raise document.error(("sizes",), "expected lists of key=value by name")
    chosen = [o for o in overrides if o.startswith("size=")]
    size = chosen[-1].removeprefix("size=") if chosen else document.values.get("size")
    document.values.pop("size", None)
    if size is not None and (not isinstance(size, str) or size not in sizes):
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
            # An override such as `methods.NAME=null` removes an entry.
            document.values[key] = {k: v for k, v in section.items() if v is not None}
    return LoadedSuite(validate_document(SuiteConfig, document, plugins.registry), document)


def suite_schema(registry: Registry) -> dict[str, Any]:
    """Return the JSON schema of suite files, with every installed component, for editors."""
    schema = json_schema(registry, SuiteConfig)
    lines = {"type": "array", "items": {"type": "string"}}
    schema["properties"] |= {
        "size": {"type": "string", "description": "The default entry of sizes."},
        "sizes": {
            "type": "object",
            "additionalProperties": lines,
            "description": "Name -> key=value overrides, applied before those of the command line.",
        },
    }
    return schema
