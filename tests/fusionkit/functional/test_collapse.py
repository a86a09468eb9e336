"""Shares, unexplained gradients and the verdict, on made-up and on real pairs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from fusionkit.functional.collapse import (
    MOST_UNEXPLAINED,
    Verdict,
    intensity_shares,
    shares,
    unexplained,
    verdict,
)

IDS = ("08", "11", "22", "29", "32", "36")
Fuse = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    noise = torch.rand(4, 1, 84, 92, generator=torch.Generator().manual_seed(2))
    a, b = torch.nn.functional.avg_pool2d(noise, 5, 1).split(2)
    return (a - 0.3) / 0.4, (b - 0.3) / 0.4


@pytest.fixture(scope="module")
def real(data_root: Path) -> dict[str, tuple[Tensor, Tensor]]:
    folder = data_root / "tno"
    return {i: (grey(folder / "ir" / f"{i}.png"), grey(folder / "vi" / f"{i}.png")) for i in IDS}


def grey(path: Path) -> Tensor:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    return torch.from_numpy(image).float()[None, None] / 255


def saved(x: Tensor) -> Tensor:
    return (x * 255).round().clamp(0, 255) / 255


def judge(triples: list[tuple[Tensor, Tensor, Tensor]]) -> Verdict:
    """Mean measures of (fused, infrared, visible) of any sizes, judged."""
    gradients, intensities, made_up = [], [], []
    for fused, *sources in triples:
        gradients.append(shares(fused, sources).mean(0))
        intensities.append(intensity_shares(fused, sources).mean(0))
        made_up.append(unexplained(fused, sources).mean())
    names = ("infrared", "visible")
    return verdict(
        dict(zip(names, torch.stack(gradients).mean(0).tolist(), strict=True)),
        dict(zip(names, torch.stack(intensities).mean(0).tolist(), strict=True)),
        float(torch.stack(made_up).mean()),
    )


def average(a: Tensor, b: Tensor) -> Tensor:
    return saved((a + b) / 2)


def laplacian(a: Tensor, b: Tensor) -> Tensor:
    """Opencv's pyramid: the stronger detail per pixel, the mean of the coarsest level."""

    def pyramid(x: Tensor) -> list[np.ndarray]:
        levels, image = [], x[0, 0].numpy()
        for _ in range(4):
            small = cv2.pyrDown(image)
            levels.append(image - cv2.pyrUp(small, dstsize=image.shape[::-1]))
            image = small
        return [*levels, image]

    *details, base = [
        np.where(np.abs(p) > np.abs(q), p, q) for p, q in zip(pyramid(a), pyramid(b), strict=True)
    ]
    base = (pyramid(a)[-1] + pyramid(b)[-1]) / 2
    for detail in reversed(details):
        base = cv2.pyrUp(base, dstsize=detail.shape[::-1]) + detail
    return saved(torch.from_numpy(base)[None, None])


def striped(period: int) -> Fuse:
    def fuse(a: Tensor, b: Tensor) -> Tensor:
        columns = (torch.arange(a.shape[-1]) // (period // 2) % 2).float()
        return saved((a + b) / 2 + 0.06 * (columns - 0.5))

    return fuse


def gridded(a: Tensor, b: Tensor) -> Tensor:
    rows, columns = (torch.arange(side) % 8 == 0 for side in a.shape[-2:])
    return saved((a + b) / 2 + 0.1 * (rows[:, None] | columns).float())


def random(a: Tensor, b: Tensor) -> Tensor:
    return torch.rand(a.shape, generator=torch.Generator().manual_seed(0))


def test_unrelated_sources_get_what_they_were_given(pair):
    a, b = pair
    for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
        fused = weight * a + (1 - weight) * b
        expected = torch.tensor([weight, 1 - weight]).expand(2, 2)
        # where a source is the stronger one, the other leaves little trace
        assert shares(fused, pair).numpy() == pytest.approx(expected.numpy(), abs=0.06)
        assert intensity_shares(fused, pair).numpy() == pytest.approx(expected.numpy(), abs=1e-3)
        assert unexplained(fused, pair).max() < 1e-3


def test_intensity_shares_are_a_least_squares_fit(pair):
    a, b = pair
    fused = (0.6 * a + 0.3 * b**2).clamp(0, 1)
    for k in range(2):
        columns = [x[k].double().flatten().numpy() for x in (a, b, torch.ones_like(a))]
        fit = np.linalg.lstsq(np.stack(columns, 1), fused[k].double().flatten().numpy())[0]
        assert intensity_shares(fused, pair)[k].numpy() == pytest.approx(fit[:2], abs=1e-3)


def test_unexplained_is_the_residue_of_local_least_squares(pair):
    a, b = (x[:1, :, :7, :7] for x in pair)
    fused = (a * b).sqrt() + 0.1 * torch.rand(a.shape, generator=torch.Generator().manual_seed(3))

    def differences(x: Tensor) -> np.ndarray:
        image = x[0, 0].double().numpy()
        across = np.diff(image, axis=1, append=image[:, -1:])
        return np.stack([across, np.diff(image, axis=0, append=image[-1:])])

    f, columns = differences(fused), np.stack([differences(a), differences(b)])
    remaining = total = 0.0
    for y in range(7):
        for x in range(7):
            window = np.s_[..., max(0, y - 3) : y + 4, max(0, x - 3) : x + 4]
            target, design = f[window].ravel(), columns[window].reshape(2, -1).T
            fit = np.linalg.lstsq(design, target)[0]
            remaining += ((target - design @ fit) ** 2).sum()
            total += (target**2).sum()
    found = float(unexplained(fused, [a, b])[0])
    assert found == pytest.approx(remaining / total, rel=2e-3)


def test_the_order_of_the_sources_is_that_of_the_result(pair):
    a, b = pair
    fused = torch.maximum(a, b)
    for function in (shares, intensity_shares):
        assert torch.allclose(function(fused, [a, b]), function(fused, [b, a]).flip(1), atol=1e-6)
    assert torch.allclose(unexplained(fused, [a, b]), unexplained(fused, [b, a]), atol=1e-6)


def test_three_sources(pair):
    a, b = pair
    c = a.flip(-1)
    assert shares((a + b + c) / 3, [a, b, c]).numpy() == pytest.approx(1 / 3, abs=0.05)
    assert intensity_shares(b, [a, b, c])[0].tolist() == pytest.approx([0, 1, 0], abs=1e-3)
    even = dict.fromkeys("abc", 1 / 3)
    assert verdict(even, even, 0.0).problem is None
    assert verdict({**even, "c": 0.1}, even, 0.0).problem is not None


def test_degenerate_images_give_finite_values(pair):
    a, _ = pair
    flat = torch.full_like(a, 0.4)
    for fused, sources in [
        (flat, [a, a]),
        (a, [flat, a]),
        (flat, [flat, flat]),
        (a[..., :1, :1], [a[..., :1, :1]] * 2),
    ]:
        for function in (shares, intensity_shares, unexplained):
            assert torch.isfinite(function(fused, sources)).all()
    assert unexplained(flat, [a, a]).tolist() == [0, 0]
    # nothing of a blind source can be missing
    assert shares(a, [flat, a]).numpy() == pytest.approx(1)
    # sources that are alike can't be told apart: both are there
    assert shares(a, [a, a]).numpy() == pytest.approx(1)


@pytest.mark.parametrize(
    ("fuse", "problem"),
    [
        (lambda a, b: a, "collapsed onto infrared: .* of the gradients of visible"),
        (lambda a, b: b, "collapsed onto visible: .* of the gradients of infrared"),
        (lambda a, b: saved(0.9 * a + 0.1 * b), "collapsed onto infrared"),
        (lambda a, b: saved(0.1 * a + 0.9 * b), "collapsed onto visible"),
        (random, "lost all sources"),
        (lambda a, b: torch.full_like(a, 0.4), "lost all sources"),
        (lambda a, b: 1 - a, "lost all sources"),
        (lambda a, b: a * torch.nan, "not finite"),
        (striped(2), "makes texture up"),
        (striped(4), "makes texture up"),
        (striped(8), "makes texture up"),
        (gridded, "makes texture up"),
        (average, None),
        (torch.maximum, None),
        (laplacian, None),
        (lambda a, b: saved(0.7 * a + 0.3 * b), None),
    ],
)
def test_the_verdict_on_real_pairs(real, fuse: Fuse, problem: str | None):
    found = judge([(fuse(*pair), *pair) for pair in list(real.values())[::2]])
    if problem is None:
        assert found.problem is None
    else:
        assert found.problem is not None
        assert re.search(problem, found.problem), found.problem


@pytest.mark.parametrize(
    "method",
    [
        "DenseFuse",
        "FusionGAN",
        "IFCNN",
        "PIAFusion",
        "PMGI",
        "RFN-Nest",
        "SDNet",
        "SeAFusion",
        "U2Fusion",
    ],
)
def test_no_published_method_has_collapsed(data_root, real, method):
    folder = data_root / "reference" / "tno_fused" / method
    found = judge([(grey(folder / f"{i}.png"), *pair) for i, pair in real.items()])
    assert found.problem is None, found
    assert found.unexplained < MOST_UNEXPLAINED
