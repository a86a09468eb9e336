"""Checks of metrics: what a table may rely on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fusionkit.interfaces import Images
from fusionkit.registry.signatures import parameters_of
from fusionkit.testing.subject import NotApplicable, Subject, expect

__all__ = ["CHECKS"]

_SIZE = (192, 208)
"""Large enough for metrics of five scales, and oblong."""

_KNOWN: Mapping[str, Mapping[str, float]] = {
    "EN": {"flat": 0.0, "halves": 1.0},
    "SD": {"flat": 0.0},
    "SF": {"flat": 0.0},
    "AG": {"flat": 0.0},
    "MSE": {"same": 0.0},
    "CC": {"same": 1.0},
}
"""Name of a metric of the field -> case -> value in every profile."""


def _scenes(subject: Subject) -> tuple[Images, Tensor]:
    """Return sources, and a fused image of them."""
    sources = subject.images(*_SIZE)
    return sources, torch.stack(list(sources.values())).mean(dim=0)


def values(subject: Subject) -> None:
    """It gives a finite number for each image of the batch, in each of its profiles."""
    sources, fused = _scenes(subject)
    for profile in subject.cls.profiles:  # type: ignore[attr-defined]
        metric = _in(subject, profile)
        found = metric(fused, sources)
        expect(found.shape == (2,), f"2 images gave values of shape {tuple(found.shape)}")
        expect(
            bool(found.isfinite().all()),
            f"in the profile {profile} it gives {found.tolist()}",
        )


def extremes(subject: Subject) -> None:
    """It stays finite for flat, black and white images."""
    sources, _ = _scenes(subject)
    metric = subject.build()
    for level in (0.0, 0.5, 1.0):
        flat = torch.full((2, 1, *_SIZE), level)
        for name, given in (("real", sources), ("flat", dict.fromkeys(sources, flat))):
            found = metric(flat, given)
            expect(
                bool(found.isfinite().all()),
                f"a fused image of {level} everywhere and {name} sources give {found.tolist()}",
            )


def batch_independence(subject: Subject) -> None:
    """The score of an image does not depend on the other images of the batch."""
    sources, fused = _scenes(subject)
    metric = subject.build()
    both = metric(fused, sources)
    alone = metric(fused[1:], {name: image[1:] for name, image in sources.items()})
    expect(
        math.isclose(float(both[1]), float(alone[0]), rel_tol=1e-6, abs_tol=1e-9),
        f"an image scores {float(alone[0])} alone and {float(both[1])} in a batch",
    )


def determinism(subject: Subject) -> None:
    """It gives the same twice, and leaves its inputs as they are."""
    sources, fused = _scenes(subject)
    kept = fused.clone(), {name: image.clone() for name, image in sources.items()}
    metric = subject.build()
    one, other = metric(fused, sources), metric(fused, sources)
    expect(torch.equal(one, other), f"it gives {one.tolist()} and then {other.tolist()}")
    same = torch.equal(fused, kept[0]) and all(torch.equal(sources[n], kept[1][n]) for n in sources)
    expect(same, "it changes its inputs in place")


def direction(subject: Subject) -> None:
    """Its direction is right: a perfect fused image scores no worse than one without content."""
    sources, _ = _scenes(subject)
    image = next(iter(sources.values()))
    metric = subject.build()
    given = dict.fromkeys(sources, image)
    perfect = metric(image, given)
    empty = metric(torch.full_like(image, 0.5), given)
    better = perfect >= empty - 1e-9 if metric.higher_is_better else perfect <= empty + 1e-9
    word = "higher" if metric.higher_is_better else "lower"
    expect(
        bool(better.all()),
        f"{word} is better, it says; but where all sources are one image, that image scores "
        f"{perfect.tolist()} and a grey one {empty.tolist()}",
    )


def known_answers(subject: Subject) -> None:
    """If it has the name of a metric of the field, it gives that metric's known values."""
    cases = _KNOWN.get(subject.cls.name.upper())
    if cases is None:
        raise NotApplicable(f"it is not one of {', '.join(_KNOWN)}")
    sources, fused = _scenes(subject)
    halves = torch.zeros_like(fused)
    halves[..., : _SIZE[1] // 2] = 1
    inputs: dict[str, tuple[str, Tensor, Images]] = {
        "flat": ("a grey fused image", torch.full_like(fused, 0.5), sources),
        "halves": ("a fused image that is half black and half white", halves, sources),
        "same": ("sources that equal the fused image", fused, dict.fromkeys(sources, fused)),
    }
    for profile in subject.cls.profiles:  # type: ignore[attr-defined]
        metric = _in(subject, profile)
        for case, expected in cases.items():
            name, image, given = inputs[case]
            found = metric(image, given).tolist()
            expect(
                all(abs(value - expected) < 1e-3 for value in found),
                f"{subject.cls.name} of {name} is {expected:g}; in the profile {profile} it gives "
                f"{', '.join(f'{value:.3f}' for value in found)}",
            )


def _in(subject: Subject, profile: str) -> Any:
    if "profile" not in parameters_of(subject.cls):
        return subject.build()  # it follows one profile only
    return replace(subject, arguments={**subject.arguments, "profile": profile}).build()


CHECKS: tuple[Callable[[Subject], None], ...] = (
    values,
    extremes,
    batch_independence,
    determinism,
    direction,
    known_answers,
)
"""The checks of metrics."""
