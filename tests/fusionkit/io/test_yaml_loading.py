"""YAML of strangers: bombs, deep nesting, tags and odd numbers end in one error at once."""

from __future__ import annotations

import math
import time

import pytest
import yaml

from fusionkit.errors import FusionkitError
from fusionkit.io.yaml_document import read_yaml
from fusionkit.io.yaml_loading import dump_yaml, load_yaml


def laughs(levels: int, merge: bool = False) -> str:
    """A billion laughs: each level holds the one above nine times."""
    lines = ["a0: &a0 {x0: 1}" if merge else "a0: &a0 [1, 2]"]
    for k in range(1, levels):
        others = ", ".join([f"*a{k - 1}"] * 9)
        lines.append(f"a{k}: &a{k} {{<<: [{others}]}}" if merge else f"a{k}: &a{k} [{others}]")
    return "\n".join(lines)


HOSTILE = {
    "laughs": laughs(12),
    "laughs by merging": laughs(12, merge=True),
    "a value in itself": "a: &a [*a]",
    "a mapping merged into itself": "a: &a {<<: *a}",
    "deep lists": "a: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "{a: " * 5000 + "1" + "}" * 5000,
    "deep blocks": "- " * 5000 + "1",
    "large": "a: [" + "1, " * 200_000 + "1]",
    "python": "a: !!python/object/apply:os.system [ls]",
    "python name": "a: !!python/name:os.system",
    "binary": "a: !!binary aGVsbG8=",
    "set": "a: !!set {b}",
    "own tag": "a: !mine 1",
    "int of words": "a: !!int one",
    "float of words": "a: !!float one",
    "list as key": "a: {[1, 2]: 3}",
    "control character": "a: \x07",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_with_its_line_at_once(tmp_path, name):
    path = tmp_path / "a.yaml"
    path.write_text(HOSTILE[name])
    start = time.process_time()
    with pytest.raises(FusionkitError, match=r"a\.yaml:\d+: "):
        read_yaml(path)
    assert time.process_time() - start < 10
    with pytest.raises(yaml.YAMLError):
        load_yaml(HOSTILE[name])


def test_plain_yaml_with_aliases_is_read():
    text = "a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 3}\nc: [*a, *a]"
    found = load_yaml(text)
    assert found == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["2024-05-17", "0o17", "0x1F", "1_000", "190:20:30"])
def test_odd_numbers_are_text(text):
    assert load_yaml(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("08", 8), ("-007", -7), ("+1", 1)])
def test_zeros_before_an_integer_mean_nothing(text, value):
    assert load_yaml(f"a: {text}") == {"a": value}


def test_keys_are_names_as_they_are_written(tmp_path):
    (tmp_path / "a.yaml").write_text("08: 1\n1e4: 2\ntrue: 3\n")
    assert read_yaml(tmp_path / "a.yaml").values == {"08": 1, "1e4": 2, "true": 3}


@pytest.mark.parametrize(
    "value",
    [
        *("1e4", "08", "010", "yes", "0x1F", "1_000", "12:30", "2024-05-17", ".5", "1.", "~", "="),
        *("", 1, -7, 1e-5, 1e300, 0.1, -math.inf, True, None, ["1e4", {"yes": "no"}]),
    ],
)
def test_what_is_written_is_read_back(value):
    text = dump_yaml({"a": value})
    assert load_yaml(text) == {"a": value}
    # Other programs read YAML 1.1.
    assert yaml.safe_load(text) == {"a": value}


def test_an_int_of_many_digits_takes_no_time():
    assert load_yaml("1" * 5000) == math.inf
