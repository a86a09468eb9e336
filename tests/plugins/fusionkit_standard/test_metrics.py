"""Metrics as components: quantization, profiles, direction and errors."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import skimage.metrics
import torch
import torchmetrics.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.errors import FusionkitError
from fusionkit.evaluation.scores import score_files
from fusionkit.interfaces import Metric
from fusionkit_standard.metrics import METRICS

NAMES = ["EN", "SD", "SF", "AG", "SCD", "VIF", "MI", "Qabf", "Nabf", "SSIM", "CC", "PSNR", "MSE"]
BY_NAME = {cls.name: cls for cls in METRICS}


@pytest.fixture
def sources() -> dict[str, torch.Tensor]:
    noise = torch.rand(4, 1, 48, 57, generator=torch.Generator().manual_seed(1))
    infrared, visible = torch.nn.functional.avg_pool2d(noise, 3, 1, 1).split(2)
    return {"infrared": infrared, "visible": visible}


@pytest.fixture
def fused(sources) -> torch.Tensor:
    return 0.4 * sources["infrared"] + 0.6 * sources["visible"]


def test_all_metrics_are_registered_and_keep_the_contract():
    assert [cls.name for cls in METRICS if "cddfuse" in cls.profiles] == NAMES
    for cls in METRICS:
        if "cddfuse" not in cls.profiles:
            continue
        metric = cls()
        assert isinstance(metric, Metric)
        assert metric.profile == "cddfuse"
        assert "cddfuse" in metric.profiles
        assert metric.__doc__
    assert [cls.name for cls in METRICS if not cls.higher_is_better] == ["Nabf", "MSE", "CE", "Qcv"]


@pytest.mark.parametrize("name", NAMES)
def test_score_is_that_of_the_saved_image(name, fused, sources):
    metric = BY_NAME[name]()
    value = metric(fused, sources)
    assert value.shape == (2,)
    assert torch.isfinite(value).all()
    saved = (fused * 255).round().to(torch.uint8)
    read_again = saved.float() / 255
    read_sources = {m: (x * 255).round().div(255) for m, x in sources.items()}
    assert torch.equal(value, metric(read_again, read_sources))


@pytest.mark.parametrize("name", NAMES)
def test_values_outside_the_range_are_clipped(name, fused, sources):
    metric = BY_NAME[name]()
    wide = fused * 3 - 1
    assert torch.equal(metric(wide, sources), metric(wide.clamp(0, 1), sources))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_modified(name, fused, sources):
    before = fused.clone(), {m: x.clone() for m, x in sources.items()}
    BY_NAME[name]()(fused, sources)
    assert torch.equal(fused, before[0])
    assert all(torch.equal(sources[m], before[1][m]) for m in sources)


def test_mean_squared_error_and_correlation_match_torchmetrics(fused, sources):
    f, a, b = ((x * 255).round().double() for x in (fused, sources["infrared"], sources["visible"]))
    for k in range(2):
        flat = [x[k].flatten() for x in (f, a, b)]
        error = sum(reference.mean_squared_error(flat[0], s) for s in flat[1:]) / 2
        assert float(BY_NAME["MSE"]()(fused, sources)[k]) == pytest.approx(float(error))
        r = sum(reference.pearson_corrcoef(flat[0], s) for s in flat[1:]) / 2
        assert float(BY_NAME["CC"]()(fused, sources)[k]) == pytest.approx(float(r))
        scd = reference.pearson_corrcoef(flat[0] - flat[2], flat[1])
        scd = scd + reference.pearson_corrcoef(flat[0] - flat[1], flat[2])
        assert float(BY_NAME["SCD"]()(fused, sources)[k]) == pytest.approx(float(scd))


def test_psnr_matches_skimage_with_the_peak_of_the_fused_image(fused, sources):
    f = (fused[0, 0] * 255).round().double().numpy()
    one = {"infrared": sources["infrared"][:1]}
    a = (one["infrared"][0, 0] * 255).round().double().numpy()
    expected = skimage.metrics.peak_signal_noise_ratio(a, f, data_range=f.max())
    assert float(BY_NAME["PSNR"]()(fused[:1], one)[0]) == pytest.approx(expected)


def test_mutual_information_matches_skimage(fused, sources):
    f = (fused[0, 0] * 255).round().numpy()
    total = 0.0
    for source in sources.values():
        s = (source[0, 0] * 255).round().numpy()
        joint = np.histogram2d(f.ravel(), s.ravel(), bins=256, range=[[0, 256], [0, 256]])[0]
        p = joint / joint.sum()
        outer = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
        total += (p[p > 0] * np.log(p[p > 0] / outer[p > 0])).sum()
    assert float(BY_NAME["MI"]()(fused, sources)[0]) == pytest.approx(total)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 60))
def test_scores_are_in_bounds_and_ignore_the_order_of_the_sources(seed, smooth, size):
    generator = torch.Generator().manual_seed(seed)
    side = 40 + size
    small = torch.rand(3, 1, 1, max(2, side // smooth), side, generator=generator)
    f, a, b = (torch.nn.functional.interpolate(x, (side, side)) for x in small)
    forward = {n: float(BY_NAME[n]()(f, {"a": a, "b": b})[0]) for n in NAMES}
    backward = {n: float(BY_NAME[n]()(f, {"b": b, "a": a})[0]) for n in NAMES}
    for name in NAMES:
        assert forward[name] == pytest.approx(backward[name], rel=1e-9, abs=1e-12), name
    assert 0 <= forward["EN"] <= 8
    assert 0 <= forward["SD"] <= 127.5
    assert 0 <= forward["Qabf"] <= 1
    assert -1e-9 <= forward["MI"] <= 2 * forward["EN"] * np.log(2) + 1e-9
    assert -2 <= forward["SCD"] <= 2
    assert -1 <= forward["CC"] <= 1
    assert -2 <= forward["SSIM"] <= 2
    assert forward["VIF"] >= 0
    assert forward["AG"] >= 0
    assert forward["MSE"] >= 0


def test_unknown_profile_raises_and_suggests_the_nearest():
    with pytest.raises(FusionkitError, match=r"EN.*'cddfus'.*'cddfuse'"):
        BY_NAME["EN"](profile="cddfus")  # type: ignore[arg-type]


def test_sources_of_another_size_raise(fused, sources):
    sources["visible"] = sources["visible"][..., :-1]
    message = r"\(2, 1, 48, 57\).*\(2, 1, 48, 56\).*'visible'"
    with pytest.raises(FusionkitError, match=message):
        BY_NAME["CC"]()(fused, sources)


def test_metric_with_sources_needs_a_source(fused):
    with pytest.raises(FusionkitError, match="MI"):
        BY_NAME["MI"]()(fused, {})
    assert BY_NAME["EN"]()(fused, {}).shape == (2,)


@pytest.mark.parametrize(
    "profile", ["tang", "zoo", "vifb", "vfbench", "petrovic", "liu", "cvejic", "haghighat"]
)
def test_every_profile_gives_finite_scores(profile, fused, sources):
    found = [cls for cls in METRICS if profile in cls.profiles and cls.by_default]
    assert found
    for cls in found:
        value = cls(profile=profile)(fused, sources)
        assert torch.isfinite(value).all(), cls.name
        assert cls(profile=profile).profile == profile


def test_profile_tang_matches_the_published_spreadsheet(data_root):
    """Eight metrics match to 1e-6, Qabf to 0.01; VIF and SD there do not follow their formulas."""
    published: dict[tuple[str, str], dict[str, float]] = {}
    with (data_root / "reference" / "tno_metrics.csv").open() as file:
        for row in csv.DictReader(file):
            key = row["method"], row["image"]
            published.setdefault(key, {})[row["metric"]] = float(row["value"])
    assert len(published) == 54
    exact = ["EN", "AG", "SF", "MSE", "PSNR", "CC", "SCD", "MI"]
    chosen = [BY_NAME[name](profile="tang") for name in (*exact, "Qabf")]
    for (method, image), expected in published.items():
        path = data_root / "reference" / "tno_fused" / method / f"{image}.png"
        sources = {m: data_root / "tno" / m / f"{image}.png" for m in ("ir", "vi")}
        for score in score_files(image, path, sources, chosen):
            if score.metric == "Qabf":
                assert score.value == pytest.approx(expected["Qabf"], abs=0.01)
            else:
                assert score.value == pytest.approx(expected[score.metric], rel=1e-6), score
