"""Command-line overrides: paths, quoting, places in error messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionkit.config.overrides import apply_overrides
from fusionkit.errors import FusionkitError
from fusionkit.io.yaml_document import Document, read_yaml

RECIPE = """\
data: {name: scenes, size: 128}
stages:
  - {name: train, lr: 0.1}
  - {name: fuse}
  - {name: fuse}
"""


@pytest.fixture
def document(tmp_path: Path) -> Document:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return read_yaml(path)


def test_a_key_that_contains_a_dot_is_quoted(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("methods:\n  weight 1.0: {change: []}\n  plain: {change: []}\n")
    document = read_yaml(path)
    apply_overrides(
        document,
        [
            'methods."weight 1.0".change=[a.b="c.d"]',
            'methods."a=b, 0.5".source=visible',
            '"methods".plain.change=[x=1]',
        ],
    )
    assert document.values["methods"] == {
        "weight 1.0": {"change": ['a.b="c.d"']},
        "plain": {"change": ["x=1"]},
        "a=b, 0.5": {"source": "visible"},
    }


def test_list_items_are_addressed_by_index_and_by_name(document):
    apply_overrides(document, ["stages.train.lr=1e-3", "stages.1.limit=2"])
    assert document.values["stages"][0]["lr"] == 1e-3
    assert document.values["stages"][1] == {"name": "fuse", "limit": 2}


def test_an_error_names_the_line_or_the_override(document):
    before = document.where(("stages", 0, "lr"))
    assert before.endswith("recipe.yaml:3")
    apply_overrides(document, ["stages.train.lr=2", "new.section.key=1"])
    assert document.where(("stages", 0, "lr")) == "command line, 'stages.train.lr=2'"
    assert document.where(("new", "section", "key")) == "command line, 'new.section.key=1'"
    assert document.where(("stages", 1)).endswith("recipe.yaml:4")


def test_a_replaced_section_forgets_the_lines_inside_it(document):
    apply_overrides(document, ["data={name: paired-folders}"])
    assert document.where(("data", "size")) == "command line, 'data={name: paired-folders}'"


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("data.size", "data.size"),
        ("data.size=[", "data.size=["),
        ("data.size.more=1", "more"),
        ("stages.fuse.limit=1", "index"),
        ("stages.trian.lr=1", "'train'"),
    ],
)
def test_a_wrong_path_is_refused_by_name(document, assignment, named):
    with pytest.raises(FusionkitError) as error:
        apply_overrides(document, [assignment])
    assert named in str(error.value)
