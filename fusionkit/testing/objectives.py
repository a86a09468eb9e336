"""Checks of losses and distances: finite everywhere, and smallest where they should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Generator, Tensor

from fusionkit.interfaces import (
    Backbone,
    FusionStep,
    Images,
    Sensor,
    TransformElement,
    TransformGroup,
)
from fusionkit.testing.subject import Subject, expect, smooth

_SIDE = 48


class _Mean(Backbone):
    """The mean of the sources times a trainable scale."""

    name = "mean"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, sources: Images) -> Tensor:
        return self.scale * torch.stack(list(sources.values())).mean(dim=0)


class _Perfect(Sensor):
    """Returns the fused image."""

    name = "perfect"

    def forward(self, fused: Tensor) -> Tensor:
        return fused


class _Flip(TransformElement):
    exact = True

    def apply(self, x: Tensor) -> Tensor:
        return x.flip(-1)

    def inverse(self) -> _Flip:
        return self

    def valid(self, size: tuple[int, int]) -> Tensor:
        return torch.ones(size, dtype=torch.bool)


class _Flips(TransformGroup):
    """One mirror image."""

    name = "flips"

    def sample(
        self, count: int, size: tuple[int, int], generator: Generator
    ) -> Sequence[TransformElement]:
        return [_Flip()] * count


def _step(sources: Images, fused: Tensor, scale: float = 1.0) -> FusionStep:
    sensors: Mapping[str, Sensor] = {name: _Perfect() for name in sources}
    generator = torch.Generator().manual_seed(0)
    return FusionStep(sources, fused, _Mean(scale), sensors, [(_Flips(), 1)], generator)


def scalar(subject: Subject) -> None:
    """It returns one finite number, the same for the same step."""
    loss = subject.build()
    sources = subject.images(_SIDE, _SIDE)
    fused = torch.stack(list(sources.values())).mean(dim=0)
    before = torch.random.get_rng_state()
    value = loss(_step(sources, fused))
    expect(value.shape == (), f"expected a scalar, found shape {tuple(value.shape)}")
    expect(bool(value.isfinite()), f"on ordinary images it gives {value.item()}")
    again = loss(_step(sources, fused))
    expect(
        torch.equal(value, again),
        f"the same step gave {value.item()} and {again.item()}; draw from step.generator only",
    )
    expect(
        torch.equal(before, torch.random.get_rng_state()),
        "it draws from the global random generator; use step.generator",
    )


def finite(subject: Subject) -> None:
    """Its value and gradient are finite for black, white, equal and noisy images."""
    loss = subject.build()
    generator = torch.Generator().manual_seed(1)
    shape = (2, 1, _SIDE, _SIDE)
    cases = {
        "black": torch.zeros(shape),
        "white": torch.ones(shape),
        "noisy": torch.rand(shape, generator=generator),
        "smooth": smooth(2, _SIDE, _SIDE, generator),
    }
    for of_sources, source in cases.items():
        for of_fused, values in cases.items():
            fused = values.clone().requires_grad_()
            value = loss(_step(dict.fromkeys(subject.modalities, source), fused))
            where = f"{of_sources} sources and a {of_fused} fused image"
            expect(bool(value.isfinite()), f"for {where} it gives {value.item()}")
            if value.requires_grad:
                value.backward()
                gradient = fused.grad
                expect(
                    gradient is None or bool(gradient.isfinite().all()),
                    f"for {where} its gradient is not finite (a root or a division by zero?)",
                )


def gradient(subject: Subject) -> None:
    """Its gradient reaches the fused image, or the backbone."""
    loss = subject.build()
    sources = subject.images(_SIDE, _SIDE)
    fused = (0.3 * torch.stack(list(sources.values())).mean(dim=0) + 0.2).requires_grad_()
    # The backbone darkens, so that both it and the fused image are wrong.
    step = _step(sources, fused, scale=0.8)
    value = loss(step)
    expect(value.requires_grad, "its value does not depend on the fused image or the backbone")
    value.backward()
    reached = [fused.grad, *(p.grad for p in step.backbone.parameters())]
    expect(
        any(g is not None and bool(g.any()) for g in reached),
        "its gradient is zero for a fused image that is wrong",
    )


def optimum(subject: Subject) -> None:
    """If all sources are one image, that image costs 0, and a disturbed one costs more."""
    loss = subject.build()
    generator = torch.Generator().manual_seed(2)
    image = smooth(2, _SIDE, _SIDE, generator)
    sources = dict.fromkeys(subject.modalities, image)
    best = loss(_step(sources, image)).item()
    noise = 0.2 * torch.rand(image.shape, generator=generator) - 0.1
    disturbed = loss(_step(sources, (image + noise).clamp(0, 1))).item()
    expect(
        abs(best) < 1e-3,
        f"all sources and the fused image are one image, and the loss is {best:.3g}; expected 0",
    )
    expect(
        disturbed >= best - 1e-6,
        f"noise in the fused image lowers the loss from {best:.3g} to {disturbed:.3g}",
    )


def distance(subject: Subject) -> None:
    """It is a scalar, 0 between equal images and larger between different ones."""
    measure = subject.build()
    a, b = (smooth(2, _SIDE, _SIDE, torch.Generator().manual_seed(seed)) for seed in (3, 4))
    value = measure(a, b)
    expect(value.shape == (), f"expected a scalar, found shape {tuple(value.shape)}")
    expect(abs(float(measure(a, a))) < 1e-5, f"between equal images it is {float(measure(a, a))}")
    expect(float(value) > 0, f"between different images it is {value.item()}")
    near = float(measure(a, 0.9 * a + 0.1 * b))
    expect(near < float(value), f"a nearer image is farther: {near:.3g} and {float(value):.3g}")


def masked(subject: Subject) -> None:
    """A mask of all pixels changes nothing, and pixels far outside a mask do not count."""
    measure = subject.build()
    a, b = (smooth(2, _SIDE, _SIDE, torch.Generator().manual_seed(seed)) for seed in (3, 4))
    everywhere = torch.ones(2, 1, _SIDE, _SIDE, dtype=torch.bool)
    whole, full = float(measure(a, b)), float(measure(a, b, everywhere))
    expect(
        abs(whole - full) < 1e-4,
        f"without a mask it is {whole:.5g}, with a mask of all pixels {full:.5g}",
    )
    left = everywhere.clone()
    left[..., _SIDE // 2 - 8 :] = False
    other = b.clone()
    other[..., _SIDE // 2 + 8 :] = 1 - other[..., _SIDE // 2 + 8 :]
    one, two = float(measure(a, b, left)), float(measure(a, other, left))
    expect(
        abs(one - two) < 1e-5,
        f"pixels far outside of the mask change it from {one:.5g} to {two:.5g}",
    )


def distance_gradient(subject: Subject) -> None:
    """Its gradient is finite, also between equal, black and white images."""
    measure = subject.build()
    image = smooth(2, _SIDE, _SIDE, torch.Generator().manual_seed(3))
    for name, a, b in (
        ("different", image, 1 - image),
        ("equal", image, image.clone()),
        ("black", torch.zeros_like(image), torch.zeros_like(image)),
        ("black and white", torch.zeros_like(image), torch.ones_like(image)),
    ):
        varied = a.clone().requires_grad_()
        value = measure(varied, b)
        value.backward()
        assert varied.grad is not None
        expect(
            bool(value.isfinite()) and bool(varied.grad.isfinite().all()),
            f"between {name} images it or its gradient is not finite",
        )


LOSS_CHECKS: tuple[Callable[[Subject], None], ...] = (scalar, finite, gradient, optimum)
DISTANCE_CHECKS: tuple[Callable[[Subject], None], ...] = (distance, masked, distance_gradient)
