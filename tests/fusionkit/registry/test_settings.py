"""Groups of arguments, and arguments under old names."""

from __future__ import annotations

import logging
from typing import Annotated, ClassVar

import pytest
from pydantic import Field

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Settings, TransformGroup
from fusionkit.registry.arguments import arguments_model, make_spec
from fusionkit.registry.components import Registry
from fusionkit.registry.renamed_arguments import rename_arguments, warn_renamed


class Paint(Settings):
    name: str = "oil"
    layers: Annotated[int, Field(ge=1)] = 2


PAINT = Paint(layers=3)


class Painted(TransformGroup):
    """A group whose arguments have changed."""

    name = "painted"
    renamed_arguments: ClassVar = {
        "big": "size",
        "paint": "paint.name",
        "coats": "paint.layers",
        "gilded": "frame.layers",
    }

    def __init__(self, size: int = 8, paint: Paint = PAINT, frame: Paint | None = None) -> None:
        self.size, self.paint, self.frame = size, paint, frame

    def sample(self, count, size, generator):
        return []


@pytest.fixture
def registry():
    registry = Registry()
    registry.add(Painted, "test")
    return registry


@pytest.fixture
def build(registry):
    warn_renamed.cache_clear()
    return lambda **arguments: registry.build(
        make_spec(registry, "transform", "painted", arguments)
    )


def test_a_group_is_built_and_written_again(build):
    component = build(paint={"layers": 5}, frame={"name": "gold"})
    assert component.paint == Paint(name="oil", layers=5)
    assert component.spec.to_dict() == {
        "name": "painted",
        "size": 8,
        "paint": {"name": "oil", "layers": 5},
        "frame": {"name": "gold", "layers": 2},
    }
    assert build(paint=Paint(name="ink")).paint.name == "ink"


def test_keys_that_are_left_out_are_those_of_the_arguments_default(build):
    assert build(paint={"name": "ink"}).paint.layers == 3
    assert build(frame={}).frame.layers == 2
    assert build().frame is None


@pytest.mark.parametrize(
    ("paint", "message"),
    [
        ({"layer": 1}, r"paint\.layer: .*'layer'.*'layers'"),
        ({"zzz": 1}, r"paint\.zzz: .*name, layers"),
        ({"layers": 0}, r"paint\.layers: .*found 0"),
        (3, r"paint: .*name, layers.*found 3"),
    ],
)
def test_mistakes_in_a_group_name_the_key(build, paint, message):
    with pytest.raises(FusionkitError, match=message):
        build(paint=paint)


def test_a_group_has_a_json_schema():
    schema = arguments_model(Painted).model_json_schema()
    assert schema["properties"]["paint"]["default"] == {"name": "oil", "layers": 3}
    assert schema["$defs"]["Paint"]["additionalProperties"] is False


def test_old_names_work_with_one_warning_each(build, caplog):
    for _ in range(2):
        component = build(big=4, coats=7)
        assert (component.size, component.paint.layers) == (4, 7)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "'big' is now 'size'" in caplog.messages[0]
    assert "'coats' is now 'paint.layers'" in caplog.messages[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"size": 1, "big": 2}, {"size": 2}),
        ({"big": 2, "size": 1}, {"size": 1}),
        ({"paint": {"layers": 1}, "coats": 2}, {"paint": {"layers": 2}}),
        ({"coats": 2, "paint": {"layers": 1}}, {"paint": {"layers": 1}}),
        ({"coats": 2, "paint": {"name": "ink"}}, {"paint": {"name": "ink", "layers": 2}}),
        ({"coats": 2, "paint": "ink"}, {"paint": {"name": "ink", "layers": 2}}),
        ({"gilded": 2, "frame": None}, {"frame": {"layers": 2}}),
        ({"paint": 3, "size": 1}, {"paint": 3, "size": 1}),
    ],
)
def test_of_an_old_and_a_new_name_the_later_one_wins(arguments, expected):
    assert rename_arguments(Painted, arguments)[0] == expected


def test_weights_with_old_names_load_without_a_warning(registry, build, caplog):
    spec = make_spec(registry, "transform", "painted", {"big": 4}, warn=False)
    assert spec.arguments["size"] == 4
    assert not caplog.records
