"""Times the metrics against a plain scipy evaluator.

The evaluator follows the definitions directly with ``convolve2d``, like the usual scripts of the
field. Both score the same images in turn, and their scores must agree.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate
from scipy.signal import convolve2d

from benchmarks.speed.measurement import Row, Size, time_in_turn
from fusionkit.evaluation.scores import installed_metrics

Array = NDArray[np.float64]


def evaluate(f: Array, a: Array, b: Array) -> dict[str, float]:
    error = (((f - a) ** 2).mean() + ((f - b) ** 2).mean()) / 2
    gy, gx = np.gradient(f)
    rows, columns = np.diff(f, axis=0), np.diff(f, axis=1)
    p = np.bincount(f.astype(int).ravel(), minlength=256) / f.size
    return {
        "EN": -(p[p > 0] * np.log2(p[p > 0])).sum(),
        "SD": f.std(),
        "SF": math.sqrt((rows**2).mean() + (columns**2).mean()),
        "AG": np.sqrt((gx**2 + gy**2) / 2).mean(),
        "SCD": _r(f - b, a) + _r(f - a, b),
        "VIF": _vif(a, f) + _vif(b, f),
        "MI": _information(a, f) + _information(b, f),
        "Qabf": _qabf(f, a, b),
        "Nabf": _nabf(f, a, b),
        "SSIM": _ssim(a, f) + _ssim(b, f),
        "CC": (_r(f, a) + _r(f, b)) / 2,
        "PSNR": 20 * math.log10(f.max() / math.sqrt(error)),
        "MSE": error,
    }


def _r(x: Array, y: Array) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def _information(x: Array, y: Array) -> float:
    joint = np.histogram2d(x.ravel(), y.ravel(), bins=256, range=[[0, 256], [0, 256]])[0] / x.size
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0])).sum())


def _vif(reference: Array, distorted: Array) -> float:
    kept = there = 0.0
    for n in (17, 9, 5, 3):
        at = np.arange(n) - n // 2
        window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * (n / 5) ** 2))
        mean = partial(convolve2d, in2=window / window.sum(), mode="valid")
        if n < 17:
            reference, distorted = mean(reference)[::2, ::2], mean(distorted)[::2, ::2]
        m_r, m_d = mean(reference), mean(distorted)
        v_r = np.maximum(mean(reference**2) - m_r**2, 0)
        v_d = np.maximum(mean(distorted**2) - m_d**2, 0)
        covariance = mean(reference * distorted) - m_r * m_d
        gain = covariance / (v_r + 1e-10)
        residue = np.where(gain < 0, v_d, v_d - gain * covariance)
        gain = np.maximum(gain, 0)
        kept += np.log10(1 + gain**2 * v_r / (np.maximum(residue, 1e-10) + 2)).sum()
        there += np.log10(1 + v_r / 2).sum()
    return kept / there


def _ssim(x: Array, y: Array) -> float:
    mean = partial(convolve2d, in2=np.full((7, 7), 1 / 49), mode="valid")
    m_x, m_y, k = mean(x), mean(y), 49 / 48
    v_x, v_y = k * (mean(x * x) - m_x**2), k * (mean(y * y) - m_y**2)
    v = k * (mean(x * y) - m_x * m_y)
    c1, c2 = 0.02**2, 0.06**2
    top = (2 * m_x * m_y + c1) * (2 * v + c2)
    return float((top / ((m_x**2 + m_y**2 + c1) * (v_x + v_y + c2))).mean())


def _qabf(f: Array, a: Array, b: Array) -> float:
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])

    def edges(x: Array) -> tuple[Array, Array]:
        across, down = (
            convolve2d(x, kernel, mode="same"),
            convolve2d(x, kernel.T[::-1], mode="same"),
        )
        safe = np.where(across == 0, 1, across)
        angle = np.where(across == 0, np.pi / 2, np.arctan(down / safe))
        return np.sqrt(across**2 + down**2), angle

    g_f, a_f = edges(f)
    kept = total = 0.0
    for source in (a, b):
        g, angle = edges(source)
        ratio = np.minimum(g, g_f) / np.maximum(np.maximum(g, g_f), 1e-12)
        ratio = np.where(g == g_f, g_f, ratio)
        turned = 1 - np.abs(angle - a_f) / (np.pi / 2)
        q = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (turned - 0.8)))
        kept, total = kept + (q * g).sum(), total + g.sum()
    return kept / total


def _nabf(f: Array, a: Array, b: Array) -> float:
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8

    def edges(x: Array) -> tuple[Array, Array]:
        across, down = correlate(x, -kernel, mode="mirror"), correlate(x, -kernel.T, mode="mirror")
        with np.errstate(divide="ignore", invalid="ignore"):
            angle = np.arctan(across / down)
        strength = np.sqrt(across**2 + down**2)
        return strength, np.where(strength == 0, 0, angle)

    def preserved(g: Array, angle: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where((g == 0) | (g_f == 0), 0, np.where(g > g_f, g_f / g, g / g_f))
        turned = np.abs(np.abs(angle - a_f) - np.pi / 2) * 2 / np.pi
        strength = 0.9999 / (1 + np.exp(-19 * (ratio - 0.5)))
        return np.sqrt(strength * (0.9995 / (1 + np.exp(-22 * (turned - 0.5)))))

    (g_f, a_f), first, second = edges(f), edges(a), edges(b)
    stronger = (g_f > first[0]) & (g_f > second[0])
    weights = [np.where(g >= 2, g**1.5, 0.001) for g, _ in (first, second)]
    lost = (1 - preserved(*first)) * weights[0] + (1 - preserved(*second)) * weights[1]
    return (lost * stronger).sum() / (weights[0] + weights[1]).sum()


def measure(size: Size) -> list[Row]:
    """Return our time for all metrics of a pair beside scipy's, and for each of the slow ones."""
    height, width = (96, 128) if size == "small" else (480, 640)
    f, a, b = _images(height, width)
    arrays = [(x[0, 0] * 255).double().numpy().round() for x in (f, a, b)]
    sources = {"infrared": a, "visible": b}
    metrics = installed_metrics("cddfuse")

    def ours() -> dict[str, float]:
        return {metric.name: float(metric(f, sources)[0]) for metric in metrics}

    found, expected = ours(), evaluate(*arrays)
    for name, value in expected.items():
        if not math.isclose(found[name], value, rel_tol=1e-3):
            raise AssertionError(f"{name}: expected {value}, found {found[name]}")
    if found.keys() != expected.keys():
        raise AssertionError(f"the peer has no {', '.join(found.keys() - expected.keys())}")
    alone = {metric.name: partial(metric, f, sources) for metric in metrics}
    slow = {name: alone[name] for name in ("VIF", "SSIM", "Qabf", "Nabf")}
    seconds = time_in_turn(
        {"ours": ours, "scipy": partial(evaluate, *arrays), **slow},
        rounds=1 if size == "small" else 5,
    )
    what = f"{len(metrics)} metrics of cddfuse, {width}x{height}"
    return [
        Row(what, 1e3 * seconds["ours"], "ms", "scipy", 1e3 * seconds["scipy"]),
        *(Row(f"{name} alone", 1e3 * seconds[name], "ms") for name in slow),
    ]


def _images(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a fused image and its two sources, each (1, 1, h, w) of 8-bit levels in 0 .. 1."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 1, height // 8, width // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    grain = 0.05 * torch.randn(3, 1, height, width, generator=generator)
    a, b, other = ((smooth + grain).clamp(0, 1) * 255).round().div(255).unsqueeze(1)
    return ((0.4 * a + 0.5 * b + 0.1 * other) * 255).round() / 255, a, b
