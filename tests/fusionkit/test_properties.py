"""What holds for any configuration, any images that are fused and any images that are scored."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fusionkit as fk
from fusionkit.benchmark.suite import load_suite
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_installed_plugins

few = settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

RECIPE = {
    "name": "tiny",
    "seed": 3,
    "data": {"name": "scenes", "size": 48, "train": 2, "val": 1},
    "teacher": [{"name": "average"}],
    "sensors": {"infrared": {"name": "unet", "width": 2}, "visible": {"name": "unet"}},
    "backbone": {"name": "ufuser", "channels": [4, 8], "heads": 4},
    "transforms": [{"name": "reflect", "count": 1}],
    "losses": [{"name": "sensing", "weight": 0.5}],
    "stages": [{"name": "train-sensors", "epochs": 2}, {"name": "fuse"}, {"name": "report"}],
}
SUITE = {
    "name": "small",
    "reference": "average",
    "data": {"scenes": {"name": "scenes", "size": 48, "train": 2, "val": 1}},
    "methods": {"average": {"backbone": {"name": "average"}}, "max": {"backbone": {"name": "max"}}},
    "tasks": {"metrics": {"name": "fusion-metrics"}},
    "size": "quick",
    "sizes": {"quick": ["data.scenes.train=1"]},
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["average", "ufuser", "self", "auto", "none", "../x", "${HOME}", "a.b=c"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "size", "backbone", "seed", "weight"]) | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


@st.composite
def changed(draw, whole):
    """Draw a document like a valid one, with a value at some place replaced, added or removed."""
    document = yaml.safe_load(yaml.safe_dump(whole))
    for _ in range(draw(st.integers(0, 2))):
        target = document
        while True:
            keys = list(target) if isinstance(target, dict) else list(range(len(target)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(target[key], dict | list) and draw(st.booleans()):
                target = target[key]
                continue
            if draw(st.booleans()):
                del target[key]
            else:
                target[key] = draw(VALUES)
            break
    return document


def read(load, path, document):
    """Return the configuration of a document, None if it is refused in a sentence."""
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    try:
        return load(path, [], load_installed_plugins()).config
    except FusionkitError:
        return None


@few
@given(changed(RECIPE) | VALUES)
def test_a_recipe_is_refused_or_written_and_read_again(tmp_path, document):
    config = read(load_config, tmp_path / "a.yaml", document)
    if config is not None:
        (tmp_path / "b.yaml").write_text(config.to_yaml(), encoding="utf-8")
        again = load_config(tmp_path / "b.yaml", [], load_installed_plugins()).config
        assert again == config
        assert again.to_yaml() == config.to_yaml()


@few
@given(changed(SUITE) | VALUES)
def test_a_suite_is_refused_or_read(tmp_path, document):
    config = read(load_suite, tmp_path / "a.yaml", document)
    if config is not None:
        assert config.to_dict()["name"] == config.name


def test_the_whole_documents_are_accepted(tmp_path):
    assert read(load_config, tmp_path / "a.yaml", RECIPE) is not None
    assert read(load_suite, tmp_path / "b.yaml", SUITE) is not None


SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))
DTYPES = st.sampled_from([np.uint8, np.uint16, np.float32, np.float64])


@st.composite
def image(draw, size):
    dtype = np.dtype(draw(DTYPES))
    shape = (*size, 3) if draw(st.booleans()) else size
    top = 1.0 if dtype.kind == "f" else np.iinfo(dtype).max
    if draw(st.booleans()):
        return np.full(shape, draw(st.sampled_from([0, top, top / 4])), dtype)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return (rng.random(shape) * top).astype(dtype)


@few
@given(st.data(), SIDES, st.sampled_from(["average", "max", "laplacian-pyramid", "wavelet"]))
def test_fused_images_have_the_size_and_type_of_a_source(data, size, name):
    sources = {modality: data.draw(image(size), modality) for modality in ("infrared", "visible")}
    model = fk.build("backbone", name=name)
    if min(size) < 16:
        with pytest.raises(FusionkitError, match="16"):
            fk.fuse(model, sources)
        return
    fused = fk.fuse(model, sources)
    assert fused.shape[:2] == size
    assert fused.shape[2:] in ((), (3,))
    coloured = [m for m, i in sources.items() if i.ndim == 3 and (i != i[..., :1]).any()]
    assert (fused.ndim == 3) == bool(coloured)
    reference = "visible" if "visible" in coloured else (coloured or ["infrared"])[0]
    assert fused.dtype == sources[reference].dtype
    if fused.dtype.kind == "f":
        assert np.isfinite(fused).all()
        assert fused.min() >= 0
        assert fused.max() <= 1


EQUAL = {"MSE": 0.0, "CC": 1.0, "SSIM": 2.0, "VIF": 2.0}
"""Values of an image that equals both sources; the profile adds SSIM and VIF of the two."""


@few
@given(arrays.arrays(np.uint8, st.tuples(st.integers(41, 60), st.integers(41, 60))))
def test_equal_images_have_known_scores(pixels):
    pixels[0, 0], pixels[-1, -1] = 0, 255
    values = fk.evaluate(pixels, {"a": pixels, "b": pixels}, metrics=list(EQUAL))
    for name, value in EQUAL.items():
        assert values[name] == pytest.approx(value, abs=1e-3), name
