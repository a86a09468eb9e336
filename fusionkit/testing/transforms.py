"""Checks of transform groups: the group laws, up to resampling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import TransformElement
from fusionkit.testing.subject import NotApplicable, Subject, expect, smooth

_SIZE = (48, 64)
_TOLERANCE = 0.05
"""Largest error of an inverse that resamples, on smooth images."""


def _image(channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return smooth(2 * channels, *_SIZE, generator).view(2, channels, *_SIZE)


def _drawn(subject: Subject, seed: int = 0) -> list[TransformElement]:
    """Draw up to three elements for images of the size of the checks."""
    group = subject.build()
    order = group.order(_SIZE)
    if order == 0:
        raise NotApplicable(f"order({_SIZE}) is 0: it has no element for images of this size")
    number = 3 if order is None else min(3, order)
    return list(group.sample(number, _SIZE, torch.Generator().manual_seed(seed)))


def count(subject: Subject) -> None:
    """It draws as many elements as asked; more than ``order(size)`` is a FusionkitError."""
    group = subject.build()
    order = group.order(_SIZE)
    expect(
        order is None or (isinstance(order, int) and order >= 0),
        f"order({_SIZE}): expected a whole number or None, found {order!r}",
    )
    for number in range(3 if order is None else min(order, 16) + 1):
        try:
            drawn = group.sample(number, _SIZE, torch.Generator().manual_seed(0))
        except FusionkitError as error:
            raise subject.refusal(
                "count", f"order({_SIZE}) is {order}, but asked for {number} elements: {error}"
            ) from None
        expect(
            len(drawn) == number,
            f"asked for {number} elements it drew {len(drawn)}; order({_SIZE}) is {order}",
        )
    if order is None:
        return
    try:
        drawn = group.sample(order + 1, _SIZE, torch.Generator().manual_seed(0))
    except FusionkitError:
        return
    raise AssertionError(
        f"order({_SIZE}) is {order}, but asked for {order + 1} elements it drew {len(drawn)}; "
        f"expected a FusionkitError"
    )


def generator(subject: Subject) -> None:
    """Its elements depend on the given generator only."""
    image = _image()
    before = torch.random.get_rng_state()
    one, other = _drawn(subject, seed=1), _drawn(subject, seed=1)
    for a, b in zip(one, other, strict=True):
        expect(
            torch.equal(a.apply(image), b.apply(image)),
            "drawn twice from equal generators, its elements differ",
        )
    expect(
        torch.equal(before, torch.random.get_rng_state()),
        "it draws from the global random generator; use the one it is given",
    )


def shape(subject: Subject) -> None:
    """An element keeps shape and type, treats all images alike and leaves its input unchanged."""
    image = _image(channels=3)
    kept = image.clone()
    for element in _drawn(subject):
        out = element.apply(image)
        expect(
            out.shape == image.shape and out.dtype == image.dtype,
            f"{element}: {tuple(image.shape)} {image.dtype} became {tuple(out.shape)} {out.dtype}",
        )
        expect(torch.equal(image, kept), f"{element}: it changes its input in place")
        alone = element.apply(image[1:, :1])
        expect(
            torch.allclose(out[1:, :1], alone, atol=1e-5),
            f"{element}: an image alone gives another result than in a batch",
        )
        expect(
            not torch.allclose(out, image, atol=1e-6),
            f"{element}: it is the identity, which teaches nothing",
        )


def mask(subject: Subject) -> None:
    """Its valid mask is a boolean (h, w), not empty, and marks only pixels of the image."""
    for element in _drawn(subject):
        valid = element.valid(_SIZE)
        expect(
            valid.dtype == torch.bool and valid.shape == _SIZE,
            f"{element}: valid({_SIZE}) gave {valid.dtype} {tuple(valid.shape)}",
        )
        expect(bool(valid.any()), f"{element}: no pixel is valid; draw it smaller")
        white = element.apply(torch.ones(1, 1, *_SIZE))[0, 0]
        gap = float((white[valid] - 1).abs().max())
        expect(
            gap < 1e-3,
            f"{element}: a white image is off by {gap:.2g} at valid pixels: borders show through",
        )


def inverse(subject: Subject) -> None:
    """The inverse restores valid pixels: exactly if ``exact``, else up to resampling."""
    image = _image()
    for element in _drawn(subject):
        back = element.inverse()
        restored = back.apply(element.apply(image))
        if element.exact:
            whole = element.valid(_SIZE).all()
            expect(
                not whole or torch.equal(restored, image),
                f"{element} says that it is exact, but its inverse does not restore every bit",
            )
        seen = back.apply(element.valid(_SIZE)[None, None].float())[0, 0] > 1 - 1e-4
        seen &= back.valid(_SIZE)
        if not seen.any():
            raise NotApplicable(f"{element}: no pixel survives it and its inverse")
        gap = float((restored - image)[..., seen].abs().max())
        bound = 1e-6 if element.exact else _TOLERANCE
        expect(
            gap <= bound,
            f"{element}: applied and undone, valid pixels differ by {gap:.2g} (at most {bound:g})",
        )


def composition(subject: Subject) -> None:
    """The inverses of two exact elements, in reverse order, undo both."""
    image = _image()
    exact = [e for e in _drawn(subject) if e.exact and e.valid(_SIZE).all()]
    if not exact:
        raise NotApplicable("it has no exact elements")
    for a in exact:
        for b in exact:
            restored = a.inverse().apply(b.inverse().apply(b.apply(a.apply(image))))
            expect(
                torch.equal(restored, image),
                f"{a} and then {b} are not undone by their inverses in reverse order",
            )


def differentiability(subject: Subject) -> None:
    """Finite gradients pass through it, unchanged where pixels only move."""
    for element in _drawn(subject):
        image = _image().requires_grad_()
        element.apply(image).sum().backward()
        expect(image.grad is not None, f"{element}: no gradient passes through it")
        assert image.grad is not None
        expect(bool(image.grad.isfinite().all()), f"{element}: its gradient is not finite")
        expect(bool(image.grad.any()), f"{element}: its gradient is zero everywhere")
        if element.exact and element.valid(_SIZE).all():
            expect(
                torch.allclose(image.grad, torch.ones_like(image.grad)),
                f"{element}: it is exact, but some pixels pass on more or less than their gradient",
            )


def precision(subject: Subject) -> None:
    """It works in float64."""
    image = _image().double()
    for element in _drawn(subject):
        out = element.apply(image)
        expect(out.dtype == torch.float64, f"{element}: float64 became {out.dtype}")
        gap = float((out - element.apply(image.float())).abs().max())
        expect(gap < 1e-2, f"{element}: float32 and float64 differ by {gap:.2g}")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    count,
    generator,
    shape,
    mask,
    inverse,
    composition,
    differentiability,
    precision,
)
