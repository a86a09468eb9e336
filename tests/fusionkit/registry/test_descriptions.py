"""Types, defaults and documentation of arguments, as a person would write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from fusionkit.interfaces import Distance, Loss, Modalities, Settings
from fusionkit.registry.descriptions import (
    Argument,
    arguments_of,
    description_of,
    example_of,
    type_text,
)
from fusionkit.registry.plugins import load_installed_plugins


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "int"),
        (Annotated[float, Field(gt=0)], "float > 0"),
        (Annotated[int, Field(ge=1, le=8)], "int >= 1 <= 8"),
        (Annotated[int, Field(ge=32, multiple_of=16)], "int >= 32 multiple of 16"),
        (Annotated[int, Field(ge=1)] | None, "int >= 1 | null"),
        (Literal["step", "cosine"], '"step" | "cosine"'),
        (Path, "path"),
        (Distance, "{name: distance}"),
        (Sequence[Distance], "[{name: distance}, ...]"),
        (tuple[int, ...], "[int, ...]"),
        (tuple[int, float], "[int, float]"),
        (Mapping[str, Path], "{str: path}"),
        (list[Annotated[int, Field(ge=1)]], "[int >= 1, ...]"),
        (Modalities, "[str, ...]"),
    ],
)
def test_a_type_is_written_as_people_write_it(hint, text):
    assert type_text(hint) == text


class Rate(Settings):
    """A group.

    Attributes:
        start: First value.
    """

    start: Annotated[float, Field(gt=0)] = 0.1
    kind: Literal["step", "cosine"] = "step"


class Documented(Loss):
    """A loss.

    Args:
        distance: How far images are apart;
            in two lines.
        rate: A group of arguments.
        modalities: Names of the sources.
    """

    name = "documented"

    def __init__(
        self,
        distance: Distance,
        rate: Rate = Rate(),  # noqa: B008
        sizes: tuple[int, ...] = (4, 8),
        modalities: Modalities = ("infrared", "visible"),
        path: Path | None = None,
    ):
        super().__init__()

    def forward(self, step):
        """Return nothing."""


def test_arguments_have_type_default_and_description():
    doc = "How far images are apart; in two lines."
    assert arguments_of(Documented) == [
        Argument("distance", "{name: distance}", "required", doc),
        Argument("rate", "{start, kind}", "{start: 0.1, kind: step}", "A group of arguments."),
        Argument("rate.start", "float > 0", "0.1", "First value."),
        Argument("rate.kind", '"step" | "cosine"', "step", ""),
        Argument("sizes", "[int, ...]", "[4, 8]", ""),
        Argument("modalities", "[str, ...]", "from the run", "Names of the sources."),
        Argument("path", "path | null", "null", ""),
    ]


def test_no_type_of_ours_shows_python():
    for entry in load_installed_plugins().registry:
        for argument in arguments_of(entry.cls):
            for word in ("Annotated", "FieldInfo", "<class", "typing", "Field(", "NoneType"):
                assert word not in argument.type + argument.default, (entry.cls, argument)


class Shown(Loss):
    """A loss.

    More about it.

    Args:
        scale: A factor.

    Example:
        >>> Shown(
        ...     2.0
        ... ).scale
        2.0

    Raises:
        ValueError: never.
    """

    name = "shown"

    def __init__(self, scale: float):
        self.scale = scale

    def forward(self, step):
        return step.fused.mean()


class Bare(Loss):
    name = "bare"

    def forward(self, step):
        return step.fused.mean()


def test_a_docstring_is_split_into_description_and_example():
    assert description_of(Shown) == "A loss.\n\nMore about it."
    assert example_of(Shown) == ">>> Shown(\n...     2.0\n... ).scale\n2.0"
    assert example_of(Documented) == ""
    assert example_of(Bare) == ""


def test_an_example_of_each_shipped_component_can_be_shown():
    for entry in load_installed_plugins().registry:
        if entry.plugin.startswith("fusionkit-"):
            assert "Example:" not in description_of(entry.cls)
